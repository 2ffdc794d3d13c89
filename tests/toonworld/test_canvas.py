import torch

from enliven.toonworld.canvas import Canvas, Placement
from enliven.toonworld.palette import WHITE
from enliven.toonworld.shapes import box, circle


def _disc(size: int, x: float, blur: float = 0.0) -> torch.Tensor:
    pixels = torch.zeros(1, 3, size, size)
    placement = Placement(torch.tensor([x]), torch.tensor([0.5]), scale=0.25)
    region = Canvas(pixels).region(placement, (-1.2, -1.2, 1.2, 1.2))
    region.fill(circle(region.u, region.v, 1.0), WHITE, blur=blur)
    return pixels


def test_edges_are_anti_aliased() -> None:
    small, large = _disc(32, 0.0), _disc(256, 0.0)
    assert torch.allclose(small, torch.nn.functional.avg_pool2d(large, 8), atol=0.08)
    assert ((small > 0.05) & (small < 0.95)).any()


def test_movement_by_a_fraction_of_a_pixel_shows() -> None:
    columns = torch.arange(64)
    centres = [(_disc(64, x).sum((0, 1, 2)) * columns).sum() / _disc(64, x).sum() for x in (0.0, 0.25 / 64, 0.5 / 64)]
    assert torch.allclose(torch.stack(centres).diff(), torch.full((2,), 0.25), atol=0.02)


def test_a_region_holds_its_box_in_every_frame() -> None:
    pixels = torch.zeros(3, 3, 64, 96)
    roll = torch.tensor([-0.5, 0.0, 0.5])
    placement = Placement(torch.tensor([-0.2, 0.0, 0.2]), torch.full((3,), 0.9), 0.2, roll, pivot=1.0)
    region = Canvas(pixels).region(placement, (-0.6, -1.1, 0.6, 0.1))
    region.fill(box(region.u, region.v + 0.5, 0.5, 0.5), WHITE)
    everywhere = torch.zeros_like(pixels)
    whole = Canvas(everywhere).region(placement, (-9.0, -9.0, 9.0, 9.0))
    whole.fill(box(whole.u, whole.v + 0.5, 0.5, 0.5), WHITE)
    assert torch.allclose(pixels, everywhere, atol=1e-5)
    assert region.pixels.numel() < whole.pixels.numel()


def test_a_region_outside_the_frame_paints_nothing() -> None:
    pixels = torch.zeros(1, 3, 16, 16)
    region = Canvas(pixels).region(Placement(torch.tensor([4.0]), torch.tensor([4.0]), 0.2), (-1.0, -1.0, 1.0, 1.0))
    region.fill(circle(region.u, region.v, 1.0), WHITE)
    assert not pixels.any()


def test_paint_stays_within() -> None:
    pixels = torch.zeros(1, 3, 64, 64)
    region = Canvas(pixels).region(Placement(torch.zeros(1), torch.tensor([0.5]), 0.3), (-1.5, -1.5, 1.5, 1.5))
    region.fill(circle(region.u, region.v, 1.4), WHITE, blur=0.5, within=circle(region.u, region.v, 0.5))
    assert not pixels[0, 0, 32, :20].any()
    assert pixels[0, 0, 32, 32] > 0.9
