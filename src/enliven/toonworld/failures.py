"""What videos of people fail at, drawn: the negative examples of Soul 3.2, each with the words that name it.

Their words together are the negative prompt. They are few and short, so that a small text encoder reads all of them.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from enum import StrEnum

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from enliven.toonworld.character import Character, sample_character
from enliven.toonworld.draw import draw
from enliven.toonworld.state import FaceState

Frames = Float[Tensor, "f 3 h w"]

MOUTH = ("mouth_open", "mouth_width", "mouth_round", "teeth", "tongue")
CELLS = 16  # in a row: patches are as large as the latent cells of a picture of 256 x 256
TOGETHER = 4  # frames; a latent frame holds as many


class Failure(StrEnum):
    """What goes wrong; the words stand in captions."""

    STILL_LIPS = "still lips"
    WRONG_LIPS = "wrong lips"
    STIFF = "stiff"
    STRANGER = "another person"
    DIM = "dim"
    BLURRED = "blurred"
    PATCHES = "patches"
    GHOST = "ghost"
    SHAKY = "shaky"


NEGATIVE_PROMPT = ", ".join(Failure)


@dataclass(frozen=True, slots=True)
class Scene:
    """Who should be drawn, what they should do, at which size (height, width); ``chance`` decides how it fails."""

    character: Character
    state: FaceState
    size: tuple[int, int]
    chance: random.Random

    def drawn(self, character: Character | None = None, state: FaceState | None = None) -> Frames:
        """The scene, or another person or performance in its place."""
        return draw(character or self.character, state or self.state, self.size)

    @property
    def generator(self) -> torch.Generator:
        """A new generator of noise."""
        return torch.Generator().manual_seed(self.chance.randrange(2**31))


def draw_failure(
    failure: Failure, character: Character, state: FaceState, size: tuple[int, int] = (128, 128), seed: int = 0
) -> Frames:
    """The clip in 0..1 as it should not be."""
    return FAILURES[failure](Scene(character, state, size, random.Random(f"failure {seed}"))).clamp(0, 1)


def _still_lips(scene: Scene) -> Frames:
    """The mouth stays as it is in one moment."""
    moment = scene.chance.randrange(len(scene.state))
    return scene.drawn(state=_held(scene.state, MOUTH, moment))


def _wrong_lips(scene: Scene) -> Frames:
    """What is said at another time; who says nothing babbles."""
    count = len(scene.state)
    if scene.state.mouth_open.amax() < 0.1:
        babble = _wander(scene, period=4).abs().clamp(max=1)
        return scene.drawn(state=replace(scene.state, mouth_open=babble, teeth=(2 * babble).clamp(max=1)))
    late = scene.chance.randrange(count // 4, max(count // 4 + 1, 3 * count // 4))
    return scene.drawn(state=replace(scene.state, **{name: getattr(scene.state, name).roll(late) for name in MOUTH}))


def _stiff(scene: Scene) -> Frames:
    """Nothing but the mouth moves."""
    names = tuple(field.name for field in fields(scene.state) if field.name not in MOUTH)
    return scene.drawn(state=_held(scene.state, names, scene.chance.randrange(len(scene.state))))


def _stranger(scene: Scene) -> Frames:
    """The face becomes somebody else's, at once or slowly; the place stays."""
    own = scene.character
    other = sample_character(scene.chance.randrange(2**31))
    other = replace(other, scene=own.scene, wall=own.wall, decor=own.decor)
    return scene.drawn().lerp(scene.drawn(other), _rising(scene))


def _dim(scene: Scene) -> Frames:
    """Light and colours go, grain comes."""
    pixels, strength = scene.drawn(), _rising(scene)
    tint = torch.tensor([scene.chance.uniform(0.35, 0.9) for _ in range(3)]).view(1, 3, 1, 1)
    grain = torch.randn(pixels.shape, generator=scene.generator) * scene.chance.uniform(0, 0.12)
    return pixels.lerp(pixels * tint + grain, strength)


def _blurred(scene: Scene) -> Frames:
    """More and more details go."""
    pixels, height = scene.drawn(), scene.size[0]
    side = 2 * round(height * scene.chance.uniform(0.015, 0.05)) + 1
    soft = F.avg_pool2d(pixels, side, stride=1, padding=side // 2, count_include_pad=False)
    return pixels.lerp(soft, _rising(scene))


def _patches(scene: Scene) -> Frames:
    """Cells show other moments, or what belongs beside them."""
    pixels, (height, width) = scene.drawn(), scene.size
    moments = torch.randperm(len(pixels), generator=scene.generator)
    step = round(height / CELLS * scene.chance.choice((-1, 1)))
    wrong = pixels[moments].roll(step, dims=scene.chance.choice((2, 3)))
    blocks = -(-len(pixels) // TOGETHER)
    share = scene.chance.uniform(0.08, 0.4)
    cells = (torch.rand(blocks, 1, CELLS, CELLS, generator=scene.generator) < share).float()
    mask = F.interpolate(cells, size=(height, width)).repeat_interleave(TOGETHER, dim=0)[: len(pixels)]
    return pixels.lerp(wrong, mask * scene.chance.uniform(0.5, 1))


def _ghost(scene: Scene) -> Frames:
    """Everything is seen twice."""
    pixels, height = scene.drawn(), scene.size[0]
    angle, reach = scene.chance.uniform(0, 2 * math.pi), height * scene.chance.uniform(0.02, 0.08)
    moved = pixels.roll((round(reach * math.sin(angle)), round(reach * math.cos(angle))), dims=(2, 3))
    return pixels.lerp(moved, scene.chance.uniform(0.3, 0.5))


def _shaky(scene: Scene) -> Frames:
    """Head and body jump from frame to frame."""
    state, strength = scene.state, scene.chance.uniform(0.5, 1.5)
    sizes = {"shift_x": 0.02, "shift_y": 0.015, "roll": 0.08, "yaw": 0.08, "pitch": 0.05}
    noise = torch.randn(len(sizes), len(state), generator=scene.generator) * strength
    shaken = {name: getattr(state, name) + size * row for (name, size), row in zip(sizes.items(), noise, strict=True)}
    return scene.drawn(state=replace(state, **shaken))


FAILURES: dict[Failure, Callable[[Scene], Frames]] = {
    Failure.STILL_LIPS: _still_lips,
    Failure.WRONG_LIPS: _wrong_lips,
    Failure.STIFF: _stiff,
    Failure.STRANGER: _stranger,
    Failure.DIM: _dim,
    Failure.BLURRED: _blurred,
    Failure.PATCHES: _patches,
    Failure.GHOST: _ghost,
    Failure.SHAKY: _shaky,
}


def _held(state: FaceState, names: tuple[str, ...], moment: int) -> FaceState:
    """The state with some of its values as they are in one moment."""
    return replace(state, **{name: getattr(state, name)[moment].expand(len(state)) for name in names})


def _rising(scene: Scene) -> Float[Tensor, "f 1 1 1"]:
    """From 0 to 1 within the clip, quickly or slowly; or 1 all along."""
    count = len(scene.state)
    begin = scene.chance.uniform(-0.3, 0.5) * count
    lasts = scene.chance.uniform(0.02, 0.8) * count
    return ((torch.arange(count) - begin) / lasts).clamp(0, 1).view(-1, 1, 1, 1)


def _wander(scene: Scene, period: int) -> Float[Tensor, "f"]:
    """Smooth noise of about -1..1."""
    count = len(scene.state)
    points = torch.randn(1, 1, count // period + 2, generator=scene.generator)
    return F.interpolate(points, size=count, mode="linear", align_corners=True)[0, 0]
