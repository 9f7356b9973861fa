import gzip
import os
import pickle
import re
import struct
import subprocess
import sys

import numpy as np
import pytest

from jaxvision.data.dataset import DatasetError, ImageDataset, class_counts, fingerprint, label_kind
from jaxvision.data.sources import SourceOptions, named_splits, open_dataset, open_splits


@pytest.fixture
def put(tmp_path):
    """Puts empty files, which sources do not open, or given text, into a folder."""

    def put(*names, text=""):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return put


def refuses(message, name, **options):
    with pytest.raises(DatasetError, match=message):
        open_splits(name, SourceOptions(**options))


# Folders


def test_folder(put):
    root = put(
        "10/a.jpg", "9/img10.PNG", "9/img2.png", "9/deep/er/x.webp", "Cat/b.jpeg", "9/.hidden.png", "9/notes.txt",
        ".git/e.jpg", "labels.txt",
    )  # fmt: skip
    dataset = open_dataset(root)
    assert isinstance(dataset, ImageDataset)
    assert dataset.class_names == ("9", "10", "Cat")
    assert dataset.names == ("9/deep/er/x.webp", "9/img2.png", "9/img10.PNG", "10/a.jpg", "Cat/b.jpeg")
    assert dataset.labels.tolist() == [0, 0, 0, 1, 2]
    assert dataset.read(3) == str(root / "10" / "a.jpg")
    assert named_splits(root) == ("all",)
    copy = pickle.loads(pickle.dumps(dataset))
    assert copy.read(1) == dataset.read(1)
    assert fingerprint(copy) == fingerprint(dataset)


@pytest.mark.parametrize("val", ["val", "validation", "Valid"])
def test_folder_with_splits(put, val):
    root = put("train/a/1.jpg", "train/b/2.jpg", "train/b/3.jpg", f"{val}/a/4.jpg", f"{val}/b/5.jpg", "docs/readme.md")
    splits = open_splits(str(root))
    assert {name: len(dataset) for name, dataset in splits.items()} == {"train": 3, "val": 2}
    assert splits["val"].names == (f"{val}/a/4.jpg", f"{val}/b/5.jpg")
    assert open_dataset(root, split="validation").names == splits["val"].names
    with pytest.raises(DatasetError, match="divided into 'train', 'val': say which split"):
        open_dataset(root)
    with pytest.raises(DatasetError, match=r"no split 'tran'; .*; did you mean 'train'"):
        open_dataset(root, split="tran")


def test_a_class_may_be_called_train(put):
    root = put("train/1.jpg", "bus/2.jpg", "car/3.jpg")
    assert open_dataset(root).class_names == ("bus", "car", "train")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["a/1.jpg", "b/x.txt"], "class 'b' is empty: no picture in .*b' \\(there are 1 other files: .txt\\)"),
        (["a/1.dcm", "b/2.dcm"], "no picture in the 2 folders .* \\(there are 2 other files: .dcm\\)"),
        (["a/1.jpg"], "has a single class, 'a'"),
        (["1.jpg", "2.jpg"], "2 pictures but no folder for each class: expected .*CLASS/1.jpg"),
        (["a/1.jpg", "b/2.jpg", "loose.jpg"], "1 pictures lie beside the class folders .*: 'loose.jpg'"),
        (["notes.txt"], "is empty: expected one folder for each class"),
        (["train/a/1.jpg", "train/b/1.jpg", "c/2.jpg"], "mixes two layouts: the splits 'train' and pictures in 'c'"),
        (["train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg"], "'val' lacks classes of 'train': 'b'"),
        (
            ["train/cats/1.jpg", "train/dogs/1.jpg", "val/cat/1.jpg", "val/dogs/2.jpg"],
            "'val' has classes that 'train' has not: 'cat'; .*; did you mean 'cats'",
        ),
        (["train/a/1.jpg", "train/b/1.jpg", "test/1.jpg"], "test' has 1 pictures but no folder for each class"),
        (["train/a/1.jpg", "val/a/1.jpg", "valid/a/1.jpg"], "has both 'val' and 'valid' for val"),
    ],
)
def test_folders_that_cannot_be_used(put, files, message):
    refuses(message, put(*files))


def test_empty_classes_on_demand(put):
    root = put("train/a/1.jpg", "train/b/x.txt", "val/a/1.jpg")
    splits = open_splits(root, SourceOptions(allow_empty=True))
    assert class_counts(splits["train"]) == {"a": 1, "b": 0}
    assert class_counts(splits["val"]) == {"a": 1, "b": 0}


def test_classes_of_a_model(put):
    root = put("dog/1.jpg", "cat/2.jpg")
    dataset = open_dataset(root, options=SourceOptions(class_names=("dog", "bird", "cat")))
    assert class_counts(dataset) == {"dog": 1, "bird": 0, "cat": 1}
    refuses("not among the 2 expected: 'cat'; did you mean 'cats'", root, class_names=("cats", "dog"))


def test_groups_by_file_name(put):
    root = put("a/p1_1.jpg", "a/p1_2.jpg", "b/p2_1.jpg")
    assert open_dataset(root, options=SourceOptions(group_by=r"(p\d+)_")).groups.tolist() == ["p1", "p1", "p2"]
    refuses("1 of 3 file names have no group by .*: 'b/p2_1.jpg'", root, group_by="(p1)_")
    refuses("not a regular expression with one group, such as 'patient", root, group_by=r"p\d+")
    refuses("is not a regular expression: ", root, group_by="(p")
    root = put("train/a/p1_1.jpg", "train/b/p2_1.jpg", "val/a/p3_1.jpg", "val/b/p2_2.jpg")
    for letter in "ab":
        for file in (root / letter).iterdir():
            file.unlink()
    refuses("group 'p2' is in both train and val", root, group_by=r"(p\d+)_")


@pytest.mark.parametrize("closed", ["", "a", "a/deep"])
def test_a_closed_folder(put, monkeypatch, closed):
    root = put("a/deep/1.jpg", "b/1.jpg")
    scan = os.scandir

    def refuse(folder):
        if os.fspath(folder) == os.fspath(root / closed):
            raise PermissionError(13, "Permission denied", os.fspath(folder))
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    refuses(f"cannot open the folder '{re.escape(str(root / closed))}': Permission denied", root)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("digit", "no such folder or file: 'digit'; .*; did you mean 'digits'"),
        ("{}/photo", "did you mean '{}/photos'"),
        ("{}/photos/a/1.jpg", "is a file, expected a folder of pictures"),
    ],
)
def test_no_such_source(put, name, message):
    root = put("photos/a/1.jpg")
    refuses(message.format(re.escape(str(root))), name.format(root))


# Tables


@pytest.fixture
def table(put):
    def write(text, *pictures, name="labels.csv"):
        put(*pictures)
        (put() / name).write_text(text, encoding="utf-8-sig")
        return put() / name

    return write


def test_table(table):
    text = "file,label,split,group\nx/1.png,dog,train,p1\nx/2.png,cat,train,p2\n\nx/3.png, dog ,validation,p3\n"
    file = table(text, "x/1.png", "x/2.png", "x/3.png")
    splits = open_splits(file)
    assert set(splits) == {"train", "val"}
    train = splits["train"]
    assert train.class_names == splits["val"].class_names == ("cat", "dog")
    assert train.labels.tolist() == [1, 0]
    assert train.names == ("x/1.png", "x/2.png")
    assert train.groups.tolist() == ["p1", "p2"]
    assert splits["val"].read(0) == str(file.parent / "x/3.png")
    assert pickle.loads(pickle.dumps(train)).read(1) == train.read(1)
    assert open_dataset(file, split="val", options=SourceOptions(group_by=r"(\d)\.png")).groups.tolist() == ["3"]


def test_table_with_other_columns(table):
    file = table("path;diagnosis;site\n1.png;10;a\n2.png;9;b\n", "1.png", "2.png")
    options = SourceOptions(file_column="path", label_column=("diagnosis",), group_by="site", split_column=None)
    dataset = open_dataset(file, options=options)
    assert dataset.class_names == ("9", "10")
    assert dataset.groups.tolist() == ["a", "b"]
    file = table("file\tlabel\n1.png\tx, y\n2.png\tz\n", name="labels.tsv")
    assert open_dataset(file).class_names == ("x, y", "z")


def test_several_labels(table):
    file = table("file,label\n1.png,cat|dog\n2.png,\n3.png,bird; cat\n", "1.png", "2.png", "3.png")
    dataset = open_dataset(file)
    assert label_kind(dataset) == "multilabel"
    assert dataset.class_names == ("bird", "cat", "dog")
    assert dataset.labels.tolist() == [[0, 1, 1], [0, 0, 0], [1, 1, 0]]
    assert dataset.labels.dtype == np.float32
    file = table("file,oedema,nodule\n1.png,1,0\n2.png,0,0\n3.png,1,1\n")
    dataset = open_dataset(file, options=SourceOptions(label_column=("nodule", "oedema")))
    assert dataset.class_names == ("nodule", "oedema")
    assert dataset.labels.tolist() == [[0, 1], [0, 0], [1, 1]]
    file = table("file,label\n1.png,a|b\n2.png,c\n3.png,c\n")
    assert open_dataset(file, options=SourceOptions(kind="multiclass")).class_names == ("a|b", "c")
    single = table("file,label\n1.png,a\n2.png,b\n3.png,b\n")
    several = open_dataset(single, options=SourceOptions(kind="multilabel"))
    assert several.labels.tolist() == [[1, 0], [0, 1], [0, 1]]


def test_numbers(table):
    file = table("file,label,width\n1.png,0.5,1\n2.png,-2,1e3\n", "1.png", "2.png")
    dataset = open_dataset(file, options=SourceOptions(kind="regression"))
    assert label_kind(dataset) == "regression"
    assert dataset.labels.tolist() == [0.5, -2]
    two = open_dataset(file, options=SourceOptions(kind="regression", label_column=("label", "width")))
    assert two.labels.tolist() == [[0.5, 1], [-2, 1000]]
    refuses("labels are numbers such as 0.5: say kind='regression'", file)
    assert open_dataset(file, options=SourceOptions(kind="multiclass")).class_names == ("0.5", "-2")


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("files,label\n1.png,a\n", {}, "no column 'file', it has .* with file_column; did you mean 'files'"),
        ("file,label\n1.png,a\n", {"label_column": ("labels",)}, "no column 'labels'.* did you mean 'label'"),
        ("file,label\n1.png,a\n", {"split_column": "fold"}, "no column 'fold'"),
        ("file,label\n1.png,a\n2.png,b\n", {"group_by": "lable"}, "neither a column .* did you mean 'label'"),
        ("file,label\n1.png,a\n9.png,b\n8.png,b\n", {}, "2 of the 3 files .* do not exist: '9.png', '8.png'; .*looked"),
        ("file,label\n1.png,a\n2.png,b\n1.png,b\n", {}, "line 4 .* has '1.png' again, first seen on line 2"),
        ("file,label\n1.png,a\n2.png,\n", {}, "line 3 .* has nothing in the column 'label'"),
        ("file,label\n1.png,a\n2.png,b,c\n", {}, "line 3 .* has 3 cells, the header 2"),
        ("file,label\n1.png,a\n2.png,a\n", {}, "has a single class, 'a'"),
        ("file,label\n1.png,a\n2.png,b\n", {"class_names": ("a", "c")}, "line 3 .* 'b', which is not among the 2"),
        ("file,label\n1.png,x\n2.png,2\n", {"kind": "regression"}, "line 2 .* 'x' in the column 'label': expected a"),
        ("file,a,b\n1.png,0,1\n2.png,2,1\n", {"label_column": ("a", "b")}, "line 3 .* '2' in the column 'a': exp"),
        ("file,label,split\n1.png,a,train\n2.png,b,val\n", {}, "no picture to train on for the classes 'b'"),
        ("file,label,split\n1.png,a,train\n2.png,b,\n", {}, "line 3 .* nothing in the column 'split'"),
        ("file,label,split,group\n1.png,a,train,p\n2.png,b,train,q\n3.png,a,val,p\n", {}, "group 'p' is in both train"),
        ("file,label,label\n1.png,a,b\n", {}, "the column 'label' twice"),
        ("file,label\n", {}, "has no rows"),
        ('file,label\n"1.png,a\n', {}, "not a CSV file in UTF-8"),
    ],
)  # fmt: skip
def test_tables_that_cannot_be_used(table, text, options, message):
    refuses(message, table(text, "1.png", "2.png", "3.png"), **options)


def test_a_table_that_is_no_text(put):
    (put() / "labels.csv").write_bytes(b"file,label\n\xff\xfe.png,a\n")
    refuses("not a CSV file in UTF-8", put() / "labels.csv")


# Arrays


def test_digits():
    dataset = open_dataset("digits")
    assert len(dataset) == 1797
    assert dataset.read(0).shape == (8, 8, 1)
    assert dataset.images.max() == 255
    assert list(class_counts(dataset).values()) == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    refuses("the labels of 'digits' are multiclass, not regression", "digits", kind="regression")
    refuses("the classes of 'digits' are '0', .*, expected 'a'", "digits", class_names=("a",))
    refuses("nothing to group by", "digits", group_by="(.)")
    with pytest.raises(DatasetError, match="no split 'train'; it is not divided"):
        open_dataset("digits", split="train")


def test_mnist5k():
    dataset = open_dataset("mnist5k")
    assert dataset.images.shape == (5000, 28, 28, 1)
    assert set(class_counts(dataset).values()) == {500}
    assert 30 < dataset.images.mean() < 40  # MNIST's is 33.3


def idx(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def fashion(tmp_path):
    rng = np.random.default_rng(0)
    for prefix, count in (("train", 6), ("t10k", 4)):
        images = rng.integers(0, 256, (count, 28, 28), np.uint8)
        (tmp_path / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
        (tmp_path / f"{prefix}-labels-idx1-ubyte").write_bytes(idx(np.arange(count, dtype=np.uint8)))
    return tmp_path


def test_fashion_mnist(fashion, monkeypatch):
    splits = open_splits("fashion_mnist", SourceOptions(data_dir=fashion))
    assert {name: len(dataset) for name, dataset in splits.items()} == {"train": 6, "test": 4}
    assert splits["train"].class_names[0] == "T-shirt/top"
    assert len(splits["train"].class_names) == 10
    assert splits["test"].labels.tolist() == [0, 1, 2, 3]
    sent = pickle.dumps(splits["test"])
    assert len(sent) < 500
    np.testing.assert_array_equal(pickle.loads(sent).images, splits["test"].images)
    monkeypatch.setenv("JAXVISION_FASHION_MNIST", str(fashion))
    assert len(open_dataset("fashion_mnist", split="test")) == 4
    monkeypatch.setenv("JAXVISION_FASHION_MNIST", str(fashion / "nothing"))
    refuses("'train-images-idx3-ubyte.gz' is missing; apt install dataset-fashion-mnist", "fashion_mnist")
    whole = (fashion / "t10k-images-idx3-ubyte.gz").read_bytes()
    (fashion / "t10k-images-idx3-ubyte.gz").write_bytes(whole[:-20])
    refuses("cannot read .*t10k-images", "fashion_mnist", data_dir=fashion)
    (fashion / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(gzip.decompress(whole)[:-1]))
    refuses("not a complete IDX file", "fashion_mnist", data_dir=fashion)


def save(folder, **arrays):
    np.savez(folder / "data.npz", **arrays)
    return folder / "data.npz"


def test_npz(tmp_path):
    images = np.arange(6 * 4, dtype=np.uint8).reshape(6, 2, 2)
    file = save(tmp_path, images=images, labels=["b", "a", "b", "c", "a", "a"], names=list("uvwxyz"))
    dataset = open_dataset(file)
    assert dataset.class_names == ("a", "b", "c")
    assert dataset.labels.tolist() == [1, 0, 1, 2, 0, 0]
    assert dataset.names == tuple("uvwxyz")
    sent = pickle.dumps(dataset)
    assert images.tobytes() not in sent
    np.testing.assert_array_equal(pickle.loads(sent).read(5), dataset.read(5))

    file = save(tmp_path, x_train=images, y_train=np.arange(6) % 3, x_test=images[:2], y_test=[[0], [1]])
    splits = open_splits(file)
    assert {name: len(part) for name, part in splits.items()} == {"train": 6, "test": 2}
    assert splits["test"].class_names == ("0", "1", "2")
    assert splits["test"].labels.tolist() == [0, 1]

    several = np.eye(3, dtype=np.uint8)[[0, 1, 2, 0, 1, 2]]
    file = save(tmp_path, train_images=images, train_labels=several, val_images=images, val_labels=several, info=[1])
    assert named_splits(file) == ("train", "val")
    assert label_kind(open_dataset(file, split="val")) == "multilabel"

    file = save(tmp_path, x=images, y=np.linspace(0, 1, 6))
    assert label_kind(open_dataset(file)) == "regression"
    file = save(tmp_path, x=images, y=np.arange(6))
    assert label_kind(open_dataset(file, options=SourceOptions(kind="regression"))) == "regression"
    file = save(tmp_path, x=images, y=[0, 1] * 3, class_names=["no", "yes"], groups=list("aabbcc"))
    assert open_dataset(file).class_names == ("no", "yes")
    assert open_dataset(file).groups.tolist() == list("aabbcc")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pictures": np.zeros((2, 2, 2), np.uint8), "labels": [0, 1]}, "arrays 'pictures', 'labels': expected images"),
        ({"x": np.zeros((2, 2, 2)), "y": [0, 1]}, "images must be uint8"),
        ({"x": np.zeros((2, 2, 2), np.uint8), "y": np.array([None, 1])}, "cannot read .*pickle"),
    ],
)
def test_npz_that_cannot_be_used(tmp_path, arrays, message):
    refuses(message, save(tmp_path, **arrays))


def test_npz_that_is_none(tmp_path):
    (tmp_path / "data.npz").write_bytes(b"PK\x03\x04 no zip")
    refuses("cannot read", tmp_path / "data.npz")
    with (tmp_path / "data.npz").open("wb") as stream:
        np.save(stream, np.zeros(3))
    refuses("a single array: save several with np.savez", tmp_path / "data.npz")


# TFDS: reading is tested with preparing, in test_prepare.py


def test_tfds_that_is_not_prepared(tmp_path):
    refuses("TFDS knows no data set 'cifar1' in .*; did you mean 'cifar10'", "tfds:cifar1", data_dir=tmp_path)
    refuses("'cifar10' is not prepared in .*: .*file_format='array_record'", "tfds:cifar10", data_dir=tmp_path)
    refuses("TFDS cannot open 'cifar10:9.9.9'", "tfds:cifar10:9.9.9", data_dir=tmp_path)


def test_sources_import_no_more_than_they_need(put):
    root = put("a/1.jpg", "b/1.jpg")
    code = (
        "import sys; from jaxvision.data.sources import open_dataset; "
        f"open_dataset({str(root)!r}); "
        "print([name for name in ('sklearn', 'mlxtend', 'tensorflow_datasets', 'cv2', 'grain') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stdout == "[]\n", result.stderr
