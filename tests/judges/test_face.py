import pytest
import torch

from enliven.judges.face import READINGS, FaceJudge, similarity
from enliven.judges.judge import Judge
from toon_people import PEOPLE, drawn, talking

POSE = "the shipped judge reads head poses of a few people badly; see benchmarks/2026-11-20-judges.md"


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("mouth_open", 0.97),
        ("roll", 0.9),
        ("blink", 0.9),
        pytest.param("yaw", 0.9, marks=pytest.mark.xfail(strict=True, reason=POSE)),
    ],
)
def test_it_reads_people_it_has_never_seen(name: str, least: float) -> None:
    states = [talking(seed, 16) for seed in PEOPLE]
    verdict = FaceJudge()(torch.cat([drawn(seed, state) for seed, state in zip(PEOPLE, states, strict=True)]))
    truth = torch.cat([getattr(state, name) for state in states])
    assert torch.corrcoef(torch.stack([verdict[name], truth]))[0, 1] > least


def test_the_same_person_is_more_alike_than_any_other() -> None:
    frames = torch.cat([drawn(seed, talking(seed, 2)) for seed in PEOPLE])
    identity = FaceJudge()(frames)["identity"]
    first, second = identity[::2], identity[1::2]
    alike = first @ second.T
    assert alike.diag().min() > 0.8
    assert (alike.argmax(dim=1) == torch.arange(len(PEOPLE))).all()
    assert torch.allclose(similarity(first, second[0]), alike[:, 0], atol=1e-5)


def test_the_verdict_has_a_value_for_every_frame_of_any_size() -> None:
    judge = FaceJudge()
    assert isinstance(judge, Judge)
    verdict = judge(drawn(PEOPLE[0], talking(0, 3), side=96))
    assert set(verdict) == {*READINGS, "identity"}
    assert {len(values) for values in verdict.values()} == {3}
    assert 0 <= verdict["mouth_open"].min() <= verdict["mouth_open"].max() <= 1
