"""How well the judges of the toon world judge people they have never seen.

    python -m enliven.train.examining --sheet verdicts.png

says, as JSON, how well the face judge reads; which share of clean frames the quality judge calls clean, by what was
done to them; and which share of scrambled frames it calls scrambled, by fault. Frames whose truth is undecided are left
out. The sheet shows frames with their verdicts: green is judged clean, red scrambled.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from enliven.judges.face import READINGS, FaceJudge
from enliven.judges.judge import WEIGHTS, Judge
from enliven.judges.quality import QualityJudge, damage, distance, truth
from enliven.media.image import fit_frames, to_pixels
from enliven.media.sheet import contact_sheet
from enliven.media.video import encode_segment, read_video
from enliven.models.networks import load_network
from enliven.models.vae import VideoAutoencoder
from enliven.systems import find_model
from enliven.toonworld.draw import draw
from enliven.train.gallery import Gallery, code_gallery, draw_gallery, moving_state, pair
from enliven.train.spoiling import FAULTS, blur, scramble, soften, squeeze
from enliven.train.spoiling_latents import LATENT_FAULTS

HELD_OUT = 9_000_000  # first seed
GREEN, RED, BORDER = (40, 170, 70), (215, 45, 40), 4

Frames = UInt8[Tensor, "f 3 h w"]
Shown = tuple[str, Frames, Float[Tensor, "f 2"]]  # what was done, frames, the damage of face and frame


def read_faces(judge: Judge, gallery: Gallery) -> dict[str, float]:
    """Correlations of readings and areas of identity, on softened frames in two poses of each person."""
    verdict = judge(_quantised(soften(_drawing(gallery.frames[:, :2]))))
    readings = gallery.readings[:, :2].flatten(0, 1)
    report = {f"{name} correlation": correlation(verdict[name], readings[:, i]) for i, name in enumerate(READINGS)}
    alike = verdict["identity"] @ verdict["identity"].T
    index = torch.arange(len(alike))
    same, strangers = alike[index, index ^ 1], alike[index[:, None] // 4 != index // 4]
    report["identity area"] = area(same, strangers)
    report["identity area, two traits changed"] = area(same, alike[index, index ^ 2])
    report["same person similarity"] = same.mean().item()
    return {name: round(value, 4) for name, value in report.items()}


def held_out(autoencoder: VideoAutoencoder, pairs: int, first: int = HELD_OUT) -> dict[str, Gallery]:
    """People nobody has learnt from, in two poses each: drawn, and seen through the autoencoder."""
    seeds = range(first, first + pairs)
    return {"drawn": draw_gallery(seeds, poses=2), "autoencoder": code_gallery(seeds, autoencoder, poses=2, frames=9)}


def clean_views(people: Mapping[str, Gallery], autoencoder: VideoAutoencoder, pairs: int) -> Iterator[Shown]:
    """People as they are, as coders and scalers give them back, and at twice the size."""
    for name, gallery in people.items():
        for view, change in VIEWS.items():
            shown = change(gallery.frames.flatten(0, 1))
            yield f"{name}{view}", shown, torch.zeros(len(shown), 2)
    large = torch.cat([_clips(seed, 256) for seed in range(HELD_OUT, HELD_OUT + pairs)])
    coded = torch.cat([autoencoder.decode(autoencoder.encode(2 * clip - 1)) for clip in large.split(8)])
    for name, video in (("drawn", 2 * large - 1), ("autoencoder", coded)):
        shown = to_pixels(video[:, :, 1::3].transpose(1, 2)).flatten(0, 1)
        yield f"{name} at 256 pixels", shown, torch.zeros(len(shown), 2)


def faulty_views(autoencoder: VideoAutoencoder, pairs: int) -> Iterator[Shown]:
    """Every fault on people of its own."""
    for source, gallery in held_out(autoencoder, pairs, HELD_OUT + 1000).items():
        meant = _drawing(gallery.frames)
        others = meant.unflatten(0, (-1, 2)).flip(1).flatten(0, 1)
        for fault in FAULTS:
            shown = scramble(meant, others, meant.roll(4, 0), share=1, faults=(fault,))
            yield f"{source}, {_name(fault)}", _quantised(shown), damage(distance(shown, meant))
    for index, fault in enumerate(LATENT_FAULTS):
        first = HELD_OUT + 2000 + index * pairs
        gallery = code_gallery(range(first, first + pairs), autoencoder, poses=2, frames=9, fault=fault)
        shown = gallery.spoilt.flatten(0, 1)
        yield f"latents, {_name(fault)}", shown, damage(distance(_drawing(gallery.spoilt), _drawing(gallery.frames)))


def judge_shown(judge: Judge, shown: Shown) -> dict[str, float]:
    """Shares of frames that are judged as they are; of clean and scrambled ones apart, by face and by frame."""
    _, frames, harm = shown
    verdict = judge(frames)
    report = {}
    for region, values, asked in zip(("face", "frame"), ("clean_face", "clean_frame"), truth(harm).T, strict=True):
        clean = verdict[values] > 0.5
        for word, is_so, right in (("clean", asked == 0, clean), ("scrambled", asked == 1, ~clean)):
            if is_so.any():
                report[f"{region} {word}"] = round(right[is_so].float().mean().item(), 4)
                report[f"{region} {word}, frames"] = int(is_so.sum())
    return report


def verdict_sheet(judge: Judge, views: Mapping[str, Shown], path: Path) -> None:
    """A picture of four frames of every view, with a border in the colour of the verdict on the face."""
    tiles, labels = [], []
    for name, frames, harm in views.values():
        chosen = torch.randperm(len(frames), generator=torch.Generator().manual_seed(0))[:4]
        seen = fit_frames(frames[chosen], 128, 128)
        for frame, clean, hurt in zip(seen, judge(frames[chosen])["clean_face"] > 0.5, harm[chosen, 0], strict=True):
            tiles.append(_bordered(frame, GREEN if clean else RED))
            labels.append(f"{hurt:.3f} {name}")
    contact_sheet(torch.stack(tiles), 12, labels, "green: face judged clean; red: scrambled; number: damage").save(path)


def correlation(one: Float[Tensor, "n"], other: Float[Tensor, "n"]) -> float:
    """Pearson's."""
    return torch.corrcoef(torch.stack([one.float(), other.float()]))[0, 1].item()


def area(higher: Float[Tensor, "n"], lower: Float[Tensor, "m"]) -> float:
    """The area under the ROC curve: how often one of ``higher`` lies above one of ``lower``."""
    return (higher[:, None] > lower.flatten()[None]).float().mean().item()


def through_video(frames: UInt8[Tensor, "f 3 h w"]) -> UInt8[Tensor, "f 3 h w"]:
    """As H.264 gives them back."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "coded.mp4"
        encode_segment([frames], 25.0, path)
        return read_video(path).frames


def main() -> None:
    """Examine the shipped judges, or those of a folder."""
    parser = argparse.ArgumentParser(description="examine the judges of the toon world")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="folder of the judges")
    parser.add_argument("--pairs", type=int, default=24, help="of people for each row")
    parser.add_argument("--sheet", type=Path, help="where to write a picture of verdicts")
    asked = parser.parse_args()
    torch.manual_seed(0)
    face = FaceJudge(asked.weights / f"{FaceJudge.name}.safetensors")
    quality = QualityJudge(asked.weights / f"{QualityJudge.name}.safetensors")
    autoencoder = load_network(find_model("longcat-toon").weights / "autoencoder")
    people = held_out(autoencoder, asked.pairs)
    views = {
        view[0]: view
        for made in (clean_views(people, autoencoder, asked.pairs), faulty_views(autoencoder, asked.pairs))
        for view in made
    }
    found = {
        "face": {name: read_faces(face, gallery) for name, gallery in people.items()},
        "quality": {name: judge_shown(quality, view) for name, view in views.items()},
    }
    sys.stdout.write(json.dumps(found, indent=1) + "\n")
    if asked.sheet:
        verdict_sheet(quality, views, asked.sheet)


def _as_they_are(frames: Frames) -> Frames:
    return frames


def _softened(frames: Frames) -> Frames:
    return _quantised(soften(frames.float() / 255))


def _blurred(frames: Frames) -> Frames:
    return _quantised(blur(frames.float() / 255))


def _squeezed(frames: Frames) -> Frames:
    return _quantised(torch.stack([squeeze(frame, quality=60) for frame in frames.float() / 255]))


def _small(frames: Frames) -> Frames:
    return fit_frames(frames, 96, 96)


VIEWS: Mapping[str, Callable[[Frames], Frames]] = {
    "": _as_they_are,
    ", softened": _softened,
    ", blurred": _blurred,
    ", JPEG": _squeezed,
    ", H.264": through_video,
    ", 96 pixels": _small,
}


def _clips(seed: int, side: int) -> Float[Tensor, "people 3 f h w"]:
    generator = torch.Generator().manual_seed(seed)
    states = [moving_state(5, generator) for _ in range(2)]
    videos = [draw(person, state, (side, side)) for person, state in zip(pair(seed), states, strict=True)]
    return torch.stack(videos).transpose(1, 2)


def _drawing(frames: UInt8[Tensor, "people poses 3 h w"]) -> Float[Tensor, "f 3 h w"]:
    return frames.flatten(0, 1).float() / 255


def _quantised(frames: Float[Tensor, "f 3 h w"]) -> Frames:
    return (frames.clamp(0, 1) * 255).round().to(torch.uint8)


def _name(fault: Callable[..., object]) -> str:
    return getattr(fault, "__name__", "fault").strip("_")


def _bordered(frame: UInt8[Tensor, "3 h w"], colour: tuple[int, int, int]) -> UInt8[Tensor, "3 h w"]:
    framed = torch.tensor(colour, dtype=torch.uint8)[:, None, None].expand_as(frame).clone()
    framed[:, BORDER:-BORDER, BORDER:-BORDER] = frame[:, BORDER:-BORDER, BORDER:-BORDER]
    return framed


if __name__ == "__main__":
    main()
