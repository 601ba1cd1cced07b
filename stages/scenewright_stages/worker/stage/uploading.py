"""Uploads outputs in the background while the next sample runs: outputs first, record last."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from scenewright_stages.contract.outputs import OutputContract, numbered_path
from scenewright_stages.contract.pipeline import StageSpec
from scenewright_stages.contract.records import OutputFile, Record
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import Made, Pixels
from scenewright_stages.store import Store, hash_bytes, hash_file

UPLOADERS = 4
BEHIND_SAMPLES = 3


class Uploader:
    """Uploads the outputs of finished samples. At most three samples wait, which bounds the disk space.

    Args:
        store: the output.
        stage: whose outputs to upload.
        on_stored: called in an uploading thread with the complete record once all outputs are stored.
        on_fault: called with the error if they could not be stored.
        announce: called with the sample's id and the file paths before a multi-file output is stored.
    """

    def __init__(
        self,
        store: Store,
        stage: StageSpec,
        on_stored: Callable[[Record], None],
        on_fault: Callable[[BaseException], None],
        announce: Callable[[str, Mapping[str, OutputFile]], None],
    ) -> None:
        self._store, self._stage = store, stage
        self._on_stored, self._on_fault, self._announce = on_stored, on_fault, announce
        self._samples = ThreadPoolExecutor(BEHIND_SAMPLES, thread_name_prefix="store")
        self._files = ThreadPoolExecutor(UPLOADERS, thread_name_prefix="upload")
        self._room = threading.Semaphore(BEHIND_SAMPLES)
        self._pending = 0
        self._settled = threading.Condition()

    def submit(self, record: Record, sample: Sample, outputs: Mapping[str, Made], workspace: Path) -> None:
        """Takes over a sample's outputs and its workspace, and removes the workspace once they are stored."""
        self._room.acquire()
        with self._settled:
            self._pending += 1
        self._samples.submit(self._store_sample, record, sample, dict(outputs), workspace)

    def drain(self, seconds: float | None = None) -> bool:
        """Waits at most `seconds` until everything is stored; True if it is."""
        deadline = None if seconds is None else time.monotonic() + seconds
        with self._settled:
            while self._pending:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return False
                self._settled.wait(left)
        return True

    def close(self) -> None:
        """Ends the threads; drain first."""
        self._samples.shutdown(wait=False, cancel_futures=True)
        self._files.shutdown(wait=False, cancel_futures=True)

    def _store_sample(self, record: Record, sample: Sample, outputs: Mapping[str, Made], workspace: Path) -> None:
        try:
            paths = {name: self._stage.output(name).path_for(sample) for name in outputs}
            many = {name: many_files(self._stage.output(name), paths[name], made) for name, made in outputs.items()}
            if announced := {name: _announced(paths[name], files) for name, files in many.items() if files is not None}:
                self._announce(sample.id, announced)
            single = {name: made for name, made in outputs.items() if many[name] is None}
            futures = [
                self._files.submit(self._store_alike, {name: paths[name] for name in names}, made)
                for names, made in alike(single)
            ]
            stored = {name: file for future in futures for name, file in future.result().items()}
            for name, files in many.items():
                if files is not None:
                    stored[name] = self._store_many(name, paths[name], files)
            self._on_stored(replace(record, outputs={name: stored[name] for name in sorted(stored)}))
        except BaseException as fault:
            self._on_fault(fault)
        finally:
            shutil.rmtree(workspace, ignore_errors=True)
            self._room.release()
            with self._settled:
                self._pending -= 1
                self._settled.notify_all()

    def _store_many(self, name: str, path: str, files: Mapping[str, Path | Pixels]) -> OutputFile:
        """Stores the files of one output."""
        folder = path.rpartition("/")[0]
        futures = {
            part: self._files.submit(self._store_alike, {name: f"{folder}/{part}"}, made)
            for part, made in files.items()
        }
        stored = {part: future.result()[name] for part, future in futures.items()}
        return OutputFile.of_parts(path, {part: (file.size, file.hash) for part, file in stored.items()})

    def _store_alike(self, keys: Mapping[str, str], made: Path | Pixels) -> dict[str, OutputFile]:
        """Stores the same content under the paths of all outputs that share it."""
        if isinstance(made, Path):
            return {name: self._store_file(key, made) for name, key in keys.items()}
        # OpenCV takes 0.25 s to import; stages without pixels do not need it.
        from scenewright_stages.worker.stage.encoding import encode_png

        content = encode_png(made, compressed=any(self._stage.output(name).result for name in keys))
        digest = hash_bytes(content)
        for key in keys.values():
            self._store.put_bytes(key, content)
        return {name: OutputFile(key, len(content), digest) for name, key in keys.items()}

    def _store_file(self, key: str, path: Path) -> OutputFile:
        digest = hash_file(path)
        size = path.stat().st_size
        self._store.put_file(key, path)
        return OutputFile(key, size, digest)


def many_files(contract: OutputContract, path: str, made: Made) -> dict[str, Path | Pixels] | None:
    """The files of a multi-file output in order, by name below its folder; None for a single-file output."""
    if contract.form == "folder" and isinstance(made, Path):
        found = sorted((each for each in made.rglob("*") if each.is_file()), key=lambda each: each.as_posix().encode())
        return {each.relative_to(made).as_posix(): each for each in found}
    if contract.form == "numbered" and not isinstance(made, Path | Pixels):
        return {numbered_path(path, number).rpartition("/")[2]: each for number, each in enumerate(made)}
    return None


def alike(outputs: Mapping[str, Made]) -> list[tuple[list[str], Path | Pixels]]:
    """The single-file outputs grouped by content: the names that share each object, sorted by first name."""
    groups: dict[int, tuple[list[str], Path | Pixels]] = {}
    for name, made in sorted(outputs.items()):
        assert isinstance(made, Path | Pixels)
        groups.setdefault(id(made), ([], made))[0].append(name)
    return list(groups.values())


def _announced(path: str, files: Mapping[str, Path | Pixels]) -> OutputFile:
    """The output file of an announcement: names without sizes and hashes."""
    return OutputFile(path, 0, "", dict.fromkeys(files, (0, "")))
