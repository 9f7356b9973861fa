"""Trains a network: `python scripts/train.py photos/ --model resnet50`. The same as `jaxvision train`."""

import sys

from jaxvision.cli import main

if __name__ == "__main__":  # worker processes import this file
    sys.exit(main(["train", *sys.argv[1:]]))
