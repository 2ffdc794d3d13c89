"""Weights of Wan under the names of its authors and under those of diffusers, which are ours.

Names that a table does not know stay as they are: those of the audio layers, and those already converted.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from enliven.errors import WeightsError
from enliven.models.wan import Wan

SHOWN = 4

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


def to_diffusers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights under the names of diffusers."""
    return {_renamed(name, WHOLE, IN_BLOCK): value for name, value in state.items()}


def to_original(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights under the names of Wan's authors."""
    whole, in_block = ({ours: theirs for theirs, ours in table.items()} for table in (WHOLE, IN_BLOCK))
    return {_renamed(name, whole, in_block): value for name, value in state.items()}


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
    _compare(wanted, given)
    with torch.no_grad():
        for name, value in wanted.items():
            value.copy_(given[name])
    if plain:
        network.copy_audio_from_text()


def _renamed(name: str, whole: Mapping[str, str], in_block: Mapping[str, str]) -> str:
    front, table = "", whole
    if name.startswith("blocks."):
        _, number, name = name.split(".", 2)
        front, table = f"blocks.{number}.", in_block
    old = next((old for old in table if name.startswith(old)), "")
    return front + table.get(old, "") + name.removeprefix(old)


def _of_audio(name: str) -> bool:
    """Whether the weight belongs to an audio layer, in a block or before all blocks."""
    return (name.split(".", 2)[-1] if name.startswith("blocks.") else name).startswith(AUDIO)


def _compare(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    shapes = [
        f"{name} is {tuple(given[name].shape)}, expected {tuple(value.shape)}"
        for name, value in wanted.items()
        if name in given and given[name].shape != value.shape
    ]
    faults = {
        "missing": [name for name in wanted if name not in given],
        "left over": [name for name in given if name not in wanted],
        "of another shape": shapes,
    }
    report = [
        f"{len(names)} {kind} ({', '.join(names[:SHOWN])}{' ...' if len(names) > SHOWN else ''})"
        for kind, names in faults.items()
        if names
    ]
    if report:
        raise WeightsError(
            f"the weights belong to another network: {'; '.join(report)}",
            hint="compare the sizes in the config.json of the weights with those of the network",
        )
