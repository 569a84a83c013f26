"""`python -m mcore.cli`."""

import sys

from mcore.cli import main

if __name__ == "__main__":
    sys.exit(main())
