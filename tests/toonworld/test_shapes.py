import pytest
import torch
from torch import Tensor

from enliven.toonworld import shapes

AXIS = torch.linspace(-1, 1, 401)
U, V = AXIS[None, :], AXIS[:, None]
CELL = (2 / 400) ** 2


def _area(distance: Tensor) -> float:
    return float((distance < 0).sum()) * CELL


def test_areas_match_geometry() -> None:
    assert _area(shapes.ellipse(U, V, 0.8, 0.4)) == pytest.approx(torch.pi * 0.32, rel=0.01)
    assert _area(shapes.box(U, V, 0.5, 0.3)) == pytest.approx(0.6, rel=0.03)
    assert _area(shapes.segment(U, V, (-0.5, 0.0), (0.5, 0.0), 0.1)) == pytest.approx(0.2 + torch.pi * 0.01, rel=0.03)
    assert _area(shapes.bow(U, V, 0.5, 0.0, 0.1)) == pytest.approx(0.2 + torch.pi * 0.01, rel=0.03)


@pytest.mark.parametrize(
    "distance",
    [
        shapes.ellipse(U, V, 0.7, 0.35),
        shapes.box(U, V, 0.6, 0.4, 0.1),
        shapes.bow(U, V, 0.6, 0.3, 0.08),
        shapes.circle(U, V, 0.5),
        shapes.segment(U, V, (-0.3, -0.2), (0.4, 0.1), 0.1),
        shapes.heart(U, V, 0.6),
    ],
)
def test_edges_are_about_one_unit_steep(distance: Tensor) -> None:
    down, across = torch.gradient(distance.expand(401, 401), spacing=2 / 400)
    steepness = torch.sqrt(down**2 + across**2)[distance.expand(401, 401).abs() < 0.02]
    assert steepness.quantile(0.05) > 0.7
    assert steepness.quantile(0.95) < 1.3


def test_joining_and_cutting() -> None:
    left, right = shapes.circle(U + 0.3, V, 0.4), shapes.circle(U - 0.3, V, 0.4)
    union, rounded = shapes.join(left, right), shapes.join(left, right, 0.2)
    assert torch.equal(union < 0, (left < 0) | (right < 0))
    assert _area(rounded) > _area(union)
    assert torch.equal(shapes.cut(left, right) < 0, (left < 0) & (right > 0))
    assert torch.equal(shapes.both(left, right) < 0, (left < 0) & (right < 0))


def test_sizes_may_differ_from_frame_to_frame() -> None:
    sizes = torch.tensor([0.2, 0.6]).view(2, 1, 1)
    small, large = shapes.ellipse(U[None], V[None], sizes, sizes)
    assert _area(large) == pytest.approx(9 * _area(small), rel=0.05)
