"""Fine-tunes a network: `python scripts/finetune.py photos/ --model resnet50`. The same as `jaxvision finetune`."""

import sys

from jaxvision.cli import main

if __name__ == "__main__":  # worker processes import this file
    sys.exit(main(["finetune", *sys.argv[1:]]))
