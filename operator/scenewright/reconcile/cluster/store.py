"""What an informer knows: the newest projection of each object, by name and by owner.

Reads and writes happen on one event loop. Our own writes are put in as soon as the API server has answered, so that the
next planning sees them although the watch has not told of them yet; an older version never replaces a newer one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar


class Owned(Protocol):
    """What is kept: a projection that knows its name, its uid and its owner's uid."""

    @property
    def namespace(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def uid(self) -> str: ...
    @property
    def owner_uid(self) -> str: ...


T = TypeVar("T", bound=Owned)
Name = tuple[str, str]
Changed = Callable[[T | None, T | None], None]


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
        self._entries: dict[Name, tuple[int, T]] = {}
        self._names: dict[str, Name] = {}
        self._owned: defaultdict[str, set[Name]] = defaultdict(set)

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[T]:
        return iter([value for _, value in self._entries.values()])

    def get(self, namespace: str, name: str) -> T | None:
        """The projection of that name."""
        entry = self._entries.get((namespace, name))
        return entry[1] if entry else None

    def of_uid(self, namespace: str, uid: str) -> T | None:
        """The projection with that uid."""
        name = self._names.get(uid)
        found = self._entries.get(name) if name else None
        return found[1] if found and name and name[0] == namespace else None

    def name_of(self, uid: str) -> Name | None:
        """(namespace, name) of the projection with that uid, as it is kept here."""
        return self._names.get(uid)

    def of_owner(self, owner_uid: str) -> tuple[T, ...]:
        """All projections of one owner, by name."""
        return tuple(self._entries[name][1] for name in sorted(self._owned.get(owner_uid, ())))

    def put(self, value: T, version: int, forced: bool = False) -> None:
        """Keeps a projection unless a newer version is there; `forced` when versions have begun anew."""
        if not self.wanted(value):
            return
        name = (value.namespace, value.name)
        old_version, old = self._entries.get(name, (-1, None))
        if version < old_version and not forced:
            return
        if old is not None:
            # All keys become the new value's own texts: equal ones of the old value would live on beside them.
            self._forget(name, old)
        self._entries[name] = (version, value)
        self._names[value.uid] = name
        self._owned[value.owner_uid].add(name)
        if old != value:
            self.changed(old, value)

    def remove(self, namespace: str, name: str, uid: str = "") -> None:
        """An object is gone and is forgotten, unless it outlives that; with a uid, that one only and no successor."""
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
        for name in self._owned.pop(owner_uid, ()):
            _, value = self._entries.pop(name)
            self._names.pop(value.uid, None)
            self._gone.discard(name)

    def keep_only(self, names: set[Name], namespace: str, version: int) -> int:
        """After a list at `version`: forgets what it did not name; what is newer than the list stays.

        Args:
            names: (namespace, name) of all that the list held.
            namespace: that the list was made of, ``""`` for all.
            version: of the list.

        Returns:
            How many were forgotten.
        """
        gone = [
            (name, value.uid)
            for name, (known, value) in self._entries.items()
            if name not in names and self._should_be_in(namespace, name, known, version)
        ]
        for name, uid in gone:
            self.remove(*name, uid)
        return len(gone)

    def outdated(self, versions: dict[Name, int], namespace: str, version: int) -> int:
        """How much of a list at `version` (versions by name) is not as it is here."""
        older = sum(name in self._entries and self._entries[name][0] < seen for name, seen in versions.items())
        gone = sum(
            name not in versions and self._should_be_in(namespace, name, known, version)
            for name, (known, _) in self._entries.items()
        )
        return older + gone

    def newest(self) -> int:
        """The newest version that was seen."""
        return max((version for version, _ in self._entries.values()), default=0)

    def _should_be_in(self, namespace: str, name: Name, known: int, version: int) -> bool:
        """Whether a list of a namespace (``""`` for all) at `version` would hold what is kept at `known`."""
        return known <= version and name not in self._gone and (not namespace or name[0] == namespace)

    def _forget(self, name: Name, value: T) -> None:
        del self._entries[name]
        self._gone.discard(name)
        self._names.pop(value.uid, None)
        self._disown(value.owner_uid, name)

    def _disown(self, owner_uid: str, name: Name) -> None:
        names = self._owned.get(owner_uid)
        if names is not None:
            names.discard(name)
            if not names:
                del self._owned[owner_uid]
