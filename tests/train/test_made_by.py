"""Of which encoders the clips in a folder are; the commands that keep it are tested with it, too."""

from pathlib import Path

import pytest
from torch import nn

from enliven.errors import ConfigError
from enliven.train.made_by import MADE_BY, require_same
from tiny import tiny_soul, tiny_soul_networks


def encoders(seed: int = 0) -> list[nn.Module]:
    networks = tiny_soul_networks(seed)
    assert networks.audio is not None
    return [networks.autoencoder, networks.audio]


def test_a_folder_holds_clips_of_one_kind(tmp_path: Path) -> None:
    spec, place = tiny_soul(), tmp_path / MADE_BY
    for _ in range(2):
        require_same(place, spec, encoders(), 25)
    kept = place.read_bytes()
    with pytest.raises(ConfigError, match="clips of other encoders, those of tiny-soul"):
        require_same(place, spec, encoders(seed=1), 25)
    with pytest.raises(ConfigError, match="clips of 25 frames a second, not 16"):
        require_same(place, spec, encoders(), 16)
    assert place.read_bytes() == kept


def test_only_one_of_two_encoders_is_another(tmp_path: Path) -> None:
    place = tmp_path / MADE_BY
    require_same(place, tiny_soul(), encoders(), 25)
    with pytest.raises(ConfigError, match="other encoders"):
        require_same(place, tiny_soul(), [encoders()[0], encoders(seed=1)[1]], 25)
