"""Finding a person in a photograph without a model's weights."""

from scenewright_stages.vision.people.finding import find_person, portrait_box, warm_up
from scenewright_stages.vision.people.subjects import NoSubject, PersonMask

__all__ = ["NoSubject", "PersonMask", "find_person", "portrait_box", "warm_up"]
