"""Layers as pairs of functions over arrays: a forward, and directly below it its backward.

    y, saved = f(arguments)
    gradients = f_backward(saved, dy)       # in the order of f's arguments; one gradient comes bare

Each is written once over the library that owns its arguments (NumPy or CuPy), works in the dtype
it is given, never writes to its arguments and never accumulates into anything of the caller's.
`saved` may hold arguments and results themselves: leave both unchanged until backward has run.

    linear        y = x W                                  embedding   rows of a table
    norm          rms_norm, unit_norm                      gated_norm  rms_norm(y) * silu(gate)
    conv          causal depthwise convolution, streaming  rope        rotary positions
    activations   sigmoid, silu, softplus                  gates       log_decay of a memory
    mlp           SwiGLU                                   loss        cross-entropy where labelled
    shift         mixes a token with the one before it     gated       gates without a norm
    held          a value times its step (Mamba-2)         removal     the two keys of RWKV-7
    bypass        what goes past a memory                  init        random starting values
    affine        y = x W + b                              pool        the mean of all tokens so far
    standardise   series in units of their spread          series_loss values and classes of series
    dense         which of these a backend runs itself     engine      the same for optimizers
    product       matrix products, of bfloat16 too

Import from the modules (`from mcore.layers.linear import linear, linear_backward`): a function
exported here under its module's name would hide the module.
"""
