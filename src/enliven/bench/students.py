"""What a student saves: a clip by it against a clip by its teacher, in the time of the processor.

Its teacher, as papers count it (Soul, Table 3), takes many guided steps. By itself it may take fewer where more bring
nothing, as small networks do; so it is told against both.
"""

import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median

from enliven.bench.ablation_cost import clip_cost
from enliven.bench.cases import Case
from enliven.bench.report import Check, Section
from enliven.bench.talkers import request_for
from enliven.pipeline import AvatarPipeline

STEPS = 25
REPEATS = 3


def against_teacher(pipeline: AvatarPipeline, case: Case) -> Section:
    """The cost of a first clip of ``case``. The pipeline is that of a model with a teacher."""
    student = pipeline.spec
    assert student.teacher is not None
    teacher = AvatarPipeline.load(student.teacher)
    many = AvatarPipeline(replace(teacher.spec, steps=STEPS), teacher.networks, teacher.choices, teacher.execution)
    own, guided, quick = (_seconds(each, case) for each in (teacher, many, pipeline))
    return Section(
        "Against the teacher",
        [
            Check(f"times as quick as {student.teacher} in {STEPS} guided steps", guided / quick, least=6.0),
            Check(f"times as quick as {student.teacher} in its own {teacher.spec.steps} steps", own / quick),
        ],
        {"processor seconds for a second of video": {"student": quick, "teacher": own, f"{STEPS} steps": guided}},
    )


def _seconds(pipeline: AvatarPipeline, case: Case) -> float:
    """Of the processor, for a second of video, all but reading and encoding what is asked for."""
    with tempfile.TemporaryDirectory() as folder:
        request = request_for(case, Path(folder), pipeline.spec.size)
        costs = [clip_cost(pipeline, request) for _ in range(REPEATS)]
    return median((each.backbone + each.rest) / each.video_seconds for each in costs)
