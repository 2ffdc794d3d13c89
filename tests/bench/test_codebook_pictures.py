import torch

from enliven.bench.codebook_drift import Drift
from enliven.bench.codebook_pictures import drift_plot, drift_sheet


def test_a_variant_keeps_its_colour_where_others_have_no_curve() -> None:
    def drift(value: float, clipped: list[float]) -> Drift:
        row = torch.full((3,), value)
        return Drift(row, row, row, row, torch.tensor(clipped))

    bare = drift_plot({"drawn": drift(0.0, []), "99": drift(1.0, [0.1, 0.1])}, [0.0, 1.6, 3.2])
    orange = torch.tensor([255, 127, 14])  # the second colour of matplotlib; thin lines are paler

    def has_orange(top: float, bottom: float) -> bool:
        strip = bare.crop((0, int(top * bare.height), bare.width, int(bottom * bare.height)))
        pixels = torch.tensor(list(strip.tobytes()), dtype=torch.int16).view(-1, 3)
        return bool((pixels - orange).abs().sum(dim=1).min() < 100)

    assert has_orange(0.2, 0.4)
    assert has_orange(0.8, 1.0)


def test_every_variant_has_a_row_of_the_same_moments() -> None:
    frames = torch.zeros(4, 3, 64, 64, dtype=torch.uint8)
    one, two = (drift_sheet(dict.fromkeys(names, frames), [0.0, 1.0, 2.0, 3.0]) for names in (["a"], ["a", "b"]))
    assert one.width == two.width
    assert two.height > 1.7 * one.height
