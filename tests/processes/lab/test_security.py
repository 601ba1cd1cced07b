"""What the page refuses: foreign sites and names, forged forms, paths that lead out, markup, floods."""

from __future__ import annotations

import random
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

import pytest
from lab_site import Site, write_object

from scenewright_lab.security import Limits

Serve = Callable[..., Site]

HOSTILE = [
    "<script>window.hacked=1</script>",
    '"><img src=x onerror=window.hacked=1>',
    "'><svg onload=window.hacked=1>",
    "</title><script>window.hacked=1</script>",
    "javascript:window.hacked=1",
    "{{ 7*7 }}{% for x in y %}",
    'a" onmouseover="window.hacked=1',
    "</pre></textarea><iframe srcdoc='<script>top.hacked=1</script>'>",
    "<a href=javascript:window.hacked=1>x</a>",
    "<!--<script>-->",
]


class Markup(HTMLParser):
    """Collects what could run: script elements, event attributes and script addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        held = dict(attributes)
        if tag == "script" and not (held.get("src") or "").startswith("/static/"):
            self.found.append("script")
        if tag == "iframe" and "allow-same-origin" in (held.get("sandbox") or "allow-same-origin"):
            self.found.append("iframe")
        for name, value in attributes:
            if name.startswith("on") or name in ("style", "srcdoc"):
                self.found.append(f"{tag} {name}")
            if name in ("href", "src", "action") and (value or "").strip().lower().startswith(("javascript:", "data:")):
                self.found.append(f"{tag} {name}={value}")


def runnable(text: str) -> list[str]:
    parser = Markup()
    parser.feed(text)
    return parser.found


def test_the_check_for_markup_finds_markup() -> None:
    assert all(runnable(each) for each in (HOSTILE[0], HOSTILE[1], HOSTILE[2], HOSTILE[7], HOSTILE[8]))


def test_markup_in_names_captions_and_reasons_never_runs(tmp_path: Path, serve: Serve) -> None:
    names = [f"{number}{text}" for number, text in enumerate(HOSTILE * 5)]
    for number, text in enumerate(names):
        lost = [{"sample": text, "stage": text, "reason": text, "message": text}]
        folder = text.replace("/", "∕").strip()
        write_object(tmp_path, f"o{number} {folder}"[:200], title=text, failures=lost, sample=text, warnings=[text])
    site = serve()
    overview = site.get("/")
    assert overview.text.count("<tr>") > 50
    pages = ["/", "/gallery", f"/?words={quote(HOSTILE[1])}", f"/gallery?psnr={quote(HOSTILE[6])}"]
    objects = [each.name for each in tmp_path.iterdir() if not each.name.startswith(".")]
    assert len(objects) == 50
    pages += [f"/{room}/{quote(name)}" for name in objects for room in ("objects", "samples")]
    pages += [f"/samples/{quote(objects[0])}?words={quote(each)}" for each in HOSTILE]
    for path in pages:
        answer = site.get(path)
        assert answer.status == 200, path
        assert not runnable(answer.text), path
        policy = answer.headers["content-security-policy"]
        assert "script-src 'self'" in policy and "unsafe" not in policy


def test_results_are_sandboxed_and_never_sniffed(tmp_path: Path, serve: Serve) -> None:
    folder = write_object(tmp_path, "one")
    (folder / "evil.html").write_text("<script>parent.hacked=1</script>")
    (folder / "evil.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg' onload='hacked=1'/>")
    (folder / "evil.txt").write_text("<script>hacked=1</script>")
    site = serve()
    for name in ("report.html", "evil.html", "evil.svg", "evil.txt", "a/picture.png"):
        answer = site.get(f"/files/one/-/{name}")
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("sandbox ") and "allow-same-origin" not in policy, name
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert "attachment" in site.get("/files/one/-/evil.svg").headers["content-disposition"]


def test_five_hundred_paths_lead_nowhere_else(tmp_path: Path, serve: Serve) -> None:
    root = tmp_path / "root"
    folder = write_object(root, "one")
    (tmp_path / "secret.txt").write_text("TOP SECRET")
    (root / "loose.txt").write_text("TOP SECRET")
    (root / ".scenewright-lab").mkdir()
    (root / ".scenewright-lab" / "one.yaml").write_text("TOP SECRET")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "out").symlink_to(tmp_path)
    site = serve(root)
    draw = random.Random(7)
    parts = [
        "..",
        "%2e%2e",
        "%2E%2e",
        ".",
        "",
        "one",
        "-",
        "%2d",
        "%00",
        "..%2f",
        "%5c..",
        "..\\",
        "~",
        "link.txt",
        "out",
        "secret.txt",
        "loose.txt",
        "etc/passwd",
        ".scenewright-lab",
        "one.yaml",
        "%c0%ae%c0%ae",
        "//",
        "file:",
        "%252e%252e",
    ]
    for number in range(500):
        room = draw.choice(("files", "thumbnails", "objects", "samples", "pick", "static", "act"))
        path = "/".join(draw.choice(parts) for _ in range(draw.randint(1, 7)))
        mark = "one/-/" if number % 2 else ""
        answer = site.get(f"/{room}/{mark}{path}")
        assert "TOP SECRET" not in answer.text and "root:" not in answer.text, path
        assert answer.status < 500, (room, mark + path, answer.status)
    assert site.get("/files/one/-/summary.json").status == 200, "the way in is open"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1.evil.example"}, 421),
        ({"Host": "localhost"}, 200),
    ],
)
def test_a_foreign_name_that_points_here_is_refused(serve: Serve, headers: dict[str, str], status: int) -> None:
    site = serve()
    assert site.get("/", **headers).status == status
    assert site.get("/healthz", **headers).status == 200, "the kubelet asks by the address of the Pod"


def test_forms_need_their_token_and_their_origin(tmp_path: Path, serve: Serve) -> None:
    write_object(tmp_path, "one", failures=[{"sample": "sample0", "stage": "render", "reason": "Crashed"}])
    site = serve()
    token = site.token("/objects/one")
    assert token
    act = "/act/retry/one"
    assert site.post(act, {}).status == 403
    assert site.post(act, {"csrf": "0" * 64}).status == 403
    assert site.post(act, {"csrf": token}, Origin="http://evil.example").status == 403
    assert site.post(act, {"csrf": token}, Sec_Fetch_Site="cross-site").status == 403
    assert Site(site.port).post(act, {"csrf": token}).status == 403, "the token of another browser"
    assert site.get(act).status == 405
    cookie = Site(site.port).get("/").headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie
    assert site.post(act, {"csrf": token}).status == 303, "the right form is taken"


def test_floods_are_slowed_and_actions_more_than_looks(tmp_path: Path, serve: Serve) -> None:
    site = serve(reads=Limits(rate=0.01, burst=5), writes=Limits(rate=0.01, burst=2))
    assert [site.get("/healthz").status for _ in range(7)] == [200] * 5 + [429] * 2
    assert [site.post("/start", {}).status for _ in range(3)] == [403, 403, 429]
    assert int(site.get("/healthz").headers["retry-after"]) > 1


def test_a_page_that_others_can_reach_only_shows(tmp_path: Path, serve: Serve) -> None:
    write_object(tmp_path, "one")
    site = serve(read_only=True)
    assert "/new" not in site.get("/").text and "<button>Retry" not in site.get("/objects/one").text
    for path in ("/new", "/new/scene-from-a-photograph"):
        assert site.get(path).status == 403
    assert site.post("/act/retry/one", {}).status == 403
