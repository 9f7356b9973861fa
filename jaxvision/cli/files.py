"""From the words of a command line to picture files."""

import glob
import os
from collections.abc import Iterable

from jaxvision.data.images import picture_suffixes


def find_pictures(words: Iterable[str]) -> tuple[list[str], dict[str, str]]:
    """The pictures that words name, each once, in the order of the words.

    A word is a file; a folder, which stands for the pictures in it and below; or a glob (``*``, ``?``, ``[...]``,
    ``**``), which stands for those among the files it matches that are pictures by their suffix, and for those in the
    folders it matches. Within a folder or a glob the order is that of the names; hidden files are left out.

    Returns:
        The files; and by its name a message for every word that names no picture, and for every folder closed to us.
    """
    files: dict[str, str] = {}
    problems: dict[str, str] = {}
    for word in words:
        known_problems = len(problems)
        found = _expand(os.path.expanduser(word), problems)
        if not found and len(problems) == known_problems:
            problems[word] = f"no picture in {word!r}" if os.path.isdir(word) else f"no picture matches {word!r}"
        for file in found:
            files.setdefault(os.path.abspath(file), file)
    return list(files.values()), problems


def _expand(word: str, problems: dict[str, str]) -> list[str]:
    if os.path.isdir(word):
        return _pictures_below(word, problems)
    if os.path.lexists(word):  # also one with a bracket in its name
        return [word]
    if not glob.has_magic(word):
        problems[word] = f"no such file or folder: {word!r}"
        return []
    found = []
    for match in sorted(glob.glob(word, recursive=True)):
        if os.path.isdir(match):
            found += _pictures_below(match, problems)
        elif _is_picture(match):
            found.append(match)
    return found


def _pictures_below(folder: str, problems: dict[str, str]) -> list[str]:
    def note(error: OSError) -> None:
        problems[error.filename] = f"cannot open {error.filename!r}: {error.strerror}"

    found = []
    for parent, folders, names in os.walk(folder, onerror=note):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [
            os.path.join(parent, name) for name in sorted(names) if not name.startswith(".") and _is_picture(name)
        ]
    return found


def _is_picture(path: str) -> bool:
    return os.path.splitext(path)[1].lower() in picture_suffixes()
