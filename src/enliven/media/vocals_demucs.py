"""Demucs as a ``Separator``, from weights that lie on this disk. It is optional: ``pip install enliven[vocals]``."""

import importlib
import inspect
import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from enliven.errors import MissingExtra, WeightsError
from enliven.types import Audio

NETWORKS = {"demucs.htdemucs.HTDemucs": "HTDemucs", "demucs.hdemucs.HDemucs": "HDemucs"}
VOICE = "vocals"
HINT = "fetch it again: a .yaml and .safetensors files, as on the hub"


class Demucs:
    """The voice as one or several networks of Demucs hear it; ``shares`` says how much each of them counts."""

    def __init__(self, networks: Sequence[nn.Module], shares: Sequence[float]) -> None:
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.networks = [network.eval() for network in networks]
        self.shares = [share / sum(shares) for share in shares]

    def __call__(self, sound: Audio) -> Audio:
        """The voice, in the channels and at the rate of the networks."""
        apply: Any = importlib.import_module("demucs.apply")
        first: Any = self.networks[0]
        rate, channels = first.samplerate, first.audio_channels
        mix = sound.samples.float().mean(0, keepdim=True).expand(channels, -1)
        mix = sound.samples.float() if len(sound.samples) == channels else mix
        samples = soxr.resample(mix.T.contiguous().numpy(), sound.rate, rate)
        mix = torch.from_numpy(np.ascontiguousarray(samples.T))
        mean, deviation = mix.mean(), mix.mean(0).std() + 1e-8
        voice = torch.zeros_like(mix)
        for network, share in zip(self.networks, self.shares, strict=True):
            if share:
                parts = apply.apply_model(network, ((mix - mean) / deviation)[None], shifts=0, device=self.device)
                sources: Any = network.sources
                voice += share * parts[0, list(sources).index(VOICE)].cpu()
        return Audio(voice * deviation + mean, rate)


def read_demucs(path: Path) -> Demucs:
    """Demucs from a .safetensors file, or a folder that holds one, or several and the .yaml that weighs them.

    Only networks of Demucs are built, whatever class a file names, and nothing is unpickled. Raises MissingExtra,
    WeightsError.
    """
    try:
        importlib.import_module("demucs.apply")
    except ImportError as error:
        raise MissingExtra(
            f"Demucs is not installed ({error})", hint="pip install 'enliven[vocals]', or --vocals centre"
        ) from None
    if path.is_file():
        return Demucs([_network(path)], [1.0])
    bags = sorted(path.glob("*.yaml"))
    if len(bags) == 1:
        return _bag(bags[0])
    files = sorted(path.glob("*.safetensors"))
    if len(bags) > 1 or len(files) != 1:
        raise WeightsError(f"{path} holds {len(bags)} .yaml and {len(files)} .safetensors files", hint="name one file")
    return Demucs([_network(files[0])], [1.0])


def _bag(path: Path) -> Demucs:
    """The networks that a .yaml file names, and how much each counts for the voice."""
    yaml: Any = importlib.import_module("yaml")
    try:
        bag = yaml.safe_load(path.read_text(encoding="utf-8"))
        names = [Path(str(name)).name for name in bag["models"]]
        networks: list[Any] = [_network(path.with_name(f"{name}.safetensors")) for name in names]
        weights = bag.get("weights") or [[1.0] * len(networks[0].sources)] * len(networks)
        places = [list(network.sources).index(VOICE) for network in networks]
        return Demucs(networks, [float(row[place]) for row, place in zip(weights, places, strict=True)])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, yaml.YAMLError) as error:
        raise WeightsError(f"{path} names no networks of Demucs: {error}", hint=HINT) from error


def _network(path: Path) -> nn.Module:
    try:
        with safe_open(path, framework="pt") as file:
            said, state = file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path} cannot be read: {error}", hint=HINT) from error
    kind = said.get("klass", "")
    if kind not in NETWORKS or "structure" in said:
        raise WeightsError(
            f"{path} is for {kind or 'nothing named'}; one of {', '.join(NETWORKS)} was expected", hint=HINT
        )
    build: Any = getattr(importlib.import_module(kind.rpartition(".")[0]), NETWORKS[kind])
    known = inspect.signature(build).parameters
    try:
        options = {name: value for name, value in _plain(said["kwargs"]).items() if name in known}
        network: nn.Module = build(*_plain(said["args"]), **options)
        network.load_state_dict(state)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{path} does not fit the network it names: {error}", hint=HINT) from error
    if VOICE not in list(getattr(network, "sources", ())):
        raise WeightsError(f"{path} finds no {VOICE}", hint=HINT)
    return network


def _plain(text: str) -> Any:
    """JSON, in which Demucs writes fractions as objects."""

    def value(found: dict[str, Any]) -> Any:
        if found.get("_type") == "fraction":
            return Fraction(found["numerator"], found["denominator"])
        return found

    return json.loads(text, object_hook=value)
