"""An ablation as data: what is varied, what is measured, and what the paper says will come of it.

Each is a file of ``examples/ablations``. Its table ``teaching`` is for ``enliven.train.ablations``.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from enliven import config
from enliven.bench.ablation_stress import Stressed
from enliven.bench.codebook import OnlyWatch
from enliven.diffusion.guidance import Guidance
from enliven.errors import ConfigError
from enliven.systems.carry import Carry, KeepLatents, Reencode
from enliven.systems.spec import ModelSpec, adjusted

Shows = Literal["people", "scenes", "sights"]
Hears = Literal["speech", "silence", "nothing"]
CARRIES: Mapping[str, Callable[[], Carry]] = {"keep": KeepLatents, "encode again": Reencode, "watch": OnlyWatch}


@dataclass(frozen=True, slots=True)
class Variant:
    """One way of making the videos; what is None, the model decides.

    It ``hears`` the speech, an encoded quiet recording, or null audio, which is all zeros. ``taught`` names a lesson of
    ``enliven.train.ablations``, or a codebook, whose weights are used. ``soft`` is that of ``ReferenceSkip``;
    ``guidance`` is the scale of text and audio alike. To ``watch`` is to hand latents on as they are, and to tell what
    a codebook would have moved; ``stress`` is the gain of ``Stressed``, which comes before. A later scene
    ``begins`` with an overlap, with a cut, or with a cut to a portrait of its own.
    """

    name: str
    model: str | None = None
    taught: str | None = None
    hears: Hears = "speech"
    reference_index: float | None = None
    skip_radius: int | None = None
    soft: float | None = None
    carry: Literal["keep", "encode again", "watch"] | None = None
    stress: float | None = field(default=None, repr=False)  # told by the carry: folders are named by both
    steps: int | None = None
    guidance: float | None = None
    decoder: str | None = None
    negative_prompt: str | None = None
    begins: Literal["overlap", "cut", "portrait"] = "overlap"

    def apply(self, spec: ModelSpec) -> ModelSpec:
        """A model as this variant has it. Raises RequestError for what the model does not have, ConfigError."""
        placed = {"position": self.reference_index, "radius": self.skip_radius, "soft": self.soft}
        carry = spec.carry if self.carry is None else CARRIES[self.carry]()
        return replace(
            spec,
            arrange=adjusted(spec.arrange, placed),
            carry=carry if self.stress is None else Stressed(carry, self.stress),
            guidance=spec.guidance if self.guidance is None else Guidance(self.guidance, self.guidance),
            steps=self.steps or spec.steps,
            decoder=self.decoder or spec.decoder,
            negative_prompt=spec.negative_prompt if self.negative_prompt is None else self.negative_prompt,
        )


@dataclass(frozen=True, slots=True)
class Claim:
    """The paper says that the variant ``more`` has more of a measure than the variant ``less``."""

    says: str
    measure: str
    more: str
    less: str


@dataclass(frozen=True, slots=True)
class Ablation:
    """``people`` talk for ``seconds`` in each of the ``variants``; ``looks`` at the videos with a set of measures.

    Where it ``shows`` sights, these are so many places without people, and nothing is heard.
    ``paper`` is where the ``claim`` is made. ``remarks`` say what the numbers do not. With ``costs``, time is measured;
    with ``losses``, those of the lessons are shown, which tells something where all learn from the same clips. Raises
    ConfigError for claims of variants that there are not, and for variants of one name.
    """

    title: str
    paper: str
    claim: str
    looks: str
    variants: tuple[Variant, ...]
    claims: tuple[Claim, ...] = ()
    remarks: str = ""
    model: str = "longcat-toon"
    people: int = 3
    shows: Shows = "people"
    seconds: float = 8.0
    costs: bool = False
    losses: bool = False

    def __post_init__(self) -> None:
        names = Counter(variant.name for variant in self.variants)
        twice = [name for name, count in names.items() if count > 1]
        unknown = {name for claim in self.claims for name in (claim.more, claim.less)} - set(names)
        if self.shows != "scenes" and (
            self.looks == "scene" or any(each.begins != "overlap" for each in self.variants)
        ):
            raise ConfigError(f"{self.shows} have no later scene", hint='write shows = "scenes"')
        if twice or unknown:
            raise ConfigError(
                f"two variants are called {twice}" if twice else f"claims of {sorted(unknown)}, which are no variants",
                hint=f"the variants are {', '.join(names)}",
            )


def read_ablation(path: Path) -> Ablation:
    """The ablation in a TOML file. Raises ConfigError."""
    values = config.read(path)
    values.pop("teaching", None)
    return config.parse(Ablation, values)
