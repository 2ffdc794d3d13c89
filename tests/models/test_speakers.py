"""Labels and the map they come from, against tensors of the published network and by hand."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from enliven.errors import RequestError
from enliven.models.speakers import (
    Bands,
    LabelSpeakers,
    Speakers,
    band_each,
    band_two,
    place_speakers,
    reference_map,
    turn,
)
from golden_files import golden


@pytest.mark.parametrize(("name", "tolerance"), [("m0", 5e-5), ("m1", 5e-5), ("m2", 5e-5), ("m_bf16", 0.01)])
def test_the_map_is_the_published_one(name: str, tolerance: float) -> None:
    case = golden("attn_map").case(name)
    frames, rows, columns = case.args["shape"]
    tokens = rows * columns
    q = case.inputs["noise_q"].unflatten(1, (-1, tokens))
    seen = reference_map(q, case.inputs["key"][:, :tokens], case.inputs["ref_target_masks"].float()[None])
    assert frames == q.shape[1] + 1
    assert_close(seen[0].flatten(1).float(), case.outputs["map"].float(), atol=tolerance, rtol=0)


def test_labels_turn_as_published() -> None:
    case = golden("rope").case("lrope")
    turned = turn(case.inputs["x"].transpose(1, 2), case.inputs["pos"])
    assert_close(turned.transpose(1, 2), case.outputs["x"], atol=5e-5, rtol=0)


def test_two_voices_have_the_published_labels() -> None:
    published = Bands(((0.0, 4.0), (20.0, 24.0), (12.0, 12.0)), (2.0, 22.0))
    assert band_each(2, 3) == band_two(2, 3) == published
    assert band_each(2, 3, span=20, width=5) == Bands(((0.0, 5.0), (15.0, 20.0), (10.0, 10.0)), (2.5, 17.5))


@pytest.mark.parametrize(("regions", "rest"), [(3, 12.0), (4, 100.0), (5, 100.0)])
def test_published_listeners_share_the_label_of_the_background(regions: int, rest: float) -> None:
    bands = band_two(3, regions)
    assert bands.voices == (2.0, 22.0, rest)
    assert bands.regions[2:] == ((rest, rest),) * (regions - 2)


@pytest.mark.parametrize("voices", [3, 4, 7])
def test_each_of_many_voices_is_a_learnt_distance_away_from_all_others(voices: int) -> None:
    bands = band_each(voices, voices + 1)
    *people, background = bands.regions
    for index, (low, high) in enumerate(people):
        assert low <= bands.voices[index] <= high
        others = [label for other, label in enumerate(bands.voices) if other != index]
        assert min(min(abs(label - low), abs(label - high)) for label in others) >= 18
        assert not low <= background[0] <= high


def test_each_voice_needs_its_region_and_the_picture_its_background() -> None:
    with pytest.raises(RequestError, match="3 voices and 3 regions of the picture; 4 regions were expected"):
        band_each(3, 3)


def picture(rows: list[str]) -> Tensor:
    """Regions of a drawing: digits are people, dots the background."""
    names = [*sorted(set("".join(rows)) - {"."}), "."]
    return torch.tensor([[[[cell == name for cell in row] for row in rows] for name in names]])


def test_a_token_belongs_to_its_nearest_pixel() -> None:
    regions = picture(["1111....", "11112222", "....2222", "........"])
    speakers = place_speakers(regions, (2, 4), band_each(2, 3), 2)
    assert speakers.masks.view(3, 2, 4).tolist() == [
        [[1, 1, 0, 0], [0] * 4],
        [[0] * 4, [0, 0, 1, 1]],
        [[0, 0, 1, 1], [1, 1, 0, 0]],
    ]
    assert speakers.voices.tolist() == [2, 2, 22, 22]


def test_a_speaker_too_small_to_be_seen_is_refused() -> None:
    regions = picture(["1111....", "11112...", "........", "........"])
    with pytest.raises(RequestError, match="region of speaker 2 holds no token of the 2 x 4"):
        place_speakers(regions, (2, 4), band_each(2, 3), 1)


def looking(at: list[int], size: int = 8) -> tuple[Tensor, Tensor]:
    """Queries that each look at one token of a reference of four."""
    keys = torch.eye(4, size)[None, :, None].repeat(1, 1, 2, 1)
    return 30 * keys[:, at][:, None], keys


@pytest.mark.parametrize("people", [2, 3])
def test_a_token_is_labelled_by_the_person_it_looks_at(people: int) -> None:
    names = ["1", "2", "3", "."] if people == 3 else ["1", "2", ".", "."]
    regions = picture(["".join(names)])
    speakers = place_speakers(regions, (1, 4), band_each(people, people + 1), 1)
    q, keys = looking([3, 1, 0, 2])
    labels = LabelSpeakers()(q, keys, speakers)[0, 0]
    assert_close(labels, torch.tensor([12.0, 24.0, 4.0, 44.0 if people == 3 else 12.0]), atol=1e-3, rtol=0)


def test_no_background_is_no_failure() -> None:
    """Two halves that leave nothing between them; the published map is not a number there."""
    speakers = Speakers(
        torch.tensor([[[1.0, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0]]]),
        torch.tensor(band_each(2, 3).regions),
        torch.tensor([2.0, 22.0]),
    )
    q, keys = looking([0, 3, 1, 2])
    assert_close(LabelSpeakers()(q, keys, speakers)[0, 0], torch.tensor([4.0, 24.0, 4.0, 24.0]), atol=1e-3, rtol=0)


def test_the_last_of_an_odd_number_of_heads_is_not_asked_but_a_single_one_is() -> None:
    q, keys, masks = torch.randn(1, 2, 4, 3, 8), torch.randn(1, 4, 3, 8), torch.eye(4)[None]
    seen = reference_map(q, keys, masks)
    assert_close(reference_map(q[:, :, :, :2], keys[:, :, :2], masks), seen)
    assert_close(reference_map(q[:, :, :, :1], keys[:, :, :1], masks).sum(1), torch.ones(1, 2, 4))


def test_more_regions_than_channels_are_refused() -> None:
    q, keys = looking([0, 1, 2, 3])
    with pytest.raises(RequestError, match="9 regions of the picture, but a head has 8 channels"):
        reference_map(q, keys, torch.ones(1, 9, 4))
