"""Shows where a network looks: `python scripts/explain.py photos/cat.jpg --model resnet50`. As `jaxvision explain`."""

import sys

from jaxvision.cli import main

sys.exit(main(["explain", *sys.argv[1:]]))
