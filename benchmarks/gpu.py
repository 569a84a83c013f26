"""The CuPy backend on a GPU: is it right, and how near is it to what the device can do.

    python -m benchmarks gpu                    # everything; under eight minutes
    python -m benchmarks gpu --only checks      # one part, or several: checks, sanitizer,
                                                # rates, layers, decode, training
    python -m benchmarks gpu --emulated         # the same on the CPU, tiny: that the script works

Every rule with every readout is held to the reference first, forward and backward; what differs is
printed, and the exit status is 1. compute-sanitizer runs over small sizes if it is installed. Times
are those of CUDA events, the best of several rounds in which all contenders take turns, on buffers
that rotate so that nothing is found in the second-level cache. Bandwidth is that of a copy, matrix
rates are cuBLAS's, in this run. PyTorch and flash-linear-attention take part if they are installed.
Rows are written to `benchmarks/results/gpu-<device>.json` as they come, so that a run that is cut
off leaves what it has measured.
"""

import argparse
import os
import sys
import time
from importlib import import_module

PARTS = ("checks", "sanitizer", "rates", "layers", "decode", "training")


def main() -> None:
    """Run the parts in order, as long as there is time."""
    given = _arguments()
    if given.emulated:
        os.environ["MCORE_EMULATED_GPU"] = "1"
    from benchmarks import gpu_table
    from benchmarks.gpu_lab import Lab

    lab = Lab(deadline=time.monotonic() + 60 * given.minutes)
    print(f"{lab.name}: {'; '.join(lab.facts)}", flush=True)
    sound = True
    for name in PARTS:
        if given.only and name not in given.only:
            continue
        if lab.left() <= 0:
            print(f"{name}: skipped, {given.minutes} minutes are over", flush=True)
            continue
        began = time.monotonic()
        sound &= import_module(f"benchmarks.gpu_{name}").run(lab)
        print(f"{name}: {time.monotonic() - began:.1f} s", flush=True)
    gpu_table.publish(lab)
    sys.exit(0 if sound else 1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks gpu",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, help="these parts alone")
    parser.add_argument("--minutes", type=float, default=8.0, help="begin nothing after so long")
    emulated = os.environ.get("MCORE_EMULATED_GPU", "0") not in ("", "0")
    parser.add_argument("--emulated", action="store_true", default=emulated, help="on the CPU")
    return parser.parse_args()


if __name__ == "__main__":
    main()
