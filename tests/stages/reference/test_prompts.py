"""Prompts: exactly as many as asked for, all different, from a file or from a model whose faults have names."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from scenewright_stages.contract.errors import ConfigurationError, SampleError
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import StageContext, StageInputs
from scenewright_stages.reference.conversation import (
    ATTEMPTS,
    Endpoint,
    EndpointFailed,
    EndpointRefused,
    EndpointTimeout,
    sentence_of,
)
from scenewright_stages.reference.params import PROJECT, PROMPT_FILE, ReferenceObjectParams
from scenewright_stages.reference.pipeline import TOKEN, prompts_stage
from scenewright_stages.reference.prompts import PromptsStage, from_lines, from_model
from scenewright_stages.reference.wording import read_fields

Answer = str | tuple[int, str] | None


class Model:
    """A chat endpoint on loopback; `answers` says what follows the requests so far, None for nothing at all."""

    def __init__(self, answers: Callable[[int], Answer]) -> None:
        self.answers, self.requests, self.headers = answers, list[dict[str, Any]](), list[dict[str, str]]()
        self.released = threading.Event()

    @contextmanager
    def serving(self) -> Iterator[str]:
        model = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/chat/completions"
                body = self.rfile.read(int(self.headers["Content-Length"]))
                model.requests.append(json.loads(body))
                model.headers.append(dict(self.headers))
                answer = model.answers(len(model.requests) - 1)
                if answer is None:
                    model.released.wait(30)
                    return
                status, text = answer if isinstance(answer, tuple) else (200, completion(answer))
                self.send_response(status)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, format: str, *args: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1"
        finally:
            self.released.set()
            server.shutdown()
            thread.join()
            server.server_close()


def completion(text: str) -> str:
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]})


def params(count: int = 3, **prompts: Any) -> ReferenceObjectParams:
    return ReferenceObjectParams.model_validate({"prompts": {"count": count, **prompts}})


def ask(model: Model, count: int = 3, limit: float = 10.0) -> Any:
    with model.serving() as url:
        return from_model(params(count), "cup", 7, Endpoint(url, "small", limit=limit), "Write prompts.")


SENTENCES = [
    "A cup on a marble counter in a kitchen, macro shot, lit from behind, nothing else on it.",
    "A cup on an oak bench between trees, light from the left, a few leaves beside it.",
    "A cup on a linen cloth in a courtyard, wide shot, light from the right, many things around.",
]


def test_a_conversation_gives_one_prompt_for_each_request_and_is_kept() -> None:
    model = Model(lambda number: f'<think>hm</think>\n{number + 1}. "{SENTENCES[number]}"')
    written = ask(model)
    assert [each.text for each in written.fields] == SENTENCES
    assert [(each.surface, each.nearness) for each in written.fields][::2] == [("stone", 1.0), ("cloth", 0.0)]
    assert [each.light for each in written.fields] == ["behind", "left", "right"]
    assert [each.clutter for each in written.fields] == [0.0, 0.5, 1.0]
    assert all(request["model"] == "small" and not request["stream"] for request in model.requests)
    assert len({request["seed"] for request in model.requests}) == 3
    roles = [each["role"] for each in model.requests[-1]["messages"]]
    assert roles == ["system", "user", "assistant", "user", "assistant", "user"]
    assert model.requests[-1]["messages"][0]["content"] == "Write prompts."
    assert "prompt 3 of 3 for a cup" in model.requests[-1]["messages"][-1]["content"]
    assert written.history.count("[assistant]") == 3
    assert SENTENCES[2] in written.history
    again = Model(lambda number: f'<think>hm</think>\n{number + 1}. "{SENTENCES[number]}"')
    assert ask(again) == written
    assert [each["seed"] for each in again.requests] == [each["seed"] for each in model.requests]


def test_duplicates_and_empty_answers_are_asked_for_again() -> None:
    answers = [SENTENCES[0], SENTENCES[0].upper(), "", SENTENCES[1], "No.", SENTENCES[2]]
    model = Model(lambda number: answers[number])
    assert [each.text for each in ask(model).fields] == SENTENCES
    asked = [request["messages"][-1]["content"] for request in model.requests]
    assert "before" in asked[2]
    assert "empty" in asked[3]
    assert "sentence" in asked[5]


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        (lambda number: "", "EmptyAnswer"),
        (lambda number: SENTENCES[0], "RepeatedPrompt"),
        (lambda number: "No.", "TooFewPrompts"),
        (lambda number: [SENTENCES[0], SENTENCES[0], "", "No."][min(number, 3)], "TooFewPrompts"),
    ],
)
def test_a_model_that_never_writes_enough_fails_with_its_answer(answers: Callable[[int], str], reason: str) -> None:
    model = Model(answers)
    with pytest.raises(SampleError) as failed:
        ask(model)
    assert failed.value.reason == reason
    written = sum(each.startswith("A cup") for each in map(answers, range(1)))
    assert f"wrote {written} of 3" in failed.value.message
    assert repr(answers(len(model.requests) - 1)) in failed.value.message
    assert len(model.requests) == ATTEMPTS + written


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (None, EndpointTimeout),
        ((503, "loading"), EndpointFailed),
        ((200, "<html>"), EndpointFailed),
        ((200, '{"choices": []}'), EndpointFailed),
        ((401, "who are you?"), ConfigurationError),
        ((404, "model not found"), ConfigurationError),
        ((307, ""), ConfigurationError),
    ],
)
def test_faults_of_an_endpoint_are_distinguished(answer: Answer, fault: type[Exception]) -> None:
    model = Model(lambda number: answer)
    with pytest.raises(fault) as raised:
        ask(model, limit=0.3 if answer is None else 10.0)
    assert "http://127.0.0.1" in str(raised.value)
    assert len(model.requests) == 1


def test_a_closed_port_refuses() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        with pytest.raises(EndpointRefused, match="is the server running"):
            from_model(params(), "cup", 7, Endpoint(url, "small"), "")


def run_stage(folder: Path, given: ReferenceObjectParams, named: dict[str, Path]) -> tuple[Path, Any]:
    folder.mkdir()
    stage = PromptsStage(StageContext(prompts_stage(given), given))
    sample = Sample("cup", attributes={"class": "cup", "title": "cup", "roster": [["cup", "cup"]], "home": ""})
    result = stage.process(sample, StageInputs({}, given, 3, folder, named=named))
    return Path(str(result.outputs["prompts"])), result


def test_the_stage_sends_token_and_project_and_keeps_the_conversation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN, "s3cret")
    project = tmp_path / "project.txt"
    project.write_text("Cups are found in offices.")
    model = Model(lambda number: SENTENCES[number])
    with model.serving() as url:
        given = params(backend="ollama", url=url, model="small", secretName="llm", projectFile=project.as_uri())
        stage = prompts_stage(given)
        assert (stage.pod.egress, stage.inputs) == ("language-model", (PROJECT,))
        assert stage.pod.secret is not None
        written, result = run_stage(tmp_path / "work", given, {PROJECT: project})
    assert sorted(each.name for each in written.iterdir()) == ["classes.txt", "conversation_history.txt", "prompts.txt"]
    assert (written / "prompts.txt").read_text().splitlines() == SENTENCES
    system = model.requests[0]["messages"][0]["content"]
    assert "Cups are found in offices." in system
    assert "one English sentence" in system
    assert [each["Authorization"] for each in model.headers] == ["Bearer s3cret"] * 3
    assert "s3cret" not in (written / "conversation_history.txt").read_text() + str(result)
    assert result.backends[0].model == "small"


def test_without_a_secret_nothing_is_asked_of_the_environment() -> None:
    given = params(backend="ollama", url="http://localhost:1/v1", model="small")
    assert prompts_stage(given).pod.secret is None
    assert prompts_stage(params()).pod.egress == ""


def test_the_lines_of_a_file_are_the_prompts(tmp_path: Path) -> None:
    file = tmp_path / "scenes.txt"
    file.write_text("\n".join(["", *SENTENCES, "", "A fourth cup somewhere else."]))
    given = params(backend="file", file=file.as_uri())
    written, result = run_stage(tmp_path / "work", given, {PROMPT_FILE: file})
    assert (written / "prompts.txt").read_text().splitlines() == SENTENCES
    fields = [read_fields(each.read_text()) for each in sorted(Path(str(result.outputs["fields"])).iterdir())]
    assert [each.surface for each in fields] == ["stone", "wood", "cloth"]
    assert not result.warnings, "the places of the lines are those that scenes.places gives them"


@pytest.mark.parametrize(
    ("lines", "remedy"), [(SENTENCES[:2], "has 2 prompts"), ([*SENTENCES[:2], SENTENCES[0]], "twice")]
)
def test_a_file_with_too_few_prompts_is_refused(tmp_path: Path, lines: Sequence[str], remedy: str) -> None:
    file = tmp_path / "scenes.txt"
    file.write_text("\n".join(lines))
    given = params(backend="file", file=file.as_uri())
    with pytest.raises(ConfigurationError, match=remedy):
        run_stage(tmp_path / "work", given, {PROMPT_FILE: file})


def test_a_line_that_names_another_place_is_reported() -> None:
    (warning,) = from_lines(params(), [SENTENCES[1], SENTENCES[1] + " ", SENTENCES[2]], "cup", 1).warnings
    assert "1 prompts" in warning
    assert "line 1 (forest is drawn in interior)" in warning


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ("Here is the prompt:\n\n* **A cup on a rock.**", "A cup on a rock."),
        ("Prompt 4: A cup  on a\trock.\nIt shows a cup.", "A cup on a rock."),
        ("<think>A cup on a table?", ""),
        ("```\nA cup on a rock.\n```", "A cup on a rock."),
        ("\n \n", ""),
    ],
)
def test_the_sentence_of_an_answer(answer: str, sentence: str) -> None:
    assert sentence_of(answer) == sentence
