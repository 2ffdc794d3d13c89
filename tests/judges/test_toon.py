import json

import pytest

from enliven.errors import ConfigError
from enliven.judges.judge import Judge
from enliven.judges.toon import JUDGES, judge_toon, load_judge
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


def test_judges_are_found_by_name() -> None:
    for name in JUDGES:
        judge = load_judge(name)
        assert isinstance(judge, Judge)
        assert judge.name == name
    with pytest.raises(ConfigError, match="toon-taste"):
        load_judge("toon-taste")
