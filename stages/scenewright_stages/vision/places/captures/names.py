"""Finds files by names that another system wrote: in another case, with backslashes, in another Unicode form.

Captures travel between systems that treat names differently: Windows ignores case and writes backslashes, macOS splits
an umlaut into two characters. A file of exactly the name is taken; else the only one that differs in this alone.
"""

from __future__ import annotations

import posixpath
import unicodedata
from collections.abc import Collection, Sequence
from functools import lru_cache


def plain(name: str) -> str:
    """The name as it is compared: composed characters, forward slashes, no steps up or on the spot, no case."""
    return posixpath.normpath(unicodedata.normalize("NFC", name.replace("\\", "/")).casefold())


def matching(name: str, keys: Collection[str]) -> str | None:
    """The file of this name, or the only one whose name differs in case, slashes or Unicode form; else None."""
    return name if name in keys else by_plain_name(frozenset(keys)).get(plain(name))


@lru_cache(maxsize=4)
def by_plain_name(keys: frozenset[str]) -> dict[str, str]:
    """Files by their plain name; without those that share it, for nothing tells which one is meant."""
    found: dict[str, str] = {}
    shared = set()
    for key in sorted(keys):
        name = plain(key)
        if found.setdefault(name, key) != key:
            shared.add(name)
    return {name: key for name, key in found.items() if name not in shared}


def named(names: Sequence[str], most: int = 3) -> str:
    """Names for a message: the first of them, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
