"""Tests of crops of films: what is drawn, and what is left out."""

from itertools import islice
from pathlib import Path

import pytest
import torch

from enliven.data.films import Film
from enliven.errors import MediaError
from enliven.train.film_crops import FilmCrops
from media_files import drifting, grey, write_frames


@pytest.fixture
def films(tmp_path: Path) -> list[Film]:
    """A dark film and a bright one, both slowly becoming brighter."""
    times = [40 * index for index in range(50)]
    for start in (20, 140):
        write_frames(tmp_path / f"{start}.mp4", grey(list(range(start, start + 100, 2)), 64, 96), times)
    return [Film(path) for path in sorted(tmp_path.iterdir())]


def test_batches_are_squares_of_every_film_and_every_moment(films: list[Film]) -> None:
    torch.manual_seed(0)
    batches = list(islice(FilmCrops(films, 25.0, 2, 5, 32), 30))
    assert {batch["video"].shape for batch in batches} == {(2, 3, 5, 32, 32)}
    assert {batch["video"].dtype for batch in batches} == {torch.uint8}
    first = torch.cat([batch["video"].float().mean(dim=(1, 3, 4)) for batch in batches])
    assert ((first.diff(dim=1) - 2).abs() < 1.5).all()  # neighbours in time
    dark, bright = first[first[:, 0] < 130, 0], first[first[:, 0] > 130, 0]
    for found, begin in ((dark, 20), (bright, 140)):
        assert begin - 2 < found.min() < begin + 16
        assert begin + 74 < found.max() < begin + 92  # 45 frames after the first, five are left


def test_places_differ(tmp_path: Path) -> None:
    still = drifting(1, 64, 96).expand(9, -1, -1, -1)
    film = Film(write_frames(tmp_path / "still.mp4", still, [40 * index for index in range(9)]))
    torch.manual_seed(0)
    crops = [batch["video"][0, :, 0].float() for batch in islice(FilmCrops([film], 25.0, 1, 5, 32), 12)]
    assert len({round(each.mean().item(), 1) for each in crops}) > 6


def test_the_same_random_numbers_draw_the_same_also_where_films_fail(
    films: list[Film], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"no film")
    every = [*films, Film(tmp_path / "bad.mp4"), Film(tmp_path / "absent.mp4")]

    def drawn(crops: FilmCrops, seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return next(iter(crops))["video"]

    old = FilmCrops(every, 25.0, 2, 5, 32)
    for seed in range(8):
        drawn(old, seed)
    assert old.left_out == {2, 3}
    assert f"{tmp_path / 'bad.mp4'} is left out" in caplog.text
    assert all(torch.equal(drawn(old, seed), drawn(FilmCrops(every, 25.0, 2, 5, 32), seed)) for seed in range(8))


@pytest.mark.parametrize(("frames", "side"), [(65, 32), (5, 80)], ids=["short", "small"])
def test_films_that_are_too_short_or_small_are_left_out(films: list[Film], frames: int, side: int) -> None:
    with pytest.raises(MediaError, match="none of 2 films can be learnt from"):
        next(iter(FilmCrops(films, 25.0, 1, frames, side)))
