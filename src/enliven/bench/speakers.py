"""The part of the report on several people: does the right mouth move, and only that one?"""

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from statistics import fmean

import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from enliven.bench.cases import FPS, SETTLE
from enliven.bench.groups import GroupCase, Kind, each_alone, group_cases
from enliven.bench.measures import correlation
from enliven.bench.pictures import curves_plot, group_sheet
from enliven.bench.report import Check, Section
from enliven.bench.talkers import Talker
from enliven.judges.face import FaceJudge
from enliven.judges.quality import QualityJudge
from enliven.toonworld.voice import Speech

log = logging.getLogger(__name__)

CALLED = {2: "pairs", 3: "trios"}
BOUND = 2  # people in a group that must pass; larger ones are only told of
SHUT, SOUNDING = 0.02, 0.2  # openings of a true mouth that rests, and of one that speaks
UNMOVED = 0.1  # a mouth that never opens more than this follows nobody, whatever its noise is like
Curve = Float[Tensor, "f"]


@dataclass(frozen=True, slots=True)
class Mouth:
    """One person of a video: how far the mouth should be open, how far it is, and how far any other's should be."""

    kind: Kind
    name: str
    speaks: bool
    truth: Curve
    made: Curve
    others: Curve
    clean: float

    @property
    def follows(self) -> float:
        """Correlation with what it should do, once it has found its place."""
        return correlation(self.truth[SETTLE:], self.made[SETTLE:])

    @property
    def follows_others(self) -> float:
        """Correlation with what the others say; 0 for a mouth that stays shut."""
        made = self.made[SETTLE:]
        return correlation(self.others[SETTLE:], made) if made.amax() > UNMOVED else 0.0

    @property
    def listening(self) -> float:
        """How far it is open, on average, in the frames in which somebody else speaks."""
        listens = (self.truth[SETTLE:] < SHUT) & (self.others[SETTLE:] > SOUNDING)
        return self.made[SETTLE:][listens].mean().item()


def several_speakers(talker: Talker, speech: Sequence[Speech], groups: Mapping[int, int]) -> Section:
    """Measure groups of as many people as ``groups`` has keys, each value the number of such groups."""
    judges = FaceJudge(), QualityJudge()
    checks, details, pictures = list[Check](), dict[str, object](), dict[str, Image.Image]()
    for people, count in groups.items():
        called, mouths, words = CALLED[people], list[Mouth](), cycle(speech)
        for seed in range(count):
            for case in group_cases(seed, list(islice(words, people))):
                log.info("making %s %d, %s: %.1f s", called, seed, case.kind, case.frames / FPS)
                frames = talker(case)
                mouths += look_at(case, frames, *judges)
                if seed == 0 and case.kind is not Kind.PLACED:
                    pictures[f"{called}-{case.kind.replace(' ', '-')}"] = group_sheet(case, frames)
            if seed == 0:
                shown = [mouth for mouth in mouths if mouth.kind is not Kind.PLACED]
                curves = {mouth.name: {"true": mouth.truth, "made": mouth.made} for mouth in shown}
                pictures[f"{called}-opening"] = curves_plot(curves)
        checks += _checks(called, mouths, bound=people <= BOUND)
        details[called] = {mouth.name: _told(mouth) for mouth in mouths}
    return Section("Several speakers", checks, details, pictures)


def look_at(case: GroupCase, frames: UInt8[Tensor, "f 3 h w"], face: FaceJudge, quality: QualityJudge) -> list[Mouth]:
    """What each person in a video of ``case`` does, from left to right."""
    truth = torch.stack([state.mouth_open for state in case.clip.states])
    mouths = []
    for index, seen in enumerate(each_alone(frames, len(truth))):
        speaks = case.speaks[index]
        name = f"{case.seed} {case.kind}: person {index + 1}, {'heard' if speaks else 'silent'}"
        others = torch.cat([truth[:index], truth[index + 1 :]]).amax(0)
        clean = (quality(seen)["clean_face"] > 0.5).float().mean().item()
        mouths.append(Mouth(case.kind, name, speaks, truth[index], face(seen)["mouth_open"], others, clean))
    return mouths


def _checks(group: str, mouths: Sequence[Mouth], *, bound: bool) -> list[Check]:
    follows, opening, foreign = (0.7, 0.1, 0.2) if bound else (None, None, None)
    one = [mouth for mouth in mouths if mouth.kind in (Kind.ONE, Kind.EXCHANGED)]
    heard, silent = [mouth for mouth in one if mouth.speaks], [mouth for mouth in one if not mouth.speaks]
    turns = [mouth for mouth in mouths if mouth.kind is Kind.TURNS]
    placed = [mouth for mouth in mouths if mouth.kind is Kind.PLACED]
    return [
        Check(f"{group}: speaking mouth, correlation with truth", _mean(m.follows for m in heard), least=follows),
        Check(
            f"{group}: silent mouth, mean opening while another speaks",
            _mean(m.listening for m in silent),
            most=opening,
        ),
        Check(
            f"{group}: silent mouth, correlation with another's voice",
            _mean(m.follows_others for m in silent),
            most=foreign,
        ),
        Check(f"{group}, in turns: correlation with truth", _mean(m.follows for m in turns), least=follows),
        Check(f"{group}, in turns: mean opening while another speaks", _mean(m.listening for m in turns), most=opening),
        Check(
            f"{group}, in turns: correlation with another's voice",
            _mean(m.follows_others for m in turns),
            most=foreign,
        ),
        Check(f"{group}, places told: speaking mouth", _mean(m.follows for m in placed if m.speaks)),
        Check(f"{group}: worst speaking mouth", min((m.follows for m in mouths if m.speaks), default=math.nan)),
        Check(f"{group}: faces judged clean", _mean(m.clean for m in mouths)),
    ]


def _told(mouth: Mouth) -> dict[str, float]:
    values = {"own": mouth.follows, "others'": mouth.follows_others, "listening": mouth.listening, "clean": mouth.clean}
    return {name: round(value, 3) for name, value in values.items() if not math.isnan(value)}


def _mean(values: Iterable[float]) -> float:
    """Without those that are not numbers: who listens to nobody says nothing about listening."""
    known = [value for value in values if not math.isnan(value)]
    return fmean(known) if known else math.nan
