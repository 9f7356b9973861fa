"""Pictures a second that the loader delivers, beside timm's transforms in PyTorch's DataLoader if they are installed.

    python benchmarks/loader.py [--workers 1 2] [--batch 64] [--rounds 5] [--markdown]

JPEG files of about 500 x 375 pixels, held in memory; RandomResizedCrop to 224 and a flip, 8-bit batches. Ours has
threads, PyTorch's worker processes. The "also RandAugment" rows add rand-m7-mstd0.5-inc1 (magnitude 10, which m9 may
draw, is refused by Pillow 13 in timm's PosterizeIncreasing).
"""

import argparse
import contextlib
import io
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from _timing import print_table, set_up, torch_or_none
from PIL import Image
from sklearn.datasets import load_sample_images

from jaxvision.data.augment import TrainTransform
from jaxvision.data.loader import TrainLoader

Side = Callable[[list[bytes], int, int, str | None], contextlib.AbstractContextManager[Iterator[Any]]]

COUNT, SIZE = 256, 224
AUGMENTATIONS = {"crop and flip": None, "also RandAugment": "rand-m7-mstd0.5-inc1"}


def jpeg_files() -> list[bytes]:
    """Different parts of two photographs, as JPEG files of ImageNet's usual size and quality."""
    rng, files = np.random.default_rng(0), []
    photographs = [Image.fromarray(photograph) for photograph in load_sample_images().images]
    for index in range(COUNT):
        photograph = photographs[index % len(photographs)]
        width, height = (int(side * rng.uniform(0.7, 1)) for side in photograph.size)
        left, top = int(rng.integers(photograph.width - width + 1)), int(rng.integers(photograph.height - height + 1))
        buffer = io.BytesIO()
        photograph.crop((left, top, left + width, top + height)).resize((500, 375)).save(buffer, "JPEG", quality=90)
        files.append(buffer.getvalue())
    return files


class Memory:
    """The files as a data set of ours."""

    def __init__(self, files: list[bytes]) -> None:
        self.files = files
        self.class_names = ("a", "b")
        self.labels = np.arange(len(files), dtype=np.int32) % 2
        self.names = [str(index) for index in range(len(files))]
        self.groups = None

    def __len__(self) -> int:
        return len(self.files)

    def read(self, index: int) -> bytes:
        """The bytes of one file."""
        return self.files[index]


@contextlib.contextmanager
def ours(files: list[bytes], batch: int, workers: int, augment: str | None) -> Iterator[Iterator[Any]]:
    """Batches of ours."""
    transform = TrainTransform((SIZE, SIZE), color_jitter=0, auto_augment=augment)
    with TrainLoader(Memory(files), transform, batch_size=batch, seed=0, workers=workers).batches() as batches:
        yield batches


@contextlib.contextmanager
def timms(files: list[bytes], batch: int, workers: int, augment: str | None) -> Iterator[Iterator[Any]]:
    """Batches of timm's: its transforms and its 8-bit collation, as its own prefetching loader has them."""
    import torch
    from timm.data import create_transform
    from timm.data.loader import fast_collate

    transform: Any = create_transform(
        SIZE, is_training=True, color_jitter=0, auto_augment=augment, interpolation="random", use_prefetcher=True
    )

    class Pictures(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(files)

        def __getitem__(self, index: int) -> tuple[Any, int]:
            return transform(Image.open(io.BytesIO(files[index])).convert("RGB")), index % 2

    loader = torch.utils.data.DataLoader(
        Pictures(), batch, shuffle=True, num_workers=workers, collate_fn=fast_collate, drop_last=True,
        persistent_workers=True, prefetch_factor=2,
    )  # fmt: skip

    def endless() -> Iterator[Any]:
        while True:
            yield from loader

    yield endless()


def throughput(side: Side, files: list[bytes], batch: int, workers: int, augment: str | None, rounds: int) -> float:
    """Pictures a second: the median of rounds of as many batches as there are files for, after all buffers are full."""
    speeds = []
    with side(files, batch, workers, augment) as batches:
        for number in range(rounds + 1):
            start = time.perf_counter()
            for _ in range(COUNT // batch):
                next(batches)
            if number:
                speeds.append(COUNT // batch * batch / (time.perf_counter() - start))
    return statistics.median(speeds)


def main() -> None:
    """Prints one row for each augmentation and number of workers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--markdown", action="store_true")
    args = parser.parse_args()
    with_torch = torch_or_none("timm")
    files = jpeg_files()
    sides = {"ours": ours} | ({"timm": timms} if with_torch else {})
    rows: list[list[object]] = []
    for name, augment in AUGMENTATIONS.items():
        for workers in args.workers:
            speeds = [throughput(side, files, args.batch, workers, augment, args.rounds) for side in sides.values()]
            rows.append([f"{name}, {workers} worker{'s' * (workers > 1)}", *speeds])
            if with_torch:
                rows[-1].append(speeds[0] / speeds[1])
    print(f"batch {args.batch}, pictures a second\n")
    columns = ["ours", *(["timm, PyTorch", "ours / timm"] if with_torch else [])]
    print_table(["transform", *columns], rows, args.markdown)


if __name__ == "__main__":
    set_up()
    main()
