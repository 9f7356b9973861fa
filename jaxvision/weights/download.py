"""Downloads of files by URL into a cache."""

import hashlib
import os
import tempfile
import urllib.request
from pathlib import Path
from urllib.parse import unquote, urlsplit

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from jaxvision.version import __version__
from jaxvision.weights.checksum import checksum_in_name, sha256
from jaxvision.weights.errors import WeightsUnavailableError
from jaxvision.weights.formats import recognise

_TIMEOUT = 30.0  # seconds without a byte
_CHUNK = 1 << 20


def cache_folder() -> Path:
    """Where downloads go: ``$JAXVISION_HOME``, or ``jaxvision`` in ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    home = os.environ.get("JAXVISION_HOME")
    if home:
        return Path(home).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "jaxvision"


def cached_path(url: str, folder: Path) -> Path:
    """Where a URL's file is in the cache, downloaded or not; files of the same name from two places do not meet."""
    name = unquote(urlsplit(url).path).rpartition("/")[2] or "weights"
    return folder / "url" / hashlib.sha256(url.encode()).hexdigest()[:16] / name


def download(url: str, folder: Path) -> Path:
    """Downloads a file into the cache, with a progress bar on stderr if that is a terminal.

    It appears in the cache whole and checked, or not at all: by its length, by the checksum in its name if there is one
    (``name-<digits>.pth``), and by being a file of weights.

    Args:
        url: http or https.
        folder: the cache.

    Raises:
        WeightsError: what came is not what was expected.
        OSError, http.client.HTTPException: there is no network, no such file, no room and so on.
    """
    target = cached_path(url, folder)
    if target.is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    os.close(handle)
    part = Path(name)
    try:
        _fetch(url, part, target.name)
        _check(part, target.name)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return target


def _fetch(url: str, part: Path, title: str) -> None:
    if urlsplit(url).scheme not in ("http", "https"):  # urllib would also open file:// and ftp://
        raise WeightsUnavailableError(f"{url} is neither http nor https")
    request = urllib.request.Request(url, headers={"User-Agent": f"jaxvision/{__version__}"})
    with (
        urllib.request.urlopen(request, timeout=_TIMEOUT) as response,
        part.open("wb") as file,
        _progress() as progress,
    ):
        length = response.headers.get("Content-Length")
        total = int(length) if length is not None else None
        task = progress.add_task(title, total=total)
        while chunk := response.read(_CHUNK):
            file.write(chunk)
            progress.advance(task, len(chunk))
    size = part.stat().st_size
    if total is not None and size != total:
        raise WeightsUnavailableError(f"the connection broke off after {size} of {total} bytes")


def _progress() -> Progress:
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _check(path: Path, name: str) -> None:
    expected = checksum_in_name(name)
    found = sha256(path)
    if expected is not None and not found.startswith(expected):
        raise WeightsUnavailableError(f"the file that came has sha256 {found}, expected {expected}...")
    recognise(path)
