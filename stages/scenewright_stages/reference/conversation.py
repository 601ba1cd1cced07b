"""Asks a language model for scene prompts, one by one, until there are enough different ones.

Any endpoint with OpenAI's chat protocol works, such as Ollama; the code never starts, stops or downloads a model.
Transient faults are plain exceptions, which the worker retries. Mistakes of the user are ConfigurationErrors. A model
that gives no usable prompts causes a SampleError that quotes its last answer.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import urllib3

from scenewright_stages.contract.errors import ConfigurationError, SampleError

LIMIT_SECONDS = 240.0
"""Longest time for one answer."""
LONGEST_ANSWER = 1 << 20
ATTEMPTS = 5
"""Answers to each request for one prompt."""
LEAST_WORDS, MOST_WORDS = 4, 120
_FIELD = "spec.referenceObject.prompts"
_QUOTED = 400
_SEEDS = 2**31
_THOUGHT = re.compile(r"<think>.*?(</think>|\Z)", re.DOTALL | re.IGNORECASE)
_NUMBERING = re.compile(r"^\s*(?:prompt\s*)?(?:#?\d+\s*[.):]|[-*•])\s*", re.IGNORECASE)


class EndpointRefused(Exception):  # noqa: N818 - the reason that users read
    """Nothing listens at the address."""


class EndpointTimeout(Exception):  # noqa: N818 - the reason that users read
    """The answer took too long."""


class EndpointFailed(Exception):  # noqa: N818 - the reason that users read
    """The server reported an internal error, or its answer is not a chat completion."""


@dataclass(frozen=True)
class Endpoint:
    """A chat endpoint.

    Attributes:
        url: including the version, such as ``http://ollama:11434/v1``.
        model: name of the model there.
        token: bearer token; empty for none.
        limit: timeout in seconds for one answer.
    """

    url: str
    model: str
    token: str = field(default="", repr=False)
    limit: float = LIMIT_SECONDS

    def answer(self, messages: Sequence[dict[str, str]], seed: int) -> str:
        """The model's next message.

        Raises:
            ConfigurationError: the server rejects the request because address, model or token is wrong.
            EndpointRefused, EndpointTimeout, EndpointFailed: a retry may succeed.
        """
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        body = json.dumps({"model": self.model, "messages": list(messages), "seed": seed % _SEEDS, "stream": False})
        status, content = self._request(body.encode(), headers)
        if status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS) or status >= 500:
            raise EndpointFailed(f"{self.url} answered {status}: {_quoted(content)}")
        if status != HTTPStatus.OK:
            remedy = f"answered {status}: {_quoted(content)}; check url, model and the Secret's key"
            raise ConfigurationError(f"{_FIELD}.url", self.url, remedy)
        return _content_of(content, self.url)

    def _request(self, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
        """Status and text of the answer; the time limit also covers slow bodies."""
        ends = time.monotonic() + self.limit
        timeout = urllib3.Timeout(connect=min(10.0, self.limit), read=self.limit)
        pool = urllib3.PoolManager(retries=False, timeout=timeout)
        received = bytearray()
        try:
            # Following a redirect could leak the token.
            answer = pool.request(
                "POST",
                f"{self.url.rstrip('/')}/chat/completions",
                body=body,
                headers=headers,
                redirect=False,
                preload_content=False,
            )
            while part := answer.read1(65536):
                received += part
                if time.monotonic() > ends:
                    raise EndpointTimeout(f"{self.url} took longer than {self.limit:g} s to answer")
                if len(received) > LONGEST_ANSWER:
                    raise EndpointFailed(f"{self.url} sent more than {LONGEST_ANSWER} bytes")
        except urllib3.exceptions.NewConnectionError as problem:
            remedy = "is the server running, and may this machine reach it?"
            raise EndpointRefused(f"{self.url} refuses connections: {remedy}") from problem
        except urllib3.exceptions.TimeoutError as problem:
            raise EndpointTimeout(f"{self.url} took longer than {self.limit:g} s to answer") from problem
        except urllib3.exceptions.LocationParseError as problem:
            raise ConfigurationError(f"{_FIELD}.url", self.url, "is not an address: http://host:port/v1") from problem
        except urllib3.exceptions.HTTPError as problem:
            raise EndpointFailed(f"{self.url} broke off: {problem}") from problem
        finally:
            pool.clear()
        return int(answer.status), received.decode("utf-8", "replace")


@dataclass
class Conversation:
    """A conversation with a model."""

    endpoint: Endpoint
    seed: int
    messages: list[dict[str, str]] = field(default_factory=list)

    def prompts(self, requests: Sequence[str]) -> list[str]:
        """One prompt per request, all different.

        Raises:
            SampleError: the model gives too few (reason ``EmptyAnswer``, ``RepeatedPrompt`` or ``TooFewPrompts``); the
                message quotes its last answer.
        """
        found: list[str] = []
        for request in requests:
            found.append(self._prompt(request, found, len(requests)))
        return found

    def history(self) -> str:
        """The whole conversation, as stored in ``conversation_history.txt``."""
        return "".join(f"[{each['role']}]\n{each['content'].strip()}\n\n" for each in self.messages)

    def _prompt(self, request: str, earlier: Sequence[str], wanted: int) -> str:
        taken = {_comparable(each) for each in earlier}
        faults: list[str] = []
        answer = ""
        for _ in range(ATTEMPTS):
            answer = self._ask(request)
            prompt = sentence_of(answer)
            fault = _fault(prompt, taken)
            if not fault:
                return prompt
            faults.append(fault)
            request = _AGAIN[fault]
        reason = faults[0] if len(set(faults)) == 1 else "TooFewPrompts"
        raise SampleError(
            reason,
            f"{self.endpoint.model} wrote {len(earlier)} of {wanted} different prompts; the last of {ATTEMPTS} answers "
            f"to the next request: {_quoted(answer)}",
        )

    def _ask(self, request: str) -> str:
        self.messages.append({"role": "user", "content": request})
        # Change the seed, or a repeated request gets the same answer.
        answer = self.endpoint.answer(self.messages, self.seed + len(self.messages))
        self.messages.append({"role": "assistant", "content": answer})
        return answer


_AGAIN = {
    "EmptyAnswer": "Your answer was empty. Write the prompt.",
    "RepeatedPrompt": "You have written this prompt before. Write another one.",
    "TooFewPrompts": f"This is not one sentence of at most {MOST_WORDS} words. Write the prompt alone.",
}


def sentence_of(answer: str) -> str:
    """Extracts the prompt from an answer, without reasoning, introduction, number and quotes; may be empty."""
    lines = [line.strip() for line in _THOUGHT.sub("", answer).splitlines()]
    lines = [line for line in lines if line and not line.endswith(":") and not line.startswith("```")]
    if not lines:
        return ""
    bare = _NUMBERING.sub("", lines[0]).strip().strip("\"'“”„*`").strip()
    return " ".join(bare.split())


def _fault(prompt: str, taken: set[str]) -> str:
    """Why a prompt is unusable; empty if it is usable."""
    if not prompt:
        return "EmptyAnswer"
    if _comparable(prompt) in taken:
        return "RepeatedPrompt"
    return "" if LEAST_WORDS <= len(prompt.split()) <= MOST_WORDS else "TooFewPrompts"


def _comparable(prompt: str) -> str:
    return re.sub(r"\W+", " ", prompt.casefold()).strip()


def _content_of(text: str, url: str) -> str:
    try:
        content: Any = json.loads(text)["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError) as problem:
        raise EndpointFailed(f"{url} did not answer with a chat completion: {_quoted(text)}") from problem
    return content if isinstance(content, str) else ""


def _quoted(text: str) -> str:
    plain = " ".join(text.split())
    return repr(plain if len(plain) <= _QUOTED else f"{plain[:_QUOTED]}…")
