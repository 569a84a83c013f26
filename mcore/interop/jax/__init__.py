"""Memories and models as JAX functions: under `jit`, `grad`, `vmap`, `lax.scan` and `remat`.

    layer = JaxMemory(mcore.memory("gated_delta", {"kind": "constant", "length": 64}, "grm"))
    y = layer(inputs)                        # inputs: a dict of arrays; gradients are mcore's own

    state = layer.start(inputs, tokens=4096)
    y, state = layer.step(inputs, state)     # a step of `lax.scan`, differentiable

    model = JaxModel(mcore.compile(spec))
    logits = model(params, tokens)           # params: a dict of arrays, `model.params` at the start

The computation happens on the host, in NumPy arrays, through `jax.pure_callback`; arrays on a GPU
travel through the host's memory. Needs JAX: `pip install "mcore[jax]"`.

    memory    a memory as a function and as a step
    model     logits of a whole model
    callback  a function of the host's arrays, called out of a traced program
    traced    checks of what is known before numbers are: names, shapes, dtypes
"""

from mcore.errors import BackendError

try:
    import jax as _jax  # noqa: F401
except ImportError:
    raise BackendError(
        'jax: not installed; pip install "mcore[jax]", or pip install jax, would do'
    ) from None

from mcore.interop.jax.memory import JaxMemory
from mcore.interop.jax.model import JaxModel
from mcore.interop.parameters import start_parameters
from mcore.interop.state import State

__all__ = ["JaxMemory", "JaxModel", "State", "start_parameters"]
