"""CSV files that people open in a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""As OWASP lists them: spreadsheets of Asian locales read full-width signs as the plain ones."""


def plain_cell(cell: str) -> str:
    """The text of a cell that `table` has written."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULA) else cell


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> bytes:
    """A CSV file of texts. A text that a spreadsheet would take for a formula gets an apostrophe in front.

    Names of files come from other people, and a formula may send what is in the sheet to somebody else.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([f"'{cell}" if cell.startswith(_FORMULA) else cell for cell in row] for row in rows)
    return text.getvalue().encode()
