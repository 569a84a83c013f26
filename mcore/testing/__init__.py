"""Checks that mcore runs on itself, shipped so that third parties can run them on their own code.

    gradcheck     is a hand-written backward the derivative of its forward?
    strategies    Hypothesis strategies: what memory to build, how big, cut where
    samples       random inputs of realistic size for it
    properties    theorems that every memory obeys
    streaming     the same for a memory that is fed in pieces
    agreement     how two answers are compared

Import from the modules: Hypothesis is needed by `strategies` only.
"""
