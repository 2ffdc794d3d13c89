"""Clips that a model makes anew, for decoders to learn from."""

import json
import random
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import pad

from encoded_clips import clip_of_noise
from enliven import systems
from enliven.data.failures import failure_name
from enliven.data.manifest import read_manifest
from enliven.data.shards import ShardReader, ShardWriter
from enliven.diffusion.guidance import Guidance
from enliven.diffusion.solvers import Euler
from enliven.errors import ConfigError
from enliven.models.networks import save_networks
from enliven.pipeline import AvatarPipeline, clip_noise
from enliven.systems.soul import PivotalFrame
from enliven.train.failures import FailureMaker
from enliven.train.generated import main, make_anew, remade
from enliven.train.latent_crops import find_generated
from enliven.train.made_by import MADE_BY
from enliven.types import Conditioning
from tiny import tiny_soul, tiny_soul_networks


def maker(**changes: object) -> FailureMaker:
    return FailureMaker(AvatarPipeline(tiny_soul(negative_prompt="blurred", **changes), tiny_soul_networks()))


def named(*, continuing: bool) -> tuple[str, int, int]:
    """A name by which a clip goes on from its latents or not, the reference it begins with, and its seed."""
    for name in map(str, range(99)):
        chance = random.Random(name)
        pivot, continues = chance.randrange(5), chance.random() < 0.5
        if continues == continuing:
            return name, pivot, chance.getrandbits(32)
    raise AssertionError("no name draws that")


def test_a_clip_is_made_anew_as_the_model_is_used() -> None:
    """Guided from its own caption and sound, away from the negative prompt without sound: one step by hand."""
    clip, networks = clip_of_noise(), tiny_soul_networks()
    name, pivot, seed = named(continuing=False)
    made = remade(maker(steps=1, solver=Euler(), guidance=Guidance(3.0, 3.0)), clip, name)
    noise = clip_noise(seed, 0, (1, 4, 4, 4, 4))
    begun = torch.cat([clip.references[pivot][None, :, None], noise], dim=2)
    sound = pad(clip.audio[0], (0, 0, 0, 0, 4, 5))  # a frame hears ten features, four of them from before
    heard = torch.stack([sound[2 * frame : 2 * frame + 10] for frame in range(1, 17)])[None, None]

    def velocity(words: str, audio: Tensor) -> Tensor:
        cond = Conditioning(networks.text([words]), networks.text([""]), audio)
        layout = PivotalFrame()(frames=4, context=0, reference=True)
        return networks.backbone(begun, torch.tensor([[0.0, 1, 1, 1, 1]]), cond, layout)[:, :, 1:]

    with torch.no_grad():
        told, untold = velocity("a man with a hat", heard), velocity("blurred", torch.zeros_like(heard))
    torch.testing.assert_close(made.latents[None, :, 1:], noise - (untold + 3 * (told - untold)), rtol=0, atol=5e-6)
    assert torch.equal(made.latents[:, 0], clip.latents[:, 0])
    assert (made.caption, made.mouth.any()) == (clip.caption, False)


def test_some_go_on_from_the_latents_of_the_clip() -> None:
    clip = clip_of_noise()
    made = remade(maker(), clip, named(continuing=True)[0])
    assert torch.equal(made.latents[:, :3], clip.latents[:, :3])
    assert not torch.isclose(made.latents[:, 3:], clip.latents[:, 3:]).all(dim=0).any()


@pytest.fixture
def people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three clips in shards, longer than those of the model tiny-soul, whose weights are beside them."""
    monkeypatch.setitem(systems.MODELS, "tiny-soul", tiny_soul())
    save_networks(tiny_soul_networks(), tmp_path / "weights", torch.float32)
    (tmp_path / "people").mkdir()
    with ShardWriter(tmp_path / "people") as writer:
        for number in range(3):
            writer.add(clip_of_noise(number, latents=6), f"film {number}", 0)
    return tmp_path / "people"


def test_shards_are_made_of_shards_once(people: Path) -> None:
    weights, new = people.parent / "weights", people.parent / "new"
    assert make_anew(people, new, "tiny-soul", weights, count=2).clips == 2
    found = make_anew(people, new, "tiny-soul", weights)
    assert (found.clips, found.before, found.faults) == (1, 2, {})
    manifest = read_manifest(new)
    clips = [ShardReader(new).read(manifest.row(index)) for index in range(3)]
    assert {clip.latents.shape for clip in clips} == {(4, 5, 4, 4)}
    assert len(find_generated([new])) == 3


def test_clips_of_other_encoders_are_refused(people: Path) -> None:
    """Those beside the shards and those beside what was made before: decoders would learn what is not so."""
    weights, new = people.parent / "weights", people.parent / "new"
    make_anew(people, new, "tiny-soul", weights, count=1)
    kept = (new / MADE_BY).read_text()
    for folder in (people, new):
        (folder / MADE_BY).write_text(kept.replace(json.loads(kept)["weights"], "others"))
        with pytest.raises(ConfigError, match=f"{folder} holds clips of other encoders"):
            make_anew(people, new, "tiny-soul", weights)
        (folder / MADE_BY).write_text(kept)


def test_nothing_is_made_of_failures(people: Path) -> None:
    with ShardWriter(people) as writer:
        writer.add(clip_of_noise(9, latents=6), failure_name("film 0", 0, 7), 0)
    assert make_anew(people, people.parent / "new", "tiny-soul", people.parent / "weights").clips == 3


def test_the_command_says_how_many_there_are_and_what_is_wrong(
    people: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(output: str) -> None:
        asked = [str(people), "-o", str(people.parent / output), "--model", "tiny-soul"]
        monkeypatch.setattr("sys.argv", ["generated", *asked, "--weights", str(people.parent / "weights")])
        main()

    run("new")
    assert "new: 3 clips more, 0 could not be made" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stopped:
        run("people")
    assert stopped.value.code == ConfigError.exit_code
    assert "holds the clips that others are made of\nname another folder" in capsys.readouterr().err
