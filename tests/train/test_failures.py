"""Failures that a model makes itself."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.functional import pad

from encoded_clips import clip_of_noise
from enliven.data.encoded import EncodedClip
from enliven.data.gathering import gather
from enliven.data.latents import find_clips
from enliven.data.manifest import read_manifest
from enliven.data.order import Order
from enliven.data.shards import ShardReader, ShardWriter
from enliven.diffusion.solvers import Euler
from enliven.errors import ConfigError, NotFinite, RequestError
from enliven.pipeline import AvatarPipeline, clip_noise
from enliven.systems.soul import PivotalFrame
from enliven.train.failures import Attempt, Failing, FailureMaker, beginning, choose_rows
from enliven.train.sources import Source, Telling, open_sources, read_sources
from enliven.types import Conditioning, Text
from tiny import tiny_soul, tiny_soul_networks, tiny_spec

LATENTS = 5  # a pivot and the four of a clip
ATTEMPT = Attempt("still lips", scale=4.0, pivot=2, continuing=False, deaf=False, seed=7)
WORDS = "still lips, blurred"


def maker(**changes: object) -> FailureMaker:
    return FailureMaker(AvatarPipeline(tiny_soul(**changes), tiny_soul_networks()))


def write(folder: Path, *clips: EncodedClip) -> Path:
    folder.mkdir()
    with ShardWriter(folder) as writer:
        for number, clip in enumerate(clips):
            writer.add(clip, f"film {number}", 0)
    return folder


def read_failures(folder: Path) -> dict[str, EncodedClip]:
    """What was made, by what it was made of."""
    manifest, reader = read_manifest(folder), ShardReader(folder)
    rows = [manifest.row(index) for index in range(len(manifest))]
    return {row.source: reader.read(row) for row in rows}


def make(people: Path, failed: Path, failing: Failing, count: int | None = None) -> dict[str, str]:
    """Make failures; returns what is wrong with the bad ones."""
    failed.mkdir(exist_ok=True)
    rows = choose_rows(people, tiny_soul(), failing.seed, count)
    return gather(failed, maker().materials(people, rows, failing)).faults


def test_prompt_and_negative_prompt_change_places_in_guidance() -> None:
    clip, networks = clip_of_noise(), tiny_soul_networks()
    made = maker(steps=1, solver=Euler()).fail(clip, ATTEMPT)
    noise = clip_noise(7, 0, (1, 4, 4, 4, 4))
    begun = torch.cat([clip.references[2][None, :, None], noise], dim=2)
    sound = pad(clip.audio[0], (0, 0, 0, 0, 4, 5))  # a frame hears ten features, four of them from before
    heard = torch.stack([sound[2 * frame : 2 * frame + 10] for frame in range(1, 17)])[None, None]

    def velocity(words: str) -> torch.Tensor:
        cond = Conditioning(networks.text([words]), networks.text([""]), heard)
        layout = PivotalFrame()(frames=4, context=0, reference=True)
        return networks.backbone(begun, torch.tensor([[0.0, 1, 1, 1, 1]]), cond, layout)[:, :, 1:]

    failing, true = velocity("still lips"), velocity("a man with a hat")
    assert not torch.allclose(failing, true, atol=1e-3)
    torch.testing.assert_close(made.latents[None, :, 1:], noise - (true + 4 * (failing - true)), rtol=0, atol=5e-6)


def test_a_failure_keeps_all_of_its_clip_but_what_is_seen_and_said_of_it() -> None:
    clip = clip_of_noise()
    made = maker().fail(clip, ATTEMPT)
    assert made.caption == "still lips"
    assert torch.equal(made.audio, clip.audio)
    assert torch.equal(made.references, clip.references)
    assert torch.equal(made.latents[:, 0], clip.latents[:, 0])
    assert not torch.isclose(made.latents[:, 1:], clip.latents[:, 1:]).all(dim=0).any()
    assert not made.mouth.any()


def test_who_hears_nothing_fails_alike_whatever_was_said() -> None:
    clip, deaf = clip_of_noise(), replace(ATTEMPT, deaf=True)
    other = replace(clip, audio=clip_of_noise(1).audio)
    one, same = (maker().fail(each, deaf) for each in (clip, other))
    assert not one.audio.any()
    assert torch.equal(one.latents, same.latents)
    assert not torch.equal(maker().fail(clip, ATTEMPT).latents, maker().fail(other, ATTEMPT).latents)


def test_some_go_on_from_a_clean_clip() -> None:
    clip, going_on = clip_of_noise(), replace(ATTEMPT, continuing=True)
    made = maker().fail(clip, going_on)
    assert torch.equal(made.latents[:, :3], clip.latents[:, :3])
    assert not torch.isclose(made.latents[:, 3:], clip.latents[:, 3:]).all(dim=0).any()
    before = clip_of_noise(1).latents
    moved = maker().fail(replace(clip, before=before), going_on)
    assert torch.equal(moved.latents[:, 1:3], before[:, 1:3])
    assert moved.before is None


def test_what_is_no_number_any_more_is_not_kept() -> None:
    with pytest.raises(NotFinite, match="guidance 1e\\+12"):
        maker().fail(clip_of_noise(), replace(ATTEMPT, scale=1e12))


def test_attempts_differ_in_all_they_can_and_follow_from_their_names() -> None:
    failing = Failing("still lips, blurred", weakest=3, strongest=6)
    drawn = [failing.draw(f"film {number}", 5) for number in range(200)]
    assert drawn == [failing.draw(f"film {number}", 5) for number in range(200)]
    assert drawn[0] != replace(failing, seed=1).draw("film 0", 5)
    for kind in ("continuing", "deaf"):
        assert 70 < sum(getattr(each, kind) for each in drawn) < 130
    assert 70 < sum(each.caption == failing.negative_prompt for each in drawn) < 130
    assert {each.caption for each in drawn} == {failing.negative_prompt, "still lips", "blurred"}
    assert {each.pivot for each in drawn} == set(range(5))
    scales = [each.scale for each in drawn]
    assert 3 <= min(scales) < 3.2
    assert 5.8 < max(scales) <= 6


@pytest.mark.parametrize("wrong", [{"negative_prompt": " , "}, {"weakest": 0.5}, {"weakest": 5, "strongest": 4}])
def test_what_leads_nowhere_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        Failing(**({"negative_prompt": WORDS} | wrong))


def test_a_failure_is_as_long_as_a_clip_of_the_model() -> None:
    whole = clip_of_noise(latents=8)
    first = beginning(replace(whole, before=whole.latents), LATENTS)
    assert torch.equal(first.latents, whole.latents[:, :5])
    assert torch.equal(first.audio, whole.audio[:, :34])
    assert first.reference_frames.tolist() == [0, 4, 8, 12, 16]
    assert (len(first.references), first.mouth.shape[1]) == (5, 17)
    assert first.before is not None
    assert first.before.shape == first.latents.shape
    with pytest.raises(ConfigError, match="a clip has 4 latent frames, one of this model 5"):
        beginning(clip_of_noise(latents=4), LATENTS)


def test_recipes_read_failures_as_a_source(tmp_path: Path) -> None:
    people = write(tmp_path / "people", *(clip_of_noise(seed, latents=7) for seed in range(6)))
    assert not make(people, tmp_path / "failed", Failing(WORDS))
    clips = read_failures(tmp_path / "failed").values()
    assert len(clips) == 6
    told: set[str] = set()

    def embed(captions: Sequence[str]) -> Text:
        told.update(captions)
        return Text(torch.zeros(len(captions), 2, 16))

    found = read_sources([Source(tmp_path / "failed")])
    mix = open_sources(found, tiny_soul(), tiny_soul_networks().audio, embed, Telling({"free": 0.0}), Order(size=2))
    shown = mix.make()["clip"].latents[:, :, 1:]
    assert all(any(torch.equal(each, clip.latents[:, 1:]) for clip in clips) for each in shown)
    assert told - {""} <= {WORDS, "still lips", "blurred"}
    assert told - {""}


def test_no_codebook_is_made_of_failures(tmp_path: Path) -> None:
    """Whatever words say what fails: also in one folder with the clips of people."""
    people = write(tmp_path / "people", *(clip_of_noise(seed) for seed in range(3)))
    before = [clip.latents() for clip in find_clips(people)]
    assert not make(people, people, Failing(WORDS))
    assert len(read_manifest(people)) == 6
    assert len(before) == 3
    assert all(torch.equal(one, clip.latents()) for one, clip in zip(before, find_clips(people), strict=True))


def test_what_cannot_fail_is_counted_and_the_others_go_on(tmp_path: Path) -> None:
    people = write(tmp_path / "people", clip_of_noise(), clip_of_noise(latents=3), clip_of_noise(1))
    faults = make(people, tmp_path / "failed", Failing(WORDS))
    assert list(faults) == ["film 1 0 failure 0"]
    assert len(read_manifest(tmp_path / "failed")) == 2


def test_more_of_them_are_the_same_and_more_and_another_seed_makes_others(tmp_path: Path) -> None:
    people = write(tmp_path / "people", *(clip_of_noise(seed) for seed in range(4)))
    for count in (2, 4):
        make(people, tmp_path / "failed", Failing(WORDS), count)
        assert len(read_failures(tmp_path / "failed")) == count
    make(people, tmp_path / "failed", Failing(WORDS, seed=1))
    make(people, tmp_path / "at once", Failing(WORDS))
    found, once = read_failures(tmp_path / "failed"), read_failures(tmp_path / "at once")
    assert (len(found), len(once)) == (8, 4)
    for name, clip in once.items():
        assert torch.equal(found[name].latents, clip.latents)
        assert found[name].caption == clip.caption
        assert not torch.equal(found[name.replace("failure 0", "failure 1")].latents, clip.latents)


def test_other_models_and_empty_folders_are_refused(tmp_path: Path) -> None:
    people = write(tmp_path / "people", clip_of_noise())
    with pytest.raises(RequestError, match="tiny does not learn from failures"):
        choose_rows(people, tiny_spec())
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="no shards"):
        choose_rows(tmp_path / "empty", tiny_soul())
    others = write(tmp_path / "others", replace(clip_of_noise(), audio=torch.zeros(1, 34, 2, 16)))
    with pytest.raises(ConfigError, match="2 audio features"):
        choose_rows(others, tiny_soul())
