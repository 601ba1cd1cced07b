"""Writes the index files of a relighting data set: ``metadata.jsonl`` (Hugging Face) and ``croissant.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from scenewright_stages.contract.stage import Catalogue, CatalogueEntry, IndexContent
from scenewright_stages.photographs.card import CARD, About, card, models_of, origins_of
from scenewright_stages.photographs.croissant import CROISSANT, METADATA, Column, ImageKind, croissant
from scenewright_stages.photographs.shards import Row, shards
from scenewright_stages.relight.params import RelightParams

DESCRIPTION = (
    "Pairs for relighting models: photographs of people, and the same people before the same background in a new "
    "light, with the albedo and the truth about that light."
)
IMAGES = (
    ImageKind(
        "degraded",
        "outputs",
        "The person in the new light: what a model gets.",
        includes="outputs/*_output.png",
        path=r"outputs/(.*)_output\.png$",
        records="degraded",
    ),
    ImageKind(
        "target",
        "outputs",
        "The photograph: what a model should answer.",
        includes="outputs/*_input.png",
        path=r"outputs/(.*)_input\.png$",
    ),
    ImageKind("albedo", "outputs", "The person without any light, black elsewhere."),
    ImageKind("alpha", "outputs", "The person's soft matte."),
    ImageKind("foreground", "outputs", "The person as photographed, with the matte as alpha."),
)
COLUMNS = (
    Column("degraded_file_name", "text", "Path of the relit picture, what a model gets."),
    Column("target_file_name", "text", "Path of the photograph, what a model should answer."),
    Column("albedo_file_name", "text", "Path of the albedo."),
    Column("alpha_file_name", "text", "Path of the matte."),
    Column("foreground_file_name", "text", "Path of the foreground."),
    Column("id", "text", "The sample."),
    Column("photograph", "text", "The photograph, which several samples may share."),
    Column("person", "text", "Who is on it, where the input's list says so; else the photograph."),
    Column("split", "text", "train, validation or test; no person is in two of them."),
    Column("degradation", "text", "Kind of the new light."),
    Column("light_direction", "numbers", "Unit vector toward the light: x right, y down, z away from the camera."),
    Column("light_azimuth_degrees", "number", "0 from the image's right, 90 from above, 180 from the left."),
    Column("light_elevation_degrees", "number", "Above the image plane; 90 comes from the camera."),
    Column("light_colour_linear", "numbers", "Linear RGB of the direct light."),
    Column("ambient", "number", "Share of the light that comes from everywhere."),
    Column("ambient_colour_linear", "numbers", "Linear RGB of the ambient light."),
    Column("gain", "number", "How strong all light is."),
    Column("second_direction", "numbers", "Unit vector toward the second light."),
    Column("second_colour_linear", "numbers", "Linear RGB of the second light."),
    Column("second_strength", "number", "Of the second light, as a share of the first; 0 when there is none."),
    Column("hardness", "number", "1 is Lambert's cosine, below it the light wraps around."),
    Column("specular", "number", "Strength of the highlight, linear."),
    Column("shininess", "number", "Exponent of the highlight."),
    Column("shadow", "text", "Kind of the shadow pattern, or none."),
    Column("shadow_opacity", "number", "Share of the direct light that the pattern takes away where it is darkest."),
    Column("shadow_softness", "number", "Width of the pattern's edge as a share of the longer side."),
    Column("shadow_seed", "text", "Of the pattern; empty when there is none."),
    Column("luminance_ratio", "number", "Mean luminance of the relit person over that of the photographed one."),
    Column("light_change", "number", "Mean difference of the relit person, levels of 255."),
    Column("target_light_direction", "numbers", "The photograph's own light, fitted; zeros when it cannot be told."),
    Column("target_direct", "number", "Linear luminance of that light on a white surface that faces it."),
    Column("target_ambient", "number", "Linear luminance of a white surface in its shadow."),
    Column("target_residual", "number", "What the fit leaves unexplained, in the same unit."),
    Column("score", "number", "Of the segmentation."),
    Column("edge_error", "number", "What the layers do not explain of the outline, levels of 255."),
    Column("area", "number", "Share of the picture that the person covers."),
    Column("backends", "text", "Who segmented, took the light off and gave normals."),
    Column("licences", "text", "Licences of the weights in use; empty when there are none."),
)
SPLITS = ("train", "validation", "test")
UNKNOWN_LIGHT = {"direction": [0.0, 0.0, 0.0], "direct": 0.0, "ambient": 0.0, "residual": 0.0}
"""Where photograph and albedo do not tell: a loader's columns have one type."""
TEXT = Column("text", "text", "A sentence on the light.")


def index_files(catalogue: Catalogue) -> dict[str, IndexContent]:
    """Content by path of the index files."""
    params = RelightParams.model_validate(catalogue.job.get("spec", {}).get("relight") or {})
    lines = [_line(entry) for entry in catalogue.entries]
    metadata = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
    columns = (*COLUMNS, TEXT) if any("text" in line for line in lines) else COLUMNS
    about = _about(catalogue, lines, params)
    rows = [_row(entry, line) for entry, line in zip(catalogue.entries, lines, strict=True)]
    return {
        METADATA: metadata,
        CROISSANT: croissant(about, columns, IMAGES, metadata),
        CARD: card(about),
        **shards(params.formats, rows, columns, catalogue.read),
    }


def _row(entry: CatalogueEntry, line: Mapping[str, Any]) -> Row:
    """A pair with all its images; a photograph with several lights is in each of its pairs."""
    images = {name: line[f"{name}_file_name"] for name in ("degraded", "target", "albedo", "alpha", "foreground")}
    sizes = {
        output.path: output.size
        for record in entry.records.values()
        for output in record.outputs.values()
        if output.path in images.values()
    }
    return Row(line["id"], line["split"], images, sum(sizes.values()), line)


def _about(catalogue: Catalogue, lines: Sequence[Mapping[str, Any]], params: RelightParams) -> About:
    """Facts for the data card and the RAI fields."""
    splits = [split for split in SPLITS if any(line["split"] == split for line in lines)]
    return About(
        name=catalogue.name,
        description=DESCRIPTION,
        how=(
            "People were cut out of photographs with a soft matte.",
            "An estimate of the albedo, the person without light, was shaded by a random light of known parameters.",
            f"The result was put back before the background ({params.background}).",
        ),
        labels="The light's parameters are exact for the stored albedo and normals, which are themselves estimates.",
        uses="Training and testing of models that change or correct the light on people in photographs.",
        limits=(
            "The body's surface is inflated from its silhouette: light is right for that surface, not the real one.",
            "Shadows are cast by faces and by drawn patterns only, and never onto the background.",
            "Light inside hair, glass and thin cloth is not simulated.",
            "Outlines are as good as the mattes; their measures are in edge_error and score.",
        ),
        biases="The people, clothes and places are those of the photographs that were given. Nobody balanced them.",
        personal="The pictures show people's faces. Whether they agreed is for the photographs' licences to say.",
        impact="Relit portraits can pass for photographs. Say that they are synthetic where you show them.",
        tasks=("image-to-image",),
        counts={split: sum(line["split"] == split for line in lines) for split in splits},
        origins=origins_of(catalogue),
        models=models_of(catalogue),
        configs={"train": ("outputs/*.png", METADATA)} if lines else {},
        loading=(
            "from datasets import load_dataset",
            "",
            'pairs = load_dataset("path/of/this/folder", split="train")',
            'train = pairs.filter(lambda split: split == "train", input_columns="split")',
        ),
    )


def _line(entry: CatalogueEntry) -> dict[str, Any]:
    records = entry.records
    segment, albedo, degrade, combined = (records[stage] for stage in ("segment", "albedo", "degrade", "recombine"))
    uses = [use for record in records.values() for use in record.backends]
    line = {
        "degraded_file_name": combined.outputs["output"].path,
        "target_file_name": segment.outputs["input"].path,
        "albedo_file_name": albedo.outputs["albedo"].path,
        "alpha_file_name": segment.outputs["alpha"].path,
        "foreground_file_name": segment.outputs["foreground"].path,
        "id": entry.sample.id,
        **{name: combined.metrics[name] for name in ("photograph", "person", "split")},
        **_light(degrade.metrics),
        **{name: segment.metrics[name] for name in ("score", "edge_error", "area")},
        "backends": ", ".join(f"{use['capability']}: {use['backend']}" for use in uses),
        "licences": ", ".join(sorted({use["licence"] for use in uses if use.get("licence")})),
    }
    caption = records.get("caption")
    return {**line, "text": caption.metrics["text"]} if caption is not None else line


def _light(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Columns about the new light and the photograph's original light."""
    light, own = metrics["light"], metrics["target_light"] or UNKNOWN_LIGHT
    shadow = metrics["shadow"] or {"pattern": "none", "opacity": 0.0, "softness": 0.0, "seed": ""}
    return {
        "degradation": metrics["degradation"],
        "light_direction": light["direction"],
        "light_azimuth_degrees": light["azimuth_degrees"],
        "light_elevation_degrees": light["elevation_degrees"],
        "light_colour_linear": light["colour_linear"],
        **{name: light[name] for name in ("ambient", "ambient_colour_linear", "gain")},
        **{name: light[name] for name in ("second_direction", "second_colour_linear", "second_strength")},
        **{name: light[name] for name in ("hardness", "specular", "shininess")},
        "shadow": shadow["pattern"],
        "shadow_opacity": shadow["opacity"],
        "shadow_softness": shadow["softness"],
        "shadow_seed": str(shadow["seed"]),
        "luminance_ratio": metrics["luminance_ratio"],
        "light_change": metrics["light_change"],
        "target_light_direction": own["direction"],
        **{f"target_{name}": own[name] for name in ("direct", "ambient", "residual")},
    }
