"""What decides what a toon model becomes: as in ``examples/toon.toml``."""

from dataclasses import dataclass, field
from pathlib import Path

from enliven.data.world import World
from enliven.errors import RequestError
from enliven.systems import find_model
from enliven.train.backbones import LoraChoice
from enliven.train.trainer import TrainConfig


@dataclass(frozen=True, slots=True)
class Budget:
    """How long and how fast one network trains; ``batch`` in samples (the ears count seconds themselves).

    A step learns from ``parts`` batches, which processes share; ``recompute`` saves memory, see ``TrainConfig``.
    """

    minutes: float
    learning_rate: float
    batch: int = 8
    muon_gain: float = 6.0
    parts: int = 1
    recompute: bool = False


@dataclass(frozen=True, slots=True)
class Groups:
    """So many clips of several people, and the share of the backbone's batches that show them."""

    clips: int
    share: float


@dataclass(frozen=True, slots=True)
class Pictures:
    """So many people of whom one moment is learnt from words and sound alone, and their share of the batches."""

    clips: int
    share: float


@dataclass(frozen=True, slots=True)
class Glimpses:
    """The ``share`` of batches that hold short clips, of so many latent ``frames``, and more of them.

    What a caption says is seen in any frame: so several times as many captions are learnt from in the same time.
    """

    frames: int
    share: float


@dataclass(frozen=True, slots=True)
class ToonRecipe:
    """Everything that decides what a toon model becomes.

    ``folder`` holds data and checkpoints, ``weights`` receives the trained networks. The backbone learns from
    ``clips`` of ``frames`` video frames, a share of ``sights`` among them without people, of ``failures``, and of
    ``moves`` away from their pivot; a share of them sounds ``recorded`` in some room. The autoencoder learns from the
    first ``drawn`` of them, and at last from what the backbone makes of those (``polishing``), so many batches of
    ``guesses``. ``half`` is the backbone's training at half the size, before that at full size. A codebook of so many
    ``centroids`` is fitted, with a radius of its own for each where it is ``per_centroid``. Pictures of the
    efficient decoder are to look real to a discriminator, as strongly as ``adversarial`` says.
    ``warm_start`` begins with the weights already there instead of from chance. With ``pairs`` and ``trios`` the
    backbone also learns who says what, from clips of two and of three people; with ``glimpses``, more of what
    captions say, and with ``pictures`` whole people from words alone. Several processes draw and encode side by side
    when each does another ``part``: the first number of it, counted from 0, of as many as the second says.
    At last a ``lora`` may learn (``adapting``) beside the backbone. Where a clip moves, errors weigh up to
    ``1 + moving_weight`` times as much. Of the weights with which a backbone begins, a share is ``kept`` in the mean.
    """

    folder: Path
    weights: Path
    model: str = "longcat-toon"
    utterances: int = 1500
    clips: int = 1500
    drawn: int = 400
    frames: int = 61
    sights: float = 0.0
    failures: float = 0.0
    moves: float = 0.0
    recorded: float = 0.0
    centroids: int = 0
    per_centroid: bool = True
    moving_weight: float = 3.0
    kept: float = 0.0
    guesses: int = 150
    adversarial: float = 0.0
    device: str = "cpu"
    threads: int = 1
    warm_start: bool = False
    part: tuple[int, int] = (0, 1)
    pairs: Groups = field(default_factory=lambda: Groups(0, 0.0))
    trios: Groups = field(default_factory=lambda: Groups(0, 0.0))
    glimpses: Glimpses = field(default_factory=lambda: Glimpses(0, 0.0))
    pictures: Pictures = field(default_factory=lambda: Pictures(0, 0.0))
    hearing: Budget = field(default_factory=lambda: Budget(15, 1.5e-3))
    reading: Budget = field(default_factory=lambda: Budget(3, 2e-3, batch=40))
    autoencoder: Budget = field(default_factory=lambda: Budget(40, 1e-3, batch=8, muon_gain=12.0))
    efficient: Budget = field(default_factory=lambda: Budget(0, 1e-3, batch=8, muon_gain=12.0))
    half: Budget = field(default_factory=lambda: Budget(0, 1e-3, batch=8))
    backbone: Budget = field(default_factory=lambda: Budget(85, 1e-3, batch=8))
    polishing: Budget = field(default_factory=lambda: Budget(0, 5e-4, batch=8, muon_gain=12.0))
    lora: LoraChoice = field(default_factory=LoraChoice)
    adapting: Budget = field(default_factory=lambda: Budget(30, 3e-4, batch=8))

    def __post_init__(self) -> None:
        first, count = self.part
        if not 0 <= first < count:
            raise RequestError(f"part {first} of {count}", hint="count parts from 0: [0, 2] and [1, 2] are all of two")
        if self.adversarial < 0:
            raise RequestError(f"adversarial is {self.adversarial:g}", hint="give 0 for no such phase, or more")
        glimpse, (least, most) = self.glimpses, self.glimpsed
        if not 0 <= glimpse.share <= 1 or (glimpse.share and not least <= glimpse.frames <= most):
            raise RequestError(
                f"glimpses of {glimpse.frames} latent frames, {glimpse.share:g} of all batches",
                hint=f"give {least} to {most} frames and a share from 0 to 1",
            )
        if self.pictures.share and not self.pictures.clips:
            raise RequestError("batches of pictures, and no pictures", hint="give pictures a number of clips")
        shares = [glimpse.share, self.pictures.share, *(each.share for _, _, each in self.groups)]
        if min(shares) < 0 or sum(shares) > 1:
            raise RequestError(
                f"groups, glimpses and pictures are {sum(shares):g} of all batches", hint="give shares of 1 together"
            )
        if self.groups and find_model(self.model).geometry.pivot:
            raise RequestError(f"{self.model} hears one voice", hint="leave out pairs and trios")

    @property
    def glimpsed(self) -> tuple[int, int]:
        """How many latent frames a glimpse has at least, one behind those gone on from, and at most, as any clip."""
        geometry = find_model(self.model).geometry
        return geometry.latents(geometry.context) + 1, geometry.latents(geometry.frames)

    @property
    def world(self) -> World:
        """What is drawn."""
        return World(
            self.frames, find_model(self.model).size, sights=self.sights, failures=self.failures, moves=self.moves
        )

    @property
    def utterances_on_disk(self) -> list[Path]:
        """What can be said."""
        return sorted((self.folder / "speech").glob("*.flac"))

    @property
    def groups(self) -> list[tuple[str, int, Groups]]:
        """Those groups that there are, and the number of people in them."""
        every = [("pairs", 2, self.pairs), ("trios", 3, self.trios)]
        return [each for each in every if each[-1].clips]

    def own(self, clips: int) -> range:
        """Which of so many clips this process makes."""
        return range(self.part[0], clips, self.part[1])

    def training(self, budget: Budget, name: str) -> TrainConfig:
        """How the network of that name trains."""
        return TrainConfig(
            folder=self.folder / name,
            minutes=budget.minutes,
            learning_rate=budget.learning_rate,
            muon_gain=budget.muon_gain,
            muon=r"blocks\..*weight",
            device=self.device,
            parts=budget.parts,
            recompute=budget.recompute,
        )
