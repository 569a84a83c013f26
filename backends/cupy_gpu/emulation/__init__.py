"""The GPU backend without a GPU: the same sources, compiled by g++ and run on the CPU.

For tests, not for speed: a thread of the GPU is a fiber, and blocks run one after another. What the
device library refuses is refused here too: mixing host and device arrays, implicit copies.
"""
