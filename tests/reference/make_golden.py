"""Writes golden/*.npz: float32 logits of timm's models for synthetic weights and images (``make golden``).

One family: ``python -m tests.reference.make_golden vit`` from the project's folder, in the parity environment.
"""

import sys
from pathlib import Path

import numpy as np
import timm
import torch
from timm.layers import resample_abs_pos_embed, resize_rel_pos_bias_table

from tests.reference.cases import families
from tests.reference.cases.case import Case
from tests.reference.cases.positions import POSITIONS, WINDOWS
from tests.reference.synthetic import bias_table, images, position_embedding, state_dict


def logits(case: Case) -> np.ndarray:
    """timm's logits of two images."""
    options = dict(case.options, **({"img_size": case.size} if case.in_model else {}))
    model = timm.create_model(case.model, **{"num_classes": 1000, **options}).eval()
    made_for = model if case.loaded is None else timm.create_model(case.model, **{"num_classes": 1000, **case.loaded})
    shapes = {name: tuple(value.shape) for name, value in made_for.state_dict().items()}
    shapes = {name: shape for name, shape in shapes.items() if not name.endswith("num_batches_tracked")}
    weights = {name: torch.from_numpy(value) for name, value in state_dict(shapes, case.gain).items()}
    if case.loaded is not None:
        weights = sys.modules[type(model).__module__].checkpoint_filter_fn(weights, model)
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert not unexpected, unexpected
    assert all(name.endswith("num_batches_tracked") for name in missing), missing
    x = torch.from_numpy(images((2, *case.size, 3))).permute(0, 3, 1, 2)
    with torch.no_grad():
        return model(x).numpy()


def positions() -> dict[str, np.ndarray]:
    """timm's resizing of position embeddings and of relative position bias tables."""
    made = {}
    for old, new, prefix in POSITIONS:
        given = torch.from_numpy(position_embedding(old, prefix))
        made[f"{old} {new} {prefix}"] = resample_abs_pos_embed(given, new, old, prefix).numpy()
    for old, new in WINDOWS:
        rows = (2 * new[0] - 1) * (2 * new[1] - 1)
        given = torch.from_numpy(bias_table(old))
        made[f"{old} {new}"] = resize_rel_pos_bias_table(given, new, (rows, 3), old).numpy()
    return made


def main(wanted: list[str]) -> None:
    """Makes every case of the families named; of all families, and the position embeddings, if none is."""
    folder, cases = Path(__file__).parent, families()
    if not wanted:
        np.savez_compressed(folder / "positions.npz", **positions())
    print(f"timm {timm.__version__}, torch {torch.__version__}")
    for family in wanted or cases:
        golden = {case.id: logits(case) for case in cases[family]}
        np.savez_compressed(folder / "golden" / f"{family}.npz", **golden)
        for name, values in golden.items():
            print(f"{name:24s} {values.shape}  std {values.std():.3f}  between {np.ptp(values, axis=0).std():.3f}")


if __name__ == "__main__":
    main(sys.argv[1:])
