"""Pictures of many people in many poses, with exact truth, for teaching judges."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from enliven.judges.face import READINGS
from enliven.media.image import to_pixels
from enliven.models.vae import VideoAutoencoder
from enliven.toonworld.character import Character, sample_character
from enliven.toonworld.draw import draw
from enliven.toonworld.motion import PITCH, ROLL, SHIFT, YAW, calm_motion
from enliven.toonworld.state import FaceState
from enliven.train.spoiling_latents import Fault, spoil_latents

WIDER = 1.6  # head poses reach so much further than calm motion does
OTHER = 4.0  # amplitude of a motion that a generator mistakes for the one meant: far enough to tell them apart
MOUTH = ("mouth_open", "mouth_width", "mouth_round", "teeth", "tongue")


@dataclass(frozen=True, slots=True)
class Gallery:
    """People in several poses each; the two of a pair (2 i, 2 i + 1) differ in a trait or two.

    ``spoilt`` are the same frames as a failing generator would give them, or the frames themselves.
    """

    frames: UInt8[Tensor, "people poses 3 128 128"]
    spoilt: UInt8[Tensor, "people poses 3 128 128"]
    readings: Float[Tensor, "people poses readings"]

    def __len__(self) -> int:
        return len(self.frames)

    @classmethod
    def join(cls, galleries: Sequence["Gallery"]) -> "Gallery":
        """All their people."""
        return cls(*(torch.cat([getattr(g, field.name) for g in galleries]) for field in fields(cls)))


def draw_gallery(seeds: range, poses: int = 6) -> Gallery:
    """A pair of people for each seed."""
    frames, readings = [], []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        for person in pair(seed):
            state = random_state(poses, generator)
            frames.append((draw(person, state) * 255).round().to(torch.uint8))
            readings.append(read(state))
    drawn = torch.stack(frames)
    return Gallery(drawn, drawn, torch.stack(readings))


@torch.no_grad()
def code_gallery(
    seeds: range, autoencoder: VideoAutoencoder, poses: int = 6, frames: int = 13, fault: Fault | None = None
) -> Gallery:
    """A pair of people for each seed, moving calmly, seen through an autoencoder; and through spoilt latents."""
    galleries = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        states = [moving_state(frames, generator, amplitude) for amplitude in (1.3, 1.3, OTHER, OTHER)]
        people = pair(seed) * 2  # each in two motions: the second one is only there to be mistaken for the first
        video = torch.stack([draw(who, state) for who, state in zip(people, states, strict=True)]).transpose(1, 2)
        latents, others = autoencoder.encode(2 * video - 1).chunk(2)
        chosen = torch.randperm(frames, generator=generator)[:poses]
        seen, spoilt = (
            to_pixels(autoencoder.decode(coded)[:, :, chosen].transpose(1, 2))
            for coded in (latents, spoil_latents(latents, others, fault))
        )
        galleries.append(Gallery(seen, spoilt, torch.stack([read(state)[chosen] for state in states[:2]])))
    return Gallery.join(galleries)


def moving_state(frames: int, generator: torch.Generator, amplitude: float = 1.3) -> FaceState:
    """A piece of calm motion with a mouth that goes from one random shape to another every four frames."""
    start = int(torch.randint(0, 100, (), generator=generator))
    calm = calm_motion(100 + frames, 25.0, generator, amplitude)[start : start + frames]
    knots = random_state(frames // 4 + 2, generator).stack()
    smooth = F.interpolate(knots.T[None], size=frames, mode="linear", align_corners=True)[0].T
    shapes = FaceState.unstack(smooth)
    return calm.with_mouth(*(getattr(shapes, name) for name in MOUTH))


def pair(seed: int) -> tuple[Character, Character]:
    """A person, and nearly the same one: two traits are somebody else's."""
    person, donor = sample_character(seed), sample_character(seed + 1_000_000)
    names = random.Random(seed).sample(("hair", "hair_colour", "skin", "eye_colour", "glasses", "geometry", "hat"), 2)
    return person, replace(person, **{name: getattr(donor, name) for name in names})


def random_state(frames: int, generator: torch.Generator) -> FaceState:
    """Unrelated poses, a little beyond what calm motion shows; some have a closed mouth."""

    def chance(low: float, high: float) -> Float[Tensor, "f"]:
        return low + (high - low) * torch.rand(frames, generator=generator)

    def share(low: float, high: float) -> Float[Tensor, "f"]:
        return chance(low, high).clamp(0, 1)

    state = FaceState(
        mouth_open=share(-0.3, 1.0),
        mouth_width=share(0.1, 1.0),
        mouth_round=share(-0.6, 1.0),
        teeth=share(-0.2, 1.0),
        tongue=share(-0.7, 0.9),
        yaw=WIDER * YAW * chance(-1, 1),
        pitch=WIDER * PITCH * chance(-1, 1),
        roll=WIDER * ROLL * chance(-1, 1),
        shift_x=WIDER * SHIFT * chance(-1, 1),
        shift_y=WIDER * SHIFT * 0.6 * chance(-1, 1),
        gaze_x=chance(-0.6, 0.6),
        gaze_y=chance(-0.3, 0.3),
        blink=share(-3.0, 1.3),
        brow=chance(-0.3, 0.9),
        breath=chance(0, 1),
        gesture=share(-2.5, 1.0),
    )
    closed = torch.rand(frames, generator=generator) < 0.15
    rest = FaceState.neutral(frames)
    return state.with_mouth(*(torch.where(closed, getattr(rest, name), getattr(state, name)) for name in MOUTH))


def read(state: FaceState) -> Float[Tensor, "f readings"]:
    """The truth a face judge shall read."""
    return torch.stack([getattr(state, name) for name in READINGS], dim=1)


def gallery_batches(gallery: Gallery, pairs: int = 10, seed: int = 0) -> Iterator[dict[str, Tensor]]:
    """Without end: ``pairs`` pairs of people in two poses each, as [people, 2, ...]."""
    generator = torch.Generator().manual_seed(seed)
    poses = gallery.frames.shape[1]
    while True:
        chosen = torch.randint(len(gallery) // 2, (pairs,), generator=generator)
        people = torch.stack([2 * chosen, 2 * chosen + 1], dim=1).flatten()[:, None]
        shown = torch.stack([torch.randperm(poses, generator=generator)[:2] for _ in people])
        yield {field.name: getattr(gallery, field.name)[people, shown] for field in fields(Gallery)}
