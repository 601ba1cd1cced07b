"""Finding weights on disk, in the Hugging Face cache layout and in plain folders, without a network."""

from __future__ import annotations

import json
import re
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from scenewright_stages.backends.runtime.cache.weights import (
    default_cache_dir,
    fetch_weights,
    require_weights,
    weights_status,
)
from scenewright_stages.backends.runtime.errors import MissingWeights
from scenewright_stages.backends.runtime.registry import backend
from scenewright_stages.contract.backends import Weights

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER_COMMIT = "f" * 40
WEIGHTS = Weights("lab/model", "mit", "https://example.org", 10, ("config.json", "*.safetensors"), ("extra/*",))


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("looking weights up opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def _write(folder: Path, *names: str, text: str = "x") -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def _snapshot(cache: Path, commit: str, *names: str, reference: str | None = "main") -> Path:
    repository = cache / "models--lab--model"
    folder = _write(repository / "snapshots" / commit, *names)
    if reference is not None:
        _write(repository / "refs", reference, text=commit)
    return folder


def test_nothing_there_is_missing(tmp_path: Path) -> None:
    status = weights_status(WEIGHTS, tmp_path / "no-such-cache")
    assert (status.state, status.path, status.size_bytes) == ("missing", None, 0)


def test_a_snapshot_is_found_through_its_branch_and_named_by_its_commit(tmp_path: Path) -> None:
    folder = _snapshot(tmp_path, COMMIT, "config.json", "model.safetensors")
    status = weights_status(WEIGHTS, tmp_path)
    assert (status.state, status.path, status.revision, status.size_bytes) == ("present", folder, COMMIT, 2)
    assert not status.optional_present


def test_a_cache_below_hub_is_found_too(tmp_path: Path) -> None:
    _snapshot(tmp_path / "hub", COMMIT, "config.json", "model.safetensors")
    assert weights_status(WEIGHTS, tmp_path).state == "present"


def test_the_asked_commit_counts_not_another_snapshot(tmp_path: Path) -> None:
    _snapshot(tmp_path, COMMIT, "config.json", "model.safetensors")
    assert weights_status(WEIGHTS, tmp_path, revision=OTHER_COMMIT).state == "missing"
    assert weights_status(WEIGHTS, tmp_path, revision=COMMIT).state == "present"
    assert weights_status(WEIGHTS, tmp_path, revision="v2").state == "missing"


@pytest.mark.parametrize("revision", ["../../outside", "/etc", ".."])
def test_a_revision_cannot_leave_the_repository(tmp_path: Path, revision: str) -> None:
    _snapshot(tmp_path, COMMIT, "config.json", "model.safetensors")
    _write(tmp_path, "outside", text=COMMIT)
    assert weights_status(WEIGHTS, tmp_path, revision=revision).state == "missing"


def test_a_snapshot_whose_blob_is_gone_is_partial(tmp_path: Path) -> None:
    folder = _snapshot(tmp_path, COMMIT, "config.json")
    (folder / "model.safetensors").symlink_to(tmp_path / "blobs" / "gone")
    status = weights_status(WEIGHTS, tmp_path)
    assert (status.state, status.lacking) == ("partial", ("*.safetensors",))


def test_a_shard_that_the_index_names_but_is_not_there_makes_it_partial(tmp_path: Path) -> None:
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    folder = _snapshot(tmp_path, COMMIT, "config.json", first)
    index = {"weight_map": {"a": first, "b": second}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert weights_status(WEIGHTS, tmp_path).lacking == (second,)
    _write(folder, second)
    assert weights_status(WEIGHTS, tmp_path).state == "present"


def test_an_unreadable_index_makes_it_partial(tmp_path: Path) -> None:
    _snapshot(tmp_path, COMMIT, "config.json", "model.safetensors", "model.safetensors.index.json")
    assert weights_status(WEIGHTS, tmp_path).state == "partial"


def test_a_plain_folder_is_found_and_named_by_its_content(tmp_path: Path) -> None:
    folder = _write(tmp_path / "lab" / "model", "config.json", "model.safetensors", "extra/encoder")
    before = weights_status(WEIGHTS, tmp_path)
    assert before.state == "present"
    assert before.revision.startswith("local-")
    assert before.optional_present
    assert weights_status(WEIGHTS, tmp_path).revision == before.revision
    _write(folder, "model.safetensors", text="y")
    assert weights_status(WEIGHTS, tmp_path).revision != before.revision


@pytest.mark.parametrize("as_uri", [False, True])
def test_a_revision_may_be_the_folder_of_a_checkpoint(tmp_path: Path, as_uri: bool) -> None:
    folder = _write(tmp_path / "my weights", "config.json", "model.safetensors")
    _snapshot(tmp_path / "cache", COMMIT, "config.json", "model.safetensors")
    place = folder.as_uri() if as_uri else str(folder)
    found = weights_status(replace(WEIGHTS, revision=place), tmp_path / "cache")
    assert (found.state, found.path) == ("present", folder)
    assert found == weights_status(WEIGHTS, tmp_path / "cache", place)
    _write(folder, "model.safetensors", text="y")
    assert weights_status(WEIGHTS, tmp_path / "cache", place).revision not in ("", COMMIT, found.revision)


def test_a_checkpoint_that_is_not_where_the_spec_says_is_refused_with_its_place(tmp_path: Path) -> None:
    """The copy in the cache is no substitute."""
    _snapshot(tmp_path, COMMIT, "config.json", "model.safetensors")
    half = _write(tmp_path / "half", "config.json")
    for place, told in (
        (str(tmp_path / "none"), "config.json, *.safetensors"),
        (str(half), "lacks *.safetensors"),
        ("s3://lab/mine", "models step"),
    ):
        with pytest.raises(MissingWeights, match=re.escape(told)) as refused:
            require_weights(replace(WEIGHTS, revision=place), tmp_path)
        assert place in str(refused.value)


def test_missing_weights_say_what_lacks_and_how_to_get_them(tmp_path: Path) -> None:
    _write(tmp_path / "lab" / "model", "config.json")
    with pytest.raises(MissingWeights) as caught:
        require_weights(WEIGHTS, tmp_path)
    assert caught.value.lacking == ("*.safetensors",)
    for part in ("lab/model", str(tmp_path), "fetch"):
        assert part in str(caught.value)


def test_flux_without_text_encoders_is_complete(tmp_path: Path) -> None:
    (weights,) = backend("outpaint", "flux-fill").weights_of()
    folder = tmp_path / weights.id
    _write(folder, "model_index.json", "scheduler/scheduler_config.json", "transformer/config.json", "vae/config.json")
    assert weights_status(weights, tmp_path).state == "partial"
    _write(folder, "transformer/a.safetensors", "vae/b.safetensors")
    status = weights_status(weights, tmp_path)
    assert (status.state, status.optional_present) == ("present", False)


def test_the_cache_folder_follows_the_environment() -> None:
    own = {"SCENEWRIGHT_MODEL_CACHE": "/models", "HF_HUB_CACHE": "/hub", "HF_HOME": "/home/hf", "HOME": "/home/me"}
    assert default_cache_dir(own) == Path("/models")
    assert default_cache_dir({"HF_HUB_CACHE": "/hub", "HF_HOME": "/home/hf"}) == Path("/hub")
    assert default_cache_dir({"HF_HOME": "/home/hf"}) == Path("/home/hf/hub")
    assert default_cache_dir({"HOME": "/home/me"}) == Path("/home/me/.cache/huggingface/hub")


def test_fetching_takes_the_needed_files_into_the_cache_and_checks_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    asked: dict[str, object] = {}

    def download(weights_id: str, **arguments: object) -> None:
        asked.update(arguments, id=weights_id)
        _snapshot(tmp_path, COMMIT, "config.json", "model.safetensors", reference=str(arguments["revision"]))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    status = fetch_weights(WEIGHTS, tmp_path, revision="v2", token="secret")
    assert (status.state, status.revision) == ("present", COMMIT)
    assert (asked["id"], asked["revision"], asked["token"]) == ("lab/model", "v2", "secret")
    assert asked["allow_patterns"] == ["config.json", "*.safetensors", "*.safetensors.index.json"]
    fetch_weights(WEIGHTS, tmp_path, with_optional=True)
    assert "extra/*" in list(asked["allow_patterns"])  # type: ignore[call-overload]


def test_a_repository_that_lacks_needed_files_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: None)
    with pytest.raises(MissingWeights):
        fetch_weights(WEIGHTS, tmp_path)
