"""`python -m benchmarks COMMAND`: what there is to measure, each with `--help` of its own.

Nothing is imported before a command is chosen: limits of threads must be set before NumPy loads.
"""

import sys
from importlib import import_module

COMMANDS = {
    "layer": "one memory layer beside PyTorch, JAX and NumPy, on one thread",
    "memory": "what forward and backward take beside their inputs",
    "cores": "what the second core is worth",
    "accuracy": "float32 kernels against the reference in float64",
    "rnn": "LSTM and GRU layers beside torch.nn",
    "deep": "Titans with cached memories beside two PyTorch forms",
    "decode": "a token of a stream, and a million of them",
    "decode_deep": "a token of a stream through perceptrons, and through gates made of answers",
    "vad": "silero-vad's published LSTM beside ONNX Runtime, and with cached memories",
    "stream": "a token of a session beside its memories, and a million of them",
    "pool": "many streams in a pool beside as many sessions",
    "model": "a whole training step beside the same model in PyTorch",
    "interop": "what JAX and PyTorch add to a memory",
    "gpu": "the GPU backend: held to the reference, and beside what the device can do",
    "plot": "a picture of the layer and memory tables",
    "presets": "every recall preset for some steps",
    "quickstart": "the quickstart for several seeds",
    "motion": "series beside simple answers: classes and forecasts",
}

TRAINING = ("model", "presets", "quickstart", "motion", "gpu")
"""Commands that share the cores out themselves; the others limit every library to one thread."""


def main(argv: list[str]) -> None:
    """Run one command, or list them."""
    if not argv or argv[0] not in COMMANDS:
        width = max(map(len, COMMANDS))
        lines = [f"  {name:<{width}}  {what}" for name, what in COMMANDS.items()]
        raise SystemExit("\n".join(["usage: python -m benchmarks COMMAND ...", "", *lines]))
    sys.argv[1:] = argv[1:]
    if argv[0] not in TRAINING:
        import_module("benchmarks.limits")
    import_module(f"benchmarks.{argv[0]}").main()


if __name__ == "__main__":
    main(sys.argv[1:])
