"""Pictures of drift: curves over a whole video, and frames of each variant under each other."""

from collections.abc import Mapping, Sequence
from io import BytesIO

import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from enliven.bench.codebook_drift import Drift
from enliven.errors import MissingExtra
from enliven.media.image import fit_frames
from enliven.media.sheet import contact_sheet, timestamp

SIDE = 128
STRIPS = {
    "colour": "colour, levels off",
    "contrast": "contrast, levels off",
    "sharpness": "sharpness, ratio",
    "identity": "identity, cosine",
    "clipped": "clipped, share",
}


def drift_plot(drifts: Mapping[str, Drift], seconds: Sequence[float]) -> Image.Image:
    """A strip for each measure, a curve in it for each variant. MissingExtra without matplotlib."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - only reports need it
    except ImportError as error:
        raise MissingExtra("plots need matplotlib", hint="pip install 'enliven[plot]'") from error
    figure = Figure(figsize=(12, 2.3 * len(STRIPS)), layout="constrained")
    for axes, (name, label) in zip(figure.subplots(len(STRIPS), sharex=True), STRIPS.items(), strict=True):
        for index, (title, drift) in enumerate(drifts.items()):
            curve = getattr(drift, name)
            if len(curve):
                axes.plot(seconds[: len(curve)], curve.tolist(), f"C{index}", label=title, linewidth=1.2)
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
    axes.set_yscale("symlog", linthresh=1e-3)
    figure.axes[0].legend(loc="upper left", ncols=3, fontsize=8)
    figure.supxlabel("seconds")
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=90)
    return Image.open(buffer).convert("RGB")


def drift_sheet(rows: Mapping[str, UInt8[Tensor, "f 3 h w"]], seconds: Sequence[float]) -> Image.Image:
    """Frames at those times, a row for each variant."""
    tiles = torch.cat([fit_frames(frames, SIDE, SIDE) for frames in rows.values()])
    labels = [f"{timestamp(time)}{f' {title}' * (time == 0)}" for title in rows for time in seconds]
    return contact_sheet(tiles, len(seconds), labels, "the same moments of every video")
