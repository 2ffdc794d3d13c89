"""Failures that a model makes itself: Soul 3.2 synthesises failure cases with negative prompts, to learn from them.

Prompt and negative prompt change places: guidance leads away from the caption of a clip, to the words of failures. What
comes of it takes the place of the clip's latents, and those words that of its caption. As where failures are drawn
(``enliven.data.failures``), half of them are told the whole negative prompt, half go on from a clean clip, and half
hear nothing: guidance leads away from just what the network makes of the negative prompt without sound.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from enliven.data.encoded import EncodedClip
from enliven.data.failures import failure_name, shows_failure
from enliven.data.gathering import Material
from enliven.data.manifest import Row, read_manifest
from enliven.data.shards import ShardReader
from enliven.diffusion.clips import plan_clips
from enliven.diffusion.guidance import Guidance, Guide
from enliven.errors import ConfigError, NotFinite, RequestError
from enliven.pipeline import AvatarPipeline, clip_noise
from enliven.systems.spec import ModelSpec
from enliven.train.backbones import listening
from enliven.train.sources import check_clip
from enliven.types import ClipPlan, Conditioning


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one failure is told, what it begins with, and how strongly it is led there.

    ``pivot`` numbers a reference of the clip. A ``continuing`` one goes on from the clip; a ``deaf`` one hears nothing.
    """

    caption: str
    pivot: int
    continuing: bool
    deaf: bool
    seed: int
    scale: float


@dataclass(frozen=True, slots=True)
class Failing:
    """What attempts are drawn from: phrases with commas between, and guidance scales from ``weakest`` to ``strongest``.

    Raises ConfigError where there is nothing to lead to, or no guidance that leads there.
    """

    negative_prompt: str
    weakest: float = 3.0
    strongest: float = 6.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.negative_prompt.strip(" ,"):
            raise ConfigError("no words say what fails", hint='give some: --negative-prompt "still lips, blurred"')
        if not 1 <= self.weakest <= self.strongest:
            raise ConfigError(
                f"guidance from {self.weakest:g} to {self.strongest:g}", hint="give 1 or more, the weakest first"
            )

    def draw(self, name: str, pivots: int) -> Attempt:
        """The attempt of that name, always the same, with one of so many ``pivots``."""
        chance = random.Random(f"{self.seed} {name}")
        phrases = [phrase for part in self.negative_prompt.split(",") if (phrase := part.strip())]
        return Attempt(
            caption=self.negative_prompt if chance.random() < 0.5 else chance.choice(phrases),
            scale=chance.uniform(self.weakest, self.strongest),  # in this order: an attempt is its name's for ever
            pivot=chance.randrange(pivots),
            continuing=chance.random() < 0.5,
            deaf=chance.random() < 0.5,
            seed=chance.getrandbits(32),
        )


def choose_rows(folder: Path, spec: ModelSpec, seed: int = 0, count: int | None = None) -> list[Row]:
    """The clips in a ``folder`` of shards of which others are made: all of them, or ``count`` that ``seed`` draws.

    What shows a failure already is left out.

    Raises RequestError for a model whose clips have no pivot, ConfigError where there are no clips, or those of another
    model; MediaError, MissingExtra.
    """
    if not spec.geometry.pivot:
        raise RequestError(f"{spec.name} does not learn from failures", hint="name a Soul, such as --model soul")
    manifest = read_manifest(folder)
    if not len(manifest):
        raise ConfigError(f"there are no shards in {folder}", hint="make some with enliven encode")
    people = int(manifest.column("people").max())
    check_clip(ShardReader(folder).read(manifest.row(0)), people, spec, folder)
    chosen = list(range(len(manifest)))
    random.Random(seed).shuffle(chosen)
    rows = (manifest.row(index) for index in chosen)
    return list(islice((row for row in rows if not shows_failure(row.caption, row.source)), count))


class FailureMaker:
    """Makes failures of encoded clips by a model that ``choose_rows`` took."""

    def __init__(self, pipeline: AvatarPipeline) -> None:
        assert pipeline.networks.audio is not None, "clips with a pivot are those of a model that hears"
        self.pipeline, self.spec = pipeline, pipeline.spec
        self.listening = listening(self.spec, pipeline.networks.audio)

    def materials(self, folder: Path, rows: Sequence[Row], failing: Failing) -> list[Material]:
        """A failure of each of the ``rows`` in a ``folder`` of shards, ready to be gathered."""
        reader = ShardReader(folder)

        def make(row: Row, name: str, made: frozenset[int]) -> Iterator[tuple[int, EncodedClip]]:
            if not made:
                clip = beginning(reader.read(row), len(one_clip(self.spec, continuing=False).layout))
                yield 0, self.fail(clip, failing.draw(name, len(clip.references)))

        names = [failure_name(row.source, row.start, failing.seed) for row in rows]
        return [Material(name, partial(make, row, name)) for row, name in zip(rows, names, strict=True)]

    def fail(self, clip: EncodedClip, attempt: Attempt) -> EncodedClip:
        """A clip of the same person who hears the same, as it should not be. Raises NotFinite."""
        return self.remake(clip, attempt, Guidance(attempt.scale, 1.0), null=clip.caption)

    @torch.no_grad()
    def remake(self, clip: EncodedClip, attempt: Attempt, guidance: Guide, null: str) -> EncodedClip:
        """A clip that begins as an attempt does and is told the same, guided away from ``null``. Raises NotFinite.

        What the mouth does is not known, and zero. The latent frame of a single video frame stays: no clip shows it.
        """
        text, plan = self.pipeline.networks.text, one_clip(self.spec, continuing=attempt.continuing)
        if attempt.deaf:
            clip = replace(clip, audio=torch.zeros_like(clip.audio))
        heard = replace(self.listening, stride=clip.audio.shape[1] // clip.mouth.shape[1])
        audio = heard.heard(clip, range(1, 1 + plan.frames))[None].to(self.pipeline.device)
        made = self.pipeline.sample(
            replace(self.spec, guidance=guidance),
            Conditioning(text=text([attempt.caption]), null_text=text([null]), audio=audio),
            plan,
            _begun(clip, attempt, plan).to(self.pipeline.device),
            attempt.seed,
            lambda _: None,
        )
        latents = torch.cat([clip.latents[:, :1], made.latents[0, :, 1:].cpu()], dim=1)
        if not latents.half().isfinite().all():
            raise NotFinite(f"latents at guidance {attempt.scale:g} are no numbers", hint="guide less strongly")
        return replace(clip, latents=latents, mouth=torch.zeros_like(clip.mouth), caption=attempt.caption, before=None)


def beginning(clip: EncodedClip, latents: int) -> EncodedClip:
    """The first ``latents`` latent frames of a clip, and what belongs to them. Raises ConfigError for a shorter one."""
    there, frames = clip.latents.shape[1], 4 * latents - 3
    if there < latents:
        raise ConfigError(
            f"a clip has {there} latent frames, one of this model {latents}",
            hint=f"encode again with --frames {frames} or longer",
        )
    shown = clip.reference_frames < frames
    return replace(
        clip,
        latents=clip.latents[:, :latents],
        references=clip.references[shown],
        reference_frames=clip.reference_frames[shown],
        audio=clip.audio[:, : clip.audio.shape[1] // (4 * there - 3) * frames],
        mouth=clip.mouth[:, :frames],
        before=None if clip.before is None else clip.before[:, :latents],
    )


def one_clip(spec: ModelSpec, *, continuing: bool) -> ClipPlan:
    """The one clip that a failure is: behind a portrait, or in the middle of a video."""
    return plan_clips(1, spec.geometry, spec.arrange, portrait=True, continuing=continuing)[0]


def _begun(clip: EncodedClip, attempt: Attempt, plan: ClipPlan) -> Tensor:
    """The clean latents that a failure begins with, and noise."""
    before = clip.latents if clip.before is None else clip.before
    given = torch.cat([clip.references[attempt.pivot][:, None], before[:, 1 : plan.layout.clean]], dim=1)
    noise = clip_noise(
        attempt.seed, plan.index, (1, len(given), len(plan.layout) - plan.layout.clean, *given.shape[2:])
    )
    return torch.cat([given[None], noise], dim=2)
