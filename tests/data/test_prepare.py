import csv
import io
import json
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from jaxvision.cli import main
from jaxvision.data.dataset import ArrayDataset, DatasetError, Subset, class_counts, fingerprint, label_kind
from jaxvision.data.prepare import dataset_name, prepare
from jaxvision.data.sources import SourceOptions, annotations, open_dataset, open_splits

RNG = np.random.default_rng(0)


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 256, (6, 9, 3), np.uint8)).save(path)


@pytest.fixture
def photos(tmp_path):
    """Two splits, three classes, three formats, two pictures for each patient."""
    for split, count in (("train", 6), ("val", 2)):
        for number, name in enumerate(("10", "9", "Ente")):
            for index in range(count):
                patient = 100 * number + 10 * (split == "val") + index // 2
                picture(tmp_path / "photos" / split / name / f"p{patient}_{index}.{('jpg', 'png', 'webp')[index % 3]}")
    return tmp_path / "photos"


def by_name(dataset):
    return {
        name: (
            int(dataset.labels[index]),
            dataset.read(index),
            None if dataset.groups is None else dataset.groups[index],
        )
        for index, name in enumerate(dataset.names)
    }


def test_round_trip(photos, tmp_path):
    source = open_splits(photos, SourceOptions(group_by=r"(p\d+)_"))
    prepared = prepare(source, tmp_path / "out", "photos")
    assert prepared.folder == tmp_path / "out" / "photos" / "1.0.0"
    assert {name: one.pictures for name, one in prepared.splits.items()} == {"train": 18, "validation": 6}
    assert prepared.splits["train"].classes == {"9": 6, "10": 6, "Ente": 6}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["photos"]

    options = SourceOptions(data_dir=tmp_path / "out")
    for read in (open_splits("tfds:photos", options), open_splits(prepared.folder)):
        assert set(read) == {"train", "val"}
        for split, dataset in read.items():
            assert dataset.class_names == ("9", "10", "Ente")
            assert dataset.labels.dtype == np.int32
            expected = {
                name: (label, Path(path).read_bytes(), group)
                for name, (label, path, group) in by_name(source[split]).items()
            }
            assert by_name(dataset) == expected

    # And by TFDS itself, which decodes.
    example = tfds.builder_from_directory(prepared.folder).as_data_source("train")[0]
    assert example["image"].shape == (6, 9, 3)
    assert "tensorflow" not in sys.modules


def test_prepared_data_are_cheap_to_send(photos, tmp_path):
    prepare(open_splits(photos), tmp_path / "out", "photos")
    dataset = open_dataset("tfds:photos", split="train", options=SourceOptions(data_dir=tmp_path / "out"))
    fresh = pickle.dumps(dataset)
    assert len(fresh) < 500
    first, labels = dataset.read(0), dataset.labels  # opens the files, and passes over them
    used = pickle.loads(pickle.dumps(Subset(dataset, [0, 1])))
    assert "_annotations" in vars(used.dataset)
    assert not {"_source", "_info"} & set(vars(used.dataset))
    assert used.read(0) == first
    assert fingerprint(pickle.loads(fresh)) == fingerprint(dataset)
    assert labels.tolist() == pickle.loads(fresh).labels.tolist()


def test_tfds_splits_and_features(photos, tmp_path):
    folder = str(prepare(open_splits(photos), tmp_path / "out", "photos").folder)
    whole = open_dataset(folder, split="train")
    head, tail = (open_dataset(folder, split=part) for part in ("train[:50%]", "train[50%:]"))
    assert head.names + tail.names == whole.names
    assert len(open_dataset(folder, split="val[:2]+train")) == 20
    assert open_dataset(folder, split="validation").names == open_dataset(folder, split="val").names
    grouped = open_dataset(folder, split="train", options=SourceOptions(group_by=r"(p\d+)_"))
    assert grouped.groups[0] == grouped.names[0].split("/")[-1].split("_")[0]
    for split, message in (
        ("trian", "did you mean 'train'"),
        ("train[:x%]", "slices are written as 'train"),
    ):
        with pytest.raises(DatasetError, match=message):
            open_dataset(folder, split=split)
    for option, message in (
        ({"label_column": ("lable",)}, "no feature 'lable', it has .*; did you mean 'label'"),
        ({"file_column": "pic"}, "no feature 'pic'"),
        ({"group_by": "patient"}, "neither a column"),
        ({"class_names": ("a", "b")}, "expected 'a', 'b'"),
    ):
        with pytest.raises(DatasetError, match=message):
            open_dataset(folder, split="train", options=SourceOptions(**option)).groups  # noqa: B018
    with pytest.raises(DatasetError, match=r"'photos:2.0.0' is not prepared in .*: of 'photos' there is '1.0.0'"):
        open_splits("tfds:photos:2.0.0", SourceOptions(data_dir=tmp_path / "out"))


def test_tfrecord_is_refused(photos, tmp_path):
    folder = prepare(open_splits(photos), tmp_path / "out", "photos").folder
    description = json.loads((folder / "dataset_info.json").read_text())
    description["fileFormat"] = "tfrecord"
    (folder / "dataset_info.json").write_text(json.dumps(description))
    with pytest.raises(DatasetError, match=r"prepared as 'tfrecord', which only TensorFlow reads.*'array_record'"):
        open_splits(folder)


def test_the_pass_over_many_records_is_remembered(photos, tmp_path, monkeypatch):
    monkeypatch.setenv("JAXVISION_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(annotations, "CACHE_FROM", 10)
    splits = open_splits(photos, SourceOptions(group_by=r"(p\d+)_"))
    folder = prepare(splits, tmp_path / "out", "photos").folder
    first = open_dataset(folder, split="train")
    assert len(first.labels) == 18
    (stored,) = (tmp_path / "home" / "annotations").iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(
            "jaxvision.data.sources.tfds.TfdsDataset._read_annotations", lambda self: pytest.fail("read again")
        )
        again = open_dataset(folder, split="train")
        assert fingerprint(again) == fingerprint(first)
        assert again.groups.tolist() == first.groups.tolist()
    stored.write_bytes(stored.read_bytes()[:100])  # damaged: done again, and mended
    assert fingerprint(open_dataset(folder, split="train")) == fingerprint(first)
    assert stored.stat().st_size > 100
    # Other data in the same place are other data.
    prepare({"train": Subset(splits["train"], range(12))}, tmp_path / "out", "photos", overwrite=True)
    assert len(open_dataset(folder, split="train").names) == 12


def test_other_kinds_of_labels(tmp_path):
    images = RNG.integers(0, 256, (5, 4, 6), np.uint8)
    several = np.array([[0, 1, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0], [1, 0, 0]], np.float32)
    numbers = np.array([[0.5, 1], [2, 3], [-1, 1e6], [0, 0], [7, 8]], np.float32)
    for name, labels, classes in (("several", several, "abc"), ("numbers", numbers, ()), ("one", numbers[:, 0], ())):
        source = ArrayDataset(images, labels, classes)
        read = open_dataset(prepare({"all": source}, tmp_path, name).folder)
        assert label_kind(read) == label_kind(source)
        order = [int(name) for name in read.names]
        assert sorted(order) == list(range(5))
        np.testing.assert_array_equal(read.labels, labels[order])
        for index, number in enumerate(order):  # PNG keeps grey pixels
            np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(read.read(index)))), images[number])


def test_unreadable_pictures(photos, tmp_path):
    (photos / "train" / "9" / "bad.jpg").write_bytes(b"no picture")
    whole = (photos / "train" / "10" / "p0_0.jpg").read_bytes()
    (photos / "train" / "10" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    splits = open_splits(photos)
    with pytest.raises(DatasetError, match=r"2 pictures cannot be read, at most 1 .*bad\.jpg.*; .*cut\.jpg"):
        prepare(splits, tmp_path / "out", "photos", max_unreadable=1)
    assert not (tmp_path / "out").exists()
    looked_at = []
    prepared = prepare(splits, tmp_path / "out", "photos", max_unreadable=2, on_picture=lambda: looked_at.append(1))
    assert len(looked_at) == 26
    assert set(prepared.unreadable) == {"train: train/9/bad.jpg", "train: train/10/cut.jpg"}
    assert "bad.jpg' is not in a format that Pillow reads" in prepared.unreadable["train: train/9/bad.jpg"]
    assert class_counts(open_dataset(prepared.folder, split="train")) == {"9": 6, "10": 6, "Ente": 6}
    # Prepared bytes are looked at as well.
    bad = {"train": Subset(open_dataset(prepared.folder, split="train"), [0, 1])}
    bad["train"].dataset.read = lambda index: b"no picture"
    with pytest.raises(DatasetError, match="1 pictures cannot be read"):
        prepare(bad, tmp_path / "out", "again")


def test_what_is_there_is_kept(photos, tmp_path, monkeypatch):
    splits = open_splits(photos)
    folder = prepare(splits, tmp_path / "out", "photos").folder
    with pytest.raises(DatasetError, match=r"1\.0\.0' exists: choose another name, or overwrite"):
        prepare(splits, tmp_path / "out", "photos")
    with monkeypatch.context() as patch:
        patch.setattr("jaxvision.data.prepare._encoded", lambda record: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            prepare(splits, tmp_path / "out", "photos", overwrite=True)
    assert len(open_dataset(folder, split="train").names) == 18
    prepare({"train": splits["val"]}, tmp_path / "out", "photos", overwrite=True)
    assert len(open_dataset(folder)) == 6
    assert [path.name for path in folder.parent.iterdir()] == ["1.0.0"]


def test_names():
    assert dataset_name("~/My Photos (2)/") == "my_photos_2"
    assert dataset_name("labels.csv") == "labels"
    assert dataset_name("2024") == "data_2024"
    with pytest.raises(DatasetError, match=r"'My-Pets' cannot be the name .* as in 'my_pets'"):
        prepare({}, "out", "My-Pets")


def test_command(photos, tmp_path, capsys):
    out = tmp_path / "out"
    (photos / "val" / "9" / "bad.jpg").write_bytes(b"no picture")
    assert main(["prepare", str(photos), str(out), "--group-by", r"(p\d+|bad)"]) == 0
    printed = capsys.readouterr()
    assert f"written to {out / 'photos' / '1.0.0'}" in printed.out
    assert "left out: " in printed.err
    assert "bad.jpg' is not in a format that Pillow reads" in printed.err
    assert main(["prepare", str(photos), str(out), "--name", "again", "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {"split": "validation", "class": "9", "pictures": "2"} in rows
    assert main(["prepare", str(photos), str(out), "--name", "once_more", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["splits"]["train"]["pictures"] == 18
    assert len(document["unreadable"]) == 1
    assert open_splits(document["folder"])["val"].class_names == ("9", "10", "Ente")

    assert main(["prepare", str(photos), str(out)]) == 1
    assert "exists: choose another name" in capsys.readouterr().err
    assert main(["prepare", str(photos), str(out), "--max-unreadable", "0", "--overwrite"]) == 1
    assert "1 pictures cannot be read, at most 0" in capsys.readouterr().err
    assert main(["prepare", str(photos), str(out), "--max-unreadable", "-1"]) == 2
    assert main(["prepare", str(photos / "nothing"), str(out)]) == 1
    assert "no such folder or file" in capsys.readouterr().err
