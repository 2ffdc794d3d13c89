import json

from enliven.judges.face import FaceJudge
from enliven.judges.judge import Judge
from enliven.judges.quality import QualityJudge
from enliven.judges.toon import judge_toon
from enliven.toonworld.state import FaceState
from enliven.types import Video
from toon_people import PEOPLE, drawn, talking


def test_the_opinion_is_json_with_a_number_for_every_frame() -> None:
    video = Video(drawn(PEOPLE[0], talking(0, 30)), 25.0)
    opinion = json.loads(json.dumps(judge_toon(video, drawn(PEOPLE[0], FaceState.neutral(1))[0])))
    assert opinion["frames"] == 30
    assert {len(values) for values in opinion["per_frame"].values()} == {30}
    assert opinion["summary"]["identity_last_second"] > 0.8
    assert opinion["summary"]["clean_face_share"] > 0.8
    assert "identity" not in judge_toon(video)["summary"]


def test_all_judges_keep_what_a_judge_promises() -> None:
    judges = (FaceJudge(), QualityJudge())
    assert all(isinstance(judge, Judge) for judge in judges)
    assert len({judge.name for judge in judges}) == 2
