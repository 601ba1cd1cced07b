"""``scenewright mask`` and its page: the file that the pipeline reads, and who may ask for it."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from test_white import ROOT, overlap, product_photo

from scenewright_stages.photographs.masks import read_mask
from scenewright_stages.photographs.pictures import read_photograph
from scenewright_stages.reference.mask_page import MaskServer
from scenewright_stages.reference.mask_tool import main
from scenewright_stages.reference.masking import Hints, MaskMaker, UnclearError, numbers_of, target_of
from scenewright_stages.vision.imaging.masks import MaskReading

COFFEE = ROOT / "examples" / "inputs" / "coffee.png"
SIZE = (300, 200)
BOX = (33.0, 30.0, 272.0, 192.0)


@pytest.fixture
def cup(tmp_path: Path) -> Path:
    """The cup of the examples, smaller."""
    path = tmp_path / "cup.png"
    cv2.imwrite(str(path), cv2.resize(cv2.imread(str(COFFEE)), SIZE, interpolation=cv2.INTER_AREA))
    return path


def truth() -> NDArray[np.bool_]:
    drawn = cv2.imread(str(COFFEE.with_name("coffee.mask.png")), cv2.IMREAD_GRAYSCALE)
    return np.asarray(cv2.resize(drawn, SIZE, interpolation=cv2.INTER_AREA) > 127)


def box_of_truth(room: int = 3) -> str:
    left, top, width, height = cv2.boundingRect(truth().astype(np.uint8))
    return f"{left - room},{top - room},{left + width + room},{top + height + room}"


def test_a_box_becomes_the_mask_beside_the_photo(cup: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(cup), f"--box={box_of_truth()}"]) == 0
    assert str(target_of(cup)) in capsys.readouterr().out
    mask = read_mask(target_of(cup), read_photograph(cup), MaskReading()).cover > 127
    assert overlap(mask, truth()) >= 0.95


def test_shares_and_another_output(cup: Path, tmp_path: Path) -> None:
    height, width = truth().shape
    edges = [float(edge) for edge in box_of_truth().split(",")]
    shares = ",".join(f"{edge / (width, height)[number % 2]:.5f}" for number, edge in enumerate(edges))
    target = tmp_path / "drawn.png"
    assert main([str(cup), f"--box={shares}", f"--output={target}"]) == 0
    assert overlap(cv2.imread(str(target), cv2.IMREAD_GRAYSCALE) > 127, truth()) >= 0.95
    assert not target_of(cup).exists()


def test_without_a_box_the_object_must_stand_out(tmp_path: Path, cup: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture, mask = product_photo(1)
    plain = tmp_path / "vase.png"
    cv2.imwrite(str(plain), np.rint(picture[..., ::-1] * 255).astype(np.uint8))
    assert main([str(plain)]) == 0
    assert overlap(cv2.imread(str(target_of(plain)), cv2.IMREAD_GRAYSCALE) > 127, mask) >= 0.95
    assert main([str(cup)]) == 2
    assert "--box" in capsys.readouterr().err
    assert not target_of(cup).exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--box=1,2,3"], "4 numbers"),
        (["--box=200,50,20,80"], "left,top,right,bottom"),
        (["--point=5000,2"], "outside the photo"),
        (["--point=150,100"], "draw a box too"),
        (["--box=0.1,0.1,0.9,x"], "4 numbers"),
        (["--backend=sam2", "--box=10,10,100,100"], "model cache: "),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    cup: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.setenv("SCENEWRIGHT_MODEL_CACHE", str(cup.parent / "none"))
    assert main([str(cup), *arguments]) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1
    assert not target_of(cup).exists()


def test_numbers_are_pixels_or_shares() -> None:
    assert numbers_of("10,20", 2, (100, 50)) == [10, 20]
    assert numbers_of("0.5,0.5", 2, (100, 50)) == [50, 25]
    with pytest.raises(UnclearError):
        numbers_of("10,60", 2, (100, 50))


@pytest.fixture
def server(cup: Path) -> Iterator[MaskServer]:
    made = MaskServer(MaskMaker(read_photograph(cup), "classic"), Hints(BOX), target_of(cup))
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def ask(url: str, wanted: object = None, host: str = "") -> tuple[int, bytes]:
    data = None if wanted is None else json.dumps(wanted).encode()
    request = urllib.request.Request(url, data, {"Host": host} if host else {})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read()


def decoded(content: bytes) -> NDArray[np.uint8]:
    return np.asarray(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED), np.uint8)


@pytest.mark.slow
def test_the_page_shows_the_photo_and_previews_what_it_saves(server: MaskServer, cup: Path) -> None:
    status, page = ask(server.url)
    assert status == 200 and b"<canvas" in page
    assert json.loads(page.split(b"const hints = ")[1].split(b";\n")[0])["box"] == list(BOX)
    np.testing.assert_array_equal(decoded(ask(server.url + "photo.png")[1]), cv2.imread(str(cup)))
    wanted = {"box": [float(edge) for edge in box_of_truth().split(",")], "points": [[150, 100, 1], [5, 5, 0]]}
    status, content = ask(server.url + "preview", wanted)
    assert status == 200
    assert overlap(decoded(content) > 127, truth()) >= 0.95
    assert not target_of(cup).exists(), "a preview writes nothing"
    status, said = ask(server.url + "save", wanted)
    assert status == 200 and said.decode() == str(target_of(cup))
    np.testing.assert_array_equal(cv2.imread(str(target_of(cup)), cv2.IMREAD_GRAYSCALE), decoded(content))


def test_mistakes_on_the_page_are_answered(server: MaskServer) -> None:
    assert ask(server.url + "preview", {"box": None, "points": [[5, 5, 1]]})[0] == 422
    assert ask(server.url + "preview", {"box": [5, 5, 1, 1], "points": []})[0] == 400
    assert ask(server.url + "preview", {"points": []})[0] == 400
    assert ask(server.url + "nothing")[0] == 404


def test_other_pages_and_other_names_get_nothing(server: MaskServer, cup: Path) -> None:
    wanted = {"box": list(BOX), "points": []}
    assert server.server_address[0] == "127.0.0.1"
    assert ask(f"http://{server.host}/")[0] == 403
    assert ask(f"http://{server.host}/guessed/save", wanted)[0] == 403
    assert ask(server.url + "save", wanted, host="somewhere.example")[0] == 403
    assert not target_of(cup).exists()
