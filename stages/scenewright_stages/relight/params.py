"""Parameters of the relighting pipeline: every switch of the data generation, typed, with units and ranges."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from scenewright_stages.contract.params import Params, Rule, ordered
from scenewright_stages.photographs.params import (
    Formats,
    MaskClass,
    MaskPolarity,
    ModelParams,
    Share,
    ShareRange,
    chain_or_backend,
)
from scenewright_stages.relight.light_params import DegradationParams

Segmenter = Literal["classic", "selfie", "mask", "sam3", "sam2"]
AlbedoMethod = Literal["classic", "retinex", "lab", "marigold-iid", "intrinsic-anything"]
NormalMethod = Literal["classic", "face-mesh", "dpt", "marigold-normals"]
Background = Literal["original", "gray", "black"]
Folder = Literal["stage_1", "stage_2", "stage_3", "stage_3_5", "outputs"]

FOLDERS: tuple[Folder, ...] = ("stage_1", "stage_2", "stage_3", "stage_3_5", "outputs")


SEE_SEVERAL: tuple[Segmenter, ...] = ("selfie", "sam3")
"""Segmenters that know one person from another."""


class SegmentationParams(ModelParams):
    """Stage 1: who finds the person."""

    backend: Segmenter = Field(
        default="selfie",
        description="Who finds the person: selfie (everybody, by a small model that is part of the installation, where "
        "it sees a face; else as classic), classic (the clearest face or the box, then GrabCut and a matte; no "
        "weights), mask (supplied beside each image, face.mask.png for face.jpg), sam3 (from the prompt) or sam2 (from "
        "a face or the box).",
    )
    backends: list[Segmenter] = Field(
        default=[],
        max_length=5,
        description="A chain in place of backend, such as [sam3, sam2]: the next one serves where one is not "
        "available, and the record says which did. Without it there is no fallback.",
    )
    people: Literal["all", "largest"] = Field(
        default="all",
        description="Whom selfie and sam3 cut out: everybody they see, or the one who covers most of the picture. "
        "Other backends find one person.",
    )
    held: bool = Field(
        default=True,
        description="Whether selfie counts what is held in front of the body as part of the person; false leaves it "
        "out where its colours differ.",
    )
    prompt: str = Field(default="person", min_length=1, max_length=200, description="Text prompt of sam3.")
    box: list[Share] = Field(
        default=[],
        max_length=4,
        description="Where the person is in every image: left, top, right, bottom as shares of width and height. "
        "Empty: found by the backend. A listing may give a box for each image.",
    )
    threshold: float = Field(
        default=0.5, gt=0.0, lt=1.0, description="Matte from which a pixel belongs to the binary mask."
    )
    minimum_area: float = Field(
        default=0.005,
        ge=0.0,
        le=1.0,
        description="Smallest share of the image that a person covers; below it the image has no subject.",
    )
    score_threshold: float = Field(
        default=0.5, gt=0.0, lt=1.0, description="Score from which sam3 and sam2 take what they found for a person."
    )
    matte_radius: float = Field(
        default=0.008,
        ge=0.0,
        le=0.1,
        description="Width of the band in which a binary mask becomes a soft matte, as a share of the person's longer "
        "side; 0 keeps supplied masks as they are.",
    )
    mask_polarity: MaskPolarity = "auto"
    mask_class: MaskClass = None

    rules: ClassVar[tuple[Rule, ...]] = (
        chain_or_backend("mask", default="selfie"),
        Rule(
            "people",
            "self.people == 'all' || self.backends.exists(name, name in ['selfie', 'sam3']) || "
            "(size(self.backends) == 0 && self.backend in ['selfie', 'sam3'])",
            "is a choice of selfie and sam3: no other backend makes it",
            lambda block: (
                block.people == "all" or any(name in SEE_SEVERAL for name in block.backends or [block.backend])
            ),
            ({"people": "largest", "backend": "classic"}, {"people": "largest", "backends": ["mask", "classic"]}),
        ),
        Rule(
            "held",
            "self.held || 'selfie' in self.backends || (size(self.backends) == 0 && self.backend == 'selfie')",
            "is a choice of selfie: no other backend makes it",
            lambda block: block.held or "selfie" in (block.backends or [block.backend]),
            ({"held": False, "backend": "classic"},),
        ),
        Rule(
            "box",
            "size(self.box) == 0 || (size(self.box) == 4 && self.box[0] < self.box[2] && self.box[1] < self.box[3])",
            "must be left, top, right, bottom with left < right and top < bottom",
            lambda block: (
                not block.box or (len(block.box) == 4 and block.box[0] < block.box[2] and block.box[1] < block.box[3])
            ),
            ({"box": [0.9, 0.1, 0.1, 1.0]}, {"box": [0.1, 0.9]}),
        ),
    )


class AlbedoParams(ModelParams):
    """Stage 2: what the person looks like without any light."""

    rules: ClassVar[tuple[Rule, ...]] = (chain_or_backend("lab"), *ordered(blend_range=(0.3, 0.2)))

    backend: AlbedoMethod = Field(
        default="classic",
        description="classic (gradient domain, colour Retinex), retinex (multi-scale), lab (bilateral illumination), "
        "marigold-iid or intrinsic-anything (models).",
    )
    backends: list[AlbedoMethod] = Field(
        default=[],
        max_length=5,
        description="A chain in place of backend, such as [retinex, lab]: the next one serves where one is not "
        "available or gives no usable albedo. Without it there is no fallback.",
    )
    scales: list[Annotated[float, Field(ge=1.0, le=1000.0)]] = Field(
        default=[15.0, 80.0, 250.0],
        min_length=1,
        max_length=5,
        description="Widths of retinex's surrounds: standard deviations in pixels.",
    )
    chroma: Literal["keep", "original"] = Field(
        default="keep",
        description="Colours of retinex: keep leaves the photograph's hue and saturation and levels the brightness "
        "alone; original levels each channel by itself over the whole picture, as the original data generation does, "
        "which turns skin grey.",
    )
    steps: int = Field(
        default=0, ge=0, le=1000, description="Denoising steps of a diffusion model; 0: the backend's default."
    )
    blend_range: ShareRange = Field(
        default=[0.15, 0.25],
        description="Share of the photograph that is mixed into the albedo (in linear light) so that it does not get "
        "too bright; drawn for each sample.",
    )


class NormalsParams(ModelParams):
    """The shape on which the new light falls."""

    backend: NormalMethod = Field(
        default="face-mesh",
        description="face-mesh (nose, sockets, lips and chin by a small model that is part of the installation, all "
        "else as classic), classic (a surface inflated from the silhouette with detail of the picture; a stated "
        "prior), dpt (MiDaS depth) or marigold-normals (models).",
    )
    steps: int = Field(
        default=0, ge=0, le=1000, description="Denoising steps of a diffusion model; 0: the backend's default."
    )
    detail: float = Field(
        default=0.3, ge=0.0, le=2.0, description="How much the picture's brightness shapes the classic surface."
    )


class PairGatesParams(Params):
    """What a pair must reach to be in the data set; what does not is left out, counted by photograph."""

    least_score: Share = Field(
        default=0.0, description="Score of the segmentation. Each backend has its own scale: look at the report first."
    )
    largest_edge_error: float = Field(
        default=255.0,
        ge=0.0,
        le=255.0,
        description="What person and background do not explain of the photograph's outline, levels of 255.",
    )
    least_light_change: float = Field(
        default=0.0, ge=0.0, le=255.0, description="Mean difference of relit and photographed person, levels of 255."
    )


class HeldOutParams(Params):
    """Which pairs are kept from training. All pairs of one photograph, or of one `person` of a list, stay together."""

    validation: Share = Field(default=0.0, description="Share of the photographs, drawn by name.")
    test: Share = Field(default=0.0, description="Share of the photographs, drawn by name.")

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "test",
            "self.validation + self.test < 1.0",
            "leaves nothing to train on: validation and test together must be below 1",
            lambda block: block.validation + block.test < 1,
            ({"validation": 0.5, "test": 0.5},),
        ),
    )


class CaptionParams(ModelParams):
    """Stage 4, off by default: a sentence about the new light in every metadata file."""

    backend: Literal["none", "classic", "qwen-vl"] = Field(
        default="none",
        description="classic says what is known of the light (side, height, contrast, warmth); qwen-vl is a model.",
    )
    instruction: str = Field(
        default="Describe the lighting of this portrait in one sentence.",
        min_length=1,
        max_length=1000,
        description="What qwen-vl is asked.",
    )


class RelightParams(Params):
    """The block ``relight`` of a DatasetJob."""

    preset: Literal["", "mvp"] = Field(
        default="",
        description="mvp names the backends of the original data generation: segmentation by sam3, else sam2; albedo "
        "by retinex, else lab; normals by dpt. Everything else has its defaults already.",
    )
    variants: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Lights for each image. 1: the sample keeps its id; otherwise they are id_v0, id_v1 and so on.",
    )
    background: Background = Field(
        default="original",
        description="What lies behind the relit person: the photograph's own background, or gray "
        "or black in its place.",
    )
    formats: Formats = Field(default=[])
    keep: list[Folder] = Field(
        default=list(FOLDERS),
        min_length=1,
        max_length=5,
        description="Folders of the result; [outputs] leaves the folders of the single stages out.",
    )
    segmentation: SegmentationParams = SegmentationParams()
    albedo: AlbedoParams = AlbedoParams()
    normals: NormalsParams = NormalsParams()
    degradation: DegradationParams = DegradationParams()
    gates: PairGatesParams = PairGatesParams()
    split: HeldOutParams = HeldOutParams()
    caption: CaptionParams = CaptionParams()

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "keep",
            "self.keep.exists(folder, folder == 'outputs')",
            "must name outputs: they are the data set",
            lambda block: "outputs" in block.keep,
            ({"keep": ["stage_1"]},),
        ),
        Rule(
            "preset",
            "self.preset == '' || (size(self.segmentation.backends) == 0 && size(self.albedo.backends) == 0 && "
            "self.segmentation.backend == 'selfie' && self.albedo.backend == 'classic' && "
            "self.normals.backend == 'face-mesh')",
            "names the backends: leave those of the blocks out",
            lambda block: not block.preset or block.backends_are_defaults(),
            (
                {"preset": "mvp", "normals": {"backend": "marigold-normals"}},
                {"preset": "mvp", "albedo": {"backends": ["lab"]}},
            ),
        ),
    )

    def backends_are_defaults(self) -> bool:
        """Whether no block names a backend."""
        blocks = (self.segmentation, self.albedo, self.normals)
        named = (self.segmentation.backends, self.albedo.backends)
        return not any(named) and all(block.backend == type(block)().backend for block in blocks)

    def segmenters(self) -> tuple[Segmenter, ...]:
        """The segmentation backends, in fallback order."""
        if self.preset == "mvp":
            return ("sam3", "sam2")
        return tuple(self.segmentation.backends) or (self.segmentation.backend,)

    def albedo_methods(self) -> tuple[AlbedoMethod, ...]:
        """The albedo backends, in fallback order."""
        if self.preset == "mvp":
            return ("retinex", "lab")
        return tuple(self.albedo.backends) or (self.albedo.backend,)

    def normal_method(self) -> NormalMethod:
        """The backend that estimates normals."""
        return "dpt" if self.preset == "mvp" else self.normals.backend

    def keeps(self, folder: Folder) -> bool:
        """Whether a folder is part of the result."""
        return folder in self.keep

    def variant_suffixes(self) -> tuple[str, ...]:
        """Suffixes of the sample id, one per light; empty if there is only one light."""
        return tuple(f"_v{number}" for number in range(self.variants)) if self.variants > 1 else ()
