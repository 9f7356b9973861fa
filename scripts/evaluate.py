"""Evaluates a run: `python scripts/evaluate.py runs/mine --split test`. The same as `jaxvision evaluate`."""

import sys

from jaxvision.cli import main

if __name__ == "__main__":  # worker processes import this file
    sys.exit(main(["evaluate", *sys.argv[1:]]))
