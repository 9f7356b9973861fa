"""Writes `tests/data/preprocess_golden.json` with timm's evaluation preprocessing, in the parity environment.

Run it from the project's folder: `python -m tests.reference.make_preprocess_golden`."""

import json
from pathlib import Path

from timm.data import create_transform

from tests.data.preprocess_cases import CASES, MEAN, STD, picture, summary

GOLDEN = Path(__file__).parents[1] / "data" / "preprocess_golden.json"


def main() -> None:
    """Writes the file: one list of numbers a case, in the order of `CASES`."""
    golden = []
    for picture_size, (size, crop_pct, crop_mode, interpolation) in CASES:
        transform = create_transform(
            input_size=(3, *size),
            crop_pct=crop_pct,
            crop_mode=crop_mode,
            interpolation=interpolation,
            mean=MEAN,
            std=STD,
        )
        golden.append(summary(transform(picture(*picture_size)).permute(1, 2, 0).numpy()))
    rows = ",\n".join(json.dumps(row) for row in golden)
    GOLDEN.write_text(f"[\n{rows}\n]\n")


if __name__ == "__main__":
    main()
