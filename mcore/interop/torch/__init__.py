"""Memories and models as PyTorch modules, whose gradients are mcore's own.

    layer = TorchMemory(mcore.memory("gated_delta", {"kind": "constant", "length": 64}, "grm"))
    y = layer(inputs)                        # inputs: a dict of tensors; y.backward() works

    state = layer.start(inputs, tokens=4096)
    y, state = layer.step(inputs, state)     # differentiable through the state

    model = TorchModel(mcore.compile(spec))
    logits = model(tokens)

The computation happens on the CPU, in NumPy arrays that share memory with the tensors; tensors on
another device travel there and back. Needs PyTorch: `pip install "mcore[torch]"`.

    function  forward and backward as `torch.autograd.Function`s
    memory    a memory as a module and as a step
    model     logits of a whole model
"""

from mcore.errors import BackendError

try:
    import torch as _torch  # noqa: F401
except ImportError:
    raise BackendError(
        'torch: not installed; pip install "mcore[torch]", or pip install torch, would do'
    ) from None

from mcore.interop.parameters import start_parameters
from mcore.interop.state import State
from mcore.interop.torch.memory import TorchMemory
from mcore.interop.torch.model import TorchModel

__all__ = ["State", "TorchMemory", "TorchModel", "start_parameters"]
