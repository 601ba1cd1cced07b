"""A local folder as listers see an input."""

from __future__ import annotations

from pathlib import Path


class FolderView:
    """All files of a folder."""

    def __init__(self, root: Path) -> None:
        self.root, self.uri, self.single = root, str(root), ""
        self.keys = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())

    def size(self, key: str) -> int:
        """Bytes of a file."""
        return (self.root / key).stat().st_size

    def read(self, key: str) -> bytes:
        """Content of a file."""
        return (self.root / key).read_bytes()
