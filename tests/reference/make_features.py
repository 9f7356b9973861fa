"""Writes features.csv: the feature maps of every architecture and the size of what makes them, as timm has them.

Run in the parity environment: ``python -m tests.reference.make_features``. Nothing is allocated: torch's meta device.
"""

import csv
from pathlib import Path

from jaxvision.catalogue import by_architecture
from tests.reference.features import FILE, pack


def main() -> None:
    import timm
    import torch

    rows = []
    for name in sorted(by_architecture()):
        with torch.device("meta"):
            levels = [(f["module"], f["num_chs"], f["reduction"]) for f in timm.create_model(name).feature_info]
            body = timm.create_model(name, features_only=True)
        rows.append((name, pack(levels), sum(parameter.numel() for parameter in body.parameters())))
    with Path(FILE).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("name", "features", "params"))
        writer.writerows(rows)


if __name__ == "__main__":
    main()
