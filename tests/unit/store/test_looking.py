"""Objects are found below a root in a bounded number of listings, and none is lost to the bound."""

from __future__ import annotations

from pathlib import Path

import pytest
from lab_site import write_object

from scenewright_stages.store import looking
from scenewright_stages.store.local import LocalStore
from scenewright_stages.store.looking import Looker, find_objects


class Counting(LocalStore):
    """A folder that counts its listings."""

    listings = 0

    def folders(self, prefix: str = "", most: int = 1000) -> tuple[str, ...]:
        self.listings += not prefix.endswith("runs/")
        return super().folders(prefix, most)


@pytest.mark.parametrize("most", [1, 2, 3, 7, 20])
def test_every_object_is_found_after_some_looks_and_known_ones_cost_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    for number in range(12):
        write_object(tmp_path, f"o{number}")
    write_object(tmp_path / "o3" / "tuning_runs", "inner")
    monkeypatch.setattr(looking, "MOST_LISTINGS", most)
    monkeypatch.setattr(looking, "MOST_CHECKS", 2)
    store = Counting(tmp_path)
    looker = Looker(store, is_local=False)
    names: list[str] = []
    for _ in range(60):
        before = store.listings
        found = looker.look()
        names = found["names"]
        assert store.listings - before <= most
        assert found["cut"] or len(names) >= 12
    if most > 1:
        assert {f"o{number}" for number in range(12)} <= set(names)
    if most > 4:
        # The root, an object, its folder for others and the object there are four listings of one look.
        assert not found["cut"]
        assert sorted(find_objects(store, 1000).names) == sorted(names)


def test_a_removed_object_is_forgotten_with_what_lay_in_it(tmp_path: Path) -> None:
    write_object(tmp_path, "pairs")
    write_object(tmp_path / "pairs" / "tuning_runs", "inner")
    looker = Looker(LocalStore(tmp_path), is_local=False)
    assert sorted(looker.look()["names"]) == ["pairs", "pairs/tuning_runs/inner"]
    (tmp_path / "pairs").rename(tmp_path / ".hidden")
    assert looker.look()["names"] == []
