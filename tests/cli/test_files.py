import errno
import os

import pytest

from jaxvision.cli.files import find_pictures
from jaxvision.data.images import picture_suffixes


@pytest.fixture
def tree(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = "b.jpg a.PNG notes.txt .hidden.jpg sub/c.tif sub/deep/d.webp .git/e.jpg x[1].jpg"
    for name in files.split():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "empty").mkdir()
    return tmp_path


def found(*words):
    files, problems = find_pictures(words)
    assert not problems
    return files


def test_a_file_is_taken_whatever_its_name(tree):
    assert found("b.jpg", "notes.txt", ".hidden.jpg", "x[1].jpg") == ["b.jpg", "notes.txt", ".hidden.jpg", "x[1].jpg"]


def test_a_folder_stands_for_the_pictures_below_it(tree):
    assert found(".") == ["./a.PNG", "./b.jpg", "./x[1].jpg", "./sub/c.tif", "./sub/deep/d.webp"]
    assert found(str(tree / "sub")) == [str(tree / "sub/c.tif"), str(tree / "sub/deep/d.webp")]


def test_globs(tree):
    assert found("*.jpg") == ["b.jpg", "x[1].jpg"]
    assert found("**/*.[tw]*") == ["sub/c.tif", "sub/deep/d.webp"]
    assert found("su?") == ["sub/c.tif", "sub/deep/d.webp"]
    assert sorted(found("**")) == ["a.PNG", "b.jpg", "sub/c.tif", "sub/deep/d.webp", "x[1].jpg"]


def test_home_is_understood(tree, monkeypatch):
    monkeypatch.setenv("HOME", str(tree))
    assert found("~/b.jpg") == [str(tree / "b.jpg")]


def test_every_picture_comes_once(tree):
    assert found("b.jpg", "./b.jpg", str(tree / "b.jpg"), "b*", "sub", "sub/c.tif") == [
        "b.jpg",
        "sub/c.tif",
        "sub/deep/d.webp",
    ]


def test_what_names_nothing_is_reported_and_the_rest_goes_on(tree):
    files, problems = find_pictures(["nope.jpg", "*.gif", "empty", "*.txt", "b.jpg"])
    assert files == ["b.jpg"]
    assert problems == {
        "nope.jpg": "no such file or folder: 'nope.jpg'",
        "*.gif": "no picture matches '*.gif'",
        "empty": "no picture in 'empty'",
        "*.txt": "no picture matches '*.txt'",
    }


def test_a_closed_folder_is_reported_and_the_rest_goes_on(tree, monkeypatch):
    def scandir(path, really=os.scandir):
        if path == "sub/deep":
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return really(path)

    monkeypatch.setattr(os, "scandir", scandir)
    files, problems = find_pictures(["sub"])
    assert files == ["sub/c.tif"]
    assert problems == {"sub/deep": "cannot open 'sub/deep': Permission denied"}


def test_suffixes_are_of_formats_that_can_be_read():
    assert {".jpg", ".jpeg", ".png", ".webp", ".tif", ".bmp", ".gif", ".pgm"} <= picture_suffixes()
    assert not {".pdf", ".mpg", ".h5", ".txt"} & picture_suffixes()
