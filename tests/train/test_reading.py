"""Tests of the training of the toon text encoder."""

from dataclasses import replace
from itertools import islice

import pytest
import torch
from torch import nn

from enliven.models.text import TextEncoder, TextParams
from enliven.toonworld.character import Hat, caption, sample_character
from enliven.toonworld.palette import CLOTHS
from enliven.train.reading import ReadingObjective, caption_batches, looks, new_text_encoder

CONFIG = {"vocab_size": 1024, "d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2, "dropout_rate": 0.0}


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return new_text_encoder(TextParams(48, CONFIG), captions=40)


def test_looks_differ_between_characters_whose_captions_do() -> None:
    characters = [sample_character(seed) for seed in range(60)]
    rows = torch.stack([looks(character) for character in characters])
    assert len(rows.unique(dim=0)) == 60
    one = characters[0]
    changes = {
        "earrings": not one.earrings,
        "hat": next(hat for hat in Hat if hat is not one.hat),
        "cloth": next(colour for colour in CLOTHS if colour.name != one.cloth.name),
    }
    for name, value in changes.items():
        assert not torch.equal(looks(replace(one, **{name: value})), looks(one)), name
    assert torch.equal(looks(sample_character(0)), looks(one))


def test_batches_hold_whole_captions_padded_on_the_right(encoder: TextEncoder) -> None:
    torch.manual_seed(0)
    lengths, whole = set(), 0
    for batch in islice(caption_batches(encoder, 6), 5):
        assert batch["ids"].shape == batch["mask"].shape
        assert len(batch["looks"]) == 6
        real = batch["mask"].sum(dim=1)
        assert real.max() == batch["ids"].shape[1]
        for ids, mask, count in zip(batch["ids"], batch["mask"], real.tolist(), strict=True):
            assert mask.tolist() == [True] * count + [False] * (len(mask) - count)
            assert ids[count - 1] == 1, "the end of the sentence"
            assert (ids[:count] != 0).all()
            assert (ids[count:] == 0).all()
            text = encoder.tokenizer.decode(ids[:count].tolist())
            whole += text.strip().startswith("a cartoon") and text.endswith(".")
            lengths.add(count)
    assert 15 <= whole < 30, "about a third has words left out"
    assert len(lengths) > 3


def test_batches_follow_from_the_random_state_alone(encoder: TextEncoder) -> None:
    batches = caption_batches(encoder, 2)
    next(batches)
    torch.manual_seed(3)
    first = next(batches)
    torch.manual_seed(3)
    again = next(caption_batches(encoder, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_padding_does_not_change_what_is_read(encoder: TextEncoder) -> None:
    objective = ReadingObjective(encoder)
    ids = encoder.tokens(caption(sample_character(1)))
    target = looks(sample_character(1))[None]
    bare = {"ids": torch.tensor([ids]), "mask": torch.ones(1, len(ids), dtype=torch.bool), "looks": target}
    padded = {
        "ids": nn.functional.pad(bare["ids"], (0, 5)),
        "mask": nn.functional.pad(bare["mask"], (0, 5)),
        "looks": target,
    }
    torch.testing.assert_close(objective.losses(bare, 0)["looks"], objective.losses(padded, 0)["looks"])


def test_reading_improves(encoder: TextEncoder) -> None:
    torch.manual_seed(0)
    objective = ReadingObjective(encoder)
    optimizer = torch.optim.AdamW(objective.head.parameters(), lr=0.1)
    batch = next(caption_batches(encoder, 8))
    losses = []
    for _ in range(12):
        loss = objective.losses(batch, 0)["looks"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
