"""Paths of outputs: what attributes may make of them."""

from __future__ import annotations

import pytest

from scenewright_stages.contract.errors import ConfigurationError
from scenewright_stages.contract.outputs import OutputContract
from scenewright_stages.contract.samples import Sample


def path(template: str, **attributes: object) -> str:
    return OutputContract("output", template, "text").path_for(Sample("one", attributes=attributes))


@pytest.mark.parametrize(
    ("home", "expected"), [("", "04/a.txt"), ("cup", "cup/04/a.txt"), ("objects/cup", "objects/cup/04/a.txt")]
)
def test_a_folder_that_is_an_attribute_alone_has_any_number_of_levels(home: str, expected: str) -> None:
    assert path("{home}/04/{file}.txt", home=home, file="a") == expected
    assert path("04/{file}.txt", file="a") == "04/a.txt"
    assert path("x/{home}/y.txt", home=home) == f"x/{home}/y.txt".replace("//", "/")


@pytest.mark.parametrize("home", ["..", "/etc", "a//b", "a/../b", ".hidden", "a/", 1.5, None, True])
def test_such_a_folder_never_leaves_its_place(home: object) -> None:
    with pytest.raises(ConfigurationError, match="home"):
        path("{home}/a.txt", home=home)


@pytest.mark.parametrize("template", ["{file}.txt", "a_{file}/b.txt", "{file}_a/b.txt"])
@pytest.mark.parametrize("value", ["", "a/b"])
def test_attributes_inside_a_name_are_one_part(template: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match="file"):
        path(template, file=value)
