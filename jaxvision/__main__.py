"""``python -m jaxvision``: the command ``jaxvision``."""

import sys

from jaxvision.cli import main

if __name__ == "__main__":
    sys.exit(main())
