"""The part of the report on words alone: who is described, and no portrait given, must look as the caption says."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count as from_on
from itertools import cycle, islice
from statistics import fmean

import torch
from jaxtyping import UInt8
from torch import Tensor

from enliven.bench.cases import FPS, SEEN, SETTLE, UNTOLD, Case, WordsCase, eight_bit, long_case
from enliven.bench.fidelity import seams_over_truth
from enliven.bench.measures import correlation
from enliven.bench.pictures import words_sheet
from enliven.bench.report import Check, Section
from enliven.bench.scenes import Region, beside, chest, levels_apart
from enliven.bench.talkers import Talker
from enliven.judges.face import FaceJudge
from enliven.judges.quality import QualityJudge
from enliven.media.image import fit_frames
from enliven.toonworld import draw
from enliven.toonworld.character import Character, sample_character
from enliven.toonworld.palette import CLOTHS, WALLS

log = logging.getLogger(__name__)

FIRST_DESCRIBED = 9_001_000
Frames = UInt8[Tensor, "f 3 h w"]


def described_cases(cases: Sequence[Case], count: int, seconds: float) -> list[WordsCase]:
    """``count`` people whose captions name the colour of their wall, saying the sentences of ``cases`` for so long."""
    told = (seed for seed in from_on(FIRST_DESCRIBED) if sample_character(seed).scene not in UNTOLD)
    speeches = cycle([long_case([case], seconds) for case in cases])
    return [
        WordsCase("words alone", seed, said.speech, said.frames)
        for seed, said in zip(islice(told, count), speeches, strict=False)
    ]


def words_alone(talker: Talker, cases: Sequence[WordsCase], patch: int) -> Section:
    """Measure the videos of people who were only described, with ``patch`` pixels to a side of what a token shows.

    Numbers are means over people.
    """
    judges = FaceJudge(), QualityJudge()
    videos, rows = list[Frames](), list[dict[str, float]]()
    for case in cases:
        log.info("making %d %s: %.1f s", case.seed, case.name, case.frames / FPS)
        made = talker(case)
        videos.append(fit_frames(made, *SEEN))
        seams = seams_over_truth(case, made, patch)
        rows.append(_numbers(case, videos[-1], *judges) | {"seams of patches, times those of the drawn truth": seams})
    return Section(
        "Words alone",
        [Check(name, fmean(row[name] for row in rows)) for name in rows[0]],
        {f"{case.seed}: {case.prompt}": row for case, row in zip(cases, rows, strict=True)},
        {"words": words_sheet(cases, videos)},
        f"{len(cases)} people, a caption of each and no portrait; a thing has the colour whose true drawing is nearest",
    )


def _numbers(case: WordsCase, frames: Frames, face: FaceJudge, quality: QualityJudge) -> dict[str, float]:
    numbers = dict[str, float]()
    for thing, (others, region) in things(case.character).items():
        own, *apart = (levels_from(frames, one, region) for one in (case.character, *others))
        numbers[f"{thing}: people with the colour asked for"] = float(own < min(apart))
        numbers[f"{thing}: levels from the colour asked for"] = own
    opening, truth = face(frames)["mouth_open"], case.state.mouth_open
    numbers["faces judged clean"] = (quality(frames)["clean_face"] > 0.5).float().mean().item()
    numbers["mouth opening, correlation with truth"] = correlation(opening[SETTLE:], truth[SETTLE:])
    return numbers


def things(who: Character) -> Mapping[str, tuple[list[Character], Region]]:
    """What has a colour that a caption tells: the person with that of each other one, and where it alone is seen.

    A print on a sweater and what stands before a wall keep their colour, and are left out.
    """
    worn = [replace(who, cloth=colour) for colour in CLOTHS if colour.name != who.cloth.name]
    behind = [replace(who, wall=colour) for colour in WALLS if colour.name != who.wall.name]
    found = {"sweater": (worn, chest(SEEN)), "wall": (behind, beside(SEEN))}
    return {thing: (others, region & _changed(who, others)) for thing, (others, region) in found.items()}


def levels_from(frames: Frames, who: Character, region: Region) -> float:
    """How far a region is from a drawing of ``who``, on the mean of frames, pixels and red, green and blue."""
    return levels_apart(frames, _portrait(who).expand_as(frames), region).mean().item()


def _changed(who: Character, others: Sequence[Character]) -> Region:
    """Where all ``others`` are drawn in another colour."""
    drawn = torch.cat([_portrait(one) for one in others])
    return (drawn != _portrait(who)).any(dim=1).all(dim=0)


def _portrait(who: Character) -> Frames:
    return eight_bit(draw.portrait(who, SEEN)[None])
