"""The synthetic world: an analytic ray-cast room whose every answer is exact."""

from synthetic.rendering import (
    SyntheticView,
    correspondence,
    render,
    trace_depth,
    visible_in,
)
from synthetic.world import (
    SEEDS,
    Body,
    Light,
    World,
    box_room,
    cameras_inside,
    cylinder_room,
    finer,
)

__all__ = [
    "SEEDS",
    "Body",
    "Light",
    "SyntheticView",
    "World",
    "box_room",
    "cameras_inside",
    "correspondence",
    "cylinder_room",
    "finer",
    "render",
    "trace_depth",
    "visible_in",
]
