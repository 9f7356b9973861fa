"""Prints the channels of timm's pruned EfficientNets as `jaxvision.models.efficientnet` has them.

``python -m tests.reference.make_pruned`` from the project's folder, in the parity environment.
"""

from importlib.resources import files


def stages(name: str) -> list[tuple[int, tuple[int, ...], tuple[int, ...]]]:
    """For each stage the channels out of its blocks, and those inside each block and inside its squeeze-excite."""
    text = (files("timm.models") / "_pruned" / f"{name}.txt").read_text().strip()
    shapes = {}
    for entry in text.split("***"):
        path, shape = entry.split(":")
        shapes[path] = [int(size) for size in shape.strip("[]").split(",") if size]
    blocks = sorted({tuple(map(int, path.split(".")[1:3])) for path in shapes if path.startswith("blocks.")})
    found: dict[int, tuple[int, list[int], list[int]]] = {}
    for stage, index in blocks:
        block = f"blocks.{stage}.{index}"
        last = "conv_pwl" if f"{block}.conv_pwl.weight" in shapes else "conv_pw"
        out_features, hidden = shapes[f"{block}.{last}.weight"][:2]
        width, hiddens, squeezes = found.setdefault(stage, (out_features, [], []))
        assert width == out_features, "shortcuts need all blocks of a stage to have the same channels"
        hiddens.append(hidden)
        squeezes.append(shapes[f"{block}.se.conv_reduce.weight"][0])
    return [(width, tuple(hiddens), tuple(squeezes)) for _, (width, hiddens, squeezes) in sorted(found.items())]


if __name__ == "__main__":
    for size in (1, 2, 3):
        print(f"_B{size}_PRUNED = (")
        for stage in stages(f"efficientnet_b{size}_pruned"):
            print(f"    {stage},")
        print(")")
