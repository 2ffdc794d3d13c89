"""What a backbone learns from: a model folder, published or saved here, and for new avatars a network that is deaf."""

import logging
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from enliven.errors import ConfigError, WeightsError
from enliven.media.storage import replacing
from enliven.models.layered import saved_parts, write_label
from enliven.models.marks import mark_backbone
from enliven.models.networks import NetworkParams, find_parts, params_of, published_in, save_network
from enliven.models.published import Part
from enliven.models.releases import SHARED, Release, find_base
from enliven.models.wan import Wan
from enliven.models.wan_weights import fill_wan
from enliven.models.weights import read_weights, save_weights
from enliven.systems import choose_model
from enliven.systems.spec import ModelSpec
from enliven.train.backbones import BACKBONE

log = logging.getLogger(__name__)

HEARS = re.compile(r"audio|pre_video_crs")  # in the names of all layers that hear, and of no others
TYPES = {"F16": torch.float16, "BF16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class Beginning:
    """A model in its folder, not read yet; ``spec`` has the sizes of the networks there."""

    spec: ModelSpec
    folder: Path
    parts: Mapping[str, Part]
    release: Release | None = None
    base: Path | None = None

    @property
    def stored_type(self) -> torch.dtype:
        """The type that most weights of the backbone are kept in."""
        counts = self.parts[BACKBONE].fit().counts
        return TYPES.get(max(counts, key=lambda name: counts[name]), torch.float32)

    def backbone(self, dtype: torch.dtype, deaf: Path | None = None) -> Any:
        """The network that learns; with the weights of the ``deaf`` one, where that is given.

        What hears is new then: closed in LongCat, a copy of what reads in Soul. Raises WeightsError.
        """
        if deaf is None:
            return self.parts[BACKBONE].load(dtype)
        network: nn.Module = self.parts[BACKBONE].build().to(dtype)
        state = read_weights(deaf)
        if isinstance(network, Wan):
            fill_wan(network, state)
            return network
        missing, over = network.load_state_dict(state, strict=False)
        strange = [name for name in missing if not HEARS.search(name)] + list(over)
        if strange:
            raise WeightsError(
                f"{deaf} is not a {self.spec.name} without hearing: {len(strange)} names differ ({strange[0]})",
                hint="name the folder of the backbone of its base, as LongCat-Video/dit",
            )
        return network


def find_beginning(model: str | None, weights: Path | None, base: Path | None = None) -> Beginning:
    """The model that a folder is for, or the one of that name. Raises RequestError, WeightsError.

    ConfigError for one that cannot learn: quantised, or made quick, which learning the flow of data would undo.
    """
    spec = choose_model(model, weights)
    if spec.quantised or spec.distillation or spec.teacher:
        made = "of 8 bits" if spec.quantised else "made quick by a LoRA" if spec.distillation else "made quick"
        raise ConfigError(
            f"{spec.name} is {made}; it is not what learns",
            hint=f"name the model it was made of, as model = '{spec.teacher or 'longcat-1.5-undistilled'}'",
        )
    if spec.params.audio is None:
        raise ConfigError(f"{spec.name} hears nothing; what learns is an avatar", hint="name it as deaf = ... instead")
    folder = weights or spec.weights
    parts = find_parts(folder, spec.variant, base)
    sizes = {name: params_of(part.shapes()) for name, part in parts.items()}
    spec = replace(spec, params=NetworkParams(**sizes, decoders=spec.params.decoders))
    release = published_in(folder)
    return Beginning(spec, folder, parts, release, None if release is None else find_base(folder, base))


def choose_trainable(network: nn.Module, pattern: str) -> int:
    """Let what has a name that the ``pattern`` is found in learn, and nothing else; returns how many numbers do.

    Raises ConfigError for a pattern that is none, or found nowhere.
    """
    try:
        chosen = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"{pattern!r} is no regular expression: {error}", hint="as 'audio|ffn'") from None
    network.requires_grad_(requires_grad=False)
    found = [value for name, value in network.named_parameters() if chosen.search(name)]
    if not found:
        some = ", ".join(list(dict(network.named_parameters()))[::20][:5])
        raise ConfigError(f"no weight has a name with {pattern!r} in it", hint=f"there are {some} and others")
    for value in found:
        value.requires_grad = True
    return sum(value.numel() for value in found)


def save_beside(beginning: Beginning, learnt: Mapping[str, Tensor], folder: Path) -> None:
    """Write a model folder with the learnt backbone; all else in it is that of the beginning, where it lies.

    A published folder is written as published: ``--weights`` reads either kind. Raises StorageError.
    """
    if folder.resolve() == beginning.folder.resolve():
        raise ConfigError(f"{folder} is where training began from", hint="name another folder for what is learnt")
    with torch.device("meta"):
        network = beginning.parts[BACKBONE].build()
    network.load_state_dict(dict(learnt), assign=True)
    if beginning.release is None:
        save_network(network, folder / BACKBONE, beginning.stored_type)
        write_label(folder, beginning.spec.name, beginning.folder)  # last: half a backbone is none without it
        mark_backbone(saved_parts(folder))
        return
    own = beginning.parts[BACKBONE].folder
    place = folder / own.name
    save_weights(network, place, beginning.stored_type)
    with replacing(place / "config.json") as part:
        part.write_bytes((own / "config.json").read_bytes())
    link_beside(beginning, folder, own=beginning.release.backbones.values())


def link_beside(beginning: Beginning, folder: Path, own: Collection[str]) -> None:
    """What a published folder holds beside what is ``own`` to this one, and what an avatar takes from the base."""
    assert beginning.base is not None
    beside = [path for path in beginning.folder.iterdir() if path.name not in own]
    for path in [*beside, *(beginning.base / name for name in SHARED)]:
        place = folder / path.name
        if path.exists() and not place.is_symlink() and not place.exists():
            place.symlink_to(os.path.relpath(path.resolve(), folder.resolve()))
