"""The part of the report on scenes: does somebody go where a later prompt asks, and do face and drawing stay?"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from enliven.bench.cases import FPS, SEEN, Case, MovedCase, long_case
from enliven.bench.pictures import curves_plot, moved_sheet
from enliven.bench.report import Check, Section
from enliven.bench.talkers import Talker
from enliven.judges.face import FaceJudge, similarity
from enliven.judges.quality import QualityJudge
from enliven.media.image import fit_frames
from enliven.toonworld.character import place

log = logging.getLogger(__name__)

SIDES = 1 / 8  # of the width, left and right in the upper half: no person who stands in the middle is seen there
CHEST = (7 / 8, 3 / 8)  # top and left of the piece at the lower edge that shows nothing but the sweater
Frames = UInt8[Tensor, "f 3 h w"]
Region = Bool[Tensor, "h w"]


@dataclass(frozen=True, slots=True)
class Moved:
    """What became of a video: numbers by the name of what they measure, and curves in 0..1 over its frames."""

    numbers: Mapping[str, float]
    curves: Mapping[str, Float[Tensor, "f"]]


def moved_cases(cases: Sequence[Case], count: int, seconds: float) -> list[MovedCase]:
    """The first ``count`` people for so long, each beginning with their own sentence."""
    turned = [[*cases[turn:], *cases[:turn]] for turn in range(min(count, len(cases)))]
    long = [long_case(order, seconds) for order in turned]
    return [MovedCase(f"{each.name}, elsewhere", each.seed, each.speech, each.frames) for each in long]


def scene_changes(talker: Talker, cases: Sequence[MovedCase]) -> Section:
    """Measure the videos of people who are asked to be elsewhere in the second half; numbers are means over people."""
    judges, found, videos = (FaceJudge(), QualityJudge()), list[Moved](), list[Frames]()
    for case in cases:
        log.info("making %d %s: %.1f s", case.seed, case.name, case.frames / FPS)
        videos.append(fit_frames(talker(case), *SEEN))
        found.append(look_at(case, videos[-1], *judges))
    names = [f"{case.seed}: {place(case.character)}, then {place(case.there)}" for case in cases]
    return Section(
        "Change of scene",
        [Check(name, fmean(moved.numbers[name] for moved in found)) for name in found[0].numbers],
        {name: moved.numbers for name, moved in zip(names, found, strict=True)},
        {
            "scenes": moved_sheet(cases, videos),
            "scenes-over-time": curves_plot({n: m.curves for n, m in zip(names, found, strict=True)}),
        },
        f"seen at {SEEN[1]} x {SEEN[0]}; the way leads from the old, 0, to what is asked for, 1",
    )


def look_at(case: MovedCase, frames: Frames, face: FaceJudge, quality: QualityJudge) -> Moved:
    """What became of a video, its frames at the size of what judges see."""
    old, new, true = case.drawn_as(case.character), case.drawn_as(case.there), case.drawn()
    first, last = case.ends
    clean = (quality(frames)["clean_face"] > 0.5).float()
    portrait = face(case.portrait[None])["identity"][0]
    kept, drawn = (similarity(face(each[last])["identity"], portrait).mean().item() for each in (frames, true))
    around, worn = beside(SEEN), chest(SEEN)
    place_way, sweater_way = (share_of_way(frames, old, new, region) for region in (around, worn))
    levels = levels_apart(frames, true, around)
    numbers = {
        "before the change: faces judged clean": clean[: first.stop].mean().item(),
        "after the change: faces judged clean": clean[case.settled].mean().item(),
        "place, share of the way, second before the change": place_way[first].mean().item(),
        "place, share of the way, last second": place_way[last].mean().item(),
        "place, levels from the drawn truth, second before the change": levels[first].mean().item(),
        "place, levels from the drawn truth, last second": levels[last].mean().item(),
        "place, levels between the two truths": levels_apart(old, new, around).mean().item(),
        "sweater, share of the way, second before the change": sweater_way[first].mean().item(),
        "sweater, share of the way, last second": sweater_way[last].mean().item(),
        "identity, last second, share of true renderings'": kept / drawn,
    }
    return Moved(numbers, {"place": place_way, "sweater": sweater_way})


def share_of_way(seen: Frames, old: Frames, new: Frames, region: Region) -> Float[Tensor, "f"]:
    """How far each frame has come in a region: its distance from ``old`` over the sum of those from both."""
    gone, left = (levels_apart(seen, truth, region) for truth in (old, new))
    return gone / (gone + left)


def levels_apart(seen: Frames, truth: Frames, region: Region) -> Float[Tensor, "f"]:
    """The mean absolute difference in a region, frame by frame, of 255."""
    return (seen[..., region].float() - truth[..., region].float()).abs().mean(dim=(1, 2))


def beside(size: tuple[int, int]) -> Region:
    """Where nothing but the place is seen, at ``size`` (height, width)."""
    height, width = size
    region = torch.zeros(size, dtype=torch.bool)
    side = round(width * SIDES)
    region[: height // 2, :side] = True
    region[: height // 2, width - side :] = True
    return region


def chest(size: tuple[int, int]) -> Region:
    """Where nothing but the sweater is seen, at ``size`` (height, width)."""
    height, width = size
    top, left = round(height * CHEST[0]), round(width * CHEST[1])
    region = torch.zeros(size, dtype=torch.bool)
    region[top:, left : width - left] = True
    return region
