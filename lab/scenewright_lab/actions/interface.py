"""What the pages need of a place where objects can be started and changed.

Every action is one command line, or one manifest and ``kubectl`` line, and the page shows it: who wants to leave the
page behind can.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from scenewright.api.raw import Json
from scenewright_lab.sources.interface import Entry, Log, Person


@dataclass(frozen=True)
class Offer:
    """One action on an object.

    Attributes:
        verb: in the URL.
        label: of its button.
        command: that does the same.
        manifest: what is applied, as YAML; empty if the command says all.
    """

    verb: str
    label: str
    command: str
    manifest: str = ""


@dataclass(frozen=True)
class Question:
    """A sample that waits for a person's choice: the options by question, and pictures of them by option."""

    sample: str
    text: str
    options: dict[str, list[str]]
    candidates: dict[str, str]


class Actions(ABC):
    """Starts objects, and retries, stops and answers them."""

    @abstractmethod
    async def namespaces(self, person: Person) -> Sequence[str]:
        """Where the person may start objects; empty if there are no namespaces here."""

    @abstractmethod
    async def place(self, person: Person, namespace: str, name: str) -> str:
        """URI for the results of a new object.

        Raises:
            Refused: the name is taken, or nothing may be written for this namespace.
        """

    @abstractmethod
    async def store(self, person: Person, namespace: str, name: str, filename: str, content: BinaryIO) -> str:
        """Keeps an uploaded file and returns its URI."""

    @abstractmethod
    async def start(self, person: Person, document: Json) -> str:
        """Starts an object and returns its id."""

    @abstractmethod
    def start_command(self, document: Json) -> str:
        """The command line that starts it."""

    @abstractmethod
    async def offers(self, person: Person, entry: Entry) -> Sequence[Offer]:
        """What the person can do with an object now."""

    @abstractmethod
    async def do(self, person: Person, entry: Entry, verb: str) -> None:
        """Does one of the offers."""

    async def questions(self, person: Person, entry: Entry) -> Sequence[Question]:
        """Samples of an object that wait for a choice."""
        return ()

    async def pick(self, person: Person, entry: Entry, sample: str, choices: dict[str, str]) -> None:
        """Stores a choice and continues."""
        raise NotImplementedError

    def pick_command(self, entry: Entry) -> str:
        """The command line that lists the questions of an object."""
        return ""

    def output_of(self, entry: Entry) -> Log | None:
        """What the command of an object prints, if it was started here."""
        return None

    async def close(self) -> None:  # noqa: B027 - only what runs something has anything to end
        """Ends what runs."""
