"""The pages that do: start from an example, retry, stop, and choose candidates."""

from __future__ import annotations

import asyncio
import secrets

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from scenewright_lab.actions import forms
from scenewright_lab.actions.interface import Actions
from scenewright_lab.pages.rendering import entry_of, lab_of, object_url, page, person_of
from scenewright_lab.security import texts, upload
from scenewright_lab.sources.interface import NotFound, Refused


def _actions(request: Request) -> Actions:
    actions = lab_of(request).actions
    if actions is None:
        raise Refused("This page only shows. Start it on your own machine, or behind a sign-in, to act from it.")
    return actions


def _example(request: Request) -> forms.Example:
    found = forms.examples().get(request.path_params["example"])
    if found is None:
        raise NotFound("example")
    return found


async def choose(request: Request) -> Response:
    """The examples to start from."""
    _actions(request)
    person_of(request)
    return page(request, "choose.html", examples=forms.examples().values())


async def fill_in(request: Request) -> Response:
    """The form of one example; sent, it becomes a manifest to look at."""
    actions, person, example = _actions(request), person_of(request), _example(request)
    namespaces = await actions.namespaces(person)
    if request.method == "GET":
        name = f"{example.name[:40].strip('-')}-{secrets.token_hex(2)}"
        return _form(request, example, {"name": name}, namespaces)
    form = await lab_of(request).tokens.form(request)
    given = texts(form)
    shared = lab_of(request).settings.spec
    file, name, namespace = upload(form, "file"), given.get("name", "").strip(), given.get("namespace", "")
    try:
        if namespaces and namespace not in namespaces:
            raise Refused("You may not start objects in this namespace.")
        output = await actions.place(person, namespace, name)
        draft = forms.manifest(example, given, name, given.get("input") or "file:///input", output, shared)
        if file is None and not given.get("input"):
            raise Refused("Choose a file, or name an input by its address.", 422)
        if told := forms.problems(draft):
            return _form(request, example, given, namespaces, told)
        if file is not None:
            stored = await actions.store(person, namespace, name, file.filename or "", file.file)
            draft = forms.manifest(example, given, name, stored, output, shared)
        return _review(request, actions, forms.as_yaml(draft), await asyncio.to_thread(forms.problems, draft))
    except Refused as error:
        return _form(request, example, given, namespaces, [str(error)])


def _form(
    request: Request, example: forms.Example, given: dict[str, str], namespaces: object, told: object = ()
) -> Response:
    status = 422 if told else 200
    groups = forms.groups(example, given)
    values = {"example": example, "groups": groups, "given": given, "namespaces": namespaces, "problems": told}
    return page(request, "form.html", status, prefix=forms.PREFIX, **values)


def _review(request: Request, actions: Actions, text: str, told: object = ()) -> Response:
    try:
        command = actions.start_command(forms.from_yaml(text))
    except Refused as error:
        command, told = "", [str(error)]
    return page(request, "review.html", 422 if told else 200, text=text, command=command, problems=told)


async def start(request: Request) -> Response:
    """Starts the object of a manifest that a person has seen."""
    actions, person = _actions(request), person_of(request)
    text = texts(await lab_of(request).tokens.form(request)).get("manifest", "")
    try:
        document = forms.from_yaml(text)
        if told := await asyncio.to_thread(forms.problems, document):
            return _review(request, actions, text, told)
        name = await actions.start(person, document)
    except Refused as error:
        return _review(request, actions, text, [str(error)])
    return _to(await lab_of(request).source.entry(person, name))


async def act(request: Request) -> Response:
    """Does what a button of an object's page offers."""
    actions, person = _actions(request), person_of(request)
    await lab_of(request).tokens.form(request)
    entry = await entry_of(request)
    await actions.do(person, entry, request.path_params["verb"])
    return _to(entry)


async def pick(request: Request) -> Response:
    """Shows what waits for a choice, and stores one."""
    actions, person, entry = _actions(request), person_of(request), await entry_of(request)
    if request.method == "POST":
        given = texts(await lab_of(request).tokens.form(request))
        choices = {name.removeprefix("choice."): each for name, each in given.items() if name.startswith("choice.")}
        await actions.pick(person, entry, given.get("sample", ""), choices)
        return _to(entry)
    questions = await actions.questions(person, entry)
    return page(request, "pick.html", entry=entry, questions=questions, command=actions.pick_command(entry))


def _to(entry: object) -> Response:
    return RedirectResponse(object_url(entry), 303)  # type: ignore[arg-type]
