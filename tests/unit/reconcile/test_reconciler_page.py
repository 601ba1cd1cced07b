"""The page about the reconciler names every reason that the code can give, and no other."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import get_args

from scenewright.reconcile.cache.observation import DependencyState

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "reconciler.md"
PACKAGE = ROOT / "operator" / "scenewright" / "reconcile" / "decide"
REASON = re.compile(r"[A-Z][a-z]+(?:[A-Z][a-z]*)*")
NOT_REASONS = {
    # Words of Kubernetes and of this API that are no reasons of conditions.
    "Accepted", "Progressing", "Waiting", "Complete", "Failed", "Finished", "Warning", "Normal", "True", "False",
    "Pending", "Running", "Unknown", "Indexing", "Publishing", "Done", *get_args(DependencyState),
    "Helm", "Flux", "Continue", "Started", "Dependency", "DecideSettings",
    "NotWaiting", "NotSuspended", "NotFinished", "NotFailed", "NoWarning", "UpToDate", "NotSelected",
    # Reasons of Jobs and Pods that are read, not given.
    "PodFailurePolicy", "FailedIndexes", "ImageInspectError", "RegistryUnavailable",
}  # fmt: skip


def test_every_reason_is_on_the_page() -> None:
    named = set(re.findall(r"`([A-Za-z]+)`", PAGE.read_text()))
    assert given_reasons() - named == set()


def test_no_reason_on_the_page_is_made_up() -> None:
    tables = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    said = {reason for line in tables for reason in re.findall(r"`([A-Z][A-Za-z]+)`", line.split("|", 2)[2])}
    # Those of workers, and the verdict that local runs share.
    workers = {
        "SamplesFailed",
        "AwaitingSelection",
        "TooManyFailures",
        "OutputInUse",
        "MaxFailedIndexesExceeded",
        "DeadlineExceeded",
        # Those that the caches know, too.
        "BudgetReached",
        "TooManyObjects",
        # Those of the reconciler, when acting fails.
        "ApiServerFails",
        "NotPermitted",
    }
    assert said - given_reasons() - NOT_REASONS - workers == set()


def given_reasons() -> set[str]:
    """Words in the package that look like a reason, those that are put together included."""
    found = {f"Dependency{state}" for state in get_args(DependencyState)} - {"DependencyComplete"}
    for module in PACKAGE.glob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and REASON.fullmatch(node.value):
                found.add(node.value)
    return found - NOT_REASONS
