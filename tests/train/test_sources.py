"""Folders of shards as one stream of batches."""

import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed, nn  # noqa: TID251

from enliven.data.encoded import EncodedClip
from enliven.data.manifest import read_manifest
from enliven.data.order import Order, Process
from enliven.data.shards import ShardWriter
from enliven.errors import ConfigError, RequestError
from enliven.systems.carry import Reencode
from enliven.train.batches import Drops
from enliven.train.processes import rank_and_count
from enliven.train.sources import ShardMix, Source, Telling, features_per_frame, open_sources, read_sources
from enliven.train.trainer import TrainConfig, Trainer
from enliven.types import Text
from several_processes import run_together
from tiny import tiny_networks, tiny_soul, tiny_soul_networks, tiny_spec

NEVER = Telling(drops=Drops(0, 0, 0))


def write(folder: Path, *, number: float, features: int = 1, latents: int = 8, count: int = 6, **sizes: int) -> Path:
    """Clips whose latents are their number; a feature holds when it sounds, in video frames."""
    folder.mkdir()
    frames, channels, people = 4 * latents - 3, sizes.get("channels", 4), sizes.get("people", 1)
    times = torch.arange(frames * features) / features
    with ShardWriter(folder, shard_bytes=sizes.get("shard_bytes", 200_000)) as writer:
        for index in range(count):
            clip = EncodedClip(
                latents=torch.full((channels, latents, 2, 2), number),
                references=torch.full((latents, channels, 2, 2), number),
                reference_frames=torch.arange(0, frames, 4),
                audio=times[None, :, None, None].repeat(people, 1, sizes.get("layers", 2), 16),
                mouth=torch.zeros(people, frames, 5),
                caption="",
                silent=False,
            )
            writer.add(clip, f"film {index}", 0)
    return folder


def embed(captions: Sequence[str]) -> Text:
    return Text(torch.zeros(len(captions), 2, 16))


def opened(*sources: Source, telling: Telling = NEVER, seed: int = 3, spec: object = None) -> ShardMix:
    chosen = spec or tiny_spec()
    return open_sources(read_sources(sources), chosen, tiny_networks().audio, embed, telling, Order(size=2, seed=seed))


def test_every_source_comes_as_often_as_its_share_and_batches_are_of_one(tmp_path: Path) -> None:
    often, seldom = write(tmp_path / "a", number=1.0), write(tmp_path / "b", number=2.0)
    mix = opened(Source(often, 3.0), Source(seldom, 1.0))
    seen = Counter(tuple(mix.make()["clip"].latents.unique().tolist()) for _ in range(120))
    assert set(seen) == {(1.0,), (2.0,)}
    assert 0.65 < seen[(1.0,)] / 120 < 0.85


@pytest.mark.parametrize("features", [1, 2])
def test_a_window_is_as_wide_as_features_are_close(tmp_path: Path, features: int) -> None:
    mix = opened(Source(write(tmp_path / "a", number=1.0, features=features)))
    batch = mix.make()
    first = batch["heard"].start + 6  # far from both ends
    window = batch["cond"].audio[0, 0, 6, :, 0, 0]
    want = first + torch.tensor([-2.0, -1, 0, 1, 2]) / features
    torch.testing.assert_close(window, want, atol=0.01, rtol=0)


def test_the_sources_of_a_stopped_run_go_on(tmp_path: Path) -> None:
    sources = [Source(write(tmp_path / "a", number=1.0)), Source(write(tmp_path / "b", number=2.0, latents=9))]
    first = opened(*sources, telling=Telling())
    for _ in range(3):
        first.make()
    kept = json.loads(json.dumps(first.state()))
    again = opened(*sources, telling=Telling())
    again.restore(kept)
    for _ in range(12):
        one, other = first.make(), again.make()
        assert one["names"] == other["names"]
        assert one["clip"].layout == other["clip"].layout
        assert torch.equal(one["clip"].latents, other["clip"].latents)
        assert torch.equal(one["cond"].audio, other["cond"].audio)
    with pytest.raises(ConfigError, match="other shares"):
        opened(sources[0], replace(sources[1], share=2.0)).restore(kept)


def test_tasks_come_as_the_recipe_says(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", number=1.0)
    only_text = opened(Source(folder), telling=Telling({"text": 1.0, "image": 0.0}, Drops(0, 0, 0)))
    assert {only_text.make()["clip"].layout.clean for _ in range(10)} == {0}
    with pytest.raises(RequestError, match="opening"):
        opened(Source(folder), telling=Telling({"opening": 0.5}))


def test_shards_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="8 channels"):
        opened(Source(write(tmp_path / "channels", number=1.0, channels=8)))
    with pytest.raises(ConfigError, match="5 latent frames"):
        opened(Source(write(tmp_path / "short", number=1.0, latents=5)))
    with pytest.raises(ConfigError, match="2 people"):
        opened(Source(write(tmp_path / "people", number=1.0, people=2)), spec=tiny_spec(voices=1))
    mixed = write(tmp_path / "rates", number=1.0)
    other = write(tmp_path / "other", number=1.0, features=2)
    for path in other.iterdir():
        path.rename(mixed / path.name.replace("shard_000", "shard_001"))
    with pytest.raises(ConfigError, match="1, 2 audio features"):
        features_per_frame(read_manifest(mixed), mixed)
    with pytest.raises(ConfigError, match="shares"):
        opened(Source(write(tmp_path / "never", number=1.0), share=0.0))


def test_a_model_that_encodes_again_learns_from_clips_of_its_own_length(tmp_path: Path) -> None:
    spec, telling = tiny_spec(carry=Reencode()), Telling({"text": 0.0, "image": 0.0, "blur": 0.0}, Drops(0, 0, 0))
    folder = write(tmp_path / "a", number=1.0, latents=5)
    made = [opened(Source(folder), telling=telling, spec=spec, seed=seed).make() for seed in range(4)]
    assert {batch["heard"] for batch in made} == {range(17)}
    with pytest.raises(ConfigError, match="4 latent frames; this model learns from 5") as refused:
        opened(Source(write(tmp_path / "short", number=1.0, latents=4)), spec=spec)
    assert "--frames 17" in refused.value.hint


def test_soul_cuts_pivots_out_of_shards(tmp_path: Path) -> None:
    clips = write(tmp_path / "a", number=1.0, layers=3)
    mix = open_sources(
        read_sources([Source(clips)]),
        tiny_soul(),
        tiny_soul_networks().audio,
        embed,
        Telling({"free": 0.0}),
        Order(size=2),
    )
    layouts = [mix.make()["clip"].layout for _ in range(12)]
    assert {layout.references for layout in layouts} == {1}
    assert {layout.clean for layout in layouts} == {1, 3}  # the overlap comes in half of the batches


def see_together(folder: Path) -> None:
    """In each of two processes, of which the second finds a shard that the first has not seen."""
    distributed.init_process_group("gloo")
    rank = distributed.get_rank()
    found = read_sources([Source(folder / str(rank))])
    order, process = Order(size=1), Process(rank, 2)
    mix = open_sources(found, tiny_spec(), tiny_networks().audio, embed, NEVER, order, process)
    count = len(mix.kinds[0].stream.folders[0].batches)
    names = [name for _ in range(count) for name in mix.make()["names"]]
    (folder / f"{rank}.json").write_text(json.dumps(names))


def test_two_processes_share_what_the_first_finds(tmp_path: Path) -> None:
    clips = write(tmp_path / "1", number=1.0, count=24, shard_bytes=30_000)
    shutil.copytree(clips, tmp_path / "0")
    first = min(path.name for path in (tmp_path / "0").glob("*.parquet"))
    (tmp_path / "0" / first).unlink()
    expected = [row["key"] for row in read_manifest(tmp_path / "0").table.to_pylist()]
    assert 6 < len(expected) < 24
    run_together(2, see_together, tmp_path)
    seen = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert sorted(seen[0] + seen[1]) == sorted(expected)


class Witness:
    """A tiny network learns from clips of sources 1 and 2; each is noted with the epoch that its source is in."""

    def __init__(self, mix: ShardMix) -> None:
        self.networks: Mapping[str, nn.Module] = {"line": nn.Linear(1, 1)}
        self.mix, self.seen = mix, list[tuple[int, int, str]]()

    def losses(self, batch: Mapping[str, Any], step: int) -> dict[str, Tensor]:
        number = batch["clip"].latents.mean().view(1)
        source = round(float(number))
        epoch = self.mix.kinds[source - 1].stream.folders[0].epoch
        self.seen += [(epoch, source, name) for name in batch["names"]]
        return {"error": self.networks["line"](number).square().mean()}


def witnessed(folder: Path, run: str, steps: int) -> list[tuple[int, int, str]]:
    """What this process learns from, to so many steps of a run."""
    sources = read_sources([Source(folder / "a", 2.0), Source(folder / "b")])
    order, process = Order(size=1, seed=3), Process(*rank_and_count())
    mix = open_sources(sources, tiny_spec(), tiny_networks().audio, embed, NEVER, order, process)
    witness = Witness(mix)
    Trainer(TrainConfig(folder / run, steps=steps, parts=2, dtype="float32"), witness, mix).fit()
    return witness.seen


def train_together(folder: Path) -> None:
    """In each of two processes: ten steps, which a stop after five does not change."""
    distributed.init_process_group("gloo")
    seen = witnessed(folder, "stopped", 5) + witnessed(folder, "stopped", 10)
    assert seen == witnessed(folder, "whole", 10)
    (folder / f"{distributed.get_rank()}.json").write_text(json.dumps(seen))


def test_one_process_goes_on_with_what_two_had_left_of_every_source(tmp_path: Path) -> None:
    clips = [(1, write(tmp_path / "a", number=1.0, count=20, shard_bytes=30_000))]
    clips += [(2, write(tmp_path / "b", number=2.0, count=12, shard_bytes=30_000))]
    run_together(2, train_together, tmp_path)
    seen = [tuple(each) for rank in range(2) for each in json.loads((tmp_path / f"{rank}.json").read_text())]
    assert {(epoch, source) for epoch, source, _ in seen} == {(0, 1), (0, 2)}
    assert len(set(seen)) == 20
    seen += witnessed(tmp_path, "stopped", 40)
    assert {(epoch, source) for epoch, source, _ in seen} > {(1, 1), (1, 2)}
    expected = [(0, source, row["key"]) for source, path in clips for row in read_manifest(path).table.to_pylist()]
    assert sorted(each for each in seen if each[0] == 0) == sorted(expected)
