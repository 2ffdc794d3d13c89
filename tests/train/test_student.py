"""A student by a recipe: what is written, what is shared with the teacher, and what is refused."""

import itertools
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from enliven import config
from enliven.data.encoded import EncodedClip, Heads, save_encoded
from enliven.diffusion.guidance import Guidance
from enliven.diffusion.solvers import Renoise
from enliven.errors import RequestError, WeightsError
from enliven.models.layered import saved_parts
from enliven.models.lora import Adapter
from enliven.models.networks import load_networks, save_networks
from enliven.pipeline import AvatarPipeline
from enliven.runtime.choices import Choices
from enliven.systems import MODELS, find_model
from enliven.train import checkpoint
from enliven.train.backbones import cuts
from enliven.train.student import Clips, StudentRecipe, _batches, _imitating, _matching, distill
from enliven.types import Progress
from tiny import tiny_networks, tiny_spec

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
    boxes = torch.tensor([[4, 16 * person, 20, 16 * person + 12] for person in range(people)])
    for number in range(2):
        torch.manual_seed(number)
        clip = EncodedClip(
            torch.randn(4, 8, 4, 4),
            torch.randn(8, 4, 4, 4),
            torch.arange(0, 32, 4),
            torch.randn(people, 32, 2, 16),
            torch.zeros(people, 29, 5),
            "a man with a hat",
            False,
            Heads(boxes, (32, 32)) if people > 1 else None,
        )
        save_encoded(clip, folder / f"{number}.safetensors")


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


def test_a_finished_run_is_not_trained_again(recipe: StudentRecipe) -> None:
    distill(recipe)
    first = load_networks(recipe.weights).backbone.state_dict()
    distill(recipe)
    again = load_networks(recipe.weights).backbone.state_dict()
    assert all(torch.equal(value, again[name]) for name, value in first.items())


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
    batches = _batches(replace(recipe, clips=clips, batch=4), student, saved_parts(recipe.teacher))
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
    batch = _batches(recipe, find_model("tiny-student"), saved_parts(recipe.teacher)).make()
    text = load_networks(recipe.teacher).text
    untold = batch["cond"].without(text=True, audio=True)
    for said, caption in ((batch["cond"].text, "a man with a hat"), (untold.text, "a hat")):
        torch.testing.assert_close(said.tokens, text([caption]).tokens.expand_as(said.tokens))
    assert not untold.audio.any()
    assert batch["cond"].audio.any()


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


@pytest.mark.parametrize("example", ["distill-longcat.toml", "distill-soul.toml"])
def test_shipped_recipes_make_students_of_shipped_teachers(example: str) -> None:
    recipe = config.parse(StudentRecipe, config.read(EXAMPLES / example))
    spec = find_model(recipe.model)
    assert spec.teacher == recipe.teacher.name
    assert spec.steps == recipe.steps
    assert recipe.weights.name == spec.name
