"""What is known of Jobs and Pods, by name and by owner, and of the objects of our kinds.

Reads and writes happen on one event loop. Our own writes are put in as soon as the API server has answered, so that the
next planning sees them although the watch has not told of them yet. An older version never replaces a newer one, and
what is gone stays gone: on a busy machine the answer to a deletion is read after the watch has reported its end.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from scenewright.reconcile.cache.observation import ObjectKey, ObservedObject, Owned

T = TypeVar("T", bound=Owned)
_REMEMBERED = 1000
"""Uids of deleted objects that are remembered: many more than there are requests under way."""
Name = tuple[str, str]
Changed = Callable[[T | None, T | None], None]
ObjectChanged = Callable[[ObservedObject | None, ObservedObject | None], None]


class Store(Generic[T]):
    """Projections by (namespace, name) and by owner.

    Args:
        changed: called with (old, new) after each change that the projection shows; None stands for absence.
        wanted: says which projections are worth keeping; all of them by default.
        outlives: says which projections still matter once their object is gone; none of them by default.
    """

    def __init__(
        self,
        changed: Changed[T] | None = None,
        wanted: Callable[[T], bool] | None = None,
        outlives: Callable[[T], bool] | None = None,
    ) -> None:
        self.changed: Changed[T] = changed or (lambda _old, _new: None)
        self.wanted: Callable[[T], bool] = wanted or (lambda _value: True)
        self.outlives: Callable[[T], bool] = outlives or (lambda _value: False)
        self._gone: set[Name] = set()
        self._deleted: dict[str, None] = {}
        self._entries: dict[Name, tuple[int, T]] = {}
        self._owned: defaultdict[str, set[Name]] = defaultdict(set)

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[T]:
        return iter([value for _, value in self._entries.values()])

    def get(self, namespace: str, name: str) -> T | None:
        """The projection of that name."""
        entry = self._entries.get((namespace, name))
        return entry[1] if entry else None

    def of_owner(self, owner_uid: str) -> tuple[T, ...]:
        """All projections of one owner, by name."""
        return tuple(self._entries[name][1] for name in sorted(self._owned.get(owner_uid, ())))

    def put(self, value: T, version: int, forced: bool = False) -> None:
        """Keeps a projection unless a newer one is there or was deleted; `forced` when versions have started again."""
        if forced:
            self._deleted.pop(value.uid, None)
        if not self.wanted(value) or value.uid in self._deleted:
            return
        name = (value.namespace, value.name)
        old_version, old = self._entries.get(name, (-1, None))
        if version < old_version and not forced:
            return
        if old is not None:
            # All keys become the new value's own texts: equal ones of the old value would live on beside them.
            self._forget(name, old)
        self._entries[name] = (version, value)
        self._owned[value.owner_uid].add(name)
        if old != value:
            self.changed(old, value)

    def remove(self, namespace: str, name: str, uid: str = "") -> None:
        """An object is gone and is forgotten, unless it outlives that; with a uid, that one only and no successor.

        Without a uid it may be ours again later.
        """
        if uid:
            self._remember(uid)
        entry = self._entries.get((namespace, name))
        if entry is None or (uid and entry[1].uid != uid):
            return
        if self.outlives(entry[1]):
            self._gone.add((namespace, name))
            return
        self._forget((namespace, name), entry[1])
        self.changed(entry[1], None)

    def forget_gone(self, owner_uid: str) -> None:
        """Forgets what one owner has of objects that are gone and no longer matter, without telling."""
        for name in self._gone & self._owned.get(owner_uid, set()):
            value = self._entries[name][1]
            if not self.outlives(value):
                self._forget(name, value)

    def drop_owner(self, owner_uid: str) -> None:
        """Forgets all that one owner has, without telling."""
        for name in list(self._owned.get(owner_uid, ())):
            self._forget(name, self._entries[name][1])

    def keep_only(self, names: set[Name], namespace: str, version: int) -> None:
        """After a list of a namespace (``""`` for all) at `version`: forgets what it did not name.

        What is newer than the list stays, and so does what outlives its object.
        """
        for name, (known, value) in list(self._entries.items()):
            should_be_there = known <= version and name not in self._gone and namespace in ("", name[0])
            if should_be_there and name not in names:
                self.remove(*name, value.uid)

    def newest(self) -> int:
        """The newest version that was seen."""
        return max((version for version, _ in self._entries.values()), default=0)

    def _remember(self, uid: str) -> None:
        self._deleted[uid] = None
        if len(self._deleted) > _REMEMBERED:
            del self._deleted[next(iter(self._deleted))]

    def _forget(self, name: Name, value: T) -> None:
        del self._entries[name]
        self._gone.discard(name)
        owned = self._owned[value.owner_uid]
        owned.discard(name)
        if not owned:
            del self._owned[value.owner_uid]


class ObjectStore:
    """All objects of our kinds by key.

    Args:
        changed: called with (old, new) after each change; None stands for absence.
    """

    def __init__(self, changed: ObjectChanged | None = None) -> None:
        self.changed: ObjectChanged = changed or (lambda _old, _new: None)
        self._objects: dict[ObjectKey, ObservedObject] = {}
        self._keys: dict[str, ObjectKey] = {}

    def __len__(self) -> int:
        return len(self._objects)

    def __iter__(self) -> Iterator[ObservedObject]:
        return iter(list(self._objects.values()))

    def get(self, key: ObjectKey) -> ObservedObject | None:
        """The object of that name."""
        return self._objects.get(key)

    def key_of(self, uid: str) -> ObjectKey | None:
        """The key of the object with that uid."""
        return self._keys.get(uid)

    def put(self, new: ObservedObject, forced: bool = False) -> None:
        """Keeps an object unless a newer version of it is there; `forced` when versions have started again."""
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
