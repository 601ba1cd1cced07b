"""Reads a store in a separate process, which the command line starts so that it need not import boto3 itself.

``python -m scenewright_stages.store.reading copy URI FILE`` copies an object to a file.

``python -m scenewright_stages.store.reading lines PREFIX PATTERN [--tail N] [--follow]`` prints the lines of all
objects below a prefix whose keys match a regular expression, as JSON: ``{"key": …, "line": …}``. With ``--follow`` it
keeps printing new lines until its standard input closes. Errors are one line on standard error and exit code 1.
"""

from __future__ import annotations

import argparse
import json
import re
import select
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from scenewright_stages.contract.errors import ScenewrightError
from scenewright_stages.store.interface import Store
from scenewright_stages.store.opening import open_store, split_uri

SECONDS_BETWEEN_LOOKS = 2.0


@dataclass
class _Read:
    """How far an object has been read so far."""

    etag: str
    size: int = 0


@dataclass
class GrowingLines:
    """New lines of growing objects, which their writers replace with longer versions.

    Args:
        store: where they are.
        pattern: regular expression of their keys.
        tail: how many last lines to return of each object that exists at the first call; 0 for all.
        looked: whether the first call has happened.
    """

    store: Store
    pattern: re.Pattern[str]
    tail: int = 0
    _known: dict[str, _Read] = field(default_factory=dict)
    looked: bool = False

    def new(self, is_last: bool) -> Iterator[tuple[str, str]]:
        """Key and line of everything added since the last call, oldest object first.

        Holds back an incomplete last line unless `is_last`.
        """
        listed = [found for found in self.store.list() if self.pattern.fullmatch(found.key)]
        for found in sorted(listed, key=lambda each: (each.modified, each.key)):
            known = self._known.setdefault(found.key, _Read(""))
            if known.etag == found.etag and not is_last:
                continue
            known.etag = found.etag
            yield from ((found.key, line) for line in self._added(found.key, known, is_last))
        self.looked = True

    def _added(self, key: str, known: _Read, is_last: bool) -> list[str]:
        data = self.store.get_bytes(key)
        is_first = known.size == 0 and not self.looked
        end = len(data) if is_last else data.rfind(b"\n") + 1
        fresh = data[known.size : end]
        known.size = max(known.size, end)
        lines = fresh.decode(errors="replace").splitlines()
        return lines[-self.tail :] if self.tail and is_first else lines


def main(arguments: list[str] | None = None) -> int:
    """Entry point; the exit code."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "copy":
            holder, name = split_uri(options.uri)
            open_store(holder).get_file(name, options.file)
        else:
            _write_lines(options)
    except ScenewrightError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except BrokenPipeError:
        sys.stderr.close()
    return 0


def _write_lines(options: argparse.Namespace) -> None:
    growing = GrowingLines(open_store(options.uri), re.compile(options.pattern), options.tail)
    while True:
        is_last = not options.follow or _closed_within(SECONDS_BETWEEN_LOOKS if growing.looked else 0.0)
        for key, line in growing.new(is_last):
            print(json.dumps({"key": key, "line": line}, ensure_ascii=False))
        sys.stdout.flush()
        if is_last:
            return


def _closed_within(seconds: float) -> bool:
    """Whether standard input closes within this time; nobody ever writes to it."""
    readable, _, _ = select.select([sys.stdin], [], [], seconds)
    return bool(readable)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scenewright_stages.store.reading")
    commands = parser.add_subparsers(dest="command", required=True)
    copy = commands.add_parser("copy")
    copy.add_argument("uri")
    copy.add_argument("file", type=Path)
    lines = commands.add_parser("lines")
    lines.add_argument("uri")
    lines.add_argument("pattern")
    lines.add_argument("--tail", type=int, default=0)
    lines.add_argument("--follow", action="store_true")
    return parser


if __name__ == "__main__":
    sys.exit(main())
