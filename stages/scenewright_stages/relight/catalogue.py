"""The index files of a relighting data set: ``metadata.jsonl`` (Hugging Face's imagefolder) and ``croissant.json``."""

from __future__ import annotations

import json
from typing import Any

from scenewright_stages.contract.stage import Catalogue, CatalogueEntry
from scenewright_stages.photographs.croissant import CROISSANT, METADATA, Column, ImageKind, croissant

DESCRIPTION = (
    "Pairs for relighting models: photographs of people, and the same people before the same background in a new "
    "light, with the albedo and the truth about that light."
)
IMAGES = (
    ImageKind("output", "outputs", "The person in the new light."),
    ImageKind("input", "outputs", "The photograph."),
    ImageKind("albedo", "outputs", "The person without any light, black elsewhere."),
    ImageKind("foreground", "outputs", "The person as photographed, with the matte as alpha."),
)
COLUMNS = (
    Column("file_name", "text", "Path of the relit picture."),
    Column("input_file_name", "text", "Path of the photograph."),
    Column("albedo_file_name", "text", "Path of the albedo."),
    Column("foreground_file_name", "text", "Path of the foreground."),
    Column("id", "text", "The sample."),
    Column("degradation", "text", "Kind of the new light."),
    Column("light_direction", "numbers", "Unit vector toward the light: x right, y down, z away from the camera."),
    Column("light_azimuth_degrees", "number", "0 from the image's right, 90 from above, 180 from the left."),
    Column("light_elevation_degrees", "number", "Above the image plane; 90 comes from the camera."),
    Column("light_colour_linear", "numbers", "Linear RGB of the direct light."),
    Column("ambient", "number", "Share of the light that comes from everywhere."),
    Column("hardness", "number", "1 is Lambert's cosine, below it the light wraps around."),
    Column("specular", "number", "Strength of the highlight, linear."),
    Column("shininess", "number", "Exponent of the highlight."),
    Column("shadow", "text", "Kind of the shadow pattern, or none."),
    Column("area", "number", "Share of the picture that the person covers."),
    Column("backends", "text", "Who segmented, took the light off and gave normals."),
    Column("licences", "text", "Licences of the weights in use; empty when there are none."),
)
TEXT = Column("text", "text", "A sentence on the light.")


def index_files(catalogue: Catalogue) -> dict[str, bytes]:
    """Content by path of the index files."""
    lines = [_line(entry) for entry in catalogue.entries]
    metadata = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
    columns = (*COLUMNS, TEXT) if any("text" in line for line in lines) else COLUMNS
    return {METADATA: metadata, CROISSANT: croissant(catalogue.name, DESCRIPTION, columns, IMAGES, metadata)}


def _line(entry: CatalogueEntry) -> dict[str, Any]:
    records = entry.records
    segment, albedo, degrade = (records[stage] for stage in ("segment", "albedo", "degrade"))
    light, shadow = degrade.metrics["light"], degrade.metrics["shadow"]
    uses = [use for record in records.values() for use in record.backends]
    line = {
        "file_name": records["recombine"].outputs["output"].path,
        "input_file_name": segment.outputs["input"].path,
        "albedo_file_name": albedo.outputs["albedo"].path,
        "foreground_file_name": segment.outputs["foreground"].path,
        "id": entry.sample.id,
        "degradation": degrade.metrics["degradation"],
        "light_direction": light["direction"],
        "light_azimuth_degrees": light["azimuth_degrees"],
        "light_elevation_degrees": light["elevation_degrees"],
        "light_colour_linear": light["colour_linear"],
        "ambient": light["ambient"],
        "hardness": light["hardness"],
        "specular": light["specular"],
        "shininess": light["shininess"],
        "shadow": shadow["pattern"] if shadow else "none",
        "area": segment.metrics["area"],
        "backends": ", ".join(f"{use['capability']}: {use['backend']}" for use in uses),
        "licences": ", ".join(sorted({use["licence"] for use in uses if use.get("licence")})),
    }
    caption = records.get("caption")
    return {**line, "text": caption.metrics["text"]} if caption is not None else line
