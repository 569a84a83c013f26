"""A token of a stream as one CUDA graph: one launch instead of three.

stream = backend.decoder(decoding, state)
graph = TokenGraph(stream)
graph.token["q"][...] = q          # (B, 1, H, K), and so on for each input
y = graph.replay(closes=None)      # the same array each time
"""

from collections.abc import Callable
from typing import Any

from mcore.arrays import Array
from mcore.backends.cupy_gpu.decode import CupyDecoder
from mcore.backends.cupy_gpu.decode_token import token_of


class TokenGraph:
    """The launches of a decoder's token, captured over arrays that stay where they are.

    Attributes:
        token: the inputs of the next token, to be written into; parameters as well.
        y: (B, 1, H, V) answer to the last token; overwritten by the next.
    """

    def __init__(self, decoder: CupyDecoder) -> None:
        self._decoder = decoder
        self.token = decoder.token_arrays()
        self.y = decoder.answer_array(decoder.decoding.dims.B)
        self._memory: Any = None
        self._replay: Callable[[], None] | None = None

    def replay(self, closes: Array | None = None) -> Array:
        """y of the token in `token`; `closes` (B,), on the host, as `Decoder.feed` takes it."""
        self._decoder.prepare(closes)
        if self._replay is None or self._memory is not self._decoder.memory:
            # A cache that has grown lies elsewhere.
            self._memory, self._replay = self._decoder.memory, self._captured()
        self._replay()
        self._decoder.account(closes)
        return self.y

    def _captured(self) -> Callable[[], None]:
        decoder = self._decoder

        def launch() -> None:
            decoder.launch(token_of(decoder.decoding, self.token), self.y)

        return decoder.device.capture(launch)
