from dataclasses import replace
from pathlib import Path

import pytest
import torch
from jaxtyping import UInt8
from torch import Tensor

from enliven.bench.ablation_cases import dressed_people, movers, sights
from enliven.bench.ablation_measures import (
    LOOKS,
    Made,
    drift,
    handovers,
    likeness,
    liveliness,
    motif_kept,
    pivotal,
    repetition,
    scene,
    scenery,
)
from enliven.bench.ablation_recipe import read_ablation
from enliven.bench.cases import Case, eight_bit
from enliven.errors import ConfigError
from enliven.toonworld import draw
from enliven.toonworld.character import Shirt

CLIPS = (range(8), range(8, 14), range(14, 20), range(20, 22))

CLIPPED = (0.01, 0.02, 0.4)


def made(case: Case, frames: UInt8[Tensor, "f 3 h w"]) -> Made:
    return Made(replace(case, frames=len(frames)), frames, CLIPS, Path(), CLIPPED)


def person() -> Case:
    return dressed_people(1, 22 / 25)[0]


def test_the_portrait_again_and_again_is_all_that_is_copied() -> None:
    case = person()
    still = likeness(made(case, case.portrait.repeat(22, 1, 1, 1))).numbers
    moving = likeness(made(case, case.drawn())).numbers
    assert still["pose, pixels from the portrait's"] == pytest.approx(
        [0, 0], abs=1e-3
    )  # of two whole clips that continue another
    assert still["picture, levels from the portrait"] == [0, 0]
    assert still["motif, likeness to the portrait's"] == pytest.approx([1, 1], abs=1e-4)
    assert min(moving["pose, pixels from the portrait's"]) > 0.1
    assert min(moving["head motion, pixels"]) > max(still["head motion, pixels"])


def test_a_video_begins_where_its_portrait_is_or_elsewhere() -> None:
    case = person()
    later = case.drawn()
    begun = torch.cat([case.portrait.repeat(4, 1, 1, 1), later[4:]])
    here, there = (pivotal(made(case, frames)).numbers for frames in (begun, later.roll(-10, dims=0)))
    for name in ("first frames: pose, pixels from the portrait's", "first frames: picture, levels from the portrait"):
        assert here[name] == pytest.approx([0], abs=1e-3)
        assert there[name][0] > 0.1
    assert likeness(made(case, begun)).numbers.items() <= here.items()


def test_a_motif_that_fades_or_goes_is_missed_and_one_that_moves_a_little_is_not() -> None:
    case = person()
    plain = eight_bit(draw.portrait(replace(case.character, shirt=Shirt.PLAIN))[None])
    moved = case.portrait.roll((1, -2), dims=(1, 2))[None]
    blurred = torch.nn.functional.avg_pool2d(case.portrait[None].float(), 9, 1, 4).byte()
    kept, gone, soft = (motif_kept(frames, case).item() for frames in (moved, plain, blurred))
    assert kept > 0.95
    assert gone < 0.6
    assert gone < soft < kept


def test_repeated_motion_is_seen() -> None:
    ways = torch.randn(3, 3, 40, generator=torch.Generator().manual_seed(0))
    assert repetition([ways[0], ways[0] + 5]) == pytest.approx([1, 1], abs=1e-4)
    assert max(map(abs, repetition(list(ways)))) < 0.3


def test_what_darkens_drifts() -> None:
    case = person()
    frames = case.drawn()
    dark = (frames.float() * torch.linspace(1, 0.5, len(frames))[:, None, None, None]).byte()
    name = "colour, levels from the first clip"
    kept, lost = (drift(made(case, each)).numbers[name] for each in (frames, dark))
    assert len(kept) == 1  # a third of four clips
    assert lost[0] > 10 * kept[0]


def test_early_and_late_handovers_are_told_beside_the_drift() -> None:
    video = made(person(), person().drawn())
    seen, plain = handovers(video), drift(video)
    early, late = (f"share clipped, {which} third of handovers" for which in ("first", "last"))
    assert (seen.numbers[early], seen.numbers[late]) == ((0.01,), (0.4,))
    assert {name: seen.numbers[name] for name in plain.numbers} == plain.numbers
    assert seen.curves["share clipped, by handover"] == CLIPPED
    with pytest.raises(ConfigError, match="nobody told"):
        handovers(replace(video, clipped=()))


def test_who_stands_still_is_not_lively() -> None:
    case = person()
    still = liveliness(made(case, case.portrait.repeat(22, 1, 1, 1))).numbers
    moving = liveliness(made(case, case.drawn())).numbers
    assert max(still["body motion, levels"]) < 0.01 < max(moving["body motion, levels"])
    assert max(still["mouth opening"]) < min(1.0, max(moving["mouth opening"]))


def test_the_true_scene_is_faultless() -> None:
    (case,) = sights(1, 22 / 25)
    numbers = scenery(made(case, case.drawn())).numbers
    assert numbers["mean picture, levels from the true one"] == [0] * 4
    assert numbers["sharpness, share of the true"] == pytest.approx([1] * 4)
    still = scenery(made(case, case.drawn()[:1].repeat(22, 1, 1, 1))).numbers
    assert max(still["motion, share of the true"]) < 0.01


@pytest.mark.parametrize("looks", LOOKS)
def test_claims_are_about_measures_that_there_are(looks: str) -> None:
    (case,) = {"scenery": sights, "scene": movers}.get(looks, dressed_people)(1, 22 / 25)
    measures = LOOKS[looks](made(case, case.drawn())).numbers
    for path in (Path(__file__).parents[2] / "examples" / "ablations").glob("*.toml"):
        ablation = read_ablation(path)
        if ablation.looks == looks:
            assert {claim.measure for claim in ablation.claims} <= set(measures), path.stem


def test_who_goes_elsewhere_and_who_stays_are_told_apart() -> None:
    (case,) = movers(1, 6.0)
    gone, stayed = (
        scene(Made(case, frames, CLIPS, Path())).numbers for frames in (case.drawn(), case.drawn_as(case.character))
    )
    for what in ("place", "sweater"):
        assert gone[f"{what}, share of the way, last second"] == pytest.approx([1], abs=1e-3)
        assert stayed[f"{what}, share of the way, last second"] == pytest.approx([0], abs=1e-3)
    assert gone["after the change: faces judged clean"][0] > 0.9
