"""Weights of Wan under the names of its authors and under those of diffusers, which are ours.

Names that a table does not know stay as they are: those of the audio layers, and those already converted. So
``load_weights`` reads either kind of folder when told to ``rename`` by ``diffusers_name``.
"""

import re
from collections import Counter
from collections.abc import Mapping

import torch
from torch import Tensor

from enliven.errors import WeightsError
from enliven.models.wan import Wan
from enliven.models.weights import Fit

# Beginnings of names in the original, and in diffusers.
WHOLE = {
    "time_embedding.0.": "condition_embedder.time_embedder.linear_1.",
    "time_embedding.2.": "condition_embedder.time_embedder.linear_2.",
    "time_projection.1.": "condition_embedder.time_proj.",
    "text_embedding.0.": "condition_embedder.text_embedder.linear_1.",
    "text_embedding.2.": "condition_embedder.text_embedder.linear_2.",
    "head.modulation": "scale_shift_table",
    "head.head.": "proj_out.",
}
ATTENTION = {"q": "to_q", "k": "to_k", "v": "to_v", "o": "to_out.0", "norm_q": "norm_q", "norm_k": "norm_k"}
# The same within a block. The original numbers the norms in another order than they are run.
IN_BLOCK = {
    **{f"self_attn.{theirs}.": f"attn1.{ours}." for theirs, ours in ATTENTION.items()},
    **{f"cross_attn.{theirs}.": f"attn2.{ours}." for theirs, ours in ATTENTION.items()},
    "norm3.": "norm2.",
    "ffn.0.": "ffn.net.0.proj.",
    "ffn.2.": "ffn.net.2.",
    "modulation": "scale_shift_table",
}
AUDIO = ("audio_proj.", "norm_audio.", "attn_audio.", "audio_gate")


def diffusers_name(name: str) -> str:
    """The name that diffusers and we have for a weight."""
    return _renamed(name, WHOLE, IN_BLOCK)


def original_name(name: str) -> str:
    """The name that Wan's authors have for a weight."""
    return _renamed(name, *({ours: theirs for theirs, ours in table.items()} for table in (WHOLE, IN_BLOCK)))


def to_diffusers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights under the names of diffusers."""
    return {diffusers_name(name): value for name, value in state.items()}


def to_original(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights under the names of Wan's authors."""
    return {original_name(name): value for name, value in state.items()}


def fill_wan(network: Wan, state: Mapping[str, Tensor]) -> None:
    """Give a network weights under either set of names.

    Where the weights are those of a network that hears nothing and this one hears, its audio layers become copies of
    its text layers; gates and audio projection stay as they are. Raises WeightsError, and changes nothing, unless all
    names and shapes fit.
    """
    given, wanted = to_diffusers(state), network.state_dict()
    plain = network.params.audio is not None and not any(_of_audio(name) for name in given)
    if plain:
        wanted = {name: value for name, value in wanted.items() if not _of_audio(name)}
    fit = _fit(wanted, given)
    if fit.faults:
        raise WeightsError(
            f"the weights belong to another network: {fit}",
            hint="compare the sizes in the config.json of the weights with those of the network",
        )
    with torch.no_grad():
        for name, value in wanted.items():
            value.copy_(given[name])
    if plain:
        network.copy_audio_from_text()


def _renamed(name: str, whole: Mapping[str, str], in_block: Mapping[str, str]) -> str:
    front, rest = _divided(name)
    table = in_block if front else whole
    old = next((old for old in table if rest.startswith(old)), "")
    return front + table.get(old, "") + rest.removeprefix(old)


def _of_audio(name: str) -> bool:
    """Whether the weight belongs to an audio layer, in a block or before all blocks."""
    return _divided(name)[1].startswith(AUDIO)


def _divided(name: str) -> tuple[str, str]:
    """The block that a weight is in, if any, and its name there."""
    match = re.match(r"blocks\.\d+\.", name)
    front = match[0] if match else ""
    return front, name.removeprefix(front)


def _fit(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> Fit:
    shapes = {name: (tuple(given[name].shape), tuple(value.shape)) for name, value in wanted.items() if name in given}
    return Fit(
        counts=Counter(str(value.dtype) for value in given.values()),
        nbytes=sum(value.nbytes for value in given.values()),
        missing=tuple(name for name in wanted if name not in given),
        left_over=tuple(name for name in given if name not in wanted),
        misshapen=tuple(f"{name} is {has}, expected {needs}" for name, (has, needs) in shapes.items() if has != needs),
    )
