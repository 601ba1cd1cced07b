"""The web page that the chart deploys, in a real Chromium: from an empty lab to a scene in 3D by clicks alone.

The browser reaches the page under the lab's name, and sends the person's token with each request, as the proxy that
signs people in does. `SCENEWRIGHT_SCREENSHOTS` names a folder to keep pictures of all pages in.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from browser_fixtures import launched
from lab_visits import Visit
from playwright.sync_api import Page, expect
from trials import Trial, upgraded_chart

from cluster import chart, images, trial
from cluster.whole_cluster import WholeCluster

pytestmark = pytest.mark.slow

NAMESPACE, PERSON, NAME = "graphics", "researcher", "china"
HOST = "lab.example.org"
SECRET = "lab-page"
PHOTOGRAPH = chart.ROOT / "examples" / "inputs" / "china.jpg"
STAGES = ("outpaint", "depth", "initialize", "coarse", "render")
RUN_SECONDS = 900


@dataclass(frozen=True)
class DeployedPage:
    """The page in the cluster.

    Attributes:
        address: of its Service.
        token: of a person who may edit one namespace.
    """

    address: str
    token: str
    objects: Trial


def values(image: str) -> dict[str, object]:
    """What a lab sets for its page, and stages that fit beside the operator."""
    repository, _, tag = image.rpartition(":")
    overrides = {stage: {"resources": trial.SMALL} for stage in STAGES}
    return {
        "lab": {
            "enabled": True,
            "image": {"repository": repository, "tag": tag},
            "hosts": [HOST],
            "storage": {"secretName": SECRET},
            "uploads": f"s3://{trial.PHOTOS}/{{namespace}}",
        },
        "outputs": {NAMESPACE: [f"s3://{trial.SCENES}/{NAMESPACE}"], "*": [f"s3://{trial.SCENES}"]},
        "defaults": {"storage": {"secretName": trial.SECRET}, "execution": {"stageOverrides": overrides}},
    }


@pytest.fixture(scope="module")
def deployed(cluster_with_operator: WholeCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeployedPage]:
    """The chart serves the page, and nothing was ever started in the lab's namespace."""
    whole, file = cluster_with_operator, tmp_path_factory.mktemp("page") / "values.yaml"
    target = whole.target
    (image,) = chart.build_images("test", names=("lab",))
    images.move_to_node(image, whole.containerd)
    file.write_text(yaml.safe_dump(values(image)))
    trial.begin(target, whole.storage, NAMESPACE)
    objects = Trial(target, whole.storage, NAMESPACE, "scenejob")
    keys = [f"--from-literal={name}={value}" for name, value in whole.storage.environment().items()]
    in_release = ("--namespace", chart.NAMESPACE)
    with contextlib.ExitStack() as stack:
        target.kubectl(*in_release, "create", "secret", "generic", SECRET, *keys)
        stack.callback(target.kubectl, *in_release, "delete", "secret", SECRET)
        stack.enter_context(upgraded_chart(target, "--values", str(file)))
        stack.callback(target.kubectl, "delete", "namespace", NAMESPACE, "--timeout=180s")
        objects.kubectl("create", "serviceaccount", PERSON)
        account = f"--serviceaccount={NAMESPACE}:{PERSON}"
        objects.kubectl("create", "rolebinding", PERSON, "--clusterrole=edit", account)
        address = ("get", "service", f"{chart.RELEASE}-lab", "--output", "jsonpath={.spec.clusterIP}")
        token = objects.kubectl("create", "token", PERSON, "--duration=3h").strip()
        yield DeployedPage(target.kubectl(*in_release, *address), token, objects)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = Path(os.environ.get("SCENEWRIGHT_SCREENSHOTS") or tmp_path / "pictures")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def page(deployed: DeployedPage) -> Iterator[Page]:
    """A new page of a person who has signed in."""
    with launched(f"--host-resolver-rules=MAP {HOST} {deployed.address}") as browser:
        headers = {"Authorization": f"Bearer {deployed.token}", "X-Forwarded-Email": f"{PERSON}@example.org"}
        context = browser.new_context(viewport={"width": 1280, "height": 844}, extra_http_headers=headers)
        yield context.new_page()
        context.close()


def test_from_an_empty_lab_to_a_scene_in_3d_by_clicks(deployed: DeployedPage, page: Page, pictures: Path) -> None:
    visit = Visit(page, pictures)
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"http://{HOST}/")
    expect(page.locator("footer")).to_contain_text(f"{PERSON}@example.org")
    shown = visit.start_scene(NAME, PHOTOGRAPH)
    assert f"uri: s3://{trial.PHOTOS}/{NAMESPACE}/{NAME}-" in shown and "kubectl apply" in shown
    state = page.locator("#head .pill")
    expect(page.locator("table.stages .pill", has_text="running").first).to_be_visible(timeout=180_000)
    visit.look("5-running")
    expect(state).to_have_text("Complete", timeout=RUN_SECONDS * 1000)
    visit.see_scene(NAME)
    assert deployed.objects.status(NAME)["progress"] == "5/5"
    visit.look_around()
    assert not complaints
