"""Parameters of the new light: how often each kind is drawn, and from which ranges."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from scenewright_stages.contract.params import Params, Rule, ordered
from scenewright_stages.photographs.params import AngleRange, PositiveRange, ShareRange

Degradation = Literal["softShading", "hardShadow", "specular", "advancedShading"]
ShadowPattern = Literal["perlin", "geometric", "blob"]

SHADOW_PATTERNS: tuple[ShadowPattern, ...] = ("perlin", "geometric", "blob")
RatioRange = Annotated[list[Annotated[float, Field(ge=0.1, le=4.0)]], Field(min_length=2, max_length=2)]
KelvinRange = Annotated[list[Annotated[float, Field(ge=1667.0, le=25000.0)]], Field(min_length=2, max_length=2)]


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

    cast: bool = Field(
        default=True,
        description="Whether nose, brows and chin cast shadows, where normals.backend is face-mesh and sees the face.",
    )
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


class AdvancedParams(Params):
    """What advancedShading draws instead of the values for the other kinds: coloured, harder light."""

    ambient_range: ShareRange = Field(default=[0.2, 0.5], description="Share of the light that comes from everywhere.")
    hardness_range: ShareRange = Field(default=[1.0, 1.0], description="As degradation.hardnessRange.")
    temperature_range: KelvinRange = Field(
        default=[2800.0, 10000.0], description="Colour temperature of the direct light, kelvin."
    )
    ambient_temperature_range: KelvinRange = Field(
        default=[4500.0, 9000.0], description="Colour temperature of the ambient light, kelvin."
    )

    rules: ClassVar[tuple[Rule, ...]] = ordered(
        ambient_range=(0.6, 0.5),
        hardness_range=(1.0, 0.5),
        temperature_range=(9000.0, 3000.0),
        ambient_temperature_range=(9000.0, 3000.0),
    )


class SecondLightParams(Params):
    """Another direct light from anywhere, without shadow or highlight of its own."""

    probability: float = Field(default=0.0, ge=0.0, le=1.0, description="How often there is one.")
    strength_range: ShareRange = Field(default=[0.2, 0.6], description="Of the first light's strength.")
    temperature_range: KelvinRange = Field(default=[6500.0, 6500.0], description="Its colour temperature, kelvin.")

    rules: ClassVar[tuple[Rule, ...]] = ordered(strength_range=(0.6, 0.2), temperature_range=(9000.0, 3000.0))


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
    temperature_range: KelvinRange = Field(
        default=[6500.0, 6500.0],
        description="Colour temperature of the direct light, kelvin; 6500 is white.",
    )
    ambient_temperature_range: KelvinRange = Field(
        default=[6500.0, 6500.0], description="Colour temperature of the ambient light, kelvin."
    )
    exposure: Literal["drawn", "asLit"] = Field(
        default="drawn",
        description="drawn: the light is made as strong as luminanceRatioRange says; asLit: the albedo is multiplied "
        "with at most full light, so nearly every pair is darker than its photograph and a model learns to brighten.",
    )
    luminance_ratio_range: RatioRange = Field(
        default=[0.7, 1.3],
        description="Mean linear luminance of the relit person over that of the photographed one; white stays white, "
        "so bright people reach less.",
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
    second_light: SecondLightParams = SecondLightParams()
    advanced: AdvancedParams = AdvancedParams()

    rules: ClassVar[tuple[Rule, ...]] = ordered(
        ambient_range=(0.6, 0.5),
        azimuth_range=(90.0, -90.0),
        elevation_range=(80.0, 10.0),
        temperature_range=(9000.0, 3000.0),
        ambient_temperature_range=(9000.0, 3000.0),
        luminance_ratio_range=(1.3, 0.7),
        hardness_range=(1.0, 0.5),
        specular_range=(0.4, 0.3),
        shininess_range=(64.0, 16.0),
    )
