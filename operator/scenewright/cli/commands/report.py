"""``scenewright report``: the end of the last run of a local output or of an object in a cluster, and its page."""

from __future__ import annotations

import json
import sys
import tempfile
import webbrowser
from pathlib import Path

from scenewright.cli.cluster.access import Place, connect, parse
from scenewright.cli.cluster.reading import StorageError, copy_object, storage_environment
from scenewright.cli.cluster.views import plain_lines, summary, view_of
from scenewright.cli.manifests import Changes, changed_documents, raw_documents
from scenewright.cli.texts import count, counted, place, print_json, refusing
from scenewright.execution.published import completed, local_path
from scenewright.planning.documents import absolute_uri, value_at
from scenewright.planning.problems import Problem, SpecError
from scenewright_stages.contract import layout
from scenewright_stages.contract.reports import Report
from scenewright_stages.contract.task import PUBLISH_STEP

PAGE = "report.html"


@refusing
def report_command(target: str, output_uri: str, open_page: bool, *, as_json: bool) -> int:
    """Prints how the last published run ended; with `open_page` opens its page."""
    folder = _results_folder(target, output_uri)
    report = _last_report(folder)
    page = folder / PAGE
    if as_json:
        shown = {"page": str(page) if page.is_file() else "", **report.model_dump(by_alias=True)}
        print_json(shown)
    else:
        _print_report(report, page)
    if open_page and page.is_file():
        webbrowser.open(page.as_uri())
    return 0


def _results_folder(target: str, output_uri: str) -> Path:
    """The local output folder of a manifest, or the given folder."""
    uri = output_uri or (target if not Path(target).is_file() else _output_of(Path(target)))
    folder = local_path(absolute_uri(uri, Path.cwd()))
    if folder is None:
        remedy = f"lies in object storage: copy {uri.rstrip('/')}/{PAGE} here, or open it there"
        raise SpecError([Problem("spec.output.uri", uri, remedy)])
    return folder


def _output_of(file: Path) -> str:
    uri = value_at(changed_documents(raw_documents(file), Changes())[0], "spec", "output", "uri")
    if not isinstance(uri, str):
        raise SpecError([Problem("spec.output.uri", None, "is required; give it, or name the folder of results")])
    return uri


def _last_report(folder: Path) -> Report:
    published = folder / layout.PUBLISHED
    try:
        run = json.loads(published.read_text(encoding="utf-8"))["run"]
        report = Report.from_bytes((folder / layout.report(run, PUBLISH_STEP)).read_bytes())
    except FileNotFoundError:
        raise SpecError(
            [Problem("output", str(folder), "holds no published results; run the manifest first")]
        ) from None
    except (OSError, ValueError, KeyError) as error:
        raise SpecError([Problem("output", str(published), f"cannot be read: {error}")]) from None
    return completed(report, folder.as_uri())


def _print_report(report: Report, page: Path) -> None:
    print(f"{count(report.samples, 'sample')}, run {report.run}")
    for name, counts in report.stages.items():
        rest = counted((counts.failed, "failed"), (counts.skipped, "skipped"), (counts.missing, "missing"))
        print(f"  {name}: {', '.join([f'{counts.done} done', *rest])}")
    for warning in report.warnings:
        print(f"warning: {warning}")
    for failure in report.failures:
        print(f"failed: {failure.sample}: {failure.stage}: {failure.reason}: {failure.message}")
    if page.is_file():
        print(f"report: {place(page.as_uri())}")
    else:
        sys.stderr.write("no report page was made for this run\n")


@refusing
def report_object(target: str, place: Place, *, open_page: bool, use_secret: bool, as_json: bool) -> int:
    """Prints the object's status; with `open_page` downloads its report page and opens it."""
    reference, cluster = parse(target), connect(place)
    raw = cluster.get(reference)
    view = view_of(raw)
    page = view.outputs.get("report", "")
    if as_json:
        print_json({"page": page, **summary(raw)})
    else:
        print("\n".join(plain_lines(view)))
    try:
        if open_page and not page:
            raise SpecError([Problem("status.outputs.report", "", "there is no report yet: the run has not published")])
        if open_page:
            target_file = Path(tempfile.mkdtemp(prefix="scenewright-")) / PAGE
            copy_object(page, target_file, storage_environment(cluster, raw, use_secret))
            print(f"page: {target_file}")
            webbrowser.open(target_file.as_uri())
    except StorageError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0
