import pytest

from enliven.errors import RequestError
from enliven.media.buckets import BUCKETS, choose_bucket
from golden_files import golden


def test_buckets_are_those_of_the_published_code() -> None:
    cases = [case for case in golden("preprocess").cases if case.kind == "bucket"]
    assert len(cases) == 10
    for case in cases:
        chosen = [
            choose_bucket(height, width, case.args["resolution"], case.args["scale_factor_spatial"])
            for height, width in case.inputs["sizes"].tolist()
        ]
        assert chosen == [tuple(size) for size in case.outputs["target_hw"].tolist()], case.name


def test_every_size_divides_by_its_step_and_has_the_aspect_it_is_listed_under() -> None:
    assert sum(len(table) for table in BUCKETS.values()) == 135
    for (_, step), table in BUCKETS.items():
        for ratio, (height, width) in table.items():
            assert height % step == 0
            assert width % step == 0
            assert height / width == pytest.approx(ratio, abs=0.011)


def test_a_square_takes_the_first_of_two_equally_near() -> None:
    assert choose_bucket(500, 500) == (608, 640)


def test_a_step_without_table_is_refused() -> None:
    with pytest.raises(RequestError, match="in steps of 48"):
        choose_bucket(500, 500, "480p", 48)
