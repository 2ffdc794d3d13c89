from dataclasses import replace

import pytest

from enliven.diffusion.clips import plan_clips
from enliven.models.wan import WanParams
from enliven.systems.carry import RepairLatents
from enliven.systems.longcat import LONGCAT, LONGCAT_TOON
from enliven.systems.soul import SOUL, SOUL_FAST, SOUL_TOON, SOUL_TOON_4STEP, PivotalFrame
from enliven.systems.spec import ModelSpec
from enliven.systems.trial import passes
from enliven.types import Role


@pytest.mark.parametrize(
    ("context", "reference", "roles"),
    [
        (2, True, [Role.REFERENCE, Role.CONTEXT, Role.CONTEXT, Role.NOISE, Role.NOISE]),
        (0, True, [Role.REFERENCE, *[Role.NOISE] * 4]),
        (0, False, [Role.NOISE] * 4),
    ],
)
def test_a_pivot_is_the_first_frame_and_everything_sees_everything(
    context: int, reference: bool, roles: list[Role]
) -> None:
    layout = PivotalFrame()(frames=4, context=context, reference=reference)
    assert list(layout.roles) == roles
    assert layout.positions == tuple(range(len(roles)))
    ((queries, keys),) = [(rule.queries, rule.keys) for rule in layout.attention]
    assert keys == (queries,)


@pytest.mark.parametrize("spec", [SOUL, SOUL_FAST, SOUL_TOON, SOUL_TOON_4STEP], ids=lambda spec: spec.name)
def test_the_codebook_says_how_much_is_repaired(spec: ModelSpec) -> None:
    assert spec.carry == RepairLatents(percentile=None, required=True)


def test_a_clip_of_soul_is_a_window_of_28_latent_frames() -> None:
    first, second = plan_clips(200, SOUL.geometry, SOUL.arrange, portrait=True)
    assert [len(plan.layout) for plan in (first, second)] == [28, 28]
    assert [role for role in second.layout.roles if role is not Role.NOISE] == [Role.REFERENCE, *[Role.CONTEXT] * 2]
    assert len(second.emits) == 92
    assert second.hears.start == 100


def test_nothing_is_heard_of_videos_without_sound_while_longcat_hears_silence() -> None:
    assert {spec.soundless for spec in (SOUL, SOUL_FAST, SOUL_TOON, SOUL_TOON_4STEP)} == {"null"}
    assert {spec.soundless for spec in (LONGCAT, LONGCAT_TOON)} == {"silence"}


def test_the_backbone_is_that_of_wan_with_ears() -> None:
    assert isinstance(SOUL.params.backbone, WanParams)
    assert (SOUL.params.backbone.width, SOUL.params.backbone.num_layers) == (3072, 30)


def test_the_student_takes_the_four_steps_it_was_distilled_at() -> None:
    assert SOUL_FAST.schedule(SOUL_FAST.steps) == pytest.approx([1.0, 0.9375, 0.8333, 0.625, 0.0], abs=1e-4)


def test_the_toon_window_fits_into_the_clips_it_learns_from() -> None:
    """Clips of 61 video frames hold 16 latent frames, the first of which is of another kind."""
    assert 1 + SOUL_TOON.geometry.latents(SOUL_TOON.geometry.frames) <= 15


def test_the_toon_student_takes_a_twelfth_of_the_passes_of_its_teacher_in_25_steps() -> None:
    """By itself the teacher takes two steps, guided: as many passes as the student."""
    assert (passes(replace(SOUL_TOON, steps=25)), passes(SOUL_TOON), passes(SOUL_TOON_4STEP)) == (50, 4, 4)
    assert SOUL_TOON_4STEP.schedule(4) == pytest.approx([1.0, 0.9, 0.75, 0.5, 0.0])
