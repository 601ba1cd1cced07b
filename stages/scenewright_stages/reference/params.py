"""Parameters of the reference-object pipeline: one product photo to a YOLO data set, with units and ranges."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from pydantic.alias_generators import to_camel

from scenewright_stages.contract.params import Params, Rule, ordered
from scenewright_stages.photographs.params import Formats, MaskClass, MaskPolarity, PositiveRange, Share, ShareRange

Place = Literal["interior", "forest", "courtyard", "sunset", "city", "studio", "sunrise", "night"]
Surface = Literal["wood", "stone", "cloth"]
Background = Literal["surface", "own", "photo"]
Seam = Literal["none", "feather", "poisson"]
Grouping = Literal["scene", "view", "scene-view"]
Annotator = Literal["exact", "match", "persam", "persam-f", "sam3"]
Weather = Literal["golden-hour", "overcast", "dusk", "fog", "rain", "harsh-sun"]
Step = Literal["white", "perspectives", "prompts", "scenes", "vary"]
CameraView = Literal["front", "front-right", "right", "back-right", "back", "back-left", "left", "front-left"]
CameraElevation = Literal["low-angle", "eye-level", "elevated", "high-angle"]
CameraDistance = Literal["close-up", "medium", "wide"]
Variant = Annotated[str, Field(max_length=64, description="Which weights of a model; empty: its default.")]
_REVISION = r"^([A-Za-z0-9][A-Za-z0-9._/-]*|(s3:/|file://)?/[^ ?#]+)?$"
Revision = Annotated[
    str,
    Field(
        max_length=1024,
        description="Branch, tag or commit of a model's weights, or the folder with weights of your own: an absolute "
        "path, file:///… or s3://…; empty: main.",
    ),
]
PaintingPrecision = Annotated[
    Literal["", "bf16", "fp8", "fp32"],
    Field(description="Arithmetic of a model; fp8 needs Hopper or newer; empty: bf16."),
]
Steps = Annotated[
    int | None,
    Field(ge=2, le=200, description="Denoising steps of a model that paints; none: its default."),
]
Guidance = Annotated[
    float | None,
    Field(ge=0.0, le=100.0, description="How closely a model that paints follows its text; none: its default."),
]
Degrees = Annotated[float, Field(ge=-85.0, le=85.0)]
CountRange = Annotated[list[Annotated[int, Field(ge=0, le=10)]], Field(min_length=2, max_length=2)]
KernelRange = Annotated[list[Annotated[int, Field(ge=1, le=255)]], Field(min_length=2, max_length=2)]
QualityRange = Annotated[list[Annotated[int, Field(ge=1, le=100)]], Field(min_length=2, max_length=2)]

PLACES: tuple[Place, ...] = ("interior", "forest", "courtyard", "sunset", "city", "studio", "sunrise", "night")
SURFACES: tuple[Surface, ...] = ("wood", "stone", "cloth")
STEPS: tuple[Step, ...] = ("white", "perspectives", "prompts", "scenes", "vary")
"""The steps that lead to the data set; what the steps after them make is the data set."""
WEATHERS: tuple[Weather, ...] = ("golden-hour", "overcast", "dusk", "fog", "rain", "harsh-sun")
NAME = r"^[^\p{Cc}\p{Zl}\p{Zp}]*$"
"""A name on one line: loaders of data sets read classes from YAML and from a text file with one name a line."""
URI = r"^((s3://|file:///)[^\s?#]+)?$"
PROMPT_FILE, SYSTEM, PROJECT, PHOTOS, THINGS = "prompts", "system", "project", "photos", "things"
VARIATIONS = "variations"
"""Names of the inputs beside the object's photo."""
LARGEST_TRUE_ANGLE = 30.0
"""Degrees up to which a turned relief still shows what the photo has seen."""


ZERO123_VIEWS = 6
EDITORS = ("qwen-edit", "klein-edit")
"""Backends that paint a whole picture again, with the object in it."""


def painting_options(block: Any) -> dict[str, Any]:
    """A block's settings of a painting model as backend options; None means the backend's default."""
    return {"precision": block.precision or None, "steps": block.steps, "guidance": block.guidance}


def _published(name: str = "revision") -> Rule:
    """The rule that a revision is a revision or a location; a path must be absolute."""
    field = to_camel(name)
    return Rule(
        field,
        f"self.{field}.matches('{_REVISION}')",
        "must be a branch, tag or commit, or name the folder with weights of your own by an absolute path, file:///… "
        "or s3://…",
        lambda block: re.fullmatch(_REVISION, getattr(block, name)) is not None,
        tuple({field: value} for value in ("./mine", "https://models/mine", "/models/my weights")),
    )


_SOME_GUIDANCE = 3.0


def _no_guidance(backend: str) -> Rule:
    return Rule(
        "guidance",
        "!self.backend.contains('klein') || !has(self.guidance)",
        "has no effect on flux2-klein and klein-edit, which were distilled to do without: leave it out",
        lambda block: "klein" not in block.backend or block.guidance is None,
        ({"backend": backend, "guidance": _SOME_GUIDANCE},),
    )


_WHITE_PRECISION = Rule(
    "precision",
    "self.backend in ['qwen-edit', 'klein-edit'] ? self.precision != 'fp16' : self.precision != 'fp8'",
    "qwen-edit and klein-edit have bf16, fp8 and fp32; sam2 and sam3 have fp32, fp16 and bf16",
    lambda block: block.precision != ("fp16" if block.backend in EDITORS else "fp8"),
    ({"backend": "qwen-edit", "precision": "fp16"}, {"backend": "sam2", "precision": "fp8"}),
)


class WhiteParams(Params):
    """Step 1: the object on plain white."""

    backend: Literal["classic", "sam2", "sam3", "qwen-edit", "klein-edit"] = Field(
        default="classic",
        description="Who cuts the object out where no mask lies beside the photo: classic (from the box, or because "
        "it stands out; no weights), sam2 (SAM 2.1, from box or points, or from what stands out) or sam3 (SAM 3, told "
        "the object's name). qwen-edit and klein-edit paint the object again on white, whatever lies beside "
        "the photo.",
    )
    variant: Variant = ""
    precision: Literal["", "fp32", "fp16", "bf16", "fp8"] = Field(
        default="", description="Arithmetic of a model; fp8 only where it paints; empty: its default."
    )
    revision: Revision = ""
    steps: Steps = None
    guidance: Guidance = None
    matte_radius: float = Field(
        default=0.006,
        ge=0.0,
        le=0.1,
        description="Width of the band in which a binary mask becomes a soft matte, as a share of the object's longer "
        "side; 0 keeps supplied masks as they are.",
    )
    mask_polarity: MaskPolarity = "auto"
    mask_class: MaskClass = None
    minimum_score: float = Field(
        default=0.6,
        ge=0.0,
        le=1.0,
        description="Without a mask: how clearly the object must stand out, or how sure a model must be; below it the "
        "photo has no clear object.",
    )
    camera_pitch: float | None = Field(
        default=None,
        ge=0.0,
        le=80.0,
        description="Degrees by which the photo looks down on the object; none: estimated from its lower outline, 16 "
        "where that is straight.",
    )

    rules: ClassVar[tuple[Rule, ...]] = (_WHITE_PRECISION, _published(), _no_guidance("klein-edit"))


_VIEW_PRECISION = Rule(
    "precision",
    "self.backend == 'zero123' ? self.precision != 'fp8' : self.precision != 'fp16'",
    "qwen-multicamera has bf16, fp8 and fp32; zero123 has fp32, fp16 and bf16",
    lambda block: block.precision != ("fp8" if block.backend == "zero123" else "fp16"),
    ({"backend": "zero123", "precision": "fp8"}, {"backend": "qwen-multicamera", "precision": "fp16"}),
)


class PerspectivesParams(Params):
    """Step 2: the object from several sides."""

    backend: Literal["classic", "qwen-multicamera", "zero123"] = Field(
        default="classic",
        description="Who shows the other sides: classic (turns the cut-out as a relief; no weights), qwen-multicamera "
        "(paints the cameras below) or zero123 (paints its six fixed views).",
    )
    variant: Variant = ""
    precision: Literal["", "fp32", "fp16", "bf16", "fp8"] = Field(
        default="", description="Arithmetic of a model; fp8 only for qwen-multicamera, fp16 only for zero123."
    )
    revision: Revision = ""
    steps: Steps = None
    guidance: Guidance = None
    camera_views: list[CameraView] = Field(
        default=["front", "front-right", "right", "back", "left", "front-left"],
        min_length=1,
        max_length=8,
        description="Sides that qwen-multicamera paints, each from every elevation and distance.",
    )
    camera_elevations: list[CameraElevation] = Field(
        default=["elevated"],
        min_length=1,
        max_length=4,
        description="Heights of qwen-multicamera's camera: 30 degrees from below, level, 30 and 60 degrees from above.",
    )
    camera_distances: list[CameraDistance] = Field(
        default=["medium"],
        min_length=1,
        max_length=3,
        description="Distances of qwen-multicamera's camera.",
    )
    camera_strength: float = Field(
        default=0.9, ge=0.0, le=2.0, description="Strength of qwen-multicamera's weights for camera angles."
    )
    angles: list[Degrees] = Field(
        default=[-30.0, -20.0, -10.0, 10.0, 20.0, 30.0],
        min_length=1,
        max_length=36,
        description="Turns about the vertical axis, degrees, one view each; positive shows more of the right side.",
    )
    elevations: list[Annotated[float, Field(ge=-20.0, le=20.0)]] = Field(
        default=[0.0, 6.0],
        min_length=1,
        max_length=36,
        description="Further tilts, degrees, taken in turn by the views; positive shows more from above.",
    )
    allow_pseudo_views: bool = Field(
        default=False,
        description="Allow angles beyond 30 degrees. One photo does not show those sides: the files are named pseudo.",
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        _published(),
        Rule(
            "angles",
            "self.allowPseudoViews || self.angles.all(angle, angle >= -30.0 && angle <= 30.0)",
            "must lie within 30 degrees unless allowPseudoViews is set",
            lambda block: block.allow_pseudo_views or all(abs(angle) <= LARGEST_TRUE_ANGLE for angle in block.angles),
            ({"angles": [45.0]},),
        ),
        _VIEW_PRECISION,
    )

    def count(self) -> int:
        """Number of views."""
        if self.backend == "zero123":
            return ZERO123_VIEWS
        if self.backend == "qwen-multicamera":
            return len(self.camera_views) * len(self.camera_elevations) * len(self.camera_distances)
        return len(self.angles)

    def options(self) -> dict[str, Any]:
        """What is set here as options of a backend; None: its default."""
        return {**painting_options(self), "strength": self.camera_strength}


class PromptsParams(Params):
    """Step 3: what the scenes are."""

    backend: Literal["grammar", "file", "ollama"] = Field(
        default="grammar",
        description="Who writes them: grammar (place, surface, light, distance, clutter; seeded), file (one prompt in "
        "each line) or ollama (a language model at url; any server with OpenAI's chat protocol does).",
    )
    count: int = Field(default=5, ge=1, le=500, description="Number of scene prompts.")
    file: str = Field(default="", max_length=1024, pattern=URI, description="Text file with the prompts of file.")
    url: str = Field(
        default="",
        max_length=1024,
        pattern=r"^(https?://[^\s?#]+)?$",
        description="Address of ollama's server up to the version, such as http://ollama:11434/v1.",
    )
    model: str = Field(default="", max_length=200, description="Name of the language model at url.")
    secret_name: str = Field(
        default="",
        max_length=253,
        pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$",
        description="Secret of this namespace that holds the token for url; empty: none is sent. On the command line "
        "the token is in the environment variable LANGUAGE_MODEL_TOKEN.",
    )
    secret_key: str = Field(
        default="token",
        min_length=1,
        max_length=253,
        pattern=r"^[-._a-zA-Z0-9]+$",
        description="Key of that Secret.",
    )
    system_file: str = Field(
        default="",
        max_length=1024,
        pattern=URI,
        description="Text file with ollama's system prompt; empty: system_qwen_edit.txt of the installation.",
    )
    project_file: str = Field(
        default="",
        max_length=1024,
        pattern=URI,
        description="Text file about the project, for ollama: where the object is used, what the scenes should show.",
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "file",
            "self.backend != 'file' || self.file != ''",
            "must name a text file with one prompt in each line",
            lambda block: block.backend != "file" or bool(block.file),
            ({"backend": "file"},),
        ),
        Rule(
            "url",
            "self.backend != 'ollama' || (self.url != '' && self.model != '')",
            "must be given, and model too: where a language model answers",
            lambda block: block.backend != "ollama" or bool(block.url and block.model),
            ({"backend": "ollama"}, {"backend": "ollama", "url": "http://localhost:11434/v1"}),
        ),
    )


_PAINTED_BACKGROUND = Rule(
    "background",
    "self.background == 'surface' || self.backend == 'classic'",
    "own and photo are drawn by classic; models paint what the prompt says",
    lambda block: block.background == "surface" or not block.painted,
    ({"background": "own", "backend": "flux-fill"},),
)


_SCENES_GUIDANCE = _no_guidance("flux2-klein")


class ScenesParams(Params):
    """Step 4: every view in every scene."""

    backend: Literal["classic", "qwen-edit", "klein-edit", "flux-fill", "flux2-klein"] = Field(
        default="classic",
        description="Who makes the scenes: classic (draws what the prompt's fields say; no weights), flux-fill or "
        "flux2-klein (paint the scene around the view; the mask stays exact), qwen-edit or klein-edit (paint view and "
        "scene; need another annotate.backend than exact).",
    )
    variant: Variant = ""
    precision: PaintingPrecision = ""
    revision: Revision = ""
    steps: Steps = None
    guidance: Guidance = None
    background: Background = Field(
        default="surface",
        description="surface (a table top before a 360-degree photograph that also lights the object), own (the "
        "photo with the object filled away) or photo (pictures of yours, in photos).",
    )
    places: list[Place] = Field(
        default=list(PLACES),
        min_length=1,
        max_length=len(PLACES),
        description="360-degree photographs in the order in which the prompts take them in turn.",
    )
    photos: str = Field(
        default="",
        max_length=1024,
        pattern=URI,
        description="Folder with the pictures of background photo. Every prompt takes one of those of its split.",
    )
    ground: float | None = Field(
        default=None,
        ge=0.05,
        le=0.95,
        description="Where the ground of photos begins, as a share of their height from above: nothing stands above "
        "it, and what stands near it is smaller; none: things stand in the lower half, all at one scale.",
    )
    iterations: int = Field(default=3, ge=1, le=100, description="Times that each view is put into each scene.")
    size: list[Annotated[int, Field(ge=128, le=2048)]] = Field(
        default=[640, 640], min_length=2, max_length=2, description="Width and height of the images, pixels."
    )
    object_scale: ShareRange = Field(
        default=[0.35, 0.65], description="Longer side of the object as a share of the image's shorter side."
    )
    decoys: CountRange = Field(default=[0, 2], description="Other things, without a label, beside the object.")
    things: str = Field(
        default="",
        max_length=1024,
        pattern=URI,
        description="Folder with cut-outs (PNG with alpha) for decoys and what stands in front; empty: drawn things.",
    )
    occluder_probability: Share = Field(
        default=0.15, description="How often a thing in front hides a part of the object."
    )
    minimum_visible: Share = Field(default=0.5, description="Least share of the object that stays visible.")
    empty_share: Annotated[float, Field(ge=0.0, le=1.0)] = Field(
        default=0.08, description="Scenes without the object, as a share of those with it; extra to them."
    )
    seams: list[Seam] = Field(
        default=["none", "feather", "poisson"],
        min_length=1,
        max_length=3,
        description="How the object's edge is joined to the scene; one is drawn for each image.",
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        _published(),
        *ordered(object_scale=(0.5, 0.4), decoys=(2, 1)),
        Rule(
            "photos",
            "self.background != 'photo' || self.photos != ''",
            "must name a folder of pictures",
            lambda block: block.background != "photo" or bool(block.photos),
            ({"background": "photo"},),
        ),
        Rule(
            "objectScale",
            "self.objectScale[0] >= 0.05",
            "must be at least 0.05",
            lambda block: block.object_scale[0] >= 0.05,
            ({"objectScale": [0.01, 0.4]},),
        ),
        _PAINTED_BACKGROUND,
        _SCENES_GUIDANCE,
    )

    @property
    def painted(self) -> bool:
        """Whether a model paints the scenes, so that each prompt has its own surroundings."""
        return self.backend != "classic"

    @property
    def prompts_are_groups(self) -> bool:
        """Whether every prompt has its own background; otherwise prompts of one place share it."""
        return self.painted or self.background == "photo"


class VaryParams(Params):
    """Step 5: the same images in other weather and light; each is annotated by itself."""

    enabled: bool = Field(default=False, description="Whether the step runs.")
    backend: Literal["classic", "qwen-edit", "klein-edit"] = Field(
        default="classic",
        description="Who makes the variations: classic (weather and light; no weights), qwen-edit or klein-edit (paint "
        "the image again as a line of file says; need another annotate.backend than exact).",
    )
    variant: Variant = ""
    precision: PaintingPrecision = ""
    revision: Revision = ""
    steps: Steps = None
    guidance: Guidance = None
    file: str = Field(
        default="",
        max_length=1024,
        pattern=URI,
        description="Text file with the lines from which painted variations are drawn; empty: "
        "qwen_edit_augmentations.txt of the installation.",
    )
    weathers: list[Weather] = Field(
        default=list(WEATHERS), min_length=1, max_length=len(WEATHERS), description="What classic draws from."
    )
    count: int = Field(default=1, ge=1, le=10, description="Variations of each image.")

    rules: ClassVar[tuple[Rule, ...]] = (_published(), _no_guidance("klein-edit"))


_REFINES = Rule(
    "refine",
    "self.refine == 'none' || (self.backend != 'exact' && self.backend != 'sam3')",
    "refines what match, persam or persam-f found",
    lambda block: block.refine == "none" or block.backend not in ("exact", "sam3"),
    ({"refine": "sam2"}, {"refine": "sam2", "backend": "sam3"}),
)


class AnnotateParams(Params):
    """Step 6: masks, labels and the split."""

    enabled: bool = Field(default=True, description="Whether the step runs.")
    backend: Annotator = Field(
        default="exact",
        description="Who finds the masks: exact (what the compositor knows), match (edges, colours and local features "
        "of the photo, then a graph cut; no weights), persam, persam-f (SAM, shown the photo) or sam3 (SAM 3, told "
        "the object's name).",
    )
    variant: str = Field(
        default="",
        max_length=64,
        description="Weights of persam and persam-f: vit-h (empty), vit-l or vit-b. When a GPU runs out of memory, "
        "vit-l follows vit-h if the cache has it.",
    )
    precision: Literal["", "fp32", "fp16", "bf16"] = Field(
        default="", description="Arithmetic of a model backend; empty: its default."
    )
    revision: Revision = ""
    refine: Literal["none", "sam2"] = Field(
        default="none", description="sam2: SAM 2.1 draws the mask again, from the box and the middle of the first one."
    )
    refine_variant: str = Field(
        default="", max_length=64, description="Weights of refine: large (empty), base-plus, small or tiny."
    )
    refine_revision: Revision = ""
    prompt: str = Field(default="", max_length=200, description="What sam3 looks for; empty: the object by its name.")
    score_threshold: float = Field(
        default=0.5,
        ge=0.0,
        le=1.0,
        description="Score from which the object counts as found; below it the image is left out as object-absent.",
    )
    persam_learning_rate: float = Field(
        default=1e-3, gt=0.0, le=1.0, description="Of persam-f's two weights, at the beginning."
    )
    persam_epochs: int = Field(default=1000, ge=1, le=100000, description="Steps of persam-f's fit.")
    persam_log_epochs: int = Field(default=200, ge=1, le=100000, description="Steps between two lines of its log.")
    split_ratio: float = Field(default=0.8, gt=0.0, lt=1.0, description="Share of the groups that are for training.")
    test_share: float = Field(default=0.0, ge=0.0, lt=1.0, description="Share of the groups kept for a test split.")
    group: Grouping = Field(
        default="scene",
        description="What never crosses a split: scene (all that shares a prompt or background), view, or scene-view "
        "(both; images that mix the two are left out).",
    )
    minimum_area: float = Field(
        default=0.0005, ge=0.0, le=0.5, description="Smallest visible share of the image that is labelled."
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "testShare",
            "self.splitRatio + self.testShare < 1.0",
            "must leave something for validation beside splitRatio",
            lambda block: block.split_ratio + block.test_share < 1.0,
            ({"splitRatio": 0.8, "testShare": 0.2},),
        ),
        _REFINES,
        _published(),
        _published("refine_revision"),
    )

    def options(self) -> dict[str, Any]:
        """What is set here as options of a backend; None: its default."""
        return {
            "precision": self.precision or None,
            "threshold": self.score_threshold,
            "learning_rate": self.persam_learning_rate,
            "epochs": self.persam_epochs,
            "log_epochs": self.persam_log_epochs,
        }


class AugmentParams(Params):
    """Step 7: degraded copies of annotated images; the labels stay."""

    enabled: bool = Field(default=True, description="Whether the step runs; it needs annotate.")
    count: int = Field(default=1, ge=1, le=10, description="Degraded copies of each image.")
    splits: list[Literal["train", "val", "test"]] = Field(
        default=["train"], min_length=1, max_length=3, description="Splits whose images are degraded."
    )
    bw_probability: Share = Field(default=0.5, description="How often the image becomes black and white.")
    saturation_probability: Share = Field(default=0.7, description="How often saturation changes.")
    contrast_probability: Share = Field(default=0.5, description="How often contrast changes.")
    brightness_probability: Share = Field(default=0.3, description="How often brightness changes.")
    motion_blur_probability: Share = Field(default=0.8, description="How often the image is blurred by motion.")
    compression_noise_probability: Share = Field(default=1.0, description="How often the image is compressed.")
    saturation_range: PositiveRange = Field(default=[0.1, 2.5], description="Factor; 1 leaves saturation.")
    contrast_range: PositiveRange = Field(default=[0.2, 0.8], description="Factor; 1 leaves contrast.")
    brightness_range: PositiveRange = Field(default=[0.4, 1.5], description="Factor; 1 leaves brightness.")
    motion_blur_range: KernelRange = Field(default=[20, 55], description="Length of the blur, pixels.")
    compression_iterations_range: QualityRange = Field(default=[10, 30], description="How often it is compressed.")
    compression_quality_range: QualityRange = Field(default=[10, 40], description="JPEG quality, 1 to 100.")

    rules: ClassVar[tuple[Rule, ...]] = ordered(
        saturation_range=(2.0, 1.0),
        contrast_range=(0.8, 0.2),
        brightness_range=(1.5, 0.4),
        motion_blur_range=(55, 20),
        compression_iterations_range=(30, 10),
        compression_quality_range=(40, 10),
    )


_MASKS_ARE_FOUND = Rule(
    "annotate.backend",
    "(has(self.annotate) && (!self.annotate.enabled || self.annotate.backend != 'exact')) || "
    "((!has(self.scenes) || !self.scenes.backend.endsWith('-edit')) && "
    "(!has(self.vary) || !self.vary.enabled || !self.vary.backend.endsWith('-edit')))",
    "exact knows nothing of what qwen-edit and klein-edit paint: use match, persam, persam-f or sam3",
    lambda block: not (block.annotate.enabled and block.annotate.backend == "exact" and block.paints_objects()),
    ({"scenes": {"backend": "qwen-edit"}}, {"vary": {"enabled": True, "backend": "qwen-edit"}}),
)


_OWN_PLACE = Rule(
    "scenes.background",
    "!has(self.white) || !self.white.backend.endsWith('-edit') || !has(self.scenes) || self.scenes.background != 'own'",
    "own needs the object where it stood in the photo, and qwen-edit or klein-edit in white paints it somewhere else",
    lambda block: block.white.backend not in EDITORS or block.scenes.background != "own",
    ({"white": {"backend": "qwen-edit"}, "scenes": {"background": "own"}},),
)


class ReferenceObjectParams(Params):
    """One product photo to a training set for instance segmentation."""

    object_name: str = Field(
        default="",
        max_length=100,
        pattern=NAME,
        description="What the object is called, in labels and prompts; empty: after its file. A list may name a class "
        "for each object.",
    )
    formats: Formats = Field(default=[])
    keep: list[Step] = Field(
        default=list(STEPS),
        max_length=len(STEPS),
        description="Steps whose folders are part of the result beside the labelled data set; [] leaves 01 to 05 out.",
    )
    white: WhiteParams = Field(default_factory=WhiteParams, description="Step 1: the object on white.")
    perspectives: PerspectivesParams = Field(default_factory=PerspectivesParams, description="Step 2: views.")
    prompts: PromptsParams = Field(default_factory=PromptsParams, description="Step 3: what the scenes are.")
    scenes: ScenesParams = Field(default_factory=ScenesParams, description="Step 4: every view in every scene.")
    vary: VaryParams = Field(default_factory=VaryParams, description="Step 5: other weather and light.")
    annotate: AnnotateParams = Field(default_factory=AnnotateParams, description="Step 6: labels and the split.")
    augment: AugmentParams = Field(default_factory=AugmentParams, description="Step 7: degraded copies.")

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "keep",
            "!has(self.annotate) || self.annotate.enabled || self.keep.exists(step, step == 'scenes')",
            "must name scenes where nothing is annotated: they are the result",
            lambda block: block.annotate.enabled or block.keeps("scenes"),
            ({"keep": ["white"], "annotate": {"enabled": False}, "augment": {"enabled": False}},),
        ),
        Rule(
            "augment.enabled",
            "!has(self.annotate) || self.annotate.enabled || (has(self.augment) && !self.augment.enabled)",
            "needs annotate.enabled: it degrades annotated images",
            lambda block: not block.augment.enabled or block.annotate.enabled,
            ({"annotate": {"enabled": False}, "augment": {"enabled": True}}, {"annotate": {"enabled": False}}),
        ),
        Rule(
            "annotate.group",
            "(has(self.annotate) && (!self.annotate.enabled || self.annotate.group == 'view')) || "
            "(has(self.scenes) && self.scenes.background == 'own') || "
            "((!has(self.prompts) || self.prompts.count >= 2) && "
            "(!has(self.scenes) || self.scenes.background == 'photo' || self.scenes.backend != 'classic' || "
            "size(self.scenes.places) >= 2))",
            "scene needs at least two prompts and two places: one group cannot be split",
            lambda block: not (block.annotate.enabled and block.needs_scenes() and block.scene_groups() < 2),
            ({"prompts": {"count": 1}}, {"scenes": {"places": ["city"]}}),
        ),
        Rule(
            "annotate.group",
            "(has(self.annotate) && !self.annotate.enabled) || "
            "((!has(self.annotate) || self.annotate.group == 'scene') && "
            "(!has(self.scenes) || self.scenes.background != 'own')) || "
            "!has(self.perspectives) || self.perspectives.backend == 'zero123' || "
            "(self.perspectives.backend == 'classic' && size(self.perspectives.angles) >= 2) || "
            "(self.perspectives.backend == 'qwen-multicamera' && size(self.perspectives.cameraViews) * "
            "size(self.perspectives.cameraElevations) * size(self.perspectives.cameraDistances) >= 2)",
            "view needs at least two views: one group cannot be split",
            lambda block: not (block.annotate.enabled and block.needs_views() and block.perspectives.count() < 2),
            ({"annotate": {"group": "view"}, "perspectives": {"angles": [0.0]}},),
        ),
        _MASKS_ARE_FOUND,
        _OWN_PLACE,
    )

    def paints_objects(self) -> bool:
        """Whether a model repaints the object, so that its mask is unknown."""
        return self.scenes.backend in EDITORS or (self.vary.enabled and self.vary.backend in EDITORS)

    def keeps(self, step: Step) -> bool:
        """Whether the folder of a step is part of the result."""
        return step in self.keep

    def scene_groups(self) -> int:
        """Number of scene groups: one per place or, if each prompt has its own background, one per prompt."""
        return (
            self.prompts.count if self.scenes.prompts_are_groups else min(self.prompts.count, len(self.scenes.places))
        )

    def needs_scenes(self) -> bool:
        """Whether the split depends on the scenes."""
        return self.annotate.group != "view" and self.scenes.background != "own"

    def needs_views(self) -> bool:
        """Whether the split depends on the views, as it must if all scenes share one background."""
        return self.annotate.group != "scene" or self.scenes.background == "own"
