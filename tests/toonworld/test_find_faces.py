"""Faces are found where they were drawn."""

import pytest
import torch

from enliven.toonworld.character import sample_character
from enliven.toonworld.draw import draw_group, head_boxes
from enliven.toonworld.find_faces import find_faces
from enliven.toonworld.state import FaceState

Box = tuple[int, int, int, int]


def shared(first: Box, second: Box) -> float:
    """Intersection over union."""
    height = max(0, min(first[2], second[2]) - max(first[0], second[0]))
    width = max(0, min(first[3], second[3]) - max(first[1], second[1]))
    both = height * width
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return both / (sum(areas) - both)


def drawn(seeds: range, size: tuple[int, int]) -> tuple[torch.Tensor, list[Box]]:
    people = [(sample_character(seed), FaceState.neutral(1)) for seed in seeds]
    return (draw_group(people, size)[0] * 255).round().to(torch.uint8), head_boxes(people, size)


@pytest.mark.parametrize(("people", "size"), [(1, (128, 128)), (2, (128, 224)), (3, (128, 320))])
def test_most_drawn_people_are_found_where_they_are(people: int, size: tuple[int, int]) -> None:
    """Of five pictures, at least four are right in all of their people."""
    right = 0
    for group in range(5):
        first = 4_000_000 + 10 * group
        picture, heads = drawn(range(first, first + people), size)
        found = find_faces(picture)
        right += len(found) == people and all(shared(box, head) > 0.6 for box, head in zip(found, heads, strict=True))
    assert right >= 4


def test_a_place_without_people_has_no_faces() -> None:
    assert find_faces(torch.full((3, 128, 224), 200, dtype=torch.uint8)) == []
    noise = torch.randint(0, 256, (3, 128, 224), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert find_faces(noise) == []
