"""The learning rate of each step: a linear warm-up, then half a cosine."""

import math


def learning_rate(step: int, steps: int, peak: float, warmup: int | float, floor: float) -> float:
    """Rate of step `step` of 1 .. `steps`.

    Rises in equal parts to `peak`, reached at the end of the warm-up, then falls as
    `floor + (peak - floor) (1 + cos(pi x)) / 2`, x in [0, 1], to `floor peak` at the last step.

    Args:
        warmup: number of steps, or as a float the fraction of `steps`.
        floor: last rate, as a fraction of `peak`.
    """
    warm = warmup if isinstance(warmup, int) else round(warmup * steps)
    if step <= warm:
        return peak * step / warm
    past = (step - warm) / (steps - warm)
    return peak * (floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * past)))
