"""The training loop, written once: an objective says what is learnt, the trainer how steps are taken."""

import copy
import logging
import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from enliven.errors import Cancelled, ConfigError
from enliven.runtime.machine import quick_bfloat16
from enliven.train import checkpoint, shared_checkpoint
from enliven.train.faults import fault
from enliven.train.logbook import Logbook
from enliven.train.optimizers import BETAS, check_factors, optimizers_of, set_rate
from enliven.train.processes import agreed, collected, first_alone, mean, meet, own_share, rank_and_count, summed
from enliven.train.rates import Course, share_of_rate
from enliven.train.sharding import (
    average_gradients,
    blocks_of,
    clip_gradients,
    gathered,
    recompute_blocks,
    share,
    skeleton,
    whole,
)
from enliven.train.state import State
from enliven.train.stopping import Stopping
from enliven.types import OnProgress, Progress, ignore_progress

log = logging.getLogger(__name__)

Batch = Mapping[str, Any]
Sample = Callable[[Mapping[str, nn.Module], Path], None]  # makes something to look at: PATH with an ending of its own


@runtime_checkable
class Objective(Protocol):
    """What is trained, towards what.

    Each network has optimisers of its own. An objective may also have ``turn(step) -> Collection[str]``: the names of
    the networks that are stepped and averaged in this step. Gradients that fall on others are dropped. Without it,
    every step is a step of all networks. Networks that are used and not trained may be named in ``frozen``, for the
    trainer to bring them to the device and to share them among processes.
    """

    networks: Mapping[str, nn.Module]

    def losses(self, batch: Batch, step: int) -> Mapping[str, Tensor]:
        """Scalar losses by name; their sum is minimised."""
        ...


@runtime_checkable
class Positioned(Protocol):
    """Batches that stand somewhere in their data, and can say where."""

    def state(self) -> Mapping[str, Any]:
        """Where, ready for JSON."""
        ...

    def restore(self, *states: Mapping[str, Any]) -> None:
        """Go on from where all processes stood, in their order, of which there may have been another number."""
        ...


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """How steps are taken.

    A run ends after ``steps`` steps or ``minutes`` minutes of training, whichever comes first; the learning rate
    warms up over ``warmup`` steps and then takes its ``course``: see ``share_of_rate`` for it and ``decay``.
    Matrices whose names match the pattern ``muon`` are trained by Muon at ``muon_gain`` times the rate, all else by
    AdamW with ``betas``; an empty pattern means AdamW only. ``learning_rates`` are those of single networks, by name,
    where they differ; by ``rate_factors`` weights learn so many times as fast, see ``optimizers_of``. Weights are
    float32 and so are their changes, whatever ``dtype`` is computed in; a CPU that does not know bfloat16 computes in
    float32 all the same.

    A step learns from ``parts`` batches, and several processes share them: two parts in one process are one part in
    each of two. Torch's random numbers in a part follow from ``seed``, the step and the part alone. ``recompute``
    saves memory in the blocks of networks and costs time. Every ``sample_minutes`` there is something to look at.
    """

    folder: Path
    steps: int = 1_000_000
    minutes: float = math.inf
    learning_rate: float = 1e-3
    learning_rates: Mapping[str, float] = field(default_factory=dict)
    rate_factors: Mapping[str, float] = field(default_factory=dict)
    weight_decay: float = 0.01
    betas: tuple[float, float] = BETAS
    muon: str = r"blocks\."
    muon_gain: float = 5.0
    warmup: int = 100
    course: Course = "fall"
    decay: float = 0.4
    clip_norm: float = 1.0
    ema: float = 0.998
    parts: int = 1
    recompute: bool = False
    save_minutes: float = 3.0
    sample_minutes: float = 10.0
    log_every: int = 20
    seed: int = 0
    device: str = "cpu"
    dtype: Literal["float32", "bfloat16"] = "bfloat16"

    @property
    def halves(self) -> bool:
        """Whether steps are computed in bfloat16."""
        return self.dtype == "bfloat16" and quick_bfloat16(self.device)


class Trainer:
    """Takes steps, keeps an average of the weights, writes ``metrics.jsonl`` and checkpoints that resume.

    ``batches`` that draw from torch's random numbers, and keep nothing in between, go on after a restart exactly
    where they were, in any number of processes. Those that are ``Positioned`` say themselves how they go on: those from
    shards exactly in as many, and with the rest of the epoch dealt anew in another number. ``sample`` is given networks
    with averaged weights now and then.
    """

    def __init__(
        self, config: TrainConfig, objective: Objective, batches: Iterable[Batch], sample: Sample | None = None
    ) -> None:
        self.config = config
        self.objective = objective
        self.batches = iter(batches)
        self._data = batches if isinstance(batches, Positioned) else None
        self.sample = sample
        self.step = 0
        self.seconds = 0.0
        _check(config, objective)
        self.network = nn.ModuleDict(dict(objective.networks))
        self._skeletons = {
            name: skeleton(each) for name, each in self.network.items() if blocks_of(each) and rank_and_count()[1] > 1
        }
        used = [*getattr(objective, "frozen", {}).values(), *self.network.values()]
        for network in used:  # one after the other: no device need ever hold all of them whole
            network.to(config.device)
            if config.recompute:
                recompute_blocks([network])
            share([network], config.device)
        self.optimizers = {
            name: optimizers_of(
                name,
                each,
                rate=config.learning_rate,
                weight_decay=config.weight_decay,
                muon=config.muon,
                betas=config.betas,
                factors=config.rate_factors,
            )
            for name, each in self.network.items()
        }
        self.state = State(self.network, self.optimizers)
        config.folder.mkdir(parents=True, exist_ok=True)
        self.logbook = Logbook(config.folder)
        self._saver = shared_checkpoint.Saver(self.folder)

    @property
    def average(self) -> Mapping[str, Tensor]:
        """The averaged weights of all networks, of which several processes have parts."""
        return self.state.average

    @property
    def folder(self) -> Path:
        """Where checkpoints are written."""
        return self.config.folder / checkpoint.CHECKPOINT

    @property
    def fraction(self) -> float:
        """How much of the run is done, 0..1."""
        return min(1.0, max(self.step / self.config.steps, self.seconds / 60 / self.config.minutes))

    def fit(self, on_progress: OnProgress = ignore_progress) -> None:
        """Train to the end of the run, from the last checkpoint in the folder if there is one.

        Raises Cancelled when asked to stop by Ctrl-C or SIGTERM, with everything saved; NotFinite when a number is
        none; StorageError when the disk refuses. A kill loses the steps since the last save, and nothing else.
        """
        if checkpoint.find(self.folder):
            self.restore()
        if self.fraction == 1:
            log.warning(
                "%s is a finished run; nothing is left to train. Give it more minutes or another folder", self.folder
            )
            return
        self.logbook.go_on_from(self.step)
        try:
            with Stopping() as stopping:
                self._run(stopping, on_progress)
        finally:
            self.logbook.close()
            self._saver.wait()

    def _run(self, stopping: Stopping, on_progress: OnProgress) -> None:
        config, first = self.config, self.step + 1
        saved = sampled = time.monotonic()
        measured: list[dict[str, float]] = []
        while self.fraction < 1:
            began = time.monotonic()
            measured.append(self.take_step())
            self.seconds += mean(time.monotonic() - began)
            if self.step % config.log_every == 0:
                self.logbook.write(self.step, self.seconds, measured)
                measured.clear()
                on_progress(Progress("train", round(self.fraction * 1000), 1000))
            stop, save, sample = agreed(
                stopping.asked,
                _passed(saved, config.save_minutes),
                self.sample is not None and _passed(sampled, config.sample_minutes),
            )
            if stop:
                self.save()
                raise Cancelled(
                    f"stopped at step {self.step}, saved in {self.folder}", hint="the same command goes on from there"
                )
            if save or self.step == first:  # at once, so that a disk that refuses is known before the work
                self.begin_save()
                saved = time.monotonic()
            if sample:
                self.take_sample()
                sampled = time.monotonic()
        self.save()

    def take_step(self, batch: Batch | None = None) -> dict[str, float]:
        """One forward, backward and update, of the batches whose turn it is or of this one.

        NotFinite before any change when a number is not finite.
        """
        config, turn = self.config, self.turn()
        parameters = [value for name in turn for value in self.network[name].parameters()]
        drawn: list[tuple[int, Batch]] = []
        losses = self._learn([(0, batch)] if batch is not None else self._draw(), drawn)
        average_gradients(parameters)
        norm = clip_gradients(parameters, config.clip_norm)
        if not math.isfinite(sum(losses.values()) + float(norm)):
            raise fault(config.folder, self.step, drawn, losses | {"gradient norm": float(norm)}, self.network)
        scale = self._rate()
        rates = {name: scale * config.learning_rates.get(name, config.learning_rate) for name in turn}
        for name, rate in rates.items():
            self._update(name, rate)
        self.network.zero_grad(set_to_none=True)
        self.step += 1
        self.state.follow(turn, keep=min(config.ema, (1 + self.step) / (10 + self.step)))
        return losses | {"gradient_norm": float(norm), **{f"rate_{name}": rate for name, rate in rates.items()}}

    def turn(self) -> list[str]:
        """The networks that this step is for. Raises ConfigError where the objective names others than its own."""
        choose = getattr(self.objective, "turn", None)
        chosen: Collection[str] = choose(self.step) if choose else self.network.keys()
        if not chosen or not set(chosen) <= set(self.network):
            raise ConfigError(
                f"step {self.step} is the turn of {sorted(chosen)}", hint=f"the networks are {sorted(self.network)}"
            )
        return [name for name in self.network if name in chosen]

    def begin_save(self) -> None:
        """Save beside the training: what is written is the state of now."""
        counters: dict[str, Any] = {"step": self.step, "seconds": self.seconds}
        if self._data is not None:
            counters["positions"] = collected([dict(self._data.state())])
        self._saver.begin(self.state.tensors(), counters)

    def save(self) -> Path:
        """Write weights, averages, optimisers and counters; the last checkpoint is replaced in one move."""
        self.begin_save()
        self._saver.wait()
        meet()
        return self.folder

    def restore(self) -> int:
        """Continue from the checkpoint in the run's folder, of any number of processes; returns its step."""
        counters = self.state.restore(self.folder)
        self.step, self.seconds = int(counters["step"]), float(counters["seconds"])
        if self._data is not None and counters.get("positions"):
            self._data.restore(*counters["positions"])
        log.info("resumed %s at step %d", self.config.folder, self.step)
        return self.step

    def averaged(self, name: str) -> dict[str, Tensor]:
        """The averaged weights of one network, in main memory: what ships. Of several processes, all have to ask."""
        return {key: whole(value).cpu() for key, value in self.state.averages_of(name).items()}

    def gathered(self, name: str) -> dict[str, Tensor]:
        """The same for the first process alone, where it is large; the others get nothing. All have to ask."""
        return gathered(self.state.averages_of(name))

    def averaged_network(self, name: str) -> nn.Module:
        """One network with its averaged weights, apart from the training. Of several processes, all have to ask."""
        return self._apart(name, {key: value.clone() for key, value in self.averaged(name).items()})

    def take_sample(self) -> None:
        """Something to look at, by the first process; what goes wrong there does not end the training.

        What several processes share is whole in the first one alone, and the others wait for it.
        """
        if rank_and_count()[1] > 1 and set(self._skeletons) != set(self.network):
            return  # what runs is shared and cannot be gathered here
        weights = {name: self.gathered(name) for name in self._skeletons}
        first_alone(lambda: self._make_sample(weights))

    def _make_sample(self, weights: dict[str, dict[str, Tensor]]) -> None:
        if not self.sample:
            return
        place = self.config.folder / "samples" / f"step-{self.step:08}"
        with torch.random.fork_rng(), torch.no_grad(), nullcontext() if weights else self.state.averages_in_use():
            try:
                place.parent.mkdir(exist_ok=True)
                apart = {name: self._apart(name, weights.pop(name)) for name in list(weights)}
                self.sample(
                    {name: each.to(self.config.device) for name, each in (apart or self.network).items()}, place
                )
            except Exception:
                log.exception("no sample at step %d", self.step)

    def _apart(self, name: str, weights: dict[str, Tensor]) -> nn.Module:
        """A network that has ``weights`` and nothing in common with the one that learns."""
        made = copy.deepcopy(self._skeletons.get(name, self.network[name]))
        made.load_state_dict(weights, assign=name in self._skeletons)
        return made

    def _draw(self) -> Iterator[tuple[int, Batch]]:
        """This process's batches of this step, each with its seed, from which its losses draw, too."""
        config = self.config
        for part in own_share(range(config.parts)):
            which = (config.seed, self.step) if config.parts == 1 else (config.seed, self.step, part)
            seed = hash(which)
            torch.manual_seed(seed)
            yield seed, next(self.batches)

    def _learn(self, batches: Iterable[tuple[int, Batch]], drawn: list[tuple[int, Batch]]) -> dict[str, float]:
        """Add up the gradients of batches; returns the mean losses over all processes. What was ``drawn`` is kept."""
        config = self.config
        totals: dict[str, Tensor] = {}
        count, kind = len(own_share(range(config.parts))), torch.device(config.device).type
        for seed, batch in batches:
            drawn.append((seed, batch))
            # Its cache would keep a half of every weight till the end of the step, whole in every process.
            with torch.autocast(kind, torch.bfloat16, enabled=config.halves, cache_enabled=False):
                losses = self.objective.losses(on_device(batch, config.device), self.step)
            total = torch.stack([value.float() for value in losses.values()]).sum()
            (total / count if count > 1 else total).backward()
            for name, value in losses.items():
                own = value.detach().float()
                totals[name] = totals[name] + own if name in totals else own
        means = summed(torch.stack(list(totals.values())) / (len(drawn) * rank_and_count()[1]))
        return dict(zip(totals, means.tolist(), strict=True))

    def _update(self, name: str, rate: float) -> None:
        for optimizer in self.optimizers[name]:
            set_rate(optimizer, rate, self.config.muon_gain)
            optimizer.step()

    def _rate(self) -> float:
        warm = min(1.0, (self.step + 1) / max(1, self.config.warmup))
        return warm * share_of_rate(self.config.course, self.fraction, self.config.decay)


def on_device(value: Any, device: str) -> Any:
    """``value`` with every tensor in it, also inside mappings, tuples and dataclasses, on ``device``."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, Mapping):
        return {key: on_device(each, device) for key, each in value.items()}
    if isinstance(value, tuple):
        return tuple(on_device(each, device) for each in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: on_device(getattr(value, f.name), device) for f in fields(value)})
    return value


def _check(config: TrainConfig, objective: Objective) -> None:
    unknown = sorted(set(config.learning_rates) - set(objective.networks))
    if unknown:
        raise ConfigError(f"learning rates for {unknown}", hint=f"the networks are {sorted(objective.networks)}")
    check_factors(config.rate_factors, objective.networks)
    count = rank_and_count()[1]
    if config.parts < 1 or config.parts % count:
        raise ConfigError(
            f"{config.parts} parts of a step cannot be shared by {count} processes",
            hint=f"set parts to a multiple of {count}, and the batch, which is that of a part, so much smaller",
        )


def _passed(since: float, minutes: float) -> bool:
    return time.monotonic() - since > 60 * minutes
