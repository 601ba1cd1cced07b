"""The ``scenewright`` commands and their options. Each body imports what it needs, so that --help is fast."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(
    name="scenewright",
    help="3D scenes and image datasets from photographs, on one machine or on Kubernetes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


FileArgument = Annotated[
    list[Path],
    typer.Argument(
        metavar="FILE", help="Manifests (YAML or JSON) in any order, or photographs. - reads standard input."
    ),
]
PipelineOption = Annotated[
    str,
    typer.Option(
        "--pipeline", metavar="NAME", help="Pipeline for a photograph without a manifest. Default: vistadream."
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="[NAME:]PATH=VALUE",
        help="Change a field: spec.execution.seed=7, or a path inside the pipeline block: coarse.frames=5. Of several "
        "manifests, NAME says which object. Repeatable.",
    ),
]
OnlyOption = Annotated[
    str,
    typer.Option("--only", metavar="[NAME:]A,B", help="Run only these stages; NAME says of which object."),
]
StartOption = Annotated[
    str, typer.Option("--start-from", metavar="[NAME:]STAGE", help="Run this stage and those after it.")
]
InputOption = Annotated[
    str, typer.Option("--input", metavar="URI", help="Replace the manifest's input. Relative to this folder.")
]
OutputOption = Annotated[
    str, typer.Option("--output", metavar="URI", help="Replace the manifest's output. Relative to this folder.")
]
ExecutionOption = Annotated[
    str,
    typer.Option(
        "--execution",
        metavar="new|last|NAME",
        help="Use a subfolder of the output: a new one, the last one, or this one.",
    ),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Run the selected stages even if they are up to date.")]
RerunOption = Annotated[
    bool,
    typer.Option(
        "--rerun",
        help="Show the scene while it grows, in a Rerun viewer: a window, or a web page if there is no screen.",
    ),
]
ProcessesOption = Annotated[
    int,
    typer.Option("--processes-per-gpu", metavar="N", min=1, max=64, help="Processes of a stage that share a GPU."),
]
PLUGIN = "kubectl scenewright"
"""How people call us when kubectl starts us as its plugin ``kubectl-scenewright``."""
NamespaceOption = Annotated[str, typer.Option("-n", "--namespace", help="Namespace. Default: that of the kubeconfig.")]
ContextOption = Annotated[str, typer.Option("--context", help="Context of the kubeconfig. Default: the current one.")]
ObjectArgument = Annotated[
    str, typer.Argument(metavar="OBJECT", help="An object in a cluster, such as scenejob/courtyard.")
]
UseSecretOption = Annotated[
    bool, typer.Option("--use-secret", help="Read the storage with the keys from the object's Secret.")
]
CRD_FOLDERS = [Path("crds"), Path("charts/scenewright/files/crds")]
FormatOption = Annotated[
    Literal["text", "json"], typer.Option("-o", "--format", help="text, or one JSON document for programs.")
]


TOOL = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
"""Commands of the data plane, which needs renderers and models: their own process reads the options, also --help."""


def _run_tool(module: str, context: typer.Context) -> int:
    return subprocess.run([sys.executable, "-m", module, *context.args], check=False).returncode


def _exit(code: int, **_options: object) -> None:
    raise typer.Exit(code)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"scenewright {version('scenewright')}")
        raise typer.Exit()


VersionOption = Annotated[
    bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
]


@app.callback(result_callback=_exit)
def _application(version: VersionOption = False) -> None:
    """3D scenes and image datasets from photographs, on one machine or on Kubernetes."""


@app.command()
def run(
    files: FileArgument,
    assignments: SetOption = None,
    only: OnlyOption = "",
    start_from: StartOption = "",
    input_uri: InputOption = "",
    output_uri: OutputOption = "",
    execution: ExecutionOption = "",
    pipeline: PipelineOption = "",
    force: ForceOption = False,
    rerun: RerunOption = False,
    processes_per_gpu: ProcessesOption = 1,
    output_format: FormatOption = "text",
) -> int:
    """Run manifests or photographs on this machine.

    Stages that are up to date are skipped. An object runs after the objects that it refers to.
    """
    from scenewright.cli.commands.run import run_command
    from scenewright.cli.manifests import Changes

    changes = Changes(assignments or [], only, start_from, input_uri, output_uri, execution, pipeline)
    as_json = output_format == "json"
    return run_command(files, changes, as_json=as_json, force=force, rerun=rerun, processes_per_gpu=processes_per_gpu)


@app.command()
def retry(
    target: Annotated[
        str, typer.Argument(metavar="FILE|OBJECT", help="Manifest, or an object in a cluster: scenejob/courtyard.")
    ],
    assignments: SetOption = None,
    only: OnlyOption = "",
    start_from: StartOption = "",
    input_uri: InputOption = "",
    output_uri: OutputOption = "",
    execution: ExecutionOption = "",
    output_format: FormatOption = "text",
    namespace: NamespaceOption = "",
    context: ContextOption = "",
) -> int:
    """Run again, including failed samples.

    A manifest runs on this machine. For an object in a cluster, the operator runs it.
    """
    from scenewright.cli.cluster.access import Place, is_reference
    from scenewright.cli.manifests import Changes

    as_json = output_format == "json"
    changes = Changes(assignments or [], only, start_from, input_uri, output_uri, execution)
    if is_reference(target):
        from scenewright.cli.commands.pick import retry_object

        if changes != Changes([]):
            raise typer.BadParameter(f"{target} is in a cluster: edit it there to change what it does")
        return retry_object(target, Place(namespace, context), as_json=as_json)
    from scenewright.cli.commands.run import run_command

    return run_command([Path(target)], changes, as_json=as_json, retry_failed=True)


@app.command()
def pick(
    target: Annotated[
        str, typer.Argument(metavar="FILE|OBJECT", help="Manifest, or an object in a cluster: scenejob/courtyard.")
    ],
    sample: Annotated[
        str, typer.Argument(metavar="[SAMPLE]", help="Sample that waits for a choice. Default: list all.")
    ] = "",
    choices: Annotated[
        list[str] | None, typer.Argument(metavar="[CHOICE]...", help="question=option, or the options in order.")
    ] = None,
    namespace: NamespaceOption = "",
    context: ContextOption = "",
    use_secret: UseSecretOption = False,
    others: Annotated[
        list[Path] | None, typer.Option("--with", help="Manifest of an object that FILE refers to. Repeatable.")
    ] = None,
    output_format: FormatOption = "text",
) -> int:
    """List samples that wait for your choice, or store a choice.

    After a choice, an object in a cluster continues. For a manifest, run it again.
    """
    from scenewright.cli.cluster.access import Place
    from scenewright.cli.commands.pick import pick_command

    place, as_json = Place(namespace, context), output_format == "json"
    return pick_command(
        target, sample, choices or [], place, use_secret=use_secret, as_json=as_json, others=others or []
    )


@app.command()
def validate(
    files: FileArgument,
    assignments: SetOption = None,
    only: OnlyOption = "",
    start_from: StartOption = "",
    input_uri: InputOption = "",
    output_uri: OutputOption = "",
    output_format: FormatOption = "text",
) -> int:
    """Check manifests without running them: fields, values, licences."""
    from scenewright.cli.commands.plan import validate_command
    from scenewright.cli.manifests import Changes

    changes = Changes(assignments or [], only, start_from, input_uri, output_uri)
    return validate_command(files, changes, as_json=output_format == "json")


@app.command()
def plan(
    files: FileArgument,
    assignments: SetOption = None,
    only: OnlyOption = "",
    start_from: StartOption = "",
    input_uri: InputOption = "",
    output_uri: OutputOption = "",
    execution: ExecutionOption = "",
    force: ForceOption = False,
    output_format: FormatOption = "text",
) -> int:
    """Show what would run and why, without writing anything."""
    from scenewright.cli.commands.plan import plan_command
    from scenewright.cli.manifests import Changes

    changes = Changes(assignments or [], only, start_from, input_uri, output_uri, execution)
    return plan_command(files, changes, as_json=output_format == "json", force=force)


@app.command()
def report(
    target: Annotated[
        str,
        typer.Argument(metavar="FILE|FOLDER|OBJECT", help="Manifest, folder of results, or an object in a cluster."),
    ],
    open_page: Annotated[bool, typer.Option("--open", help="Open the report page in the browser.")] = False,
    output_uri: OutputOption = "",
    output_format: FormatOption = "text",
    namespace: NamespaceOption = "",
    context: ContextOption = "",
    use_secret: UseSecretOption = False,
) -> int:
    """Show how the last run ended, and where its report page is."""
    from scenewright.cli.cluster.access import Place, is_reference
    from scenewright.cli.commands.report import report_command, report_object

    as_json = output_format == "json"
    if not is_reference(target):
        return report_command(target, output_uri, open_page, as_json=as_json)
    place = Place(namespace, context)
    return report_object(target, place, open_page=open_page, use_secret=use_secret, as_json=as_json)


@app.command(context_settings=TOOL)
def export(context: typer.Context) -> int:
    """Write finished scenes for other programs."""
    return _run_tool("scenewright_stages.scenes.export.command", context)


@app.command()
def status(
    target: Annotated[
        str,
        typer.Argument(metavar="[OBJECT]", help="An object in a cluster, such as scenejob/courtyard. Default: all."),
    ] = "",
    namespace: NamespaceOption = "",
    all_namespaces: Annotated[
        bool, typer.Option("-A", "--all-namespaces", help="Show the objects of all namespaces.")
    ] = False,
    context: ContextOption = "",
    watch: Annotated[bool, typer.Option("-w", "--watch", help="Update until the object ends.")] = False,
    output_format: FormatOption = "text",
) -> int:
    """Show the state of objects in a cluster."""
    from scenewright.cli.cluster.access import Place
    from scenewright.cli.commands.status import status_command

    place, as_json = Place(namespace, context), output_format == "json"
    return status_command(target, place, all_namespaces=all_namespaces, watch=watch, as_json=as_json)


@app.command()
def logs(
    target: ObjectArgument,
    stage: Annotated[str, typer.Option("--stage", help="Show only this stage, or index or publish.")] = "",
    shard: Annotated[int | None, typer.Option("--shard", min=0, help="Show only this shard.")] = None,
    run_id: Annotated[
        str, typer.Option("--run", metavar="RUN", help="Show an earlier run. Default: the last one.")
    ] = "",
    tail: Annotated[int, typer.Option("--tail", min=0, help="Show only the last N lines of each Pod. 0: all.")] = 0,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Follow until the object ends.")] = False,
    namespace: NamespaceOption = "",
    context: ContextOption = "",
    use_secret: UseSecretOption = False,
    output_format: FormatOption = "text",
) -> int:
    """Show the logs of an object's Pods, including deleted Pods."""
    from scenewright.cli.cluster.access import Place
    from scenewright.cli.commands.logs import Selection, logs_command

    selection = Selection(stage, shard, run_id, tail)
    place, as_json = Place(namespace, context), output_format == "json"
    return logs_command(target, place, selection, follow=follow, use_secret=use_secret, as_json=as_json)


@app.command(context_settings=TOOL)
def mask(context: typer.Context) -> int:
    """Make the mask of an object in a photo."""
    return _run_tool("scenewright_stages.reference.mask_tool", context)


@app.command()
def models(
    fetch: Annotated[str, typer.Option("--fetch", metavar="ID", help="Download these weights into the cache.")] = "",
    accept: Annotated[str, typer.Option("--accept", metavar="LICENCE", help="Accept this licence for --fetch.")] = "",
    store_empty_prompt: Annotated[
        str,
        typer.Option(
            "--store-empty-prompt",
            metavar="ID",
            help="Store the empty prompt's embedding. Afterwards these weights need no text encoders.",
        ),
    ] = "",
    policy: Annotated[
        str,
        typer.Option(
            "--policy",
            metavar="POLICY",
            help="List what this models.policy gives each pipeline: permissive.",
        ),
    ] = "",
    output_format: FormatOption = "text",
) -> int:
    """List backends and their weights, or download weights."""
    from scenewright.cli.commands.models import empty_prompt_command, fetch_command, models_command, policy_command

    if policy:
        return policy_command(policy, as_json=output_format == "json")
    if store_empty_prompt:
        return empty_prompt_command(store_empty_prompt)
    if fetch:
        return fetch_command(fetch, accept)
    return models_command(as_json=output_format == "json")


@app.command()
def crds(
    folders: Annotated[
        list[Path], typer.Option("--output", metavar="DIR", help="Folder for the CRD files. Repeatable.")
    ] = CRD_FOLDERS,
    check: Annotated[bool, typer.Option("--check", help="Write nothing. Fail if the files differ.")] = False,
    installed: Annotated[
        bool, typer.Option("--installed", help="Include pipelines from other installed packages.")
    ] = False,
) -> int:
    """Write the CustomResourceDefinitions and frozen defaults."""
    from scenewright.cli.commands.crds import crds_command

    return crds_command(folders, check, installed)


@app.command()
def serve(
    target: Annotated[
        str, typer.Argument(metavar="[FOLDER|s3://…]", help="Where the results are. Default: the folder results.")
    ] = "",
    cluster: Annotated[bool, typer.Option("--cluster", help="Show the objects of a cluster.")] = False,
    host: Annotated[str, typer.Option("--host", help="Address to listen on. Others than this machine only look.")] = "",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port to listen on.")] = 8088,
    namespaces: Annotated[
        list[str] | None, typer.Option("-n", "--namespace", help="Namespace to show. Repeatable. Default: all.")
    ] = None,
    context: ContextOption = "",
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="Further settings in YAML, as the chart writes them."),
    ] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="Offer no actions.")] = False,
) -> int:
    """Serve a web page that shows results and starts runs."""
    from scenewright.cli.commands.serve import serve_command

    return serve_command(
        target,
        cluster=cluster,
        host=host,
        port=port,
        namespaces=namespaces or [],
        context=context,
        config=config,
        read_only=read_only,
    )


@app.command()
def operator(
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Configuration in YAML. Default: the file named by SCENEWRIGHT_OPERATOR_CONFIG."
        ),
    ] = None,
) -> int:
    """Run the operator (the command of its container)."""
    from scenewright.cli.commands.operator import operator_command

    return operator_command(config)


def main() -> None:
    """Entry point. An interrupt or a closed pipe ends the command without a traceback."""
    called_as = Path(sys.argv[0]).name.removesuffix(".exe")
    try:
        app(prog_name=PLUGIN if called_as == PLUGIN.replace(" ", "-") else "scenewright")
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader of the pipe has exited, as in `scenewright models | head`.
        sys.stderr.close()
        sys.exit(0)


if __name__ == "__main__":
    main()
