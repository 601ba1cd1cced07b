"""Writes `defaults.json` beside every built-in pipeline: `python tools/frozen_defaults.py`.

It holds the defaults of each stage version, from which keys are computed. New fields and raised versions are taken
in. A default that changed under the same version is refused, because samples made before would count as made by it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from scenewright_stages import pipelines as installed
from scenewright_stages.contract.keys import frozen_table, unfrozen_stages
from scenewright_stages.contract.pipeline import Pipeline


def main() -> int:
    """Exit code 1 when a stage needs a higher version."""
    tables: dict[Path, dict[str, object]] = {}
    refused = False
    for name, pipeline in installed.pipelines(built_in=True).items():
        for stage in unfrozen_stages(pipeline):
            refused = True
            print(f"{name}: a default of {stage} changed; raise the version of the stage", file=sys.stderr)
        tables.setdefault(_place(pipeline), {})[name] = frozen_table(pipeline)
    if not refused:
        for path, table in tables.items():
            path.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return int(refused)


def _place(pipeline: Pipeline) -> Path:
    """The file beside the module that declares the pipeline's stages."""
    source = sys.modules[pipeline.stages.__module__].__file__
    assert source is not None
    return Path(source).with_name(installed.DEFAULTS)


if __name__ == "__main__":
    sys.exit(main())
