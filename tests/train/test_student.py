"""A student by a recipe: what is written, what is shared with the teacher, and what is refused."""

import itertools
import json
import logging
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from enliven import config
from enliven.data.encoded import EncodedClip, Heads, save_encoded
from enliven.data.shards import ShardWriter
from enliven.diffusion.guidance import Guidance
from enliven.diffusion.solvers import Renoise
from enliven.errors import RequestError, StorageError, WeightsError
from enliven.models.layered import write_label
from enliven.models.lora import Adapter, read_lora
from enliven.models.marks import mark
from enliven.models.networks import build_network, load_networks, save_backbone, save_networks
from enliven.pipeline import AvatarPipeline
from enliven.runtime.choices import Choices
from enliven.systems import MODELS, find_model
from enliven.train import checkpoint, student
from enliven.train.backbones import cuts
from enliven.train.sources import Source
from enliven.train.student import Clips, StudentRecipe, _batches, _imitating, _matching, _opened, _shards, distill
from enliven.types import Progress
from published_folders import miniature, write_avatar_1_5, write_base
from tiny import PARAMS, tiny_networks, tiny_spec

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudentRecipe:
    """A second of training on two clips of noise."""
    monkeypatch.setitem(MODELS, "tiny", tiny_spec())
    student = tiny_spec(name="tiny-student", teacher="tiny", guidance=Guidance(), solver=Renoise(), steps=4)
    monkeypatch.setitem(MODELS, "tiny-student", student)
    save_networks(tiny_networks(), tmp_path / "tiny", torch.float32)
    write_clips(tmp_path / "encoded")
    return StudentRecipe(
        model="tiny-student",
        teacher=tmp_path / "tiny",
        clips=(Clips(tmp_path / "encoded"),),
        folder=tmp_path / "run",
        weights=tmp_path / "student",
        minutes=0.02,
        ratio=0,  # so that one step is enough
        batch=2,
        student_rate=0.1,
    )


def write_clips(folder: Path, people: int = 1) -> None:
    """Two clips of noise."""
    folder.mkdir()
    for number in range(2):
        save_encoded(noise_clip(number, people), folder / f"{number}.safetensors")


def noise_clip(number: int, people: int = 1) -> EncodedClip:
    torch.manual_seed(number)
    boxes = torch.tensor([[4, 16 * person, 20, 16 * person + 12] for person in range(people)])
    return EncodedClip(
        torch.randn(4, 8, 4, 4),
        torch.randn(8, 4, 4, 4),
        torch.arange(0, 32, 4),
        torch.randn(people, 32, 2, 16),
        torch.zeros(people, 29, 5),
        "a man with a hat",
        False,
        Heads(boxes, (32, 32)) if people > 1 else None,
    )


def test_a_student_has_a_backbone_of_its_own_and_its_teachers_ears(recipe: StudentRecipe) -> None:
    heard: list[Progress] = []
    assert distill(recipe, heard.append) == recipe.weights
    assert sorted(path.name for path in recipe.weights.iterdir()) == ["backbone", "model.json"]
    pipeline = AvatarPipeline.load(choices=Choices(weights=recipe.weights), device="cpu")
    teacher = load_networks(recipe.teacher)
    assert pipeline.spec.name == "tiny-student"
    learnt, before = (networks.backbone.state_dict() for networks in (pipeline.networks, teacher))
    assert any((learnt[name] - before[name]).abs().max() > 1e-3 for name in before)
    ears = pipeline.networks.audio.state_dict()
    assert all(torch.equal(value, ears[name]) for name, value in teacher.audio.state_dict().items())
    told = json.loads((recipe.weights / "backbone" / "config.json").read_text())["taught_with"]
    assert told == {name: mark(recipe.teacher / name, name) for name in ("text", "audio", "autoencoder")}


def test_a_finished_run_is_not_trained_again(recipe: StudentRecipe) -> None:
    distill(recipe)
    first = load_networks(recipe.weights).backbone.state_dict()
    distill(recipe)
    again = load_networks(recipe.weights).backbone.state_dict()
    assert all(torch.equal(value, again[name]) for name, value in first.items())


@pytest.mark.parametrize(("rank", "saves"), [(0, "save_backbone"), (2, "save_lora")])
def test_a_student_that_could_not_be_written_leaves_what_there_was(
    recipe: StudentRecipe, monkeypatch: pytest.MonkeyPatch, rank: int, saves: str
) -> None:
    recipe = replace(recipe, rank=rank)
    write = getattr(student, saves)

    def full(network: torch.nn.Module, place: Path) -> None:
        write(network, place)
        raise StorageError("the disk is full")

    with monkeypatch.context() as disk:
        disk.setattr(student, saves, full)
        with pytest.raises(StorageError):
            distill(recipe)
    assert not recipe.weights.exists(), "with a label alone it would be the teacher"
    distill(recipe)
    (recipe.weights / "README.md").write_text("mine")
    before = {path: path.stat().st_mtime_ns for path in recipe.weights.rglob("*")}
    with monkeypatch.context() as disk:
        disk.setattr(student, saves, full)
        with pytest.raises(StorageError):
            distill(replace(recipe, folder=recipe.folder / "again"))
    assert {path: path.stat().st_mtime_ns for path in recipe.weights.rglob("*")} == before
    distill(recipe)
    assert AvatarPipeline.load(choices=Choices(weights=recipe.weights), device="cpu").spec.name == "tiny-student"
    assert len(list(recipe.weights.iterdir())) == 3, "and what somebody put there stays"
    assert not list(recipe.weights.parent.glob("student.*"))


def test_a_student_may_be_a_lora(recipe: StudentRecipe) -> None:
    distill(replace(recipe, rank=2))
    assert sorted(path.name for path in recipe.weights.iterdir()) == ["lora", "model.json"]
    worn = AvatarPipeline.load(choices=Choices(weights=recipe.weights), device="cpu").networks.backbone
    adapters = [module for module in worn.modules() if isinstance(module, Adapter)]
    assert adapters
    assert all(adapter.strength == 1 for adapter in adapters)
    assert any(adapter.up.abs().max() > 1e-4 for adapter in adapters)
    silenced = Choices(weights=recipe.weights, expressiveness=0)
    quiet = AvatarPipeline.load(choices=silenced, device="cpu").networks.backbone
    assert {module.strength for module in quiet.modules() if isinstance(module, Adapter)} == {0}
    distill(replace(recipe, folder=recipe.folder / "full"))
    assert sorted(path.name for path in recipe.weights.iterdir()) == ["backbone", "model.json"], "the LoRA is gone"


def test_a_student_may_imitate_first(recipe: StudentRecipe, caplog: pytest.LogCaptureFixture) -> None:
    distill(replace(recipe, imitating=0.02, imitation_rate=0.1, minutes=0))
    imitated = load_networks(recipe.weights).backbone.state_dict()
    teacher = load_networks(recipe.teacher).backbone.state_dict()
    assert any((imitated[name] - teacher[name]).abs().max() > 1e-3 for name in teacher)
    assert not (recipe.folder / "checkpoint").exists()
    taught = checkpoint.counters(recipe.folder / "imitation" / "checkpoint")
    both = replace(recipe, imitating=0.02, imitation_rate=0.1, student_rate=1e-6)
    caplog.clear()
    distill(both)
    half = checkpoint.counters(recipe.folder / "checkpoint")
    distill(replace(both, minutes=half["seconds"] / 60 + 0.01))  # however slow the machine is
    warned = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert not warned, "the first lesson is finished, which is as it should be"
    assert checkpoint.counters(recipe.folder / "imitation" / "checkpoint") == taught
    assert checkpoint.counters(recipe.folder / "checkpoint")["step"] > half["step"]
    matched = load_networks(recipe.weights).backbone.state_dict()
    far = [(matched[name] - imitated[name]).abs().max().item() for name in teacher]
    assert 0 < max(far) < 1e-3, "the second lesson begins where the first has ended"


@pytest.mark.parametrize("lesson", [{"minutes": 0.02}, {"minutes": 0.0, "imitating": 0.02}])
def test_a_student_may_begin_with_an_earlier_one(recipe: StudentRecipe, lesson: dict[str, float]) -> None:
    still = replace(recipe, folder=recipe.folder / "more", student_rate=0.0, imitation_rate=0.0, **lesson)
    teacher, first = (load_networks(folder).backbone.state_dict() for folder in (recipe.teacher, distill(recipe)))
    for begins, warm in ((first, True), (teacher, False)):
        shutil.rmtree(still.folder, ignore_errors=True)
        after = load_networks(distill(replace(still, warm_start=warm))).backbone.state_dict()
        assert all(torch.allclose(value, begins[name], atol=1e-3) for name, value in after.items())
    with pytest.raises(RequestError, match="LoRA"):
        replace(still, warm_start=True, rank=2)


def test_an_earlier_student_of_other_sizes_is_refused(recipe: StudentRecipe) -> None:
    with pytest.raises(WeightsError, match="no model"):
        distill(replace(recipe, warm_start=True))  # there is none
    distill(recipe)
    save_backbone(build_network(replace(PARAMS.backbone, depth=1)), recipe.weights)
    with pytest.raises(WeightsError, match="other sizes"):
        distill(replace(recipe, folder=recipe.folder / "more", warm_start=True))


def test_imitation_never_comes_after_matching(recipe: StudentRecipe) -> None:
    distill(recipe)
    with pytest.raises(RequestError, match="matching has begun"):
        distill(replace(recipe, imitating=0.02))
    assert not (recipe.folder / "imitation").exists()


def test_batches_are_of_every_folder_as_often_as_it_says_and_cost_the_same(
    recipe: StudentRecipe, tmp_path: Path
) -> None:
    write_clips(tmp_path / "pairs", people=2)
    clips = (Clips(tmp_path / "encoded", share=0.25), Clips(tmp_path / "pairs", people=2, share=0.75))
    student = find_model("tiny-student")
    batches = _batches(replace(recipe, clips=clips, batch=4), *_opened(recipe))
    assert batches.shares.tolist() == [0.25, 0.75]
    assert [kind.cut for kind in batches.kinds] == [cuts(student, 1), cuts(student, 2)]
    torch.manual_seed(0)
    made = list(itertools.islice(batches, 60))
    pairs = [batch for batch in made if len(batch["cond"].audio[0]) == 2]
    assert {len(batch["names"]) for batch in pairs} == {2}
    assert {len(batch["names"]) for batch in made if batch["cond"].regions is None} == {4}
    assert all(batch["cond"].regions is not None for batch in pairs)
    assert len(pairs) == pytest.approx(45, abs=8)


def test_guidance_leads_away_from_what_the_teacher_is_led_away_from(
    recipe: StudentRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, "tiny", tiny_spec(negative_prompt="a hat"))
    batch = _batches(recipe, *_opened(recipe)).make()
    text = load_networks(recipe.teacher).text
    untold = batch["cond"].without(text=True, audio=True)
    for said, caption in ((batch["cond"].text, "a man with a hat"), (untold.text, "a hat")):
        torch.testing.assert_close(said.tokens, text([caption]).tokens.expand_as(said.tokens))
    assert not untold.audio.any()
    assert batch["cond"].audio.any()


def write_noise_shards(folder: Path, clips: Iterable[EncodedClip]) -> Path:
    folder.mkdir()
    with ShardWriter(folder) as writer:
        for number, clip in enumerate(clips):
            writer.add(clip, f"film {number}", 0)
    return folder


def test_a_student_learns_from_shards_as_well(
    recipe: StudentRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, "tiny", tiny_spec(negative_prompt="a hat"))
    clips = [replace(noise_clip(n), audio=torch.randn(1, 29, 2, 16)) for n in range(3)]
    sources = (Source(write_noise_shards(tmp_path / "shards", clips)),)
    asked = replace(recipe, clips=(), sources=sources, imitating=0.02, imitation_rate=0.1)
    distill(asked)
    learnt, before = (load_networks(folder).backbone.state_dict() for folder in (recipe.weights, recipe.teacher))
    assert any((learnt[name] - before[name]).abs().max() > 1e-3 for name in before)
    told: list[Progress] = []
    batch = _shards(asked, *_opened(asked), told.append).make()
    assert not told, "the captions were encoded before"
    assert batch["clip"].latents.shape[0] == recipe.batch
    text = load_networks(recipe.teacher).text
    for said, caption in ((batch["cond"].text, "a man with a hat"), (batch["cond"].null_text, "a hat")):
        wanted = text([caption])
        length = int(wanted.mask.sum())
        torch.testing.assert_close(said.tokens[0, :length], wanted.tokens[0, :length])
        assert (said.mask.sum(dim=1) == length).all()
    with pytest.raises(RequestError, match="clips and from sources"):
        replace(recipe, sources=sources)


def test_a_student_of_a_published_model_is_the_lora_in_its_folder(tmp_path: Path) -> None:
    made = miniature()
    write_base(tmp_path / "LongCat-Video", made)
    teacher = write_avatar_1_5(tmp_path / "LongCat-Video-Avatar-1.5", made)
    published = (teacher / "lora" / "dmd_lora.safetensors").read_bytes()
    clip = EncodedClip(
        torch.randn(16, 25, 2, 4),
        torch.randn(25, 16, 2, 4),
        torch.arange(0, 97, 4),
        torch.randn(1, 97, 5, 32),
        torch.zeros(1, 97, 5),
        "a man talks",
        silent=False,
    )
    recipe = config.parse(
        StudentRecipe,
        config.read(EXAMPLES / "distill-longcat-full.toml")
        | {"teacher": str(teacher), "folder": str(tmp_path / "run"), "weights": str(tmp_path / "student")}
        | {"sources": [{"shards": str(write_noise_shards(tmp_path / "shards", [clip] * 2))}]}
        | {"minutes": 0.01, "rank": 2, "ratio": 0, "parts": 1, "device": "cpu", "student_rate": 0.1},
    )
    distill(recipe)
    learnt = read_lora(tmp_path / "student" / "lora" / "dmd_lora.safetensors")
    assert any(change.up.any() for change in learnt.changes.values())
    assert {change.down.shape[1] for change in learnt.changes.values()} == {2}
    pipeline = AvatarPipeline.load(choices=Choices(weights=recipe.weights), device="cpu")
    assert pipeline.spec.name == "longcat-1.5"
    assert (teacher / "lora" / "dmd_lora.safetensors").read_bytes() == published
    distill(recipe)  # into its own folder again
    linked = tmp_path / "linked"
    linked.mkdir()
    for name in ("base_model", "lora"):
        (linked / name).symlink_to(teacher / name)
    for folder in (teacher, linked):
        with pytest.raises(RequestError, match="would be lost"):
            distill(replace(recipe, weights=folder))
    with pytest.raises(RequestError, match="a LoRA beside its teacher"):
        distill(replace(recipe, rank=0))


def test_matching_moves_as_the_recipe_says_and_imitation_as_everything_else(recipe: StudentRecipe) -> None:
    asked = replace(recipe, betas=(0.5, 0.6), ema=0.9, recompute=True)
    matching, imitation = _matching(asked), _imitating(asked)
    assert (matching.betas, imitation.betas) == ((0.5, 0.6), (0.9, 0.95))
    for each in (matching, imitation):
        assert (each.ema, each.recompute) == (0.9, True)


def test_what_cannot_be_is_refused_before_anything_is_written(recipe: StudentRecipe, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="tiny is no student"):
        distill(replace(recipe, model="tiny"))
    with pytest.raises(RequestError, match="would be lost"):
        distill(replace(recipe, weights=recipe.teacher))
    write_label(tmp_path / "trained", "tiny", recipe.teacher)
    (tmp_path / "trained" / "backbone").mkdir()
    with pytest.raises(RequestError, match="would be lost"):
        distill(replace(recipe, weights=tmp_path / "trained"))
    with pytest.raises(WeightsError, match="holds no backbone, audio, text of a teacher"):
        distill(replace(recipe, teacher=tmp_path / "encoded"))
    with pytest.raises(RequestError, match="0 minutes"):
        replace(recipe, minutes=0)
    with pytest.raises(RequestError, match="no clips"):
        replace(recipe, clips=())
    with pytest.raises(RequestError, match="4 people") as caught:
        Clips(tmp_path / "encoded", people=4)
    assert caught.value.hint == "people is one of 1, 2, 3"
    assert not recipe.folder.exists()
    assert not recipe.weights.exists()


def test_recipes_for_large_models_say_what_the_paper_does() -> None:
    """Soul: 4 steps (5.2), two time scales, no memory of gradients; LongCat: the 8 levels of version 1.5."""
    soul, longcat = (
        config.parse(StudentRecipe, config.read(EXAMPLES / f"distill-{name}-full.toml")) for name in ("soul", "longcat")
    )
    assert (soul.model, soul.steps, soul.ratio, soul.betas) == ("soul-fast", 4, 5, (0.0, 0.999))
    assert find_model(soul.model).schedule(soul.steps) == pytest.approx([1.0, 0.9375, 0.8333, 0.625, 0.0], abs=1e-4)
    assert (longcat.model, longcat.steps) == ("longcat-1.5", 8)
    for recipe in (soul, longcat):
        assert find_model(recipe.model).teacher
        assert recipe.sources
        assert recipe.recompute


@pytest.mark.parametrize("example", ["distill-longcat.toml", "distill-soul.toml"])
def test_shipped_recipes_make_students_of_shipped_teachers(example: str) -> None:
    recipe = config.parse(StudentRecipe, config.read(EXAMPLES / example))
    spec = find_model(recipe.model)
    assert spec.teacher == recipe.teacher.name
    assert spec.steps == recipe.steps
    assert recipe.weights.name == spec.name
