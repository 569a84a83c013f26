"""Training: from a spec to a folder of snapshots and numbers.

runs        begin or resume a run and its variants      loop         steps, evaluations, saves
step        forward, backward, clip, update             optim        AdamW
schedule    learning rates                              clip         the gradient's norm
evaluate    held-out loss and metric                    state        where a run stands
run_folder  the files of a run                          record       run.json
interrupt   Ctrl-C and SIGTERM                          speed        tokens per second
ahead       the next batch, made while a device works
display     progress as lines or JSON; bar: on a terminal
result, report  the closing numbers, and how they are shown
"""

from mcore.training.display import Display, choose_display
from mcore.training.finite import first_nonfinite
from mcore.training.interrupt import Interrupted
from mcore.training.result import Result
from mcore.training.runs import resume, run

__all__ = [
    "Display",
    "Interrupted",
    "Result",
    "choose_display",
    "first_nonfinite",
    "resume",
    "run",
]
