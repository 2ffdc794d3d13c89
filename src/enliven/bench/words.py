"""The part of the report on words alone: who is described, and no portrait given, must look as the caption says."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count as from_on
from itertools import cycle, islice
from statistics import fmean

from jaxtyping import UInt8
from torch import Tensor

from enliven.bench.cases import FPS, SEEN, SETTLE, UNTOLD, Case, WordsCase, eight_bit, long_case
from enliven.bench.measures import correlation
from enliven.bench.pictures import words_sheet
from enliven.bench.report import Check, Section
from enliven.bench.scenes import Region, beside, chest
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


def words_alone(talker: Talker, cases: Sequence[WordsCase]) -> Section:
    """Measure the videos of people who were only described; numbers are means over people."""
    face, quality = FaceJudge(), QualityJudge()
    videos, rows = list[Frames](), list[dict[str, float]]()
    for case in cases:
        log.info("making %d %s: %.1f s", case.seed, case.name, case.frames / FPS)
        videos.append(fit_frames(talker(case), *SEEN))
        rows.append(_numbers(case, videos[-1], face, quality))
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
        own, *apart = [colour_apart(frames, one, region) for one in (case.character, *others)]
        numbers[f"{thing}: people with the colour asked for"] = float(own < min(apart))
        numbers[f"{thing}: levels from the colour asked for"] = own
    opening, truth = face(frames)["mouth_open"], case.state.mouth_open
    numbers["faces judged clean"] = (quality(frames)["clean_face"] > 0.5).float().mean().item()
    numbers["mouth opening, correlation with truth"] = correlation(opening[SETTLE:], truth[SETTLE:])
    return numbers


def things(who: Character) -> Mapping[str, tuple[list[Character], Region]]:
    """What has a colour that a caption tells: the person with each other colour, and where nothing else is seen."""
    worn = [replace(who, cloth=colour) for colour in CLOTHS if colour.name != who.cloth.name]
    behind = [replace(who, wall=colour) for colour in WALLS if colour.name != who.wall.name]
    return {"sweater": (worn, chest(SEEN)), "wall": (behind, beside(SEEN))}


def colour_apart(frames: Frames, who: Character, region: Region) -> float:
    """The levels between the mean colour of a region and that of a true drawing, on the mean of red, green, blue."""
    drawn = eight_bit(draw.portrait(who, SEEN)[None])
    means = [each[..., region].float().mean(dim=(0, 2)) for each in (frames, drawn)]
    return (means[0] - means[1]).abs().mean().item()
