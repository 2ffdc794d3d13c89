"""Tests of what a student saves."""

from collections.abc import Iterator

import pytest

from bench_cases import case
from enliven.bench import students
from enliven.bench.ablation_cost import Cost
from enliven.bench.students import against_teacher
from enliven.pipeline import AvatarPipeline, GenerateRequest


def test_a_student_is_told_against_its_teacher_in_many_steps_and_in_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    student = AvatarPipeline.load("longcat-toon-4step")
    own = AvatarPipeline.load("longcat-toon").spec.steps
    late: Iterator[float] = iter([0.0, 0.0, 99.0] * 3)  # a slow one of three is no measure

    def cost(pipeline: AvatarPipeline, request: GenerateRequest) -> Cost:
        assert request.audio
        passes = pipeline.spec.steps * (2 if pipeline.spec.guidance.text > 1 else 1)
        return Cost(passes, backbone=float(passes), rest=1.0 + next(late), video_seconds=1.6)

    monkeypatch.setattr(students, "clip_cost", cost)
    many, few = against_teacher(student, case(2.0)).checks
    assert (many.value, few.value) == pytest.approx((51 / 5, (2 * own + 1) / 5))
    assert "in 25 guided steps" in many.name
    assert many.passed
    assert f"in its own {own} steps" in few.name
