"""Batches out of shards are those out of a folder of clips, and go on to the same tensors."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from enliven.data.encoded import save_encoded
from enliven.data.order import Order, Process
from enliven.data.streams import ClipStream
from enliven.train import shard_batches
from enliven.train.batches import ClipBatches, Drops
from enliven.train.cuts import StitchedCuts
from enliven.train.shard_batches import ShardBatches
from enliven.types import Text
from shard_folders import numbered_clip, write_shards

CUT = StitchedCuts(frames=5, context=2)


def embed(captions: Sequence[str]) -> Text:
    """A number for each caption; 0 for none."""
    (caption,) = captions
    return Text(torch.full((1, 2, 3), float(caption.split()[-1]) + 1 if caption else 0.0))


def made(folder: Path, process: Process | None = None) -> ShardBatches:
    return ShardBatches(ClipStream([(1.0, folder)], Order(size=3, seed=4), process or Process()), embed, CUT)


def tensors(batch: Mapping[str, Any]) -> list[torch.Tensor]:
    cond = batch["cond"]
    return [batch["clip"].latents, batch["given"], cond.audio, cond.text.tokens, cond.null_text.tokens]


def test_a_batch_holds_what_a_batch_of_a_folder_holds(tmp_path: Path) -> None:
    shards = write_shards(tmp_path / "shards", 6, latents=9)
    folder = tmp_path / "clips"
    folder.mkdir()
    for number in range(6):
        save_encoded(numbered_clip(number, latents=9), folder / f"{number}.safetensors")
    batch, other = made(shards).make(), ClipBatches(folder, embed, CUT, batch=3).make()
    assert batch.keys() == other.keys()
    assert [each.shape[0] for each in tensors(batch)] == [3] * 5
    assert batch["clip"].latents.shape[3:] == other["clip"].latents.shape[3:]
    assert batch["cond"].audio.shape[3:] == other["cond"].audio.shape[3:]
    for index in range(3):
        number = float(batch["clip"].latents[index, 0, -1, 0, 0])
        assert batch["cond"].audio[index].unique().tolist() in ([number], [0.0])
        assert batch["cond"].text.tokens[index].unique().tolist() in ([number + 1], [0.0])


def test_the_null_text_is_the_one_that_is_named(tmp_path: Path) -> None:
    stream = ClipStream([(1.0, write_shards(tmp_path, 6, latents=9))], Order(size=3))
    batch = ShardBatches(stream, embed, CUT, drops=Drops(0, 0, 0, null="caption 8")).make()
    assert batch["cond"].null_text.tokens.unique().tolist() == [9.0]
    assert 9.0 not in batch["cond"].text.tokens


def test_a_stop_changes_nothing_not_even_what_is_drawn(tmp_path: Path) -> None:
    folder = write_shards(tmp_path, 14, latents=9)
    whole = made(folder)
    whole.make()
    kept = json.loads(json.dumps(whole.state()))
    expected = [whole.make() for _ in range(8)]
    torch.manual_seed(99)  # another process, another generator
    again = made(folder)
    again.restore(kept)
    for want in expected:
        got = again.make()
        assert got["names"] == want["names"]
        assert got["clip"].layout == want["clip"].layout
        assert all(torch.equal(a, b) for a, b in zip(tensors(got), tensors(want), strict=True))
    assert len({str(each["clip"].layout) for each in expected}) > 2


def test_the_generator_of_torch_stays_where_it_was(tmp_path: Path) -> None:
    batches = made(write_shards(tmp_path, 4, latents=9))
    before = torch.random.get_rng_state()
    batches.make()
    assert torch.equal(torch.random.get_rng_state(), before)


def test_processes_draw_other_clips_and_other_chances(tmp_path: Path) -> None:
    folder = write_shards(tmp_path, 14, latents=9)
    first, second = (made(folder, Process(rank, 2)) for rank in range(2))
    ones, twos = ([each.make() for _ in range(6)] for each in (first, second))
    assert not {name for batch in ones for name in batch["names"]} & {name for batch in twos for name in batch["names"]}
    assert [str(batch["clip"].layout) for batch in ones] != [str(batch["clip"].layout) for batch in twos]


def test_captions_are_encoded_once_while_they_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def listen(captions: Sequence[str]) -> Text:
        asked.extend(captions)
        return embed(captions)

    monkeypatch.setattr(shard_batches, "MOST_TEXTS", 5)
    stream = ClipStream([(1.0, write_shards(tmp_path, 4, latents=9))], Order(size=2))
    batches = ShardBatches(stream, listen, CUT, drops=Drops(0, 0, 0))
    for _ in range(6):
        batches.make()
    assert sorted(asked) == sorted(["", *(f"caption {number}" for number in range(4))])
    monkeypatch.setattr(shard_batches, "MOST_TEXTS", 2)
    for _ in range(3):
        batch = batches.make()
        assert batch["cond"].text.tokens.shape == (2, 2, 3)
        assert len(batches.texts) <= 5
