"""Samples from a WAV file, by the standard library."""

import wave
from pathlib import Path

import numpy as np

from mcore.arrays import Array
from mcore.errors import DataError


def read_wave(path: str | Path) -> tuple[Array, int]:
    """Samples (N,) float32 within -1 and 1, and how many there are a second.

    Channels are averaged. PCM of 8, 16, 24 or 32 bits.

    Raises:
        DataError: the file is missing, cut short, or not such a WAV file.
    """
    try:
        with wave.open(str(Path(path).expanduser()), "rb") as file:
            rate, channels, width = file.getframerate(), file.getnchannels(), file.getsampwidth()
            most = Path(path).expanduser().stat().st_size // max(channels * width, 1)
            content = file.readframes(min(file.getnframes(), most))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DataError(f"{path}: cannot be read: {reason}") from None
    except (wave.Error, EOFError, RuntimeError, ValueError) as error:
        raise DataError(f"{path}: is cut short or not a PCM WAV file ({error})") from None
    if not 1 <= width <= 4:
        raise DataError(f"{path}: holds samples of {width} bytes; 1 to 4 would do")
    whole = len(content) // (channels * width) * channels * width
    samples = decode(content[:whole], width).reshape(-1, channels)
    return samples.mean(axis=1, dtype=np.float32), rate


def decode(content: bytes, width: int) -> Array:
    """PCM of `width` bytes a sample, little-endian, as float32 within -1 and 1.

    One byte is unsigned, more are signed. Source: the WAVE format.
    """
    if width == 1:
        return (np.frombuffer(content, np.uint8).astype(np.float32) - 128) / 128
    padded = np.zeros((len(content) // width, 4), np.uint8)
    padded[:, 4 - width :] = np.frombuffer(content, np.uint8).reshape(-1, width)
    return (padded.view("<i4")[:, 0] / 2**31).astype(np.float32)
