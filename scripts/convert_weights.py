"""Converts weights of any source into a file with timm's names. The same as `jaxvision convert`.

`python scripts/convert_weights.py vit_b_16.pth --model vit_base_patch16_224 --output vit.safetensors`
"""

import sys

from jaxvision.cli import main

sys.exit(main(["convert", *sys.argv[1:]]))
