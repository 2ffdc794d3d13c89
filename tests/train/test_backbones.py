"""A backbone learns, and a LoRA beside a backbone."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from enliven.data.clips import make_clip
from enliven.data.encoded import encode_clip
from enliven.errors import RequestError, WeightsError
from enliven.models.lora import attach_lora, read_lora
from enliven.models.networks import find_parts, load_network, save_network, save_networks
from enliven.models.vae import VideoAutoencoder
from enliven.models.wan_autoencoder import WanAutoencoder, WanAutoencoderParams
from enliven.systems.carry import KeepLatents, Reencode
from enliven.systems.longcat import LONGCAT_1_5, LONGCAT_1_5_UNDISTILLED, ReferenceSkip
from enliven.train.backbones import LoraChoice, LoraFlow, cuts, listening, train_backbone, train_lora
from enliven.train.cuts import PivotCuts, ReencodedCuts, StitchedCuts
from enliven.train.flow import FlowObjective
from enliven.train.trainer import Batch, TrainConfig
from enliven.types import Conditioning, LatentClip, Text
from tiny import PARAMS, tiny_networks, tiny_soul, tiny_spec

LAYOUT = ReferenceSkip(2, 1)(frames=5, context=2, reference=True)
CHOICE = LoraChoice(rank=2, alpha=3.0, targets=r"blocks\.\d\.attn\.")


def batches() -> Iterator[Batch]:
    while True:
        truth = torch.randn(2, 4, len(LAYOUT), 4, 4)
        text = Text(torch.randn(2, 3, 16))
        cond = Conditioning(text, text, torch.randn(2, 1, 17, 5, 2, 16))
        yield {"clip": LatentClip(truth, LAYOUT), "given": truth[:, :, :3], "cond": cond}


def config(folder: Path, **changes: object) -> TrainConfig:
    settings = {"steps": 4, "warmup": 0, "learning_rate": 0.01, "dtype": "float32", "muon": "", "decay": 0, "ema": 0.0}
    return TrainConfig(folder, **(settings | changes))


def tiny_wan() -> WanAutoencoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sizes = {"base_dim": 8, "dim_mult": [1, 1, 1, 1], "num_res_blocks": 1}
        return WanAutoencoder(WanAutoencoderParams(sizes)).eval().requires_grad_(False)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    save_networks(tiny_networks(), tmp_path / "weights", torch.float32)
    return tmp_path / "weights"


def test_what_a_backbone_learnt_is_saved(weights: Path, tmp_path: Path) -> None:
    network = load_network(weights / "backbone").requires_grad_(requires_grad=True)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    train_backbone(config(tmp_path / "run"), FlowObjective(network), batches(), tiny_spec(), weights)
    after = load_network(weights / "backbone").state_dict()
    assert sum(not torch.equal(value, before[name]) for name, value in after.items()) > 20
    save_network(tiny_networks(1).text, weights / "text")
    with pytest.raises(WeightsError, match="taught with another text"):
        find_parts(weights)


@pytest.mark.parametrize("recompute", [False, True])
def test_a_lora_learns_beside_its_network_and_is_read_again(weights: Path, tmp_path: Path, recompute: bool) -> None:
    network = load_network(weights / "backbone")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    file, settings = tmp_path / "lora.safetensors", config(tmp_path / "run", recompute=recompute)
    torch.manual_seed(0)
    train_lora(settings, network, CHOICE, batches(), tiny_spec(), weights, file=file)
    batch = next(batches())
    seen = (batch["clip"].latents, torch.rand(2, len(LAYOUT)), batch["cond"], LAYOUT)
    bare = load_network(weights / "backbone")
    with torch.no_grad():
        learnt, plain = network(*seen), bare(*seen)
        lora = read_lora(file)
        attach_lora(bare, lora)
        assert (learnt - plain).abs().max() > 1e-3
        torch.testing.assert_close(bare(*seen), learnt, atol=1e-3, rtol=1e-3)  # stored in half
    assert {change.scale for change in lora.changes.values()} == {1.5}
    assert all(".attn." in name for name in lora.changes)
    assert len(lora.changes) == 4
    held = {name: value for name, value in network.state_dict().items() if "lora" not in name}
    assert all(torch.equal(value, before[name]) for name, value in held.items())


def test_only_the_lora_is_in_its_checkpoint(weights: Path, tmp_path: Path) -> None:
    flow = LoraFlow(load_network(weights / "backbone"), CHOICE)
    assert {name.split(".")[-1] for name in flow.learnt.state_dict()} == {"down", "up"}
    assert all(not value.requires_grad for value in flow.frozen["backbone"].parameters())


def test_training_clips_are_those_of_the_model() -> None:
    assert isinstance(cuts(tiny_spec()), StitchedCuts)
    assert isinstance(cuts(tiny_soul()), PivotCuts)
    assert type(cuts(tiny_spec(carry=KeepLatents()))) is StitchedCuts
    assert cuts(LONGCAT_1_5) == cuts(LONGCAT_1_5_UNDISTILLED) == ReencodedCuts(frames=24, context=4)
    assert cuts(LONGCAT_1_5, people=2) == ReencodedCuts(24, 4, text=0.0, image=0.5)


@pytest.mark.parametrize("autoencoder", [tiny_networks().autoencoder, tiny_wan()], ids=["toon", "wan"])
def test_a_model_that_encodes_again_is_taught_the_context_that_it_will_be_given(autoencoder: VideoAutoencoder) -> None:
    networks, spec = replace(tiny_networks(), autoencoder=autoencoder), tiny_spec(carry=Reencode())
    clip = make_clip(3, None, frames=25, size=(32, 32))
    encoded = encode_clip(clip, autoencoder, networks.audio)
    shown = LatentClip(encoded.latents[None], ReferenceSkip(0, 0)(frames=7, context=0, reference=False))
    with torch.no_grad():
        given = spec.carry(shown, clip.frames[:5], 2, networks).context
        alone = autoencoder.encode((clip.frames[:17].float() / 127.5 - 1).transpose(0, 1)[None])
    cut = replace(cuts(spec), text=0.0, image=0.0, blur=0.0)([encoded])
    torch.testing.assert_close(cut.given[:, :, 1:], given, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(cut.clip.latents[:, :, 1:], alone, atol=1e-4, rtol=1e-4)
    assert cut.heard == range(17)


def test_a_backbone_hears_windows_of_its_own_size() -> None:
    told = listening(tiny_spec(), tiny_networks().audio)
    assert (told.window, told.stride) == (5, 1)
    silent = replace(tiny_spec(), params=replace(PARAMS, backbone=replace(PARAMS.backbone, audio=None)))
    with pytest.raises(RequestError, match="hears nothing"):
        listening(silent, tiny_networks().audio)
