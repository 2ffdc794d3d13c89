from pathlib import Path

import pytest

from enliven.bench.ablation_cases import CASES
from enliven.bench.ablation_measures import LOOKS
from enliven.bench.ablation_recipe import Ablation, Claim, Variant, read_ablation
from enliven.bench.ablation_stress import Stressed
from enliven.bench.codebook import OnlyWatch
from enliven.errors import ConfigError, RequestError
from enliven.systems import find_model
from enliven.systems.carry import Reencode
from enliven.systems.longcat import LONGCAT_TOON, ReferenceSkip
from enliven.systems.soul import SOUL_TOON

FILES = sorted((Path(__file__).parents[2] / "examples" / "ablations").glob("*.toml"))
TWO = (Variant("with"), Variant("without"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_ablation_fits_its_model(path: Path) -> None:
    ablation = read_ablation(path)
    assert ablation.looks in LOOKS
    assert ablation.shows in CASES
    assert ablation.claims
    for variant in ablation.variants:
        variant.apply(find_model(variant.model or ablation.model))


def test_a_variant_changes_what_it_names_and_nothing_else() -> None:
    changed = Variant("x", reference_index=2.0, soft=0.5, carry="encode again", guidance=3.0).apply(LONGCAT_TOON)
    assert changed.arrange == ReferenceSkip(2.0, LONGCAT_TOON.arrange.radius, 0.5)
    assert changed.carry == Reencode()
    assert (changed.guidance.text, changed.guidance.audio) == (3.0, 3.0)
    assert changed.steps == LONGCAT_TOON.steps
    assert Variant("x").apply(LONGCAT_TOON) == LONGCAT_TOON


def test_stress_comes_before_whatever_carries() -> None:
    assert Variant("x", stress=1.1).apply(SOUL_TOON).carry == Stressed(SOUL_TOON.carry, 1.1)
    assert Variant("x", stress=1.1, carry="watch").apply(SOUL_TOON).carry == Stressed(OnlyWatch(), 1.1)


def test_a_model_without_a_place_for_the_reference_says_so() -> None:
    with pytest.raises(RequestError, match="no position"):
        Variant("x", reference_index=2.0).apply(SOUL_TOON)


@pytest.mark.parametrize(
    ("variants", "claims", "said"),
    [
        ((*TWO, Variant("with")), (), "two variants"),
        (TWO, (Claim("", "m", "with", "witout"),), "witout"),
    ],
)
def test_faults_in_an_ablation_are_named(variants: tuple[Variant, ...], claims: tuple[Claim, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Ablation("t", "p", "c", "drift", variants, claims)


@pytest.mark.parametrize(
    "values",
    [{"looks": "scene"}, {"variants": (Variant("a", begins="cut"),)}, {"variants": (Variant("a", begins="portrait"),)}],
)
def test_who_has_no_later_scene_cannot_begin_it_otherwise(values: dict[str, object]) -> None:
    given = {"title": "t", "paper": "p", "claim": "c", "looks": "drift", "variants": TWO, "model": "tiny"} | values
    with pytest.raises(ConfigError, match="people have no later scene"):
        Ablation(**given)
    assert Ablation(**given, shows="scenes")
