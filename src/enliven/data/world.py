"""The toon world as a source of training clips: each number is a clip."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from enliven.data.clips import ToonClip, make_clip, save_clip
from enliven.data.failures import make_failure
from enliven.data.moves import make_move
from enliven.data.sights import make_sight
from enliven.toonworld.emphasis import emphasise
from enliven.toonworld.voice import read_speech
from enliven.types import OnProgress, Progress, ignore_progress


@dataclass(frozen=True, slots=True)
class World:
    """What its clips are like: length in video frames, ``size`` (height, width), and which there are.

    ``sights`` is the share of clips without people, ``failures`` the share of people drawn as they should not be,
    ``moves`` the share of people who are not where their pivot is, ``silent`` the share who say nothing.
    """

    frames: int = 61
    size: tuple[int, int] = (128, 128)
    silent: float = 0.12
    sights: float = 0.0
    failures: float = 0.0
    moves: float = 0.0

    def clip(self, seed: int, speech: Sequence[Path]) -> ToonClip:
        """Clip number ``seed``; who speaks says one of the recordings ``speech``."""
        kind = random.Random(f"world {seed}").random()
        if kind < self.sights:
            return make_sight(seed, frames=self.frames, size=self.size)
        chance = random.Random(seed)
        spoken = None if chance.random() < self.silent else emphasise(read_speech(chance.choice(speech)), chance)
        if kind < self.sights + self.failures:
            return make_failure(seed, spoken, frames=self.frames, size=self.size)
        if kind < self.sights + self.failures + self.moves:
            return make_move(seed, spoken, frames=self.frames, size=self.size)
        return make_clip(seed, spoken, frames=self.frames, size=self.size)


def render_clips(
    folder: Path, speech: Sequence[Path], seeds: range, world: World, on_progress: OnProgress = ignore_progress
) -> None:
    """Draw one clip for each seed into ``folder``, passing over those already there."""
    folder.mkdir(parents=True, exist_ok=True)
    for done, seed in enumerate(seeds):
        path = folder / f"{seed:07d}.safetensors"
        if not path.exists():
            save_clip(world.clip(seed, speech), path)
        on_progress(Progress("draw", done + 1, len(seeds)))
