"""The informer's memory: versions, owners, lists that show what is gone."""

from __future__ import annotations

import tracemalloc
from dataclasses import dataclass

from scenewright.reconcile.cache.store import Store


@dataclass(frozen=True)
class Thing:
    name: str
    uid: str
    owner_uid: str = "owner"
    namespace: str = "lab"
    state: str = ""


def recorded() -> tuple[Store[Thing], list[tuple[Thing | None, Thing | None]]]:
    changes: list[tuple[Thing | None, Thing | None]] = []
    return Store(lambda old, new: changes.append((old, new))), changes


def test_an_older_version_never_replaces_a_newer_one() -> None:
    store, _ = recorded()
    store.put(Thing("a", "1", state="new"), 20)
    store.put(Thing("a", "1", state="old"), 10)
    assert store.get("lab", "a") == Thing("a", "1", state="new")


def test_after_a_restore_from_a_backup_older_versions_are_the_truth() -> None:
    store, _ = recorded()
    store.put(Thing("a", "1", state="lost future"), 20)
    store.put(Thing("a", "1", state="restored"), 10, forced=True)
    assert store.get("lab", "a") == Thing("a", "1", state="restored")


def test_only_changes_that_the_projection_shows_are_reported() -> None:
    store, changes = recorded()
    store.put(Thing("a", "1"), 1)
    store.put(Thing("a", "1"), 2)
    store.put(Thing("a", "1", state="x"), 3)
    assert changes == [(None, Thing("a", "1")), (Thing("a", "1"), Thing("a", "1", state="x"))]


def test_a_list_tells_what_is_gone_but_spares_what_is_newer_than_it() -> None:
    store, changes = recorded()
    store.put(Thing("listed", "1"), 5)
    store.put(Thing("gone", "2"), 6)
    store.put(Thing("just-created", "3"), 12)
    changes.clear()
    store.keep_only({("lab", "listed")}, "", 10)
    assert changes == [(Thing("gone", "2"), None)]
    assert {thing.name for thing in store} == {"listed", "just-created"}


def test_a_list_of_one_namespace_says_nothing_of_others() -> None:
    store, _ = recorded()
    store.put(Thing("a", "1", namespace="other"), 1)
    store.keep_only(set(), "lab", 10)
    assert len(store) == 1


def test_the_answer_to_a_deletion_that_comes_late_brings_nothing_back() -> None:
    store, changes = recorded()
    store.put(Thing("a", "1"), 5)
    store.remove("lab", "a", "1")
    changes.clear()
    store.put(Thing("a", "1", state="deleting"), 6)
    assert len(store) == 0 and not changes
    store.put(Thing("a", "2"), 8)
    assert store.get("lab", "a") == Thing("a", "2"), "a successor of the same name"


def test_what_was_deleted_is_there_again_after_a_restore_from_a_backup() -> None:
    store, _ = recorded()
    store.put(Thing("a", "1"), 20)
    store.remove("lab", "a", "1")
    store.put(Thing("a", "1"), 10, forced=True)
    store.put(Thing("a", "1", state="x"), 11)
    assert store.get("lab", "a") == Thing("a", "1", state="x")


def test_of_many_deletions_only_the_latest_are_remembered() -> None:
    store, _ = recorded()
    for number in range(5000):
        store.remove("lab", "a", str(number))
    assert len(store._deleted) == 1000
    store.put(Thing("a", "4999"), 1)
    assert len(store) == 0


def test_removing_with_a_uid_spares_the_successor_of_that_name() -> None:
    store, _ = recorded()
    store.put(Thing("a", "second"), 5)
    store.remove("lab", "a", "first")
    assert store.get("lab", "a") is not None


def test_owners_are_found_and_forgotten() -> None:
    store, _ = recorded()
    store.put(Thing("b", "1"), 1)
    store.put(Thing("a", "2"), 2)
    store.put(Thing("c", "3", owner_uid="other"), 3)
    assert [thing.name for thing in store.of_owner("owner")] == ["a", "b"]
    store.drop_owner("owner")
    assert store.of_owner("owner") == ()
    assert len(store) == 1


def test_a_successor_of_the_same_name_changes_owner() -> None:
    store, _ = recorded()
    store.put(Thing("a", "1", owner_uid="first"), 1)
    store.put(Thing("a", "2", owner_uid="second"), 2)
    assert store.of_owner("first") == ()
    assert store.of_owner("second") == (Thing("a", "2", owner_uid="second"),)


def test_what_is_not_wanted_is_not_kept() -> None:
    store: Store[Thing] = Store(wanted=lambda thing: thing.state != "over")
    store.put(Thing("a", "1", state="over"), 1)
    assert len(store) == 0


def test_what_outlives_its_object_is_no_difference_to_a_list_and_makes_room_for_a_successor() -> None:
    store: Store[Thing] = Store(outlives=lambda thing: thing.state == "told")
    store.put(Thing("a", "1", state="told"), 5)
    store.remove("lab", "a", "1")
    store.keep_only(set(), "", 10)
    assert store.get("lab", "a") is not None
    store.put(Thing("a", "2"), 7)
    store.keep_only(set(), "", 10)
    assert len(store) == 0


def test_what_outlived_its_object_is_forgotten_when_it_no_longer_matters() -> None:
    matters = {"1", "2"}
    store: Store[Thing] = Store(outlives=lambda thing: thing.uid in matters)
    store.put(Thing("a", "1"), 1)
    store.put(Thing("b", "2"), 2)
    store.remove("lab", "a", "1")
    matters.clear()
    store.forget_gone("owner")
    assert [thing.name for thing in store] == ["b"]


def test_an_update_leaves_nothing_of_the_older_projection_behind() -> None:
    """Texts of a new projection are equal to those of the old one, and objects of their own."""

    def fill(store: Store[Thing], state: str) -> None:
        for number in range(2000):
            name, uid, namespace = (f"{text}-{number:040}" for text in ("name", "uid", "namespace"))
            # An owner has many; its uid is kept twice, as a key and in its newest projection.
            store.put(Thing(name, uid, f"owner-{number // 20:040}", namespace, state), 1)

    store: Store[Thing] = Store()
    tracemalloc.start()
    try:
        fill(store, "first")
        once, _ = tracemalloc.get_traced_memory()
        fill(store, "second")
        twice, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert twice < 1.1 * once
