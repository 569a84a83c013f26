"""Where silero-vad's weights are: in the installed package, in its wheel, in a file of either."""

from importlib.util import find_spec
from pathlib import Path

from mcore.arrays import Array
from mcore.errors import SnapshotError
from mcore.weights.files import parse, read_bytes, read_member
from mcore.weights.onnx_file import parse_onnx

FILE = "silero_vad/data/silero_vad_16k_op15.onnx"
"""The weights that the package runs, in a wheel and below site-packages."""

SHAPES = {
    "stft_conv.weight": (258, 1, 256),
    "conv1.weight": (128, 129, 3),
    "conv1.bias": (128,),
    "conv2.weight": (64, 128, 3),
    "conv2.bias": (64,),
    "conv3.weight": (64, 64, 3),
    "conv3.bias": (64,),
    "conv4.weight": (128, 64, 3),
    "conv4.bias": (128,),
    "lstm_cell.weight_ih": (512, 128),
    "lstm_cell.weight_hh": (512, 128),
    "lstm_cell.bias_ih": (512,),
    "lstm_cell.bias_hh": (512,),
    "final_conv.weight": (1, 128, 1),
    "final_conv.bias": (1,),
}
"""What the model is made of, by the names of the safetensors file."""

RENAMED = {
    "stft_conv.weight": "stft.forward_basis_buffer",
    "conv": "encoder.{}.reparam_conv",
    "lstm_cell": "decoder.rnn",
    "final_conv": "decoder.decoder.2",
}
"""What they begin with in the ONNX file, after `model.`; its convolutions count from 0."""


def silero_arrays(source: str | Path | None) -> dict[str, Array]:
    """The model's arrays by the names of `SHAPES`; arguments and errors as `load_silero`."""
    path = installed() if source is None else Path(source)
    content = read_member(path, FILE) if path.suffix == ".whl" else read_bytes(path)
    if path.suffix in (".whl", ".onnx"):
        held = parse_onnx(str(path), content)
        arrays = {name: held[there] for name in SHAPES if (there := onnx_name(name)) in held}
    else:
        arrays = parse(str(path), content)
    for name, shape in SHAPES.items():
        found = arrays[name].shape if name in arrays else "missing"
        if found != shape:
            raise SnapshotError(
                f"{path}: is not silero-vad's model for 16 kHz: {name} is {found}, expected {shape}"
            )
    return {name: arrays[name] for name in SHAPES}


def installed() -> Path:
    """Where the installed package keeps its weights; raises SnapshotError when there is none."""
    spec = find_spec("silero_vad")
    folders = [] if spec is None else list(spec.submodule_search_locations or [])
    if not folders:
        raise SnapshotError(
            "silero-vad: is not installed; `pip install --no-deps silero-vad` brings its weights "
            "without PyTorch, or name its wheel or a file of it"
        )
    return Path(folders[0]).parent / FILE


def onnx_name(name: str) -> str:
    """The name of an array in the ONNX file."""
    if name in RENAMED:
        return f"model.{RENAMED[name]}"
    part, _, kind = name.partition(".")
    if part.startswith("conv"):
        return f"model.{RENAMED['conv'].format(int(part[4:]) - 1)}.{kind}"
    return f"model.{RENAMED[part]}.{kind}"
