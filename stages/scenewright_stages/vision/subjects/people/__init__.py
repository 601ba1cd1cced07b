"""Finding a person in a photograph without a model's weights."""

from scenewright_stages.vision.subjects.people.finding import find_person, portrait_box

__all__ = ["find_person", "portrait_box"]
