"""Parameters of the relighting pipeline: every switch of the data generation, typed, with units and ranges."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from scenewright_stages.contract.params import Params, Rule, ordered
from scenewright_stages.photographs.params import (
    AngleRange,
    ModelParams,
    PositiveRange,
    Share,
    ShareRange,
    chain_or_backend,
)

Segmenter = Literal["classic", "selfie", "mask", "sam3", "sam2"]
AlbedoMethod = Literal["classic", "retinex", "lab", "marigold-iid", "intrinsic-anything"]
NormalMethod = Literal["classic", "face-mesh", "dpt", "marigold-normals"]
Degradation = Literal["softShading", "hardShadow", "specular", "advancedShading"]
ShadowPattern = Literal["perlin", "geometric", "blob"]
Background = Literal["original", "gray", "black"]
Folder = Literal["stage_1", "stage_2", "stage_3", "stage_3_5", "outputs"]

SHADOW_PATTERNS: tuple[ShadowPattern, ...] = ("perlin", "geometric", "blob")
FOLDERS: tuple[Folder, ...] = ("stage_1", "stage_2", "stage_3", "stage_3_5", "outputs")


class SegmentationParams(ModelParams):
    """Stage 1: who finds the person."""

    backend: Segmenter = Field(
        default="classic",
        description="Who finds the person: classic (a face or the box, then GrabCut and a matte; no weights), selfie "
        "(everybody, by a small model that is part of the installation, where it sees a face; else as classic), mask "
        "(supplied beside each image, face.mask.png for face.jpg), sam3 (from the prompt) or sam2 (from a face or the "
        "box).",
    )
    backends: list[Segmenter] = Field(
        default=[],
        max_length=5,
        description="A chain in place of backend, such as [sam3, sam2]: the next one serves where one is not "
        "available, and the record says which did. Without it there is no fallback.",
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
        description="Width of the band in which a binary mask becomes a soft matte, as a share of the longer side; "
        "0 keeps supplied masks as they are.",
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        chain_or_backend("mask"),
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
        default="classic",
        description="classic (a surface inflated from the silhouette with detail of the picture; a stated prior), "
        "face-mesh (the same with nose, sockets, lips and chin by a small model that is part of the installation), "
        "dpt (MiDaS depth) or marigold-normals (models).",
    )
    steps: int = Field(
        default=0, ge=0, le=1000, description="Denoising steps of a diffusion model; 0: the backend's default."
    )
    detail: float = Field(
        default=0.3, ge=0.0, le=2.0, description="How much the picture's brightness shapes the classic surface."
    )


class WeightsParams(Params):
    """How often each kind of new light is drawn; normalised, so that one of them always applies."""

    soft_shading: float = Field(default=0.8, ge=0.0, le=1000.0, description="Lambert with much ambient light.")
    hard_shadow: float = Field(default=0.0, ge=0.0, le=1000.0, description="A shadow pattern under even light.")
    specular: float = Field(default=0.0, ge=0.0, le=1000.0, description="Soft shading with a Phong highlight.")
    advanced_shading: float = Field(
        default=0.0, ge=0.0, le=1000.0, description="Coloured, harder light with a highlight and a shadow pattern."
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "softShading",
            "self.softShading + self.hardShadow + self.specular + self.advancedShading > 0.0",
            "at least one weight must be above 0: no sample stays without new light",
            lambda block: block.soft_shading + block.hard_shadow + block.specular + block.advanced_shading > 0,
            ({"softShading": 0.0},),
        ),
    )


class ShadowParams(Params):
    """Procedural shadow patterns; they only ever darken."""

    probability: float = Field(
        default=0.5, ge=0.0, le=1.0, description="How often soft shading and specular get a subtle pattern as well."
    )
    patterns: list[ShadowPattern] = Field(
        default=list(SHADOW_PATTERNS),
        min_length=1,
        max_length=3,
        description="Kinds of patterns to draw from.",
    )
    subtle_opacity_range: ShareRange = Field(
        default=[0.15, 0.4],
        description="Share of the direct light that a subtle pattern takes away where it is darkest.",
    )
    hard_opacity_range: ShareRange = Field(
        default=[0.7, 1.0],
        description="The same for hardShadow and advancedShading. With the default ambient light, 10 to 40 % of all "
        "light.",
    )
    softness_range: Annotated[list[Annotated[float, Field(ge=0.0, le=0.5)]], Field(min_length=2, max_length=2)] = Field(
        default=[0.03, 0.11], description="Width of a pattern's edge as a share of the longer side."
    )

    rules: ClassVar[tuple[Rule, ...]] = ordered(
        subtle_opacity_range=(0.5, 0.1), hard_opacity_range=(0.5, 0.1), softness_range=(0.2, 0.1)
    )


class DegradationParams(Params):
    """Stage 3: the new light. Every range is drawn from evenly, for each sample."""

    weights: WeightsParams = WeightsParams()
    ambient_range: ShareRange = Field(default=[0.6, 0.85], description="Share of the light that comes from everywhere.")
    azimuth_range: AngleRange = Field(
        default=[0.0, 360.0],
        description="Direction of the light around the viewing axis, degrees: 0 from the right, 90 from above.",
    )
    elevation_range: Annotated[list[Annotated[float, Field(ge=0.0, le=90.0)]], Field(min_length=2, max_length=2)] = (
        Field(
            default=[10.0, 80.0],
            description="Angle of the light above the image plane, degrees: 90 comes from the camera.",
        )
    )
    temperature_range: Annotated[
        list[Annotated[float, Field(ge=1667.0, le=25000.0)]], Field(min_length=2, max_length=2)
    ] = Field(
        default=[6500.0, 6500.0],
        description="Colour temperature of the light, kelvin; 6500 is white.",
    )
    hardness_range: ShareRange = Field(
        default=[1.0, 1.0],
        description="1 is a point-like light (Lambert's cosine); below it the light wraps around the edge of its "
        "shadow as that of a large source does, half way round at 0.",
    )
    specular_range: ShareRange = Field(
        default=[0.3, 0.3], description="Strength of the Phong highlight (specular, advancedShading)."
    )
    shininess_range: PositiveRange = Field(default=[32.0, 32.0], description="Exponent of the Phong highlight.")
    shadow: ShadowParams = ShadowParams()

    rules: ClassVar[tuple[Rule, ...]] = ordered(
        ambient_range=(0.6, 0.5),
        azimuth_range=(90.0, -90.0),
        elevation_range=(80.0, 10.0),
        temperature_range=(9000.0, 3000.0),
        hardness_range=(1.0, 0.5),
        specular_range=(0.4, 0.3),
        shininess_range=(64.0, 16.0),
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
            "self.segmentation.backend == 'classic' && self.albedo.backend == 'classic' && "
            "self.normals.backend == 'classic')",
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
        named = (self.segmentation.backends, self.albedo.backends)
        return not any(named) and all(
            block.backend == "classic" for block in (self.segmentation, self.albedo, self.normals)
        )

    def segmenters(self) -> tuple[Segmenter, ...]:
        """The backends that may segment, in the order in which they are asked."""
        if self.preset == "mvp":
            return ("sam3", "sam2")
        return tuple(self.segmentation.backends) or (self.segmentation.backend,)

    def albedo_methods(self) -> tuple[AlbedoMethod, ...]:
        """The backends that may estimate the albedo, in order."""
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
        """What is added to a sample's id for each of its lights; nothing when there is one."""
        return tuple(f"_v{number}" for number in range(self.variants)) if self.variants > 1 else ()
