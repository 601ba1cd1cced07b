"""In-memory stores of Jobs and Pods, by name and by owner, and of the objects of our kinds.

They are used from one event loop. Responses to our own writes are stored at once, so that the next decision sees them
before the watch reports them. An older version never replaces a newer one, and a deleted object does not come back: the
response to a deletion may be read after the watch has reported it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from scenewright.reconcile.cache.observation import ObjectKey, ObservedObject, Owned

T = TypeVar("T", bound=Owned)
_REMEMBERED = 1000
"""Number of uids of deleted objects to remember: far more than requests in flight."""
Name = tuple[str, str]
Changed = Callable[[T | None, T | None], None]
ObjectChanged = Callable[[ObservedObject | None, ObservedObject | None], None]


@dataclass(eq=False)
class Store(Generic[T]):
    """Projections by (namespace, name) and by owner.

    Attributes:
        changed: called with (old, new) after each change of a projection; None stands for absence.
        wanted: which projections to keep; all by default.
        outlives: which projections to keep after their object is gone; none by default.
    """

    changed: Changed[T] = lambda _old, _new: None
    wanted: Callable[[T], bool] = lambda _value: True
    outlives: Callable[[T], bool] = lambda _value: False

    def __post_init__(self) -> None:
        self._gone: set[Name] = set()
        self._deleted: dict[str, None] = {}
        self._entries: dict[Name, tuple[int, T]] = {}
        self._owned: defaultdict[str, set[Name]] = defaultdict(set)

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[T]:
        return iter([value for _, value in self._entries.values()])

    def get(self, namespace: str, name: str) -> T | None:
        entry = self._entries.get((namespace, name))
        return entry[1] if entry else None

    def of_owner(self, owner_uid: str) -> tuple[T, ...]:
        """All projections of one owner, by name."""
        return tuple(self._entries[name][1] for name in sorted(self._owned.get(owner_uid, ())))

    def put(self, value: T, version: int, forced: bool = False) -> None:
        """Stores a projection unless it is outdated or deleted; `forced` after versions have started over."""
        if forced:
            self._deleted.pop(value.uid, None)
        if not self.wanted(value) or value.uid in self._deleted:
            return
        name = (value.namespace, value.name)
        old_version, old = self._entries.get(name, (-1, None))
        if version < old_version and not forced:
            return
        if old is not None:
            # Replace the keys too: the old value's equal strings would stay in memory otherwise.
            self._forget(name, old)
        self._entries[name] = (version, value)
        self._owned[value.owner_uid].add(name)
        if old != value:
            self.changed(old, value)

    def remove(self, namespace: str, name: str, uid: str = "") -> None:
        """Removes a deleted object, unless its projection outlives it.

        With a uid, removes only that object, not its successor, and remembers that it is gone. Without, it may return.
        """
        if uid:
            self._deleted[uid] = None
            if len(self._deleted) > _REMEMBERED:
                del self._deleted[next(iter(self._deleted))]
        entry = self._entries.get((namespace, name))
        if entry is None or (uid and entry[1].uid != uid):
            return
        if self.outlives(entry[1]):
            self._gone.add((namespace, name))
            return
        self._forget((namespace, name), entry[1])
        self.changed(entry[1], None)

    def forget_gone(self, owner_uid: str) -> None:
        """Forgets an owner's deleted objects whose projections no longer matter, without calling `changed`."""
        for name in self._gone & self._owned.get(owner_uid, set()):
            value = self._entries[name][1]
            if not self.outlives(value):
                self._forget(name, value)

    def drop_owner(self, owner_uid: str) -> None:
        """Forgets everything of one owner, without calling `changed`."""
        for name in list(self._owned.get(owner_uid, ())):
            self._forget(name, self._entries[name][1])

    def keep_only(self, names: set[Name], namespace: str, version: int) -> None:
        """Removes everything that a list of a namespace (``""`` for all) at `version` did not contain.

        Keeps what is newer than the list, and projections that outlive their object.
        """
        for name, (known, value) in list(self._entries.items()):
            should_be_there = known <= version and name not in self._gone and namespace in ("", name[0])
            if should_be_there and name not in names:
                self.remove(*name, value.uid)

    def newest(self) -> int:
        """The newest version in the store."""
        return max((version for version, _ in self._entries.values()), default=0)

    def _forget(self, name: Name, value: T) -> None:
        del self._entries[name]
        self._gone.discard(name)
        owned = self._owned[value.owner_uid]
        owned.discard(name)
        if not owned:
            del self._owned[value.owner_uid]


@dataclass(eq=False)
class ObjectStore:
    """All objects of our kinds by key.

    Attributes:
        changed: called with (old, new) after each change; None stands for absence.
    """

    changed: ObjectChanged = lambda _old, _new: None
    _objects: dict[ObjectKey, ObservedObject] = field(default_factory=dict)
    _keys: dict[str, ObjectKey] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._objects)

    def __iter__(self) -> Iterator[ObservedObject]:
        return iter(list(self._objects.values()))

    def get(self, key: ObjectKey) -> ObservedObject | None:
        return self._objects.get(key)

    def key_of(self, uid: str) -> ObjectKey | None:
        return self._keys.get(uid)

    def put(self, new: ObservedObject, forced: bool = False) -> None:
        """Stores an object unless it is outdated; `forced` after versions have started over."""
        old = self._objects.get(new.key)
        known = old.version if old is not None and old.uid == new.uid else -1
        if new.version == known or (new.version < known and not forced):
            return
        if old is not None:
            self._keys.pop(old.uid, None)
        self._objects[new.key] = new
        self._keys[new.uid] = new.key
        self.changed(old, new)

    def remove(self, key: ObjectKey, uid: str) -> None:
        """Forgets the object, but not its successor of the same name."""
        old = self._objects.get(key)
        if old is None or old.uid != uid:
            return
        del self._objects[key]
        self._keys.pop(uid, None)
        self.changed(old, None)
