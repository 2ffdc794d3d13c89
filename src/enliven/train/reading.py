"""Training the toon text encoder: from a caption it must tell how the character looks."""

import random
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from itertools import chain
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from enliven.models.text import TextEncoder, TextParams, clean, learn_tokenizer
from enliven.toonworld.character import Character, caption, sample_character
from enliven.toonworld.palette import Colour
from enliven.toonworld.sights import sample_sight, sight_caption

NAMED = ("person", "hair", "shirt", "scene", "hat", "glasses", "facial_hair")
COLOURED = ("hair_colour", "cloth", "accent", "wall", "decor")


def looks(character: Character) -> Float[Tensor, "values"]:
    """A character as numbers: one-hot kinds, whether there are earrings, and the red, green and blue of its colours."""
    values: list[float] = [float(character.earrings)]
    for name in NAMED:
        kind: Enum = getattr(character, name)
        values += [float(kind is other) for other in type(kind)]
    for name in COLOURED:
        colour: Colour = getattr(character, name)
        values += [2 * part - 1 for part in colour.rgb]
    return torch.tensor(values)


class ReadingObjective:
    """Squared error of the looks that a linear head reads from the mean of the tokens."""

    def __init__(self, encoder: TextEncoder) -> None:
        self.encoder = encoder
        self.head = nn.Linear(encoder.network.config.d_model, len(looks(sample_character(0))))
        self.networks: Mapping[str, nn.Module] = {"text": encoder, "head": self.head}

    def losses(self, batch: Mapping[str, Any], step: int) -> dict[str, Tensor]:  # noqa: ARG002
        """``batch``: ``ids`` and ``mask`` [b, l], ``looks`` [b, values]."""
        mask = batch["mask"]
        states = self.encoder.network(input_ids=batch["ids"], attention_mask=mask.long()).last_hidden_state
        mean = (states * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
        return {"looks": F.mse_loss(self.head(mean).float(), batch["looks"])}


def new_text_encoder(params: TextParams, captions: int = 4000) -> TextEncoder:
    """An untrained encoder whose tokenizer knows the words of captions, a fifth of them of clips without people."""
    people = (caption(sample_character(seed)) for seed in range(captions))
    sights = (sight_caption(sample_sight(seed)) for seed in range(captions // 4))
    return TextEncoder(params, learn_tokenizer(chain(people, sights)))


def caption_batches(encoder: TextEncoder, batch: int) -> Iterator[Mapping[str, Any]]:
    """Captions of characters without end, every third one with words left out."""
    while True:
        chance = random.Random(int(torch.randint(2**31, ())))
        characters = [sample_character(chance.randrange(1_000_000)) for _ in range(batch)]
        rows = [encoder.tokens(clean(_thinned(caption(character), chance))) for character in characters]
        yield {"looks": torch.stack([looks(character) for character in characters])} | _padded(rows)


def _thinned(text: str, chance: random.Random) -> str:
    if chance.random() > 1 / 3:
        return text
    return " ".join(word for word in text.split() if chance.random() > 0.3)


def _padded(rows: Sequence[Sequence[int]]) -> dict[str, Tensor]:
    length = max(len(row) for row in rows)
    ids = torch.tensor([[*row, *[0] * (length - len(row))] for row in rows])
    return {"ids": ids, "mask": torch.arange(length) < torch.tensor([[len(row)] for row in rows])}
