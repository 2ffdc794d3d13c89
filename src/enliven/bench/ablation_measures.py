"""What ablations look at. Each set of measures sees one video and says numbers about each of its clips, or about all.

The numbers of two variants are compared one by one: same person, same speech, same clip.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from enliven.bench.ablation_videos import Made
from enliven.bench.cases import FPS, SETTLE, Case, MovedCase, eight_bit
from enliven.bench.codebook_drift import measure_drift
from enliven.bench.measures import MOST_LAG, best_lag, correlation, lag_curve, loudness
from enliven.bench.scenes import look_at
from enliven.errors import ConfigError
from enliven.judges.face import FaceJudge, similarity
from enliven.judges.motion import FACE_FRONT, HEAD_RADIUS, body_motion, head_motion
from enliven.judges.quality import QualityJudge
from enliven.media.image import fit_frames
from enliven.toonworld import draw
from enliven.toonworld.character import Shirt
from enliven.toonworld.voice import SPEECH_RATE

SIDE = 128
CLOSED = 0.15
REACH = 2  # pixels that a shirt may have moved by
THIRD = 3
CLEAN = 0.5
BEGINNING = 4  # frames of a latent frame


@dataclass(frozen=True, slots=True)
class Observed:
    """``numbers``: by measure, one for each clip or for all of the video; ``curves``: by measure, over time."""

    numbers: Mapping[str, Sequence[float]]
    curves: Mapping[str, Sequence[float]] = field(default_factory=dict)


def likeness(made: Made) -> Observed:
    """How clips that continue others repeat the portrait: its pose, its picture, what is on the shirt (Fig. 12)."""
    frames = fit_frames(made.frames, SIDE, SIDE)
    portrait = made.case.portrait
    away = (poses(frames) - poses(portrait[None])).norm(dim=0)
    differs = outside_face(frames, portrait)
    kept = motif_kept(frames, made.case)
    full = len(made.clips[1])
    clips = [clip for clip in made.clips[1:] if len(clip) == full]
    ways = [poses(frames[clip.start : clip.stop]) for clip in clips]
    rows = {
        "pose, pixels from the portrait's": [away[clip.start : clip.stop] for clip in clips],
        "picture, levels from the portrait": [differs[clip.start : clip.stop] for clip in clips],
        "motif, likeness to the portrait's": [kept[clip.start : clip.stop] for clip in clips],
    }
    numbers = {name: [part.mean().item() for part in parts] for name, parts in rows.items()}
    middle = slice(full // 4, 3 * full // 4)
    numbers["pose in the middle half of a clip, pixels from the portrait's"] = [
        part[middle].mean().item() for part in rows["pose, pixels from the portrait's"]
    ]
    numbers["motion, likeness to other clips'"] = repetition(ways)
    numbers["head motion, pixels"] = [_wandering(way) for way in ways]
    return Observed(numbers, {name: torch.stack(parts).mean(dim=0).tolist() for name, parts in rows.items()})


def pivotal(made: Made) -> Observed:
    """The same, and whether a video begins where its portrait ends: that shows the moment before the first frame.

    All frames of the first latent frame are looked at: a judge errs in single ones, which are not clean yet.
    """
    seen, portrait = likeness(made), made.case.portrait
    first = fit_frames(made.frames[:BEGINNING], SIDE, SIDE)
    away, differs = (poses(first) - poses(portrait[None])).norm(dim=0), outside_face(first, portrait)
    began = {
        "first frames: pose, pixels from the portrait's": [away.mean().item()],
        "first frames: picture, levels from the portrait": [differs.mean().item()],
    }
    return replace(seen, numbers=began | dict(seen.numbers))


def drift(made: Made) -> Observed:
    """How the last third of the clips differs from the first clip."""
    seen = measure_drift(made.frames, made.clips, face_judge())
    rows = {
        "colour, levels from the first clip": seen.colour,
        "contrast, levels from the first clip": seen.contrast,
        "sharpness, share of the first clip's": seen.sharpness,
        "identity, likeness to the first clip": seen.identity,
    }
    last = -max(1, len(made.clips) // THIRD)
    return Observed(
        {name: row[last:].tolist() for name, row in rows.items()}, {name: row.tolist() for name, row in rows.items()}
    )


def handovers(made: Made) -> Observed:
    """How it drifts, and what share of the vectors handed on a codebook moved, or would have: early ones and late ones.

    Raises ConfigError where nobody told.
    """
    if not made.clipped:
        raise ConfigError("nobody told what was clipped", hint="videos need two clips or more, their model a codebook")
    seen, third = drift(made), max(1, len(made.clipped) // THIRD)
    told = {
        "share clipped, first third of handovers": made.clipped[:third],
        "share clipped, last third of handovers": made.clipped[-third:],
    }
    return Observed({**seen.numbers, **told}, {**seen.curves, "share clipped, by handover": made.clipped})


def liveliness(made: Made) -> Observed:
    """How much somebody moves, and whether the mouth is shut."""
    verdict, numbers = face_judge()(made.frames), dict[str, list[float]]()
    for clip in made.clips:
        part = slice(max(SETTLE, clip.start), clip.stop)
        opening = verdict["mouth_open"][part]
        seen = {
            "mouth opening": opening.mean().item(),
            "frames with a closed mouth": (opening < CLOSED).float().mean().item(),
            "head motion, pixels": head_motion({name: each[part] for name, each in verdict.items()}),
            "body motion, levels": body_motion(made.frames[part]),
        }
        for name, value in seen.items():
            numbers.setdefault(name, []).append(value)
    return Observed(numbers, {"mouth opening": verdict["mouth_open"].tolist()})


def quality(made: Made) -> Observed:
    """What Table 3 of Soul tells, as far as drawn people have it: sync, identity, clean pictures, sound and mouth."""
    verdict, case = face_judge()(made.frames), made.case
    opening, truth = verdict["mouth_open"], case.state.mouth_open
    loud = loudness(case.speech.samples, SPEECH_RATE, case.frames, FPS)
    who = face_judge()(case.portrait[None])["identity"][0]
    alike = similarity(verdict["identity"], who)
    clean = (quality_judge()(made.frames)["clean_face"] > CLEAN).float()
    numbers = dict[str, list[float]]()
    for clip in made.clips:
        part = slice(max(SETTLE, clip.start), clip.stop)
        curve = lag_curve(truth[part], opening[part], min(MOST_LAG, (len(opening[part]) - 1) // 2))
        seen = {
            "lip sync, correlation with the true opening": curve[0],
            "lip sync, best lag, frames": float(best_lag(curve)),
            "identity, likeness to the portrait": alike[part].mean().item(),
            "faces judged clean": clean[part].mean().item(),
            "sound and mouth, correlation": correlation(loud[part], opening[part]),
        }
        for name, value in seen.items():
            numbers.setdefault(name, []).append(value)
    return Observed(numbers, {"mouth opening": opening.tolist()})


def scenery(made: Made) -> Observed:
    """Whether a place without people stays what it is and moves as it should, clip by clip."""
    frames, truth = fit_frames(made.frames, SIDE, SIDE), made.case.drawn()
    numbers: dict[str, list[float]] = {"mean picture, levels from the true one": [], "sharpness, share of the true": []}
    numbers["motion, share of the true"] = []
    for clip in made.clips:
        part = slice(clip.start, clip.stop)
        seen, true = frames[part].float(), truth[part].float()
        values = (
            (seen.mean(dim=0) - true.mean(dim=0)).abs().mean().item(),
            _gradient(seen) / _gradient(true),
            body_motion(frames[part]) / max(1e-6, body_motion(truth[part])),
        )
        for name, value in zip(numbers, values, strict=True):
            numbers[name].append(value)
    return Observed(numbers, {f"{name}, by clip": values for name, values in numbers.items()})


def scene(made: Made) -> Observed:
    """Whether a later scene comes about, and whether face and drawing stay: what the report asks of it."""
    assert isinstance(made.case, MovedCase), "nobody else has two scenes"
    moved = look_at(made.case, fit_frames(made.frames, SIDE, SIDE), face_judge(), quality_judge())
    kept = {name: [value] for name, value in moved.numbers.items() if "between the two truths" not in name}
    return Observed(kept, {f"{name}, share of the way": curve.tolist() for name, curve in moved.curves.items()})


def _gradient(pixels: Float[Tensor, "f 3 h w"]) -> float:
    return (pixels.diff(dim=2).abs().mean() + pixels.diff(dim=3).abs().mean()).item()


Look = Callable[[Made], Observed]
LOOKS: dict[str, Look] = {
    "likeness": likeness,
    "pivotal": pivotal,
    "drift": drift,
    "handovers": handovers,
    "liveliness": liveliness,
    "quality": quality,
    "scenery": scenery,
    "scene": scene,
}


def poses(frames: UInt8[Tensor, "f 3 h w"]) -> Float[Tensor, "3 f"]:
    """Where the head is, across, down and tilted, in pixels of 128 that the face moves by."""
    seen = face_judge()(frames)
    across = SIDE * seen["shift_x"] + FACE_FRONT * seen["yaw"]
    down = SIDE * seen["shift_y"] + FACE_FRONT * seen["pitch"]
    return torch.stack([across, down, HEAD_RADIUS * seen["roll"]])


def repetition(ways: Sequence[Float[Tensor, "3 f"]]) -> list[float]:
    """For each clip how its way through poses goes with that of the others: 1 for the same, 0 for unrelated."""
    flat = [(way - way.mean(dim=1, keepdim=True)).flatten() for way in ways]
    return [sum(correlation(one, other) for other in flat if other is not one) / max(1, len(flat) - 1) for one in flat]


def outside_face(frames: UInt8[Tensor, "f 3 128 128"], portrait: UInt8[Tensor, "3 128 128"]) -> Float[Tensor, "f"]:
    """Mean absolute difference from the portrait in levels of 255, without mouth and jaw, which speak."""
    differences = (frames.float() - portrait.float()).abs().mean(dim=1)
    differences[:, 64:116, 32:96] = 0
    return differences.sum(dim=(1, 2)) / (SIDE**2 - 52 * 64)


def motif_mask(case: Case) -> Bool[Tensor, "128 128"]:
    """Where the shirt shows something: there the portrait differs from one in a plain shirt."""
    plain = eight_bit(draw.portrait(replace(case.character, shirt=Shirt.PLAIN))[None])[0]
    return (case.portrait.int() - plain.int()).abs().amax(dim=0) > 24


def motif_kept(frames: UInt8[Tensor, "f 3 128 128"], case: Case) -> Float[Tensor, "f"]:
    """How like the portrait's is what is on the shirt: correlation of pixels, 1 for the same, at its best place."""
    rows, columns = (hits.nonzero()[[0, -1], 0] for hits in _extent(motif_mask(case)))
    top, bottom = max(REACH, int(rows[0]) - 2), min(SIDE - REACH, int(rows[1]) + 3)
    left, right = max(REACH, int(columns[0]) - 2), min(SIDE - REACH, int(columns[1]) + 3)
    wanted = _centred(case.portrait[None, :, top:bottom, left:right])
    moves = range(-REACH, REACH + 1)
    found = [
        F.cosine_similarity(_centred(frames[:, :, top + y : bottom + y, left + x : right + x]), wanted)
        for y in moves
        for x in moves
    ]
    return torch.stack(found).amax(dim=0)


def _extent(mask: Bool[Tensor, "128 128"]) -> tuple[Tensor, Tensor]:
    return mask.any(dim=1), mask.any(dim=0)


def _centred(pixels: UInt8[Tensor, "f 3 h w"]) -> Float[Tensor, "f n"]:
    values = pixels.float()
    return (values - values.mean(dim=(2, 3), keepdim=True)).flatten(1)


def _wandering(way: Float[Tensor, "3 f"]) -> float:
    return (way - way.mean(dim=1, keepdim=True)).square().sum(dim=0).mean().sqrt().item()


@cache
def face_judge() -> FaceJudge:
    """Loaded once."""
    return FaceJudge()


@cache
def quality_judge() -> QualityJudge:
    """Loaded once."""
    return QualityJudge()
