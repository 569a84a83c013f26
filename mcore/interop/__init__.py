"""mcore inside other libraries: each module here needs its library, and is imported only by name.

jax, torch    a memory or a whole model as a function with gradients, for training loops there
sklearn       estimators of series
"""
