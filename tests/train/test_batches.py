"""Tests of batches: each number of a clip says its own time, so that cuts can be read off."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed  # noqa: TID251

from enliven.data.encoded import EncodedClip, Heads, save_encoded
from enliven.data.groups import make_group
from enliven.errors import ConfigError
from enliven.media.image import to_image
from enliven.media.regions import Box
from enliven.people import people_regions
from enliven.request import GenerateRequest
from enliven.systems.longcat import ReferenceSkip
from enliven.toonworld.find_faces import find_faces
from enliven.toonworld.voice import Speech
from enliven.train.batches import MISSED, ClipBatches, Drops, MixedBatches, told_regions
from enliven.train.cuts import ReencodedCuts, StitchedCuts
from enliven.types import Role, Text
from several_processes import run_together

LATENTS, CHOSEN = 9, (0, 7, 13, 20, 26, 32)
FRAMES, CONTEXT = 5, 2
SIZES = {"frames": FRAMES, "context": CONTEXT}
CONTINUE = StitchedCuts(**SIZES, text=0, image=0, blur=0)
ALL = Drops(0, 0, 0)


def write_clip(folder: Path, name: int) -> None:
    """Latent ``j`` is ``j`` plus a hundred per clip, features of frame ``i`` are ``i + 1``, of quiet clips less."""
    time = torch.arange(LATENTS).float() + 100 * name
    frames = torch.tensor(CHOSEN)
    silent = name == 2
    audio = (torch.arange(33).float() + 1) * (1 / 64 if silent else 1)
    clip = EncodedClip(
        latents=time[None, :, None, None].expand(3, -1, 2, 2),
        references=(100 * name + 50 + frames).float()[:, None, None, None].expand(-1, 3, 2, 2),
        reference_frames=frames,
        audio=audio[None, :, None, None].expand(-1, -1, 2, 4),
        mouth=torch.zeros(1, 33, 5),
        caption=f"caption {name}",
        silent=silent,
    )
    save_encoded(clip, folder / f"{name}.safetensors")


def embed(captions: Sequence[str]) -> Text:
    """Captions of different lengths: a number for each word, the empty one has none."""
    (caption,) = captions
    value = float(caption.split()[-1]) + 1 if caption else 0.0
    return Text(torch.full((1, 4, 2), value), torch.tensor([[True, bool(caption), False, False]]))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in range(3):
        write_clip(tmp_path, name)
    return tmp_path


def batches(folder: Path, cut: StitchedCuts, batch: int = 4, drops: Drops = ALL) -> ClipBatches:
    torch.manual_seed(0)
    return ClipBatches(folder, embed, cut, batch=batch, drops=drops)


def times(latents: Tensor) -> list[int]:
    return [round(value) for value in (latents[:, 0, :, 0, 0] % 100)[0].tolist()]


@pytest.mark.parametrize("given", [0, 1])
def test_openings_begin_with_the_clip(folder: Path, given: int) -> None:
    told = batches(folder, StitchedCuts(**SIZES, text=1 - given, image=given)).make()
    assert told["clip"].layout == ReferenceSkip(0, 0)(frames=FRAMES, context=given, reference=False)
    assert times(told["clip"].latents) == list(range(FRAMES))
    assert told["given"].shape[2] == given
    assert torch.equal(told["given"], told["clip"].latents[:, :, :given])
    heard = told["cond"].audio
    assert heard.shape == (4, 1, 4 * FRAMES - 3, 5, 2, 4)


def test_continuations_are_cut_out_of_the_longer_encoding(folder: Path) -> None:
    source = batches(folder, CONTINUE)
    starts, references = set(), set()
    for _ in range(60):
        told = source.make()
        layout, latents = told["clip"].layout, told["clip"].latents
        assert layout.roles == (Role.REFERENCE, *[Role.CONTEXT] * CONTEXT, *[Role.NOISE] * (FRAMES - CONTEXT))
        reference, *cut = times(latents)
        start = cut[0]
        assert cut == list(range(start, start + FRAMES))
        assert start >= 1, "the first latent holds one frame only and is no context"
        assert layout.positions == ((reference - 50) % 100 / 4 - start, *map(float, range(FRAMES)))
        assert torch.equal(told["given"], latents[:, :, : 1 + CONTEXT])
        assert torch.equal(latents[:, 0, 0, 0, 0] // 100, latents[:, 0, 1, 0, 0] // 100), "another clip's reference"
        starts.add(start)
        references.add((reference - 50) % 100)
    assert starts == set(range(1, LATENTS - FRAMES + 1))
    assert references == set(CHOSEN)


def test_continuations_of_what_is_encoded_again_begin_with_the_clip(folder: Path) -> None:
    source = batches(folder, ReencodedCuts(**SIZES, text=0, image=0, blur=0))
    references = set()
    for _ in range(30):
        told = source.make()
        reference, *cut = times(told["clip"].latents)
        assert cut == list(range(FRAMES)), "the first latent holds one frame, as that of a context encoded anew"
        assert told["clip"].layout.positions[0] == (reference - 50) % 100 / 4
        assert torch.equal(told["given"], told["clip"].latents[:, :, : 1 + CONTEXT])
        assert told["heard"] == range(4 * FRAMES - 3)
        references.add((reference - 50) % 100)
    assert references == set(CHOSEN)


def test_a_continuation_hears_from_the_last_frame_of_its_first_context_latent(folder: Path) -> None:
    """Context latent ``s`` ends with frame ``4s``, which is the first of the repeated frames."""
    source = batches(folder, CONTINUE)
    for _ in range(20):
        told = source.make()
        start = times(told["clip"].latents)[1]
        loud = told["cond"].audio[:, 0, :, :, 0, 0].amax(dim=(1, 2)) > 1
        heard = told["cond"].audio[loud, 0, :, 2, 0, 0]
        expected = torch.arange(4 * start, 4 * (start + FRAMES) - 3).float() + 1
        assert torch.equal(heard, expected.expand_as(heard))
        neighbours = told["cond"].audio[loud, 0, -1, :, 0, 0]
        last = expected[-1]
        clamped = torch.arange(last - 2, last + 3).clamp(max=33)
        assert torch.equal(neighbours, clamped.expand_as(neighbours))


def test_the_reference_is_skipped_as_often_as_said(folder: Path) -> None:
    def widths(skip: float) -> set[bool]:
        source = batches(folder, StitchedCuts(**SIZES, text=0, image=0, skip=skip))
        layouts = [source.make()["clip"].layout for _ in range(40)]
        return {any(len(rule.keys[0]) == FRAMES for rule in layout.attention[2:]) for layout in layouts}

    assert widths(0.0) == {False}
    assert True in widths(1.0)


def test_tasks_come_as_often_as_said(folder: Path) -> None:
    source = batches(folder, StitchedCuts(**SIZES, text=0.2, image=0.3), batch=1)
    clean = [source.make()["clip"].layout.clean for _ in range(300)]
    assert clean.count(0) / 300 == pytest.approx(0.2, abs=0.08)
    assert clean.count(1) / 300 == pytest.approx(0.3, abs=0.09)
    assert clean.count(1 + CONTEXT) / 300 == pytest.approx(0.5, abs=0.1)


def test_the_null_text_is_the_one_that_is_named(folder: Path) -> None:
    told = batches(folder, CONTINUE, batch=16, drops=Drops(0, 0.5, 0, null="caption 8")).make()["cond"]
    assert set(told.null_text.tokens.flatten().tolist()) == {9.0}
    values = told.text.tokens[:, 0, 0]
    assert {9.0} < set(values.tolist()) <= {1.0, 2.0, 3.0, 9.0}


def test_null_audio_is_nothing_and_quiet_clips_are_not(folder: Path) -> None:
    audio = batches(folder, CONTINUE, batch=64, drops=Drops(audio=0.5, both=0)).make()["cond"].audio
    loudest = audio.flatten(1).abs().amax(dim=1)
    null, quiet = loudest == 0, (loudest > 0) & (loudest < 1)
    assert 15 < null.sum() < 49
    assert quiet.any()
    assert (audio[~null] != 0).all()
    assert (batches(folder, CONTINUE, batch=64).make()["cond"].audio != 0).all()


def test_dropped_text_is_the_null_text_with_its_mask(folder: Path) -> None:
    told = batches(folder, CONTINUE, batch=64, drops=Drops(audio=0, text=0.5, both=0)).make()
    text, null = told["cond"].text, told["cond"].null_text
    dropped = (text.tokens == null.tokens).flatten(1).all(dim=1)
    assert 15 < dropped.sum() < 49
    assert torch.equal(text.mask[dropped], null.mask[dropped])
    assert (text.mask[~dropped] != null.mask[~dropped]).any(dim=1).all()
    name = told["clip"].latents[:, 0, -1, 0, 0] // 100
    assert torch.equal(text.tokens[~dropped, 0, 0], name[~dropped] + 1), "the caption of its own clip"


def test_only_context_is_blurred_and_only_as_the_backbone_sees_it(folder: Path) -> None:
    source = batches(folder, StitchedCuts(**SIZES, text=0, image=0, blur=0.5))
    disturbed = 0
    for _ in range(40):
        told = source.make()
        truth = told["clip"].latents
        assert torch.equal(told["given"][:, :, :1], truth[:, :, :1])
        assert torch.equal(truth, truth.round())
        disturbed += not torch.equal(told["given"], truth[:, :, : 1 + CONTEXT])
    assert disturbed / 40 == pytest.approx(0.5, abs=0.3)


def test_batches_follow_from_the_random_state_whatever_came_before(folder: Path) -> None:
    source = batches(folder, StitchedCuts(**SIZES), drops=Drops())
    for _ in range(3):
        next(iter(source))
    for seed in range(4):
        torch.manual_seed(seed)
        one = next(iter(source))
        torch.manual_seed(seed)
        two = next(iter(ClipBatches(folder, embed, StitchedCuts(**SIZES), batch=4)))
        assert torch.equal(one["clip"].latents, two["clip"].latents)
        assert torch.equal(one["given"], two["given"])
        assert torch.equal(one["cond"].audio, two["cond"].audio)
        assert torch.equal(one["cond"].text.tokens, two["cond"].text.tokens)
        assert one["clip"].layout == two["clip"].layout


def test_new_clips_are_taken_in_whenever_they_come(folder: Path, tmp_path: Path) -> None:
    source = batches(folder, CONTINUE)
    write_clip(folder, 10)
    write_clip(folder, 4)
    source.look()
    torch.manual_seed(1)
    grown = source.make()["clip"].latents
    torch.manual_seed(1)
    fresh = ClipBatches(folder, embed, CONTINUE, batch=4, drops=ALL)
    assert torch.equal(grown, fresh.make()["clip"].latents)
    assert set(source.texts) == {"", *(f"caption {name}" for name in (0, 1, 2, 4, 10))}


def test_a_folder_without_clips_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no encoded clips"):
        ClipBatches(tmp_path, embed, CONTINUE)


def test_at_most_one_kind_of_dropping_holds_and_each_as_often_as_asked(folder: Path) -> None:
    torch.manual_seed(0)
    told = batches(folder, CONTINUE, batch=2000, drops=Drops(audio=0.2, text=0.3, both=0.4)).make()["cond"]
    deaf = (told.audio == 0).flatten(1).all(dim=1)
    mute = (told.text.tokens == told.null_text.tokens).flatten(1).all(dim=1)
    for found, expected in ((deaf & ~mute, 0.2), (mute & ~deaf, 0.3), (deaf & mute, 0.4)):
        assert abs(found.float().mean() - expected) < 0.05


SIZE = (128, 224)
HEADS = torch.tensor([[24, 30, 97, 85], [25, 140, 98, 195]])
SILENT = Speech(torch.zeros(0), (), "", "")


def write_group(folder: Path, name: int) -> None:
    """The one on the left sounds like 1, the one on the right like 2."""
    clip = EncodedClip(
        latents=torch.zeros(3, LATENTS, 4, 6),
        references=torch.zeros(len(CHOSEN), 3, 4, 6),
        reference_frames=torch.tensor(CHOSEN),
        audio=torch.tensor([1.0, 2.0])[:, None, None, None].expand(-1, 33, 2, 4),
        mouth=torch.zeros(2, 33, 5),
        caption="caption 7",
        silent=False,
        heads=Heads(HEADS, SIZE),
    )
    folder.mkdir(exist_ok=True)
    save_encoded(clip, folder / f"{name}.safetensors")


def test_every_voice_goes_with_its_own_region_in_any_order(tmp_path: Path) -> None:
    write_group(tmp_path, 0)
    cond = batches(tmp_path, CONTINUE.shown(), batch=16).make()["cond"]
    assert cond.audio.shape == (16, 2, 4 * FRAMES - 3, 5, 2, 4)
    assert cond.regions.shape == (16, 3, *SIZE)
    assert (cond.regions.sum(1) == 1).all(), "people, then the background, and nobody over another"
    orders = set()
    for voices, regions in zip(cond.audio, cond.regions, strict=True):
        sounds = voices[:, 0, 0, 0, 0].tolist()
        for sound, region in zip(sounds, regions, strict=False):
            top, left, bottom, right = HEADS[int(sound) - 1].tolist()
            assert region[top + 8 : bottom - 8, left + 8 : right - 8].all()
        orders.add(tuple(sounds))
    assert orders == {(1.0, 2.0), (2.0, 1.0)}
    assert len({tuple(regions.flatten().tolist()) for regions in cond.regions}) > 8, "faces are not found exactly"


def test_of_several_people_all_fall_silent_together(tmp_path: Path) -> None:
    write_group(tmp_path, 0)
    audio = batches(tmp_path, CONTINUE, batch=64, drops=Drops(audio=0.5, both=0)).make()["cond"].audio
    heard = audio.flatten(2).any(2)
    assert torch.equal(heard[:, 0], heard[:, 1])
    assert 15 < heard[:, 0].sum() < 49


@pytest.mark.parametrize("seed", [0, 1])
def test_regions_are_those_of_a_request(seed: int) -> None:
    """Found faces are off by no more than training supposes; where they are exact, so are the regions."""
    clip = make_group(seed, [SILENT, SILENT], frames=3)
    found = torch.tensor(find_faces(clip.frames[0]))
    assert (found - clip.heads).abs().max() <= round(MISSED * SIZE[0])
    picture = to_image(clip.frames[0])
    asked = people_regions(GenerateRequest(portrait=Path("a.png"), audio=(Path("a.wav"), None)), picture, SIZE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("enliven.train.batches.MISSED", 0.0)
        assert torch.equal(told_regions(Heads(found, SIZE)), asked[0])


def test_boxes_of_whole_people_are_told_as_those_of_a_request() -> None:
    clip = make_group(0, [SILENT, SILENT], frames=1)
    boxes = (Box(10, 0, 110, 112), Box(0, 112, 128, 224))
    request = GenerateRequest(portrait=Path("a.png"), audio=(Path("a.wav"), None), speakers=boxes)
    asked = people_regions(request, to_image(clip.frames[0]), SIZE)
    for _ in range(3):
        assert torch.equal(told_regions(Heads(torch.tensor(boxes), SIZE, whole=True)), asked[0])


def test_each_batch_is_of_one_kind_and_kinds_come_as_often_as_said(folder: Path, tmp_path: Path) -> None:
    write_group(tmp_path / "two", 0)
    kinds = [(0.7, batches(folder, CONTINUE, batch=1)), (0.3, batches(tmp_path / "two", CONTINUE, batch=2))]
    stream = iter(MixedBatches(kinds))
    people = [next(stream)["cond"].audio.shape[:2] for _ in range(300)]
    assert set(people) == {(1, 1), (2, 2)}
    assert people.count((2, 2)) / 300 == pytest.approx(0.3, abs=0.08)
    alone = iter(MixedBatches([(1, kinds[0][1])]))
    assert next(alone)["cond"].audio.shape[:2] == (1, 1)
    with pytest.raises(ConfigError, match="shares"):
        MixedBatches([(0.7, kinds[0][1]), (0.4, kinds[1][1])])


def look_together(folder: Path) -> None:
    """In each of two processes, of which the second finds more; what they draw differs."""
    distributed.init_process_group("gloo")
    rank = distributed.get_rank()
    kinds = [batches(folder / str(rank) / kind, CONTINUE, batch=1) for kind in ("a", "b")]
    assert [sorted(kind.clips) for kind in kinds] == [["0.safetensors"]] * 2
    for place in ("0/b", "1/b", "1/a"):
        if rank == 0:
            write_clip(folder / place, 3)
    distributed.barrier()
    torch.manual_seed(rank)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("enliven.train.batches.LOOKING", 5)
        stream = iter(MixedBatches([(0.2, kinds[0]), (0.8, kinds[1])]))
        drawn = [next(stream)["names"] for _ in range(12)]
    assert [sorted(kind.clips) for kind in kinds] == [["0.safetensors"], ["0.safetensors", "3.safetensors"]]
    (folder / f"{rank}.txt").write_text(str(drawn))


def test_processes_have_the_clips_that_the_first_finds(tmp_path: Path) -> None:
    for place, names in (("0/a", [0]), ("0/b", [0]), ("1/a", [0, 1]), ("1/b", [0, 2])):
        (tmp_path / place).mkdir(parents=True)
        for name in names:
            write_clip(tmp_path / place, name)
    run_together(2, look_together, tmp_path)
    assert (tmp_path / "0.txt").read_text() != (tmp_path / "1.txt").read_text()
