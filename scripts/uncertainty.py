"""Says how sure a network is: `python scripts/uncertainty.py runs/mine --sites head`. As `jaxvision uncertainty`."""

import sys

from jaxvision.cli import main

if __name__ == "__main__":  # worker processes import this file
    sys.exit(main(["uncertainty", *sys.argv[1:]]))
