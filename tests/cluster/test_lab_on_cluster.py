"""The web page on a real API server: what people see and do with their own tokens, and an API server that goes away."""

from __future__ import annotations

import json
import random
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from chart_rendering import render
from lab_site import Site, serving

from cluster import ControlPlane
from scenewright.api.crds import crd
from scenewright.api.kinds import KINDS
from scenewright.api.names import PLURALS
from scenewright_lab.settings import Settings

RBAC = "/apis/rbac.authorization.k8s.io/v1"
OBJECTS = list(PLURALS.values())
LOOK = [{"apiGroups": ["scenewright.io"], "resources": OBJECTS, "verbs": ["get", "list", "watch"]}]
EDIT = [*LOOK, {"apiGroups": ["scenewright.io"], "resources": OBJECTS, "verbs": ["create", "patch"]}]


@dataclass(frozen=True)
class Team:
    """A namespace, and the token of a person who may do something there and nothing elsewhere."""

    namespace: str
    token: str


def account(cluster: ControlPlane, namespace: str, name: str) -> Path:
    """The kubeconfig of a new service account."""
    body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
    cluster.api.create(f"/api/v1/namespaces/{namespace}/serviceaccounts", body)
    return cluster.service_account_kubeconfig(namespace, name)


def token_of(cluster: ControlPlane, namespace: str, name: str) -> str:
    kubeconfig = account(cluster, namespace, name)
    token: str = yaml.safe_load(kubeconfig.read_text())["users"][0]["user"]["token"]
    return token


def bind(cluster: ControlPlane, namespace: str, name: str, rules: list[dict[str, Any]], account_of: str = "") -> None:
    """Gives an account of a namespace these rights in this one."""
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": name}, "rules": rules}
    subject = {"kind": "ServiceAccount", "name": name, "namespace": account_of or namespace}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
    binding = {**role, "kind": "RoleBinding", "roleRef": reference, "subjects": [subject]}
    del binding["rules"]
    cluster.api.create(f"{RBAC}/namespaces/{namespace}/roles", role)
    cluster.api.create(f"{RBAC}/namespaces/{namespace}/rolebindings", binding)


def install_kinds(cluster: ControlPlane) -> None:
    """Makes the API server serve the three kinds, unless another test has done it."""
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    for kind in KINDS:
        definition = crd(kind, built_in=True)
        cluster.api.apply(f"{path}/{definition['metadata']['name']}", definition)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        held = [cluster.api.get(f"{path}/{plural}.scenewright.io") for plural in OBJECTS]
        conditions = [{each["type"]: each["status"] for each in one["status"]["conditions"]} for one in held]
        if all(each.get("Established") == "True" for each in conditions):
            return
        time.sleep(0.2)
    pytest.fail("the kinds are not served")


def create(cluster: ControlPlane, namespace: str, name: str, output: str = "") -> None:
    uri = output or f"s3://scenes/{namespace}/{name}"
    spec = {"input": {"uri": "s3://photos/in"}, "output": {"uri": uri}, "vistadream": {}}
    body = {"apiVersion": "scenewright.io/v1alpha1", "kind": "SceneJob", "metadata": {"name": name}, "spec": spec}
    cluster.api.create(f"/apis/scenewright.io/v1alpha1/namespaces/{namespace}/scenejobs", body)


def chart_rules() -> list[dict[str, Any]]:
    """The rules of the page's Role in the chart."""
    every = render({"lab.enabled": "true", "watchNamespaces": "{a}"})
    (role,) = [each for each in every if each["kind"] == "Role" and each["metadata"]["name"].endswith("-lab")]
    rules: list[dict[str, Any]] = role["rules"]
    return rules


@pytest.fixture(scope="module")
def teams(control_plane: ControlPlane) -> Iterator[tuple[Team, Team]]:
    made = []
    install_kinds(control_plane)
    for letter in "ab":
        namespace = control_plane.create_namespace(f"team-{letter}-{uuid.uuid4().hex[:6]}")
        token = token_of(control_plane, namespace, "person")
        bind(control_plane, namespace, "person", EDIT)
        create(control_plane, namespace, f"secret-{letter}")
        made.append(Team(namespace, token))
    yield made[0], made[1]
    for each in made:
        control_plane.api.delete(f"/api/v1/namespaces/{each.namespace}")


@pytest.fixture(scope="module")
def site(
    control_plane: ControlPlane, teams: tuple[Team, Team], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """The page with the rights of the chart's Role, for people with tokens."""
    home = teams[0].namespace
    kubeconfig = account(control_plane, home, "page")
    for team in teams:
        bind(control_plane, team.namespace, "page", chart_rules(), account_of=home)
    outputs = {team.namespace: (f"s3://scenes/{team.namespace}",) for team in teams}
    spaces = tuple(team.namespace for team in teams)
    settings = Settings(cluster=True, namespaces=spaces, token_headers=("authorization",), outputs=outputs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", str(kubeconfig))
        with serving(settings) as found:
            yield found


def as_person(site: Site, team: Team) -> Site:
    return Site(site.port, headers={"Authorization": f"Bearer {team.token}"})


def test_without_a_token_or_with_a_wrong_one_there_is_no_page(site: Site) -> None:
    for path in ("/", "/gallery", "/tuning", "/models", "/new", "/events", "/objects/a/scenejob/b"):
        assert site.get(path).status == 401, path
        assert Site(site.port, headers={"Authorization": "Bearer wrong"}).get("/").status == 401
    assert site.get("/healthz").status == 200


def test_people_see_their_own_namespace_and_act_there(
    control_plane: ControlPlane, site: Site, teams: tuple[Team, Team]
) -> None:
    mine, other = teams
    page = as_person(site, mine)
    text = page.get("/").text
    assert "secret-a" in text and "secret-b" not in text and other.namespace not in text
    name = f"{mine.namespace}/scenejob/secret-a"
    shown = page.get(f"/objects/{name}").text
    assert f"kubectl -n {mine.namespace} patch scenejob/secret-a" in shown
    token = page.token(f"/objects/{name}")
    assert page.post(f"/act/suspend/{name}", {"csrf": token}).status == 303
    path = f"/apis/scenewright.io/v1alpha1/namespaces/{mine.namespace}/scenejobs"
    assert control_plane.api.get(f"{path}/secret-a")["spec"]["suspend"] is True
    document = control_plane.api.get(f"{path}/secret-a")
    spec = {name: document["spec"][name] for name in ("input", "vistadream")}
    started = {
        "apiVersion": document["apiVersion"],
        "kind": "SceneJob",
        "metadata": {"name": "from-the-page", "namespace": mine.namespace},
        "spec": {**spec, "output": {"uri": f"s3://scenes/{mine.namespace}/new"}},
    }
    answer = page.post("/start", {"csrf": token, "manifest": json.dumps(started)})
    assert (answer.status, answer.headers.get("location")) == (303, f"/objects/{mine.namespace}/scenejob/from-the-page")
    assert "from-the-page" in page.get("/").text
    elsewhere = {**started, "metadata": {"name": "intruder", "namespace": other.namespace}}
    answer = page.post("/start", {"csrf": token, "manifest": json.dumps(elsewhere)})
    assert answer.status == 422 and "forbidden" in answer.text
    names = control_plane.api.get(f"/apis/scenewright.io/v1alpha1/namespaces/{other.namespace}/scenejobs")["items"]
    assert [each["metadata"]["name"] for each in names] == ["secret-b"]


def test_five_hundred_requests_show_nothing_of_another_namespace(
    control_plane: ControlPlane, site: Site, teams: tuple[Team, Team]
) -> None:
    mine, other = teams
    path = f"/apis/scenewright.io/v1alpha1/namespaces/{other.namespace}/scenejobs/secret-b"
    before = control_plane.api.get(path)
    page = as_person(site, mine)
    token = page.token(f"/objects/{mine.namespace}/scenejob/secret-a")
    draw = random.Random(11)
    names = [
        f"{other.namespace}/scenejob/secret-b",
        f"{other.namespace}/scenejob/secret-b/",
        f"{mine.namespace}/../{other.namespace}/scenejob/secret-b",
        f"{mine.namespace}%2f..%2f{other.namespace}/scenejob/secret-b",
        f"{other.namespace}//scenejob/secret-b",
        f"{other.namespace.upper()}/scenejob/secret-b",
        f"{other.namespace}/SceneJob/secret-b",
        f"{other.namespace}/scenejobs/secret-b",
        f"{mine.namespace}/scenejob/secret-b",
        f"{other.namespace}/datasetjob/secret-b",
        "*/scenejob/secret-b",
        "/scenejob/secret-b",
    ]
    rooms = ("objects", "samples", "pick", "files", "thumbnails", "act")
    queries = ("", "?words=secret-b", f"?namespace={other.namespace}", "?page=1", "?label=x", "?phase=Pending")
    nothing = page.get(f"/objects/{other.namespace}/scenejob/not-there")
    for number in range(500):
        room, name = draw.choice(rooms), draw.choice(names)
        if room in ("files", "thumbnails"):
            name = f"{name}/-/{draw.choice(('report.html', 'summary.json', '.scenewright/job.json'))}"
        if number % 7 == 0:
            answer = page.get("/" + draw.choice(("", "gallery", "tuning", "models")) + draw.choice(queries))
            assert answer.status == 200
        elif room == "act" or number % 5 == 0:
            verb = draw.choice(("suspend", "resume", "retry", "delete", "stop"))
            answer = page.post(f"/act/{verb}/{name}", {"csrf": token})
            assert answer.status in (403, 404), name
        else:
            answer = page.get(f"/{room}/{name}")
            assert answer.status in (404, 307), (room, name)
        words = answer.text.replace("secret-b", "", 1) if "words=secret-b" in answer.text else answer.text
        assert "s3://scenes/" + other.namespace not in words
        assert ">secret-b<" not in words, (room, name)
    hidden = page.get(f"/objects/{other.namespace}/scenejob/secret-b")
    assert (hidden.status, len(hidden.body)) == (nothing.status, len(nothing.body)), "it looks as if it did not exist"
    assert control_plane.api.get(path) == before, "nothing was changed"
    assert "secret-b" in as_person(site, other).get("/").text, "who may see it sees it"


def test_lists_of_objects_cost_the_api_server_nothing_but_watches(
    control_plane: ControlPlane, site: Site, teams: tuple[Team, Team]
) -> None:
    page = as_person(site, teams[0])
    page.get("/")
    mark = control_plane.audit.mark()
    for path in ("/", "/gallery", "/tuning", "/models") * 10:
        assert page.get(path).status == 200
    account = f"system:serviceaccount:{teams[0].namespace}:page"
    ours = control_plane.audit.counts(mark, account)
    assert all(verb == "watch" for _, verb, _ in ours), ours
    person = control_plane.audit.counts(mark, f"system:serviceaccount:{teams[0].namespace}:person")
    assert all(resource == "selfsubjectaccessreviews" for _, _, resource in person), person
    assert sum(person.values()) <= 20, "the answer to who may see what is kept"


def test_results_outside_of_the_namespaces_outputs_are_not_read(
    control_plane: ControlPlane, site: Site, teams: tuple[Team, Team]
) -> None:
    mine, other = teams
    for number, uri in enumerate(
        (f"s3://scenes/{other.namespace}/secret-b", f"s3://scenes/{mine.namespace}x", "s3://scenes", "file:///etc")
    ):
        name = f"deputy-{number}"
        create(control_plane, mine.namespace, name, uri)
        page = as_person(site, mine)
        deadline = time.monotonic() + 10
        while name not in page.get("/").text and time.monotonic() < deadline:
            time.sleep(0.1)
        where = f"{mine.namespace}/scenejob/{name}"
        assert page.get(f"/objects/{where}").status == 200
        assert page.get(f"/files/{where}/-/summary.json").status == 404, uri


def test_an_api_server_that_is_away_is_said_and_comes_back(
    control_plane: ControlPlane, site: Site, teams: tuple[Team, Team]
) -> None:
    page = as_person(site, teams[0])
    assert "secret-a" in page.get("/").text
    words = "The API server does not answer"
    told = []

    def look() -> None:
        deadline = time.monotonic() + 40
        while time.monotonic() < deadline and not told:
            answer = page.get("/")
            if answer.status == 200 and words in answer.text and "secret-a" in answer.text:
                told.append(answer)
            time.sleep(0.3)

    looker = threading.Thread(target=look, daemon=True)
    looker.start()
    control_plane.restart_api_server(down_seconds=12.0)
    looker.join(45)
    assert told, "the page says that it may be out of date, and shows what it knew"
    create(control_plane, teams[0].namespace, "afterwards")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        text = page.get("/").text
        if words not in text and "afterwards" in text:
            return
        time.sleep(0.3)
    pytest.fail("it does not come back")
