from pathlib import Path

import pytest
import torch

from enliven.errors import RequestError, WeightsError
from enliven.models.layered import write_label
from enliven.models.networks import FULL, build_network
from enliven.models.wan import WanParams
from enliven.systems import MODELS, choose_model, find_model, offered
from enliven.systems.carry import KeepLatents
from enliven.systems.longcat import LONGCAT_TOON, ReferenceSkip
from enliven.systems.spec import ModelSpec, adjusted


@pytest.mark.parametrize("spec", MODELS.values(), ids=lambda spec: spec.name)
def test_the_parts_of_a_model_fit_together(spec: ModelSpec) -> None:
    backbone, audio = spec.params.backbone, spec.params.backbone.audio
    assert (audio is None) == (spec.params.audio is None) == (spec.voices == 0)
    assert backbone.in_channels == backbone.out_channels == spec.params.autoencoder.channels
    assert all(other.channels == spec.params.autoencoder.channels for other in spec.params.decoders.values())
    width = backbone.text_dim if isinstance(backbone, WanParams) else backbone.caption_channels
    assert width == spec.params.text.config["d_model"]
    assert audio is None or audio.vae_scale == spec.geometry.stride
    assert audio is None or spec.params.audio.rate % spec.geometry.fps == 0
    assert all(side % spec.side_step == 0 for side in spec.size)
    assert spec.schedule(spec.steps)[-1] == 0
    assert spec.decoder in {FULL, *spec.params.decoders}


@pytest.mark.parametrize("spec", [spec for spec in MODELS.values() if spec.voices != 0], ids=lambda spec: spec.name)
def test_ears_and_backbone_fit_together(spec: ModelSpec) -> None:
    audio = spec.params.backbone.audio
    with torch.device("meta"):
        ears = build_network(spec.params.audio)
    assert (audio.audio_channel, audio.audio_block) == (ears.channels, ears.layers)


def test_a_wrong_name_is_answered_by_the_nearest() -> None:
    with pytest.raises(RequestError, match="'longcat-tune'") as caught:
        find_model("longcat-tune")
    assert caught.value.hint == "did you mean 'longcat-toon'?"


def test_weights_are_found_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("enliven.systems.spec.PACKAGED", tmp_path / "package")
    monkeypatch.setenv("ENLIVEN_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsError, match="longcat-toon are not here"):
        _ = LONGCAT_TOON.weights
    (tmp_path / "longcat-toon").mkdir()
    assert LONGCAT_TOON.weights == tmp_path / "longcat-toon"


def test_requests_adjust_what_a_strategy_has() -> None:
    assert adjusted(ReferenceSkip(5, 1), {"position": 9, "radius": None}) == ReferenceSkip(9, 1)
    with pytest.raises(RequestError, match="no radius to set"):
        adjusted(KeepLatents(), {"radius": 2})
    with pytest.raises(RequestError, match="radius -1"):
        adjusted(ReferenceSkip(5, 1), {"radius": -1})


def test_a_student_is_offered_once_it_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("enliven.systems.spec.PACKAGED", tmp_path)
    (tmp_path / "soul-toon").mkdir()
    names = {spec.name for spec in offered()}
    assert "soul-toon-4step" not in names
    assert names >= {"soul-toon", "soul-fast", "longcat-toon"}, "a student whose teacher is not here is no news"
    (tmp_path / "soul-toon-4step").mkdir()
    assert {spec.name for spec in offered()} == names | {"soul-toon-4step"}


def test_a_student_is_known_by_its_label_and_not_by_its_size(tmp_path: Path) -> None:
    write_label(tmp_path / "mine", "longcat-toon-4step", LONGCAT_TOON.weights)
    assert choose_model(None, tmp_path / "mine").name == "longcat-toon-4step"
    assert choose_model("longcat-toon", tmp_path / "mine") == LONGCAT_TOON
    assert choose_model(None, LONGCAT_TOON.weights) == LONGCAT_TOON
