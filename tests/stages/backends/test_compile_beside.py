"""A network that begins eagerly: when it changes over, what the cache has by then, and what happens without the child.

A real child compiles in the tests marked slow; the others stop at its protocol or compile by ``eager``.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from tiny_flux import save_tiny_flux
from tiny_qwen_image import tiny_transformer
from tiny_seva import LICENCES, save_tiny_seva
from torch import nn
from torch._dynamo.utils import counters

from scenewright_stages.backends.edit.qwen_attention import RealRotations, use_real_rotations
from scenewright_stages.backends.inpaint.flux_fill import FluxFillInpainter
from scenewright_stages.backends.inpaint.interface import OUTPAINT
from scenewright_stages.backends.novel_views.interface import NOVEL_VIEWS
from scenewright_stages.backends.novel_views.seva.engine import SevaViews
from scenewright_stages.backends.runtime import compile_beside
from scenewright_stages.backends.runtime.acceleration import BLOCKS, NETWORK, NONE, Float8Linear, begins_eagerly
from scenewright_stages.backends.runtime.capability import BackendRecord
from scenewright_stages.backends.runtime.compile_beside import NOTE, CompileBeside, blocks_beside, network_beside
from scenewright_stages.backends.runtime.compile_child import CallFacts, Job, TensorFacts, compile_call, without_weights
from scenewright_stages.backends.runtime.loading import ModelContext, ModelPool
from scenewright_stages.vision.cuda_graphs import ReplayedCalls

pytestmark = pytest.mark.process


@pytest.fixture(autouse=True)
def compile_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty one, set as a Pod's environment sets it."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "compiled" / "triton"))
    return tmp_path / "compiled"


RECORD = BackendRecord("inpaint", "tiny", "model", notes="Invented.")


class FakeChild:
    """Answers when a test says so."""

    def __init__(self, *_: object) -> None:
        self.calls: list[CallFacts] = []
        self.is_finished = self.is_failed = self.ended = False

    def request(self, call: CallFacts) -> None:
        self.calls.append(call)

    def finished(self) -> bool:
        return self.is_finished

    def failed(self) -> bool:
        return self.is_failed

    def last_output(self) -> str:
        return "OutOfMemoryError: 3 GiB"

    def end(self) -> None:
        self.ended = True


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[FakeChild]:
    """The children that were started; none is a process."""
    started: list[FakeChild] = []

    def start(*arguments: object) -> FakeChild:
        started.append(FakeChild(*arguments))
        return started[-1]

    monkeypatch.setattr(compile_beside, "_Child", start)
    return started


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU()).eval()


PICTURES = torch.randn(2, 3, 8, 8)


def is_compiled(network: nn.Module) -> bool:
    return network._compiled_call_impl is not None


def test_a_backend_begins_eagerly_only_where_it_is_asked_for_and_compiles() -> None:
    def begins(device: str, compiled: str, **options: str) -> bool:
        return begins_eagerly(ModelContext(Path(), device, options=options), compiled)

    assert not begins("cuda", BLOCKS)
    assert begins("cuda", BLOCKS, begin="eager")
    assert begins("cuda:1", NETWORK, begin="eager")
    assert begins("cpu", BLOCKS, begin="eager")
    assert not begins("cuda", NONE, begin="eager")
    assert not begins("cuda", BLOCKS, begin="compiled")


@torch.no_grad()
def test_a_network_changes_over_between_samples_and_never_within_one(
    network: nn.Module, children: list[FakeChild]
) -> None:
    beside = network_beside(network, None, backend="eager")
    called = beside.wrap(network)
    beside.begin_sample()
    plain = called(PICTURES)
    (child,) = children
    assert [call.arguments[0][0].size for call in child.calls] == [(2, 3, 8, 8)]
    beside.begin_sample()
    called(PICTURES)
    child.is_finished = True
    called(PICTURES)
    assert not beside.compiled
    assert not is_compiled(network)
    assert len(child.calls) == 1
    beside.begin_sample()
    assert beside.compiled
    assert is_compiled(network)
    assert child.ended
    assert not network._forward_pre_hooks
    torch.testing.assert_close(called(PICTURES), plain, rtol=0, atol=1e-6)


@torch.no_grad()
def test_the_parent_compiles_in_the_order_of_the_child(network: nn.Module, children: list[FakeChild]) -> None:
    """The compiler generalises from earlier shapes: code of another order is not in the cache."""
    torch._dynamo.reset()
    beside = network_beside(network, None, backend="eager")
    beside._options["dynamic"] = None
    called = beside.wrap(network)
    for side in (8, 10, 8, 12):
        beside.begin_sample()
        called(torch.randn(2, 3, side, side))
    (child,) = children
    sides = [call.arguments[0][0].size[-1] for call in child.calls]
    assert sides == [8, 10, 12]
    again: list[int] = []
    network.register_forward_pre_hook(lambda _, args: again.append(args[0].shape[-1]))
    child.is_finished = True
    beside.begin_sample()
    assert again == sides


@torch.no_grad()
def test_if_the_child_fails_it_is_said_once_and_the_network_compiled_here(
    network: nn.Module, children: list[FakeChild], capsys: pytest.CaptureFixture[str], compile_cache: Path
) -> None:
    beside = network_beside(network, None, backend="eager")
    called = beside.wrap(network)
    called(PICTURES)
    children[0].is_failed = True
    for _ in range(2):
        beside.begin_sample()
        called(PICTURES)
    assert is_compiled(network)
    assert capsys.readouterr().out.count("OutOfMemoryError: 3 GiB") == 1
    assert len(list(compile_cache.glob("begins/*.json"))) == 1


@torch.no_grad()
def test_a_network_that_cannot_be_sent_is_compiled_here(
    network: nn.Module, children: list[FakeChild], capsys: pytest.CaptureFixture[str]
) -> None:
    network.tells = lambda: None
    beside = network_beside(network, None, backend="eager")
    beside.wrap(network)(PICTURES)
    assert beside.compiled
    assert is_compiled(network)
    assert not children
    assert "pickle" in capsys.readouterr().out
    assert beside.noted(RECORD) == RECORD


@torch.no_grad()
def test_with_the_code_in_the_cache_the_first_sample_is_compiled(children: list[FakeChild], tmp_path: Path) -> None:
    """Other sizes and other networks begin eagerly."""

    def begun(channels: int, side: int, end: bool = True) -> bool:
        network = nn.Sequential(nn.Conv2d(3, channels, 3), nn.SiLU()).eval()
        beside = network_beside(network, tmp_path, backend="eager")
        called = beside.wrap(network)
        before = len(children)
        beside.begin_sample()
        called(torch.randn(2, 3, side, side))
        assert beside.compiled == is_compiled(network) == (len(children) == before)
        if end and not beside.compiled:
            children[-1].is_finished = True
        beside.release()
        return beside.compiled

    assert not begun(4, 8, end=False)
    # Its child had not finished.
    assert not begun(4, 8)
    assert begun(4, 8)
    assert not begun(4, 10)
    assert not begun(5, 8)
    assert begun(4, 10)
    assert all(child.ended for child in children)


@torch.no_grad()
def test_a_record_says_that_the_network_ran_eagerly(network: nn.Module, children: list[FakeChild]) -> None:
    beside = network_beside(network, None, backend="eager")
    called = beside.wrap(network)

    def sample(calls: int = 1) -> None:
        for _ in range(calls):
            beside.begin_sample()
            called(PICTURES)

    assert beside.noted(RECORD) == RECORD
    sample(2)
    assert beside.noted(RECORD).notes == f"Invented. {NOTE}"
    sample()
    children[0].is_finished = True
    # Its first part was eager.
    sample()
    assert beside.noted(RECORD).notes == beside.noted(RECORD).notes == f"Invented. {NOTE}"
    sample()
    assert beside.noted(RECORD) == RECORD
    other: list[BackendRecord] = []
    thread = threading.Thread(target=lambda: other.append(beside.noted(RECORD)))
    thread.start()
    thread.join()
    assert other == [RECORD]


def test_recordings_of_eager_calls_are_freed_at_the_change_over(network: nn.Module, children: list[FakeChild]) -> None:
    replayed = ReplayedCalls(network)
    replayed._keep("eager", None)
    beside = network_beside(network, None, backend="eager")
    called = beside.wrap(network, replayed.forget)
    called(PICTURES)
    children[0].is_finished = True
    assert replayed._recordings
    beside.begin_sample()
    assert not replayed._recordings


def test_what_the_child_gets_has_no_weights_and_the_same_layout() -> None:
    transformer = tiny_transformer()
    use_real_rotations(transformer)
    block = transformer.transformer_blocks[0]
    block.attn.to_q = Float8Linear(block.attn.to_q, "cpu")
    stored = without_weights(block)
    assert len(stored) < 200_000
    assert all(parameter.device.type == "cpu" for parameter in block.parameters())
    job = pickle.loads(
        pickle.dumps(Job((stored,), "cpu", {"backend": "eager"}, None, torch.get_num_threads(), "highest"))
    )
    (unit,) = job.units()
    assert isinstance(unit.attn.processor, RealRotations)
    for (name, value), (other, made) in zip(block.state_dict().items(), unit.state_dict().items(), strict=True):
        assert (name, TensorFacts.of(value)) == (other, TensorFacts.of(made))
        assert not made.float().any()


def test_a_call_is_repeated_with_the_same_layout_and_identity() -> None:
    seen: list[Any] = []

    class Unit(nn.Module):
        def forward(self, *args: Any, **kwargs: Any) -> None:
            seen.append((args, kwargs, torch.is_grad_enabled()))

    shared = torch.randn(4, 6).T
    with torch.no_grad():
        facts = CallFacts.of(0, (shared, [shared, None, 3]), {"rotary": (torch.ones(2, dtype=torch.int64), "text")})
    pickle.loads(pickle.dumps(facts)).call([Unit()])
    args, kwargs, grad = seen[0]
    assert not grad
    assert args[0] is args[1][0]
    assert (args[0].shape, args[0].stride()) == (shared.shape, shared.stride())
    assert args[1][1:] == [None, 3]
    assert kwargs["rotary"][0].dtype == torch.int64
    assert kwargs["rotary"][1] == "text"


@torch.no_grad()
def test_the_layout_that_a_compiled_block_hands_to_the_next_is_compiled_too() -> None:
    """Each layout once; only arguments of a result's size and type follow it."""
    calls: list[tuple[tuple[int, ...], ...]] = []

    class Block(nn.Module):
        def forward(self, states: torch.Tensor, text: torch.Tensor, steps: torch.Tensor) -> tuple[torch.Tensor, ...]:
            calls.append((states.stride(), text.stride(), steps.stride()))
            whole = torch.cat([text, states], dim=1)
            return whole[:, :2], whole[:, 2:]

    given = torch.zeros(1, 3, 4), torch.zeros(1, 2, 4), torch.zeros(1, 3, 4, dtype=torch.int64)
    compile_call(CallFacts.of(0, given, {}), [Block()])
    assert calls == [((12, 4, 1), (8, 4, 1), (12, 4, 1)), ((20, 4, 1), (20, 4, 1), (12, 4, 1))]


LICENCE = "flux-1-dev-non-commercial"
IMAGE = np.random.default_rng(0).random((48, 64, 3), dtype=np.float32)
HOLE = np.zeros((48, 64), np.bool_)
HOLE[16:40, 24:56] = True


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cache")
    save_tiny_flux(root / "black-forest-labs" / "FLUX.1-Fill-dev")
    return root


def load_flux(cache: Path) -> FluxFillInpainter:
    options = {"precision": "fp32", "steps": 2, "compile": BLOCKS, "begin": "eager"}
    inpainter = ModelPool().load(
        OUTPAINT, "flux-fill", ModelContext(cache, "cpu", frozenset({LICENCE}), options=options)
    )
    assert isinstance(inpainter, FluxFillInpainter)
    return inpainter


def test_flux_changes_over_between_two_fills(
    cache: Path, children: list[FakeChild], monkeypatch: pytest.MonkeyPatch
) -> None:
    in_eager: Callable[..., CompileBeside] = lambda *given: blocks_beside(*given, backend="eager")  # noqa: E731
    monkeypatch.setattr("scenewright_stages.backends.inpaint.flux_fill.blocks_beside", in_eager)
    replayed: list[ReplayedCalls] = []
    replay, forget = ReplayedCalls.__call__, Mock()
    monkeypatch.setattr(ReplayedCalls, "forget", forget)
    monkeypatch.setattr(ReplayedCalls, "__call__", lambda self, **given: replayed.append(self) or replay(self, **given))
    inpainter = load_flux(cache)
    assert not children
    eager = inpainter.fill(IMAGE, HOLE, seed=1)
    (child,) = children
    assert len(replayed) == 2
    forget.assert_not_called()
    # One call of each of two kinds of block, over two steps.
    assert [call.unit for call in child.calls] == [0, 1]
    assert NOTE in inpainter.record.notes
    child.is_finished = True
    compiled = inpainter.fill(IMAGE, HOLE, seed=1)
    forget.assert_called_once_with()
    assert len(replayed) == 4
    transformer = inpainter._pipeline.transformer
    assert all(map(is_compiled, (*transformer.transformer_blocks, *transformer.single_transformer_blocks)))
    assert NOTE not in inpainter.record.notes
    np.testing.assert_allclose(compiled, eager, atol=1e-5)
    inpainter.release()
    assert child.ended


def test_seva_begins_eagerly_where_it_is_asked_for(tmp_path: Path, children: list[FakeChild]) -> None:
    context = ModelContext(save_tiny_seva(tmp_path), "cpu", LICENCES, options={"compile": NETWORK, "begin": "eager"})
    views = ModelPool().load(NOVEL_VIEWS, "seva", context)
    assert isinstance(views, SevaViews)
    assert views._models is not None
    assert views._beside is not None
    (network,) = views._beside._units
    latent, rays = torch.randn(4, 11, 8, 8), torch.randn(4, 6, 8, 8)
    with torch.no_grad():
        views._models[0]._predict(latent, torch.zeros(4, dtype=torch.int64), torch.randn(4, 1, 16), rays, 2)
    assert [call.unit for call in children[0].calls] == [0]
    assert not is_compiled(network)
    assert NOTE in views.record.notes
    views.release()
    assert children[0].ended


@pytest.fixture
def beside_process(network: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CompileBeside]:
    """Has a real child, which compiles by ``eager``."""
    # At its own low priority it starves beside the suite's other processes.
    at_ours = "import scenewright_stages.backends.runtime.compile_child as child; child._NICENESS = 0; child.main()"
    monkeypatch.setattr(compile_beside, "COMMAND", (sys.executable, "-P", "-c", at_ours))
    beside = network_beside(network, tmp_path, backend="eager")
    yield beside
    beside.release()


def child_of(beside: CompileBeside) -> subprocess.Popen[bytes]:
    assert isinstance(beside._child, compile_beside._Child)
    return beside._child._process


def wait_for_child(beside: CompileBeside) -> None:
    assert beside._child is not None
    while not beside._child.finished():
        assert not beside._child.failed(), beside._child.last_output()
        time.sleep(0.1)


@pytest.mark.slow
@torch.no_grad()
def test_the_child_answers_and_ends_when_its_parent_does(beside_process: CompileBeside, network: nn.Module) -> None:
    called = beside_process.wrap(network)
    called(PICTURES)
    wait_for_child(beside_process)
    child = child_of(beside_process)
    assert child.poll() is None
    assert child.stdin is not None
    # The system closes it when the parent ends.
    child.stdin.close()
    assert child.wait() == 0


@pytest.mark.slow
@torch.no_grad()
def test_a_child_that_cannot_call_the_network_says_why(beside_process: CompileBeside, network: nn.Module) -> None:
    called = beside_process.wrap(network)
    called(PICTURES)
    assert beside_process._child is not None
    wrong = CallFacts(0, ((TensorFacts((2, 5, 8, 8), (320, 64, 8, 1), torch.float32, "cpu", False),), {}), False, False)
    beside_process._child.request(wrong)
    child_of(beside_process).wait()
    assert beside_process._child.failed()
    assert "expected input[2, 5, 8, 8] to have 3 channels" in beside_process._child.last_output()


@pytest.mark.slow
@pytest.mark.soak
def test_the_parent_finds_all_that_the_child_compiled(cache: Path) -> None:
    """FLUX by inductor: no miss in either of its caches. A second process then begins compiled.

    A compiled single block lays out its result otherwise than an eager one, which makes a third graph.
    """
    torch._dynamo.reset()
    counters.clear()
    inpainter = load_flux(cache)
    eager = inpainter.fill(IMAGE, HOLE, seed=1)
    assert inpainter._beside is not None
    wait_for_child(inpainter._beside)
    child = child_of(inpainter._beside)
    compiled = inpainter.fill(IMAGE, HOLE, seed=1)
    assert child.returncode is not None
    assert inpainter._beside.compiled
    np.testing.assert_allclose(compiled, eager, atol=1e-5)
    assert counters["stats"]["unique_graphs"] == 3
    assert counters["aot_autograd"]["autograd_cache_hit"] == 3
    assert counters["aot_autograd"]["autograd_cache_miss"] == 0
    assert counters["inductor"]["fxgraph_cache_miss"] == 0
    inpainter.release()
    torch._dynamo.reset()
    counters.clear()
    later = load_flux(cache)
    np.testing.assert_array_equal(later.fill(IMAGE, HOLE, seed=1), compiled)
    assert later._beside is not None
    assert later._beside.compiled
    assert later._beside._child is None
    assert NOTE not in later.record.notes
    assert counters["aot_autograd"]["autograd_cache_miss"] == 0
    later.release()
