import gc
import io
import json
import logging
import pickle
import threading

import cv2
import numpy as np
import pytest
from PIL import Image

from jaxvision.data import Preprocess
from jaxvision.data.augment import TrainTransform
from jaxvision.data.dataset import ArrayDataset
from jaxvision.data.loader import BadFilesError, EvalLoader, TrainLoader

TRANSFORM = TrainTransform(size=(12, 16), auto_augment="rand-m9-mstd0.5", reprob=0.3, remode="pixel")
STILL = TrainTransform(size=(12, 16), no_aug=True)


class Files:
    """Encoded pictures; some of them damaged."""

    def __init__(self, count=37, bad=(), labels=None):
        rng = np.random.default_rng(0)
        self.class_names = ("a", "b", "c")
        self.labels = np.arange(count, dtype=np.int32) % 3 if labels is None else labels
        self.names = tuple(f"train/{index}.png" for index in range(count))
        self.groups = None
        self.contents = []
        for index in range(count):
            buffer = io.BytesIO()
            Image.fromarray(rng.integers(0, 256, (20, 24, 3), np.uint8)).save(buffer, "PNG")
            self.contents.append(buffer.getvalue()[: 60 if index in bad else None])
        self.read_indices = []

    def __len__(self):
        return len(self.contents)

    def read(self, index):
        self.read_indices.append(index)
        return self.contents[index]


def loader(dataset=None, transform=TRANSFORM, **options):
    return TrainLoader(Files() if dataset is None else dataset, transform, **{"batch_size": 8, "seed": 3} | options)


def take(batches):
    with batches:
        return list(batches)


def assert_same(batches, expected):
    assert len(batches) == len(expected)
    for batch, other in zip(batches, expected, strict=True):
        assert batch.keys() == other.keys() == {"image", "label", "weight", "index"}
        for name in batch:
            assert batch[name].dtype == other[name].dtype
            np.testing.assert_array_equal(batch[name], other[name])


@pytest.fixture(scope="module")
def stream():
    """Three epochs of four batches, of one thread."""
    return take(loader(workers=1).batches(0, 12))


def test_batches_keep_the_contract(stream):
    dataset = Files()
    for batch in stream:
        assert (batch["image"].shape, batch["image"].dtype) == ((8, 12, 16, 3), np.uint8)
        assert batch["index"].dtype == batch["label"].dtype == np.int32
        np.testing.assert_array_equal(batch["label"], dataset.labels[batch["index"]])
        np.testing.assert_array_equal(batch["weight"], np.ones(8, np.float32))
    epochs = [np.concatenate([batch["index"] for batch in stream[begin : begin + 4]]) for begin in (0, 4, 8)]
    assert all(len(set(epoch)) == 32 for epoch in epochs)
    assert set(np.concatenate(epochs)) == set(range(37))  # what one epoch drops, another shows
    first, second = (
        {index: image.tobytes() for batch in epoch for index, image in zip(batch["index"], batch["image"], strict=True)}
        for epoch in (stream[:4], stream[4:8])
    )
    both = first.keys() & second.keys()
    assert sum(first[index] != second[index] for index in both) == len(both) > 20


def test_threads_do_not_matter(stream):
    assert_same(take(loader(workers=4).batches(0, 12)), stream)
    assert not np.array_equal(take(loader(seed=4).batches(0, 1))[0]["image"], stream[0]["image"])


def test_worker_processes_do_not_matter(stream):
    assert_same(take(loader(workers=1, worker_processes=2).batches(3, 6)), stream[3:6])


@pytest.mark.parametrize("step", [1, 4, 7])
def test_a_stream_starts_anywhere_without_reading_what_is_before(stream, step):
    dataset = Files()
    assert_same(take(loader(dataset).batches(step, 12)), stream[step:])
    assert len(dataset.read_indices) == 8 * (12 - step)


def test_going_on_from_a_state_is_exact_and_may_change_the_number_of_hosts(stream):
    with loader().batches() as batches:
        for _ in range(5):
            next(batches)
        state = json.loads(json.dumps(batches.get_state()))
    assert state["step"] == 5
    hosts = [loader(process_index=index, process_count=4) for index in range(4)]
    for host in hosts:
        assert host.start_step(state) == 5
    parts = [take(host.batches(host.start_step(state), 12)) for host in hosts]
    joined = [
        {name: np.concatenate([part[name] for part in step]) for name in step[0]} for step in zip(*parts, strict=True)
    ]
    assert_same(joined, stream[5:])


def test_another_stream_is_not_gone_on_with():
    with loader().batches(2) as batches:
        state = batches.get_state()
    with pytest.raises(ValueError, match="batch_size was 8 and is 4; sampling was 'none' and is 'oversample'"):
        loader(batch_size=4, sampling="oversample").start_step(state)
    with pytest.raises(ValueError, match="dataset was"):
        loader(Files(36)).start_step(state)


def test_oversampled_epochs_are_balanced():
    labels = np.array([0] * 16 + [1] * 5, np.int32)
    over = loader(Files(21, labels=labels), sampling="oversample")
    assert over.steps_per_epoch == 4
    shown = np.concatenate([batch["label"] for batch in take(over.batches(0, 4))])
    np.testing.assert_array_equal(np.bincount(shown), [16, 16])
    assert loader(Files(21, labels=labels), sampling="undersample", batch_size=5).steps_per_epoch == 2


def test_chunks_of_large_batches_are_in_order():
    dataset = ArrayDataset(np.arange(200, dtype=np.uint8).reshape(200, 1, 1, 1), np.zeros(200), ())
    grey = TrainTransform(size=(1, 1), no_aug=True, mean=(0.5,), std=(0.5,))
    (batch,) = take(loader(dataset, grey, batch_size=83).batches(2, 3))
    np.testing.assert_array_equal(batch["image"][:, 0, 0, 0], batch["index"])
    assert batch["label"].dtype == np.float32


def test_an_unreadable_picture_is_logged_once_and_replaced_by_the_next(caplog):
    bad = {5, 20}
    good, damaged = loader(Files(40), STILL), loader(Files(40, bad), STILL, workers=3)
    with caplog.at_level(logging.WARNING, "jaxvision.data.loader"):
        for expected, batch in zip(take(good.batches(0, 15)), take(damaged.batches(0, 15)), strict=True):
            for place in np.flatnonzero(~np.isin(expected["index"], list(bad))):
                np.testing.assert_array_equal(batch["image"][place], expected["image"][place])
            for place in np.flatnonzero(np.isin(expected["index"], list(bad))[:-1]):
                if expected["index"][place + 1] not in bad:
                    assert batch["index"][place] == expected["index"][place + 1]
                    np.testing.assert_array_equal(batch["image"][place], expected["image"][place + 1])
            np.testing.assert_array_equal(batch["label"], batch["index"] % 3)
    assert damaged.bad_files.keys() == {"train/5.png", "train/20.png"}
    assert "'train/5.png' is truncated or corrupt" in damaged.bad_files["train/5.png"]
    assert len(caplog.records) == 2
    # Where it is resumed does not matter either.
    assert_same(take(loader(Files(40, bad), STILL).batches(7, 9)), take(damaged.batches(7, 9)))


def test_too_many_unreadable_pictures_stop_the_run_with_a_list():
    within = loader(Files(40, range(3)), STILL, bad_file_limit=3)
    take(within.batches(0, 5))
    assert len(within.bad_files) == 3
    with pytest.raises(BadFilesError, match=r"4 of 40 pictures cannot be read, and 3 may be") as error:
        take(loader(Files(40, range(4)), STILL, bad_file_limit=3).batches(0, 5))
    assert all(f"  train/{index}.png: " in str(error.value) for index in range(4))
    with pytest.raises(BadFilesError, match=r"1 of 40 .* and 0 may be"):
        take(loader(Files(40, [7]), STILL, bad_file_limit=0).batches(0, 5))
    # A fraction allows at least ten; where nothing is left to replace, it is over at once.
    with pytest.raises(BadFilesError, match=r"8 of 8 .* and 10 may be"):
        take(loader(Files(8, range(8)), STILL).batches(0, 1))


def test_a_failing_source_counts_as_an_unreadable_picture_and_a_bug_does_not():
    class Failing(Files):
        def read(self, index):
            if index == 3:
                raise self.error
            return super().read(index)

    failing = Failing()
    failing.error = OSError(5, "Input/output error")
    train = loader(failing, STILL)
    take(train.batches(0, 8))
    assert train.bad_files == {"train/3.png": "cannot read 'train/3.png': [Errno 5] Input/output error"}
    failing.error = ZeroDivisionError("a bug")
    with pytest.raises(ZeroDivisionError, match="a bug"):
        take(loader(failing, STILL).batches(0, 8))


@pytest.mark.parametrize("how", ["closed", "dropped"])
def test_closing_ends_the_threads(how):
    before = set(threading.enumerate())
    batches = loader(workers=3).batches()
    next(batches)
    assert len(set(threading.enumerate()) - before) >= 3
    if how == "closed":
        batches.close()
        with pytest.raises(ValueError, match="closed"):
            next(batches)
    del batches
    gc.collect()
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
        assert not thread.is_alive()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 64}, "an epoch has 37 examples, less than one batch of 64: set batch_size to 37 or less"),
        ({"batch_size": 9, "process_count": 2}, "multiple of the 2 processes, got 9"),
        ({"process_index": 1}, "process_index must be from 0 to 0"),
        ({"workers": 0}, "1 or more workers"),
        ({"seed": -1}, "seed must be 0 or more"),
        ({"bad_file_limit": 1.5}, "bad_file_limit must be a number of files or a fraction"),
        ({"sampling": "over"}, "did you mean 'oversample'"),
    ],
)
def test_wrong_settings_say_what_is_right(options, message):
    with pytest.raises(ValueError, match=message):
        loader(**options)


def test_wrong_steps_are_refused():
    with pytest.raises(ValueError, match="0 <= start <= stop"):
        loader().batches(5, 4)
    with pytest.raises(ValueError, match="data set is empty"):
        loader(Files(0))


PREPROCESS = Preprocess(size=(12, 16))


@pytest.mark.parametrize("hosts", [1, 2])
def test_evaluation_shows_everything_once_and_in_order(hosts):
    dataset = Files(21, bad=[2])
    loaders = [
        EvalLoader(dataset, PREPROCESS, 8, process_index=index, process_count=hosts, workers=3)
        for index in range(hosts)
    ]
    assert [len(host) for host in loaders] == [3] * hosts
    parts = [take(iter(host)) for host in loaders]
    batches = [
        {name: np.concatenate([part[name] for part in step]) for name in step[0]} for step in zip(*parts, strict=True)
    ]
    joined = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    np.testing.assert_array_equal(joined["index"], [*range(21), -1, -1, -1])
    np.testing.assert_array_equal(joined["weight"], [1, 1, 0] + [1] * 18 + [0] * 3)
    np.testing.assert_array_equal(joined["label"][:21], dataset.labels)
    assert not joined["image"][[2, 21, 22, 23]].any()
    for index in (0, 20):
        expected = PREPROCESS.crop(Image.open(io.BytesIO(dataset.contents[index])))
        np.testing.assert_array_equal(joined["image"][index], expected)
    assert loaders[0].bad_files.keys() == {"train/2.png"}
    if hosts == 2:
        assert not loaders[1].bad_files


def test_evaluation_of_grey_pictures_and_several_labels():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 12, 16), np.uint8)
    dataset = ArrayDataset(pixels, np.eye(3), ("a", "b", "c"))
    preprocess = Preprocess(size=(12, 16), crop_pct=1, mean=(0.5,), std=(0.5,))
    (batch,) = take(iter(EvalLoader(dataset, preprocess, 4)))
    np.testing.assert_array_equal(batch["image"][:3, ..., 0], pixels)
    np.testing.assert_array_equal(batch["label"], [*np.eye(3), np.zeros(3)])
    assert batch["label"].dtype == np.float32
    assert take(iter(EvalLoader(Files(0), PREPROCESS, 4))) == []


def test_rows_can_be_sent_to_a_process():
    rows = pickle.loads(pickle.dumps(loader()._rows))
    image, index, bad = rows(5, 2)
    expected = take(loader().batches(5, 6))[0]
    np.testing.assert_array_equal(image, expected["image"][2])
    assert (index, bad) == (expected["index"][2], {})
    assert cv2.getNumThreads() <= 1
