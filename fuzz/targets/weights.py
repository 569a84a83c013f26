"""Weights and sound from elsewhere: torch's layers in safetensors, ONNX initialisers, WAV."""

import io
import random
import struct
import wave
from pathlib import Path

import numpy as np

from fuzz.mutate import change_bytes
from fuzz.signed import change_signed


class RnnWeights:
    """`mcore.weights.load_rnn`."""

    name = "rnn"

    def seeds(self) -> list[bytes]:
        """An LSTM, a GRU, and one in bfloat16's place."""
        from safetensors.numpy import save

        made = []
        for gates in (4, 3):
            shapes: dict[str, tuple[int, ...]] = {"weight_ih_l0": (gates * 3, 2)}
            shapes["weight_hh_l0"] = (gates * 3, 3)
            shapes |= {"bias_ih_l0": (gates * 3,), "bias_hh_l0": (gates * 3,)}
            made.append(save({name: np.ones(shape, np.float32) for name, shape in shapes.items()}))
        return made

    def mutate(self, data: bytes, rng: random.Random) -> bytes:
        """Other names, dtypes and shapes."""
        return change_signed(data, rng)

    def run(self, data: bytes, folder: Path) -> None:
        """Load and run it."""
        from mcore.weights import load_rnn

        path = folder / "a.safetensors"
        path.write_bytes(data)
        rnn = load_rnn(path, backend="reference")
        rnn.forward(np.zeros((1, 2, rnn.params[next(iter(rnn.params))].shape[1]), np.float32))


class OnnxWeights:
    """The initialisers of an ONNX file, as silero-vad's are read."""

    name = "onnx"

    def seeds(self) -> list[bytes]:
        """A model with two arrays, sizes packed and not."""
        return [_model(packed) for packed in (False, True)]

    def mutate(self, data: bytes, rng: random.Random) -> bytes:
        """Other bytes."""
        return change_bytes(data, rng)

    def run(self, data: bytes, folder: Path) -> None:
        """Parse it."""
        from mcore.weights.onnx_file import parse_onnx
        from mcore.weights.silero_files import silero_arrays

        parse_onnx("a.onnx", data)
        (folder / "a.onnx").write_bytes(data)
        silero_arrays(folder / "a.onnx")


class Sound:
    """`mcore.weights.read_wave`."""

    name = "wav"

    def seeds(self) -> list[bytes]:
        """Sounds of each width, mono and stereo."""
        made = []
        for width, channels in ((1, 1), (2, 2), (3, 1), (4, 1)):
            file = io.BytesIO()
            with wave.open(file, "wb") as sound:
                sound.setparams((channels, width, 16000, 0, "NONE", "NONE"))
                sound.writeframes(bytes(range(24)))
            made.append(file.getvalue())
        return made

    def mutate(self, data: bytes, rng: random.Random) -> bytes:
        """Another number in the header, or other bytes."""
        if rng.random() < 0.5 and len(data) > 44:
            place = rng.choice((4, 16, 20, 22, 24, 28, 32, 34, 40))
            number = rng.choice((0, 1, 2, 3, 5, 65535, 2**31, 2**32 - 1))
            width = 4 if place in (4, 16, 24, 28, 40) else 2
            made = struct.pack("<Q", number)[:width]
            return data[:place] + made + data[place + width :]
        return change_bytes(data, rng)

    def run(self, data: bytes, folder: Path) -> None:
        """Read it."""
        from mcore.weights import read_wave

        (folder / "a.wav").write_bytes(data)
        read_wave(folder / "a.wav")


def _field(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return bytes([number << 3, value])
    return bytes([number << 3 | 2, len(value)]) + value


def _model(packed: bool) -> bytes:
    numbers = np.arange(6, dtype=np.float32).tobytes()
    sizes = _field(1, bytes([2, 3])) if packed else _field(1, 2) + _field(1, 3)
    tensors = b"".join(
        _field(5, sizes + _field(2, 1) + _field(8, name) + _field(9, numbers))
        for name in (b"model.a", b"model.b")
    )
    return _field(1, 8) + _field(7, tensors)
