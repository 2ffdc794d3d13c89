"""The training loop, written once: an objective says what is learnt, the trainer how steps are taken."""

import json
import logging
import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from enliven.train import checkpoint
from enliven.types import OnProgress, Progress, ignore_progress

log = logging.getLogger(__name__)

Batch = Mapping[str, Any]


@runtime_checkable
class Objective(Protocol):
    """What is trained, towards what."""

    networks: Mapping[str, nn.Module]

    def losses(self, batch: Batch, step: int) -> Mapping[str, Tensor]:
        """Scalar losses by name; their sum is minimised."""
        ...


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """How steps are taken.

    A run ends after ``steps`` steps or ``minutes`` minutes of training, whichever comes first; the learning rate
    warms up over ``warmup`` steps, stays, and falls to a hundredth over the last ``decay`` fraction of the run.
    Matrices whose names match the pattern ``muon`` are trained by Muon at ``muon_gain`` times the rate, all else by
    AdamW; an empty pattern means AdamW only. Torch's random numbers in a step follow from ``seed`` and the step alone.
    """

    folder: Path
    steps: int = 1_000_000
    minutes: float = math.inf
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    muon: str = r"blocks\."
    muon_gain: float = 5.0
    warmup: int = 100
    decay: float = 0.4
    clip_norm: float = 1.0
    ema: float = 0.998
    save_minutes: float = 3.0
    log_every: int = 20
    seed: int = 0
    device: str = "cpu"
    dtype: Literal["float32", "bfloat16"] = "bfloat16"


class Trainer:
    """Takes steps, keeps an average of the weights, writes ``metrics.jsonl`` and checkpoints that resume.

    ``batches`` that draw from torch's random numbers, and keep nothing in between, go on after a restart exactly
    where they were.
    """

    def __init__(self, config: TrainConfig, objective: Objective, batches: Iterator[Batch]) -> None:
        self.config = config
        self.objective = objective
        self.batches = batches
        self.step = 0
        self.seconds = 0.0
        self.network = nn.ModuleDict(dict(objective.networks)).to(config.device)
        self.optimizers = _optimizers(self.network, config)
        self.average = {
            name: value.detach().clone().float() if value.is_floating_point() else value.detach().clone()
            for name, value in self.network.state_dict().items()
        }
        config.folder.mkdir(parents=True, exist_ok=True)

    @property
    def fraction(self) -> float:
        """How much of the run is done, 0..1."""
        return min(1.0, max(self.step / self.config.steps, self.seconds / 60 / self.config.minutes))

    def fit(self, on_progress: OnProgress = ignore_progress) -> None:
        """Train to the end of the run, from the last checkpoint in the folder if there is one."""
        if checkpoint.find(self.folder):
            self.restore()
        if self.fraction == 1:
            log.warning(
                "%s is a finished run; nothing is left to train. Give it more minutes or another folder", self.folder
            )
        saved = time.monotonic()
        measured: list[dict[str, float]] = []
        while self.fraction < 1:
            began = time.monotonic()
            torch.manual_seed(hash((self.config.seed, self.step)))
            measured.append(self.take_step(next(self.batches)))
            self.seconds += time.monotonic() - began
            if self.step % self.config.log_every == 0:
                self._log(measured)
                measured.clear()
                on_progress(Progress("train", round(self.fraction * 1000), 1000))
            if time.monotonic() - saved > 60 * self.config.save_minutes:
                self.save()
                saved = time.monotonic()
        self.save()

    def take_step(self, batch: Batch) -> dict[str, float]:
        """One forward, backward and update; FloatingPointError before any change when a number is not finite."""
        config = self.config
        with torch.autocast(config.device, torch.bfloat16, enabled=config.dtype == "bfloat16"):
            losses = self.objective.losses(on_device(batch, config.device), self.step)
        total = torch.stack([value.float() for value in losses.values()]).sum()
        total.backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), config.clip_norm)
        if not torch.isfinite(total + norm):
            values = {name: value.item() for name, value in losses.items()}
            raise FloatingPointError(f"losses {values}, gradient norm {norm} at step {self.step}; last checkpoint kept")
        rate = config.learning_rate * self._rate()
        for optimizer in self.optimizers:
            gain = config.muon_gain if isinstance(optimizer, torch.optim.Muon) else 1.0
            for group in optimizer.param_groups:
                group["lr"] = rate * gain
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self._average()
        measured = {name: float(value.detach()) for name, value in losses.items()}
        return measured | {"gradient_norm": float(norm), "rate": rate}

    @property
    def folder(self) -> Path:
        """Where checkpoints are written."""
        return self.config.folder / "checkpoint"

    def save(self) -> Path:
        """Write weights, averages, optimisers and counters; the last checkpoint is replaced in one move."""
        checkpoint.save(
            self.folder,
            tensors={"network": self.network.state_dict(), "average": self.average}
            | {f"optimizer{i}": checkpoint.flatten(o.state_dict()["state"]) for i, o in enumerate(self.optimizers)},
            counters={"step": self.step, "seconds": self.seconds},
        )
        return self.folder

    def restore(self) -> int:
        """Continue from the checkpoint in the run's folder; returns its step."""
        tensors, counters = checkpoint.load(self.folder)
        self.network.load_state_dict(tensors["network"])
        self.average = {name: value.to(self.config.device) for name, value in tensors["average"].items()}
        for i, optimizer in enumerate(self.optimizers):
            state = optimizer.state_dict()
            optimizer.load_state_dict({**state, "state": checkpoint.unflatten(tensors[f"optimizer{i}"])})
        self.step, self.seconds = int(counters["step"]), float(counters["seconds"])
        log.info("resumed %s at step %d", self.config.folder, self.step)
        return self.step

    def averaged(self, name: str) -> dict[str, Tensor]:
        """The averaged weights of one network: what is shipped."""
        prefix = f"{name}."
        return {key.removeprefix(prefix): value for key, value in self.average.items() if key.startswith(prefix)}

    def _rate(self) -> float:
        warm = min(1.0, (self.step + 1) / max(1, self.config.warmup))
        left = (1 - self.fraction) / self.config.decay if self.config.decay else 1.0
        return warm * max(0.01, min(1.0, left))

    def _average(self) -> None:
        keep = min(self.config.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                if value.is_floating_point():
                    self.average[name].lerp_(value.float(), 1 - keep)
                else:
                    self.average[name].copy_(value)

    def _log(self, measured: Sequence[Mapping[str, float]]) -> None:
        means = {name: sum(one[name] for one in measured) / len(measured) for name in measured[0]}
        row = {"step": self.step, "seconds": round(self.seconds, 1)} | {k: round(v, 5) for k, v in means.items()}
        with (self.config.folder / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")


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


def _optimizers(network: nn.Module, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """Muon on the chosen matrices, AdamW on everything else."""
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        chosen = config.muon and re.search(config.muon, name) and parameter.ndim == 2
        (matrices if chosen else others).append(parameter)
    rate, decay = config.learning_rate, config.weight_decay
    adam = torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.95), weight_decay=decay)
    if not matrices:
        return [adam]
    return [adam, torch.optim.Muon(matrices, lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw")]
