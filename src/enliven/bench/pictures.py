"""Pictures of the report: truth over generated frames, first and last second, curves of the mouth."""

from collections.abc import Mapping, Sequence
from io import BytesIO

import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from enliven.bench.cases import FPS, SEEN, Case, MovedCase, WordsCase
from enliven.bench.groups import GroupCase
from enliven.errors import MissingExtra
from enliven.media.image import fit_frames
from enliven.media.sheet import contact_sheet, timestamp

COLUMNS = 8
Frames = UInt8[Tensor, "f 3 h w"]
Curve = Float[Tensor, "f"]


def truth_sheet(case: Case, frames: Frames) -> Image.Image:
    """The portrait, then the true performance over the generated one at equal times, in rows of eight."""
    shown, truth = fit_frames(frames, 128, 128), case.drawn()
    times = torch.linspace(0, case.frames - 1, 3 * COLUMNS).round().long()
    portrait = case.portrait.expand(COLUMNS, -1, -1, -1).clone()
    portrait[1:] = 255
    tiles, labels = [portrait], ["portrait"] + [""] * (COLUMNS - 1)
    for row in times.split(COLUMNS):
        tiles += [truth[row], shown[row]]
        labels += [f"{kind} {timestamp(t / FPS)}" for kind in ("true", "made") for t in row.tolist()]
    return contact_sheet(torch.cat(tiles), COLUMNS, labels, f"{case.name}: {case.prompt}"[:110])


def group_sheet(case: GroupCase, frames: Frames) -> Image.Image:
    """The true performance of several people over the generated one at equal times, in rows of four."""
    times = torch.linspace(0, case.frames - 1, 16).round().long()
    tiles, labels = [], []
    for row in times.split(4):
        tiles += [case.clip.frames[row], frames[row]]
        labels += [f"{kind} {timestamp(t / FPS)}" for kind in ("true", "made") for t in row.tolist()]
    heard = ", ".join(f"person {place} " + ("heard" if yes else "silent") for place, yes in enumerate(case.speaks, 1))
    return contact_sheet(torch.cat(tiles), 4, labels, f"{case.kind}: {heard}")


def ends_sheet(case: Case, frames: Frames) -> Image.Image:
    """Eight frames of the first second over eight of the last."""
    second = torch.linspace(0, FPS - 1, COLUMNS).round().long()
    times = torch.cat([second, len(frames) - int(FPS) + second])
    labels = [timestamp(t / FPS) for t in times.tolist()]
    return contact_sheet(fit_frames(frames[times], 128, 128), COLUMNS, labels, f"{case.name}: first and last second")


def moved_sheet(cases: Sequence[MovedCase], videos: Sequence[Frames]) -> Image.Image:
    """Two rows for each person, one for each end: four frames of that true second beside the made ones."""
    tiles, labels = list[Tensor](), list[str]()
    for case, frames in zip(cases, videos, strict=True):
        truth, shown = case.drawn(), fit_frames(frames, *SEEN)
        for end in case.ends:
            times = torch.linspace(end.start, end.stop - 1, COLUMNS // 2).round().long()
            tiles += [truth[times], shown[times]]
            labels += [f"{kind} {timestamp(t / FPS)}" for kind in ("true", "made") for t in times.tolist()]
    return contact_sheet(torch.cat(tiles), COLUMNS, labels, "before the change of scene, and at the end")


def words_sheet(cases: Sequence[WordsCase], videos: Sequence[Frames]) -> Image.Image:
    """Everybody's true drawing beside the middle of what was made, with the colours asked for of sweater and wall."""
    tiles, labels = list[Tensor](), list[str]()
    for case, frames in zip(cases, videos, strict=True):
        tiles += [case.portrait, fit_frames(frames[len(frames) // 2, None], *SEEN)[0]]
        labels += [f"{case.character.cloth.name} / {case.character.wall.name}", "made"]
    return contact_sheet(torch.stack(tiles), COLUMNS, labels, "as a caption says: sweater / wall, and what was made")


def course_sheet(title: str, frames: Frames) -> Image.Image:
    """Forty-eight consecutive frames from the middle: what motion looks like frame by frame."""
    middle = max(0, len(frames) // 2 - 24)
    some = frames[middle : middle + 48]
    labels = [timestamp((middle + i) / FPS) for i in range(len(some))]
    return contact_sheet(fit_frames(some, 128, 128), COLUMNS, labels, title)


def curves_plot(rows: Mapping[str, Mapping[str, Curve]]) -> Image.Image:
    """One strip for each title, with labelled curves over seconds. MissingExtra without matplotlib."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - only reports need it
    except ImportError as error:
        raise MissingExtra("plots need matplotlib", hint="pip install 'enliven[plot]'") from error
    figure = Figure(figsize=(12, 2.2 * len(rows)), layout="constrained")
    for axes, (title, curves) in zip(figure.subplots(len(rows), squeeze=False)[:, 0], rows.items(), strict=True):
        for label, curve in curves.items():
            axes.plot((torch.arange(len(curve)) / FPS).numpy(), curve.numpy(), label=label, linewidth=1.3)
        axes.set_title(title, loc="left", fontsize=9)
        axes.set_ylim(-0.05, 1.05)
        axes.legend(loc="upper right", fontsize=8)
    figure.supxlabel("seconds")
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=90)
    return Image.open(buffer).convert("RGB")
