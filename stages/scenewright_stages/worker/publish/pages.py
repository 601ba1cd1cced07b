"""Makes the report pages of a publication with the pipeline's reporter, only if their content has changed."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, cast

from scenewright_stages.contract.keys import short_hash
from scenewright_stages.contract.layout import REPORT
from scenewright_stages.contract.records import Record
from scenewright_stages.contract.results import Results, merged_warnings
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import Reporter, SampleOutcome
from scenewright_stages.store import hash_bytes
from scenewright_stages.worker.files import fetch_output
from scenewright_stages.worker.process.session import Session
from scenewright_stages.worker.publish.ends import SampleEnd


@dataclass
class Pages:
    """Published pages.

    Attributes:
        files: entries for ``published.json`` by path.
        warnings: pages that could not be made.
    """

    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


class PageMaker:
    """Makes and stores the pages of one publish.

    Args:
        session: the process.
        previous: files of the last publish by path, as in ``published.json``.
        sizes: size by path of everything in the output.
        scratch: folder for fetched files.
    """

    def __init__(
        self, session: Session, previous: Mapping[str, Mapping[str, Any]], sizes: Mapping[str, int], scratch: Path
    ) -> None:
        self._session, self._previous, self._sizes, self._scratch = session, previous, sizes, scratch
        self._pages = Pages()

    def make(self, ends: Sequence[SampleEnd], results: Results) -> Pages:
        """Makes ``report.html``: the page of a single sample, or an index page above one page per sample.

        Every number on a page is from `results`. The page over all samples is made last and tells which could not be.
        """
        name = self._session.chain.pipeline.reporter
        if not name:
            return self._pages
        made: list[Reporter] = []

        def reporter() -> Reporter:
            # Import the reporter only if a page must be made.
            if not made:
                made.append(resolve_name(name)())
            made[0].results = self._results(results)
            return made[0]

        job = self._session.task.job
        whole = not self._session.chain.pipeline.sample_pages
        outcomes = {end.sample.id: self._outcome(end) for end in ends}
        shown = [end for end in ends if end.state == "done"]
        if whole:
            self._page(REPORT, ends, lambda: reporter().index_page(list(outcomes.values()), job), results)
            return self._pages
        if len(ends) == 1 and shown:
            outcome = outcomes[shown[0].sample.id]
            self._page(REPORT, shown, lambda: reporter().sample_page(outcome, job), results)
            return self._pages
        for end in shown:
            page = partial(lambda outcome: reporter().sample_page(outcome, job), outcomes[end.sample.id])
            self._page(f"{end.sample.id}/{REPORT}", [end], page)
        self._page(REPORT, ends, lambda: reporter().index_page(list(outcomes.values()), job), self._results(results))
        return self._pages

    def _results(self, results: Results) -> Results:
        return replace(results, warnings=merged_warnings(results.warnings, self._pages.warnings))

    def _page(
        self, path: str, ends: Sequence[SampleEnd], make: Callable[[], str], results: Results | None = None
    ) -> None:
        source = self._source(ends, results)
        entry = self._previous.get(path, {})
        if entry.get("source") == source and self._sizes.get(path) == entry.get("size"):
            self._pages.files[path] = dict(entry)
            return
        try:
            content = make().encode()
        except Exception as problem:
            # The results are valid without the page; the warning tells the user.
            traceback.print_exc()
            self._pages.warnings.append(f"{path} could not be made: {type(problem).__name__}: {problem}")
            return
        self._session.output.put_bytes(path, content)
        self._pages.files[path] = {
            "size": len(content),
            "hash": hash_bytes(content),
            "volatile": True,
            "source": source,
        }

    def _source(self, ends: Sequence[SampleEnd], results: Results | None) -> str:
        """Hash of everything that a page shows; the page of one of several samples shows only its own times."""
        shown = [
            [
                end.sample.to_json(),
                end.state,
                end.reason,
                end.message,
                {
                    name: [
                        *(record.key, record.state, record.metrics, record.warnings, record.reason, record.message),
                        *(record.seconds, record.at, *(file.hash for file in record.outputs.values())),
                    ]
                    for name, record in _named_records(end).items()
                },
            ]
            for end in ends
        ]
        whole = [] if results is None else [json.dumps(asdict(results), default=lambda value: value.model_dump())]
        return short_hash([self._session.task.job, self._session.chain.pipeline.reporter, _version(), shown, whole])

    def _outcome(self, end: SampleEnd) -> SampleOutcome:
        children: dict[str, tuple[Sample, dict[str, Record]]] = {}
        for stage, sample, state in end.below:
            if state.record is not None:
                children.setdefault(sample.id, (sample, {}))[1][stage] = state.record
        below = [self._outcome_of(sample, records) for sample, records in children.values()]
        return replace(
            self._outcome_of(end.sample, end.records()),
            children=below,
            end=end.state,
            reason=end.reason,
            message=end.message,
        )

    def _outcome_of(self, sample: Sample, records: Mapping[str, Record]) -> SampleOutcome:
        folder = self._scratch / sample.id.replace("/", "_")
        files: dict[tuple[str, str], Callable[[], Path]] = {}
        numbered: dict[tuple[str, str], Callable[[], tuple[Path, ...]]] = {}
        for stage, record in records.items():
            for name, stored in record.outputs.items():
                fetch = partial(fetch_output, self._session.output, stored, folder / stage)
                if stored.is_numbered:
                    numbered[stage, name] = cast(Callable[[], tuple[Path, ...]], fetch)
                else:
                    files[stage, name] = cast(Callable[[], Path], fetch)
        return SampleOutcome(sample, records, files, numbered)


def _named_records(end: SampleEnd) -> dict[str, Record]:
    """All records that a page may show, by unique names."""
    below = {f"{stage}/{sample.id}": state.record for stage, sample, state in end.below if state.record is not None}
    return {**end.records(), **below}


def _version() -> str:
    try:
        return version("scenewright")
    except PackageNotFoundError:
        return ""
