"""``scenewright``: the commands and their options; each body imports what it needs, so that --help is quick."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="scenewright",
    help="3D scenes and image datasets from photographs, on one machine or on Kubernetes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


class OutputFormat(StrEnum):
    """How results are printed."""

    TEXT = "text"
    JSON = "json"


FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="Manifest in YAML or JSON; - reads standard input.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="Change a field: spec.execution.seed=7, or relative to the pipeline block: coarse.frames=5. Repeatable.",
    ),
]
OnlyOption = Annotated[str, typer.Option("--only", metavar="A,B", help="Run these stages alone.")]
StartOption = Annotated[str, typer.Option("--start-from", metavar="STAGE", help="Run this stage and those after it.")]
InputOption = Annotated[
    str, typer.Option("--input", metavar="URI", help="Input in place of the manifest's; paths from this folder.")
]
OutputOption = Annotated[
    str, typer.Option("--output", metavar="URI", help="Output in place of the manifest's; paths from this folder.")
]
CRD_FOLDERS = [Path("crds"), Path("charts/scenewright/files/crds")]
FormatOption = Annotated[OutputFormat, typer.Option("-o", "--format", help="text, or one JSON document for machines.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"scenewright {version('scenewright')}")
        raise typer.Exit()


VersionOption = Annotated[
    bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
]


@app.callback()
def _application(version: VersionOption = False) -> None:
    """3D scenes and image datasets from photographs, on one machine or on Kubernetes."""


@app.command()
def run(
    file: FileArgument,
    assignments: SetOption = None,
    only: OnlyOption = "",
    start_from: StartOption = "",
    input_uri: InputOption = "",
    output_uri: OutputOption = "",
    output_format: FormatOption = OutputFormat.TEXT,
) -> None:
    """Run a manifest here; what is up to date is not made again."""
    from scenewright.cli.commands.run import run_command
    from scenewright.cli.manifests import Changes

    changes = Changes(assignments or [], only, start_from, input_uri, output_uri)
    raise typer.Exit(run_command(file, changes, as_json=output_format is OutputFormat.JSON, retry_failed=False))


@app.command()
def retry(
    file: FileArgument,
    assignments: SetOption = None,
    only: OnlyOption = "",
    start_from: StartOption = "",
    input_uri: InputOption = "",
    output_uri: OutputOption = "",
    output_format: FormatOption = OutputFormat.TEXT,
) -> None:
    """Like run, and try again what failed before."""
    from scenewright.cli.commands.run import run_command
    from scenewright.cli.manifests import Changes

    changes = Changes(assignments or [], only, start_from, input_uri, output_uri)
    raise typer.Exit(run_command(file, changes, as_json=output_format is OutputFormat.JSON, retry_failed=True))


@app.command()
def validate(
    file: FileArgument,
    assignments: SetOption = None,
    only: OnlyOption = "",
    start_from: StartOption = "",
    input_uri: InputOption = "",
    output_uri: OutputOption = "",
    output_format: FormatOption = OutputFormat.TEXT,
) -> None:
    """Check a manifest: fields, values, licences."""
    from scenewright.cli.commands.validate import validate_command
    from scenewright.cli.manifests import Changes

    changes = Changes(assignments or [], only, start_from, input_uri, output_uri)
    raise typer.Exit(validate_command(file, changes, as_json=output_format is OutputFormat.JSON))


@app.command()
def plan(
    file: FileArgument,
    assignments: SetOption = None,
    only: OnlyOption = "",
    start_from: StartOption = "",
    input_uri: InputOption = "",
    output_uri: OutputOption = "",
    output_format: FormatOption = OutputFormat.TEXT,
) -> None:
    """Show what a run would do and why; nothing is written."""
    from scenewright.cli.commands.plan import plan_command
    from scenewright.cli.manifests import Changes

    changes = Changes(assignments or [], only, start_from, input_uri, output_uri)
    raise typer.Exit(plan_command(file, changes, as_json=output_format is OutputFormat.JSON))


@app.command()
def report(
    target: Annotated[str, typer.Argument(metavar="FILE|FOLDER", help="Manifest, or a folder of results.")],
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    output_uri: OutputOption = "",
    output_format: FormatOption = OutputFormat.TEXT,
) -> None:
    """Show how the last run ended, and its report page."""
    from scenewright.cli.commands.report import report_command

    raise typer.Exit(report_command(target, output_uri, open_page, as_json=output_format is OutputFormat.JSON))


@app.command()
def models(
    fetch: Annotated[str, typer.Option("--fetch", metavar="ID", help="Download these weights into the cache.")] = "",
    accept: Annotated[str, typer.Option("--accept", metavar="LICENCE", help="Licence accepted for --fetch.")] = "",
    output_format: FormatOption = OutputFormat.TEXT,
) -> None:
    """List backends: weights, licences, memory, presence."""
    from scenewright.cli.commands.models import fetch_command, models_command

    if fetch:
        raise typer.Exit(fetch_command(fetch, accept))
    raise typer.Exit(models_command(as_json=output_format is OutputFormat.JSON))


@app.command()
def crds(
    folders: Annotated[
        list[Path], typer.Option("--output", metavar="DIR", help="Folder of the CRD files. Repeatable.")
    ] = CRD_FOLDERS,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail when the files differ.")] = False,
) -> None:
    """Write the CustomResourceDefinitions."""
    from scenewright.cli.commands.crds import crds_command

    raise typer.Exit(crds_command(folders, check))


@app.command()
def operator(
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Configuration in YAML; by default the file of SCENEWRIGHT_OPERATOR_CONFIG."),
    ] = None,
) -> None:
    """Run the operator against a cluster (its container's command)."""
    from scenewright.cli.commands.operator import operator_command

    raise typer.Exit(operator_command(config))


def main() -> None:
    """Entry point: errors of the user are told in one line each, without a traceback."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader of a pipe (`scenewright models | head`) has gone; nothing is wrong with us.
        sys.stderr.close()
        sys.exit(0)


if __name__ == "__main__":
    main()
