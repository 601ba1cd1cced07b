"""Filling the model cache: whole or not at all, whoever fills beside us or died before us."""

from __future__ import annotations

import http.server
import json
import multiprocessing
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from scenewright_stages.backends.runtime.cache import sources
from scenewright_stages.backends.runtime.cache.filling import WORK_PREFIX, fill_cache
from scenewright_stages.backends.runtime.cache.sources import (
    FetchFailed,
    HubSource,
    StoreSource,
    WeightSource,
    source_for,
    source_of,
)
from scenewright_stages.backends.runtime.cache.weights import weights_status
from scenewright_stages.backends.runtime.errors import MissingWeights
from scenewright_stages.backends.runtime.registry import backends
from scenewright_stages.contract.backends import BackendFacts, Weights
from scenewright_stages.contract.errors import ConfigurationError
from scenewright_stages.store import open_store

COMMIT = "0123456789abcdef0123456789abcdef01234567"
WEIGHTS = Weights("lab/model", "mit", "https://example.org", 10, ("config.json", "*.safetensors"), ("tokenizer/*",))
OTHER_PART = Weights("lab/model", "mit", "https://example.org", 10, ("other/last.ckpt",))


def ignore(fraction: float, message: str) -> None:
    """Nobody watches."""


def mirror_in(folder: Path) -> StoreSource:
    repository = folder / "lab" / "model"
    for name in ("config.json", "a.safetensors", "tokenizer/vocab.json", "other/last.ckpt", "README.md"):
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).write_text(f"content of {name}")
    return StoreSource(folder.as_uri())


def leftovers(cache: Path) -> list[str]:
    return [path.name for path in cache.glob(f"{WORK_PREFIX}*")]


def test_a_mirror_in_a_folder_fills_the_cache(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    filled = fill_cache(WEIGHTS, cache, mirror_in(tmp_path / "mirror"), ignore)
    assert filled.fetched and filled.status == weights_status(WEIGHTS, cache)
    assert filled.status.state == "present" and filled.status.optional_present
    assert filled.status.path is not None and not (filled.status.path / "README.md").exists()
    marker = json.loads((cache / "models--lab--model" / "scenewright" / f"{filled.status.revision}.json").read_text())
    assert sorted(marker["files"]) == ["a.safetensors", "config.json", "tokenizer/vocab.json"]
    assert not leftovers(cache)


@pytest.mark.parametrize("facts", [each for each in backends() if each.weights], ids=lambda each: each.name)
def test_own_copies_of_a_backends_weights_serve_by_their_place(facts: BackendFacts, tmp_path: Path) -> None:
    """In the cache itself, or where a source points to; the copies may have no revision of their own."""
    copies, cache = tmp_path / "copies", tmp_path / "cache"
    for weights in (each for sets in facts.weights.values() for each in sets):
        for pattern in weights.required_files:
            file = copies / weights.id / pattern.replace("*", "x")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("{}")
        named = replace(weights, revision="v1.0")
        here = weights_status(named, copies)
        assert (here.state, here.path) == ("present", copies / weights.id)
        assert fill_cache(named, cache, source_of(copies.as_uri(), None), ignore).status == weights_status(named, cache)
        assert weights_status(named, cache).state == "present"


def test_a_checkpoint_in_a_bucket_is_copied_beside_the_published_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror, cache = mirror_in(tmp_path / "mirror"), tmp_path / "cache"
    bucket = tmp_path / "bucket" / "mine"
    shutil.copytree(tmp_path / "mirror" / "lab" / "model", bucket)
    (bucket / "a.safetensors").write_text("trained further")
    opened: list[str] = []

    def opening(uri: str) -> Any:
        opened.append(uri)
        return open_store(uri.replace("s3://bucket", (tmp_path / "bucket").as_uri()))

    monkeypatch.setattr(sources, "open_store", opening)
    own = replace(WEIGHTS, revision="s3://bucket/mine")
    for weights in (WEIGHTS, own):
        assert fill_cache(weights, cache, source_for(weights, mirror), ignore).fetched
        assert not fill_cache(weights, cache, source_for(weights, mirror), ignore).fetched
    assert opened[1:] == ["s3://bucket/mine"]
    published, mine = (weights_status(weights, cache) for weights in (WEIGHTS, own))
    assert published.path and mine.path and published.revision != mine.revision
    assert (mine.path / "a.safetensors").read_text() == "trained further"
    assert (published.path / "a.safetensors").read_text() == "content of a.safetensors"


def test_a_checkpoint_in_a_folder_stays_there_and_has_to_be_whole(tmp_path: Path) -> None:
    mirror, cache = mirror_in(tmp_path / "mirror"), tmp_path / "cache"
    here = replace(WEIGHTS, revision=str(tmp_path / "mirror" / "lab" / "model"))
    assert not fill_cache(here, cache, source_for(here, mirror), ignore).fetched
    with pytest.raises(MissingWeights, match="nowhere"):
        fill_cache(replace(WEIGHTS, revision="/nowhere"), cache, mirror, ignore)
    assert not cache.exists()


def test_what_is_there_is_not_fetched_again(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = fill_cache(WEIGHTS, cache, mirror_in(tmp_path / "mirror"), ignore)
    assert fill_cache(WEIGHTS, cache, StoreSource("file:///nowhere"), ignore).status == first.status


def test_the_same_files_get_the_same_revision_and_others_another(tmp_path: Path) -> None:
    source = mirror_in(tmp_path / "mirror")
    revisions = [fill_cache(WEIGHTS, tmp_path / name, source, ignore).status.revision for name in ("a", "b")]
    (tmp_path / "mirror" / "lab" / "model" / "config.json").write_text("another")
    changed = fill_cache(WEIGHTS, tmp_path / "c", source, ignore).status.revision
    assert revisions[0] == revisions[1] != changed and len(changed) == 40


def test_two_parts_of_one_repository_keep_each_other(tmp_path: Path) -> None:
    cache, source = tmp_path / "cache", mirror_in(tmp_path / "mirror")
    pinned = [Weights(**{**vars(part), "revision": COMMIT}) for part in (WEIGHTS, OTHER_PART)]
    for part in pinned:
        fill_cache(part, cache, source, ignore)
    assert [weights_status(part, cache).state for part in pinned] == ["present", "present"]


def test_an_incomplete_snapshot_makes_way(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    pinned = Weights(**{**vars(WEIGHTS), "revision": COMMIT})
    broken = cache / "models--lab--model" / "snapshots" / COMMIT
    broken.mkdir(parents=True)
    (broken / "config.json").write_text("cut")
    filled = fill_cache(pinned, cache, mirror_in(tmp_path / "mirror"), ignore)
    assert filled.status.state == "present" and (broken / "config.json").read_text() == "content of config.json"


def test_a_mirror_that_lacks_files_leaves_the_cache_as_it_was(tmp_path: Path) -> None:
    source = mirror_in(tmp_path / "mirror")
    (tmp_path / "mirror" / "lab" / "model" / "a.safetensors").unlink()
    with pytest.raises(MissingWeights, match=r"\*\.safetensors"):
        fill_cache(WEIGHTS, tmp_path / "cache", source, ignore)
    assert weights_status(WEIGHTS, tmp_path / "cache").state == "missing" and not leftovers(tmp_path / "cache")


def test_a_mirror_without_the_repository_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"modelCache\.source"):
        fill_cache(WEIGHTS, tmp_path / "cache", StoreSource(tmp_path.as_uri()), ignore)


class SlowSource(WeightSource):
    """Takes its time over every file."""

    def __init__(self, source: WeightSource, seconds: float) -> None:
        self._source, self._seconds = source, seconds

    def fetch(self, weights: Weights, folder: Path, on_progress: Any) -> str:
        return self._source.fetch(weights, folder, lambda *_: time.sleep(self._seconds))


def _fill(cache: Path, mirror: Path) -> None:
    fill_cache(WEIGHTS, cache, SlowSource(StoreSource(mirror.as_uri()), 0.05), ignore)


@pytest.mark.process
def test_fillers_beside_each_other_do_no_harm(tmp_path: Path) -> None:
    cache, mirror = tmp_path / "cache", tmp_path / "mirror"
    mirror_in(mirror)
    fork = multiprocessing.get_context("fork")
    fillers = [fork.Process(target=_fill, args=(cache, mirror)) for _ in range(4)]
    for filler in fillers:
        filler.start()
    while any(filler.is_alive() for filler in fillers):
        assert weights_status(WEIGHTS, cache).state in ("missing", "present"), "nobody may ever see a part"
    assert [filler.exitcode for filler in fillers] == [0, 0, 0, 0] and not leftovers(cache)


@pytest.mark.process
def test_what_a_killed_filler_left_is_removed_and_a_living_ones_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, mirror = tmp_path / "cache", tmp_path / "mirror"
    mirror_in(mirror)
    killed = multiprocessing.get_context("fork").Process(target=_fill, args=(cache, mirror))
    killed.start()
    deadline = time.monotonic() + 10.0
    while not leftovers(cache) and time.monotonic() < deadline:
        time.sleep(0.005)
    killed.kill()
    killed.join()
    assert len(leftovers(cache)) == 1
    later = time.time() + 120.0
    monkeypatch.setattr("scenewright_stages.backends.runtime.cache.filling.time.time", lambda: later)
    seen: list[list[str]] = []

    class Watching(StoreSource):
        def fetch(self, weights: Weights, folder: Path, on_progress: Any) -> str:
            fill_cache(OTHER_PART, cache, StoreSource(mirror.as_uri()), ignore)
            seen.append(leftovers(cache))
            return super().fetch(weights, folder, on_progress)

    fill_cache(WEIGHTS, cache, Watching(mirror.as_uri()), ignore)
    assert [len(each) for each in seen] == [1], "the dead one's folder is gone, the outer one's is not"
    assert not leftovers(cache)


@pytest.mark.parametrize("uri", ["ftp://mirror", "mirror/folder"])
def test_sources_of_other_kinds_are_refused(uri: str) -> None:
    with pytest.raises(ConfigurationError, match=r"modelCache\.source"):
        source_of(uri, None)


FILES = {"config.json": b"{}", "a.safetensors": b"weights" * 100, "README.md": b"hello"}


class _Hub(http.server.BaseHTTPRequestHandler):
    """As much of the Hub's interface as a download needs."""

    protocol_version = "HTTP/1.1"
    gated = False
    asked: ClassVar[list[str]] = []

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        path = self.path.partition("?")[0]
        self.asked.append(path)
        if "lab/model" not in path:
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"}, with_body)
        elif self.gated and self.headers.get("Authorization") != "Bearer good":
            self._send(403, b"{}", {"X-Error-Code": "GatedRepo"}, with_body)
        elif "/tree/" in path:
            tree = [{"type": "file", "path": name, "size": len(data), "oid": name} for name, data in FILES.items()]
            self._send(200, json.dumps(tree).encode(), {"Content-Type": "application/json"}, with_body)
        elif path.startswith("/api/"):
            siblings = [{"rfilename": name} for name in FILES]
            info = {"id": "lab/model", "sha": COMMIT, "siblings": siblings, "private": False, "tags": []}
            self._send(200, json.dumps(info).encode(), {"Content-Type": "application/json"}, with_body)
        else:
            name = path.rpartition("/")[2]
            headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{name}"', "X-Linked-Size": str(len(FILES[name]))}
            self._send(200, FILES[name], headers, with_body)

    def _send(self, status: int, body: bytes, headers: dict[str, str], with_body: bool) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Keeps quiet."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    pytest.importorskip("huggingface_hub")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf-home"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(_Hub, "gated", False)
    monkeypatch.setattr(_Hub, "asked", [])
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_mirror_of_the_hub_fills_the_cache_under_its_commit(tmp_path: Path, hub: str) -> None:
    filled = fill_cache(WEIGHTS, tmp_path / "cache", HubSource(hub, None), ignore)
    assert filled.status.revision == COMMIT and filled.status.path is not None
    assert sorted(path.name for path in filled.status.path.iterdir()) == ["a.safetensors", "config.json"]


def test_a_gated_repository_asks_for_a_token(tmp_path: Path, hub: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Hub, "gated", True)
    with pytest.raises(ConfigurationError, match=r"spec\.models\.tokenSecretName.*gated"):
        fill_cache(WEIGHTS, tmp_path / "cache", HubSource(hub, "bad"), ignore)
    assert fill_cache(WEIGHTS, tmp_path / "cache", HubSource(hub, "good"), ignore).fetched


@pytest.mark.parametrize("from_hub", [True, False])
def test_the_weights_of_a_space_are_found_where_they_were_put(tmp_path: Path, hub: str, from_hub: bool) -> None:
    space = Weights(**{**vars(WEIGHTS), "repository_type": "space"})
    cache = tmp_path / "cache"
    filled = fill_cache(space, cache, HubSource(hub, None) if from_hub else mirror_in(tmp_path / "mirror"), ignore)
    assert filled.fetched and filled.status == weights_status(space, cache)
    assert [path.name for path in cache.iterdir() if not path.name.startswith(".")] == ["spaces--lab--model"]
    assert weights_status(WEIGHTS, cache).state == "missing"
    assert any("/spaces/lab/model" in path for path in _Hub.asked) == from_hub


def test_an_unknown_repository_is_a_configuration_error(tmp_path: Path, hub: str) -> None:
    unknown = Weights(**{**vars(WEIGHTS), "id": "lab/unknown"})
    with pytest.raises(ConfigurationError, match=r"lab/unknown@main"):
        fill_cache(unknown, tmp_path / "cache", HubSource(hub, None), ignore)


def test_a_hub_that_is_away_may_be_tried_again(tmp_path: Path, hub: str) -> None:
    with pytest.raises(FetchFailed):
        fill_cache(WEIGHTS, tmp_path / "cache", HubSource("http://127.0.0.1:1", None), ignore)
    assert not leftovers(tmp_path / "cache")
