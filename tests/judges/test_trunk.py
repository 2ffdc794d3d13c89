import pytest
import torch

from enliven.judges.face import FaceNetwork
from enliven.judges.quality import QualityNetwork
from enliven.judges.trunk import Trunk


@pytest.mark.parametrize("fine", [False, True])
def test_three_resolutions(*, fine: bool) -> None:
    shapes = [feature.shape[2:] for feature in Trunk(fine=fine).eval()(torch.zeros(1, 3, 96, 96))]
    assert shapes == [(24, 24), (12, 12), (6, 6)]


def test_judges_stay_small() -> None:
    for network in (FaceNetwork(), QualityNetwork()):
        assert sum(parameter.numel() for parameter in network.parameters()) < 1_000_000
