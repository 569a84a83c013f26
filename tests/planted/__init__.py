"""Kernels to plant mistakes in: is a wrong kernel found, and by the theorem that should find it?

    pieces       what a kernel is made of: small functions, one job each
    borders      where segments begin and end, and what passes from one to the next
    routing      contexts, logits and gates, with their gradients
    mixing       what the visible memories give together
    rules/       what one token does to a memory, one file per family
    kernel       forward and backward, put together from pieces
    menu         the correct kernels, by composition
    bug          what a planted bug is: one piece of one kernel, replaced
    shown        the bugs for `mcore verify`
    bugs/        the bugs, one file per kind of mistake

Kernels are plain NumPy in any floating dtype, a token at a time, and share nothing with the
library. `PYTHONPATH=tests python -m planted` prints the table of bugs.
"""
