"""One thread for every library that has threads of its own: imported before any of them."""

import os

ONE = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NPROC")
"""Of OpenBLAS, of OpenMP (PyTorch), of MKL, and of XLA's pool."""

os.environ.update(dict.fromkeys(ONE, "1"))
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
os.environ["JAX_PLATFORMS"] = "cpu"
