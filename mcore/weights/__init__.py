"""Weights that were trained elsewhere, inside mcore: no retraining, no PyTorch.

load     an RNN from torch's weights, and back      rnn      its layers, each a vector memory
names    which of torch's arrays are there          gates    their layout, and a memory's
states   between calls; torch's h and c             inputs   what a call is given
streams  tokens as they come; a stream as a file    files    arrays from where weights lie
silero*  a voice activity detector                  audio    samples from a WAV file

Example:
    rnn = load_rnn("model.safetensors", prefix="encoder.lstm.")
    h, saved = rnn.forward(x)                     # x (B, T, C) -> h (B, T, V), as torch.nn.LSTM
    cached = rnn.wrap({"kind": "constant", "length": 64}, "moving_average", start="checkpoint")
"""

from mcore.weights.audio import read_wave
from mcore.weights.load import load_rnn, save_rnn
from mcore.weights.rnn import Rnn
from mcore.weights.silero import Silero, load_silero
from mcore.weights.silero_stream import SileroStream
from mcore.weights.streams import RnnStream

__all__ = [
    "Rnn",
    "RnnStream",
    "Silero",
    "SileroStream",
    "load_rnn",
    "load_silero",
    "read_wave",
    "save_rnn",
]
