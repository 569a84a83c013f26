"""A stream from a pipe or a growing file: what `mcore stream` runs.

source    bytes as they come, from an offset on      reader   bytes -> tokens or vectors
answers   what a line of the output says             sink     lines, to a file each exactly once
keeper    the state file, and when to write it       run      the loop: read, feed, write, save
"""

from mcore.live.keeper import Every
from mcore.live.run import Live, Options, Stopped

__all__ = ["Every", "Live", "Options", "Stopped"]
