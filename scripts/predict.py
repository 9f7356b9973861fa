"""Names what is in pictures: `python scripts/predict.py photos/ --topk 3`. The same as `jaxvision predict`."""

import sys

from jaxvision.cli import main

sys.exit(main(["predict", *sys.argv[1:]]))
