"""Tests of the Wan autoencoders: the published sizes and cost, decoding in pieces, gradients, the disk."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from enliven.models.networks import load_network, read_params, save_network
from enliven.models.vae import VideoAutoencoder
from enliven.models.wan_autoencoder import EVAE, WAN_2_2, WanAutoencoder, WanAutoencoderParams

WAN_2_1_TINY = WanAutoencoderParams({"base_dim": 8, "dim_mult": [1, 1, 1, 1], "num_res_blocks": 1})
UNNORMALISED = {name: value for name, value in WAN_2_2.config.items() if not name.startswith("latents_")}
WAN_2_2_TINY = WanAutoencoderParams({**UNNORMALISED, "z_dim": 6, "base_dim": 4, "decoder_base_dim": 2})
TABLE_1 = {  # parameters and multiplications of convolutions at 81 x 720 x 1280, Soul, Table 1
    "teacher": (WAN_2_2, 555_050_000, 688.577e12),
    "eVAE": (EVAE, 34_965_580, 43.345e12),
}


@pytest.fixture(scope="module", params=[WAN_2_1_TINY, WAN_2_2_TINY], ids=["2.1", "2.2"])
def autoencoder(request: pytest.FixtureRequest) -> WanAutoencoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return WanAutoencoder(request.param).eval().requires_grad_(False)


def some_latents(autoencoder: WanAutoencoder, count: int) -> Tensor:
    return torch.randn(1, autoencoder.channels, count, 2, 3, generator=torch.Generator().manual_seed(1))


def on_meta(params: WanAutoencoderParams) -> WanAutoencoder:
    with torch.device("meta"):
        return WanAutoencoder(params)


def parameters(*modules: torch.nn.Module) -> int:
    return sum(value.numel() for module in modules for value in module.parameters())


@pytest.mark.parametrize("name", TABLE_1)
def test_decoders_have_the_published_size_and_cost(name: str) -> None:
    params, size, multiplications = TABLE_1[name]
    autoencoder = on_meta(params)
    assert parameters(autoencoder.network.decoder) == pytest.approx(size, rel=1e-5)
    stream, counted = autoencoder.stream(), []
    for frames in (1, 4):
        with FlopCounterMode(display=False) as counter:
            video = stream.push(torch.zeros(1, 48, 1, 720 // 16, 1280 // 16, device="meta"))
        assert video.shape == (1, 3, frames, 720, 1280)
        counted.append(counter.get_flop_counts()["Global"][torch.ops.aten.convolution] / 2)
    first, later = counted
    assert first + 20 * later == pytest.approx(multiplications, rel=2e-5)


def test_the_rest_has_the_published_size_and_is_shared() -> None:
    teacher, student = on_meta(WAN_2_2).network, on_meta(EVAE).network
    assert parameters(teacher.encoder, teacher.quant_conv) == pytest.approx(149_637_000, rel=1e-5)
    assert parameters(student.decoder) == 34_965_580
    assert parameters(student.post_quant_conv) == 2_352
    shapes = [
        {name: value.shape for name, value in network.state_dict().items() if not name.startswith("decoder.")}
        for network in (teacher, student)
    ]
    assert shapes[0] == shapes[1]


def test_factors_follow_from_the_config() -> None:
    for params, expected in ((WanAutoencoderParams(), (16, 8, 4)), (WAN_2_2, (48, 16, 4)), (EVAE, (48, 16, 4))):
        autoencoder = on_meta(params)
        assert (autoencoder.channels, autoencoder.spatial_factor, autoencoder.temporal_factor) == expected
    assert len(WAN_2_2.config["latents_mean"]) == len(WAN_2_2.config["latents_std"]) == 48


def test_a_published_config_is_read_and_what_no_network_knows_is_dropped(tmp_path: Path) -> None:
    on_meta(WanAutoencoderParams({**WAN_2_2_TINY.config, "clip_output": False, "_diffusers_version": "0.35"}))
    config = tmp_path / "config.json"
    config.write_text('{"_class_name": "AutoencoderKLWan", "z_dim": 48, "patch_size": 2, "clip_output": false}')
    params = read_params(config)
    assert isinstance(params, WanAutoencoderParams)
    assert (params.channels, params.spatial_factor) == (48, 16)
    with pytest.raises(TypeError, match="base_dimm"):
        on_meta(WanAutoencoderParams({"base_dimm": 4}))


def test_it_keeps_the_contract(autoencoder: WanAutoencoder) -> None:
    assert isinstance(autoencoder, VideoAutoencoder)
    side = autoencoder.spatial_factor
    video = torch.rand(1, 3, 9, 2 * side, 3 * side) * 2 - 1
    latents = autoencoder.encode(video)
    assert latents.shape == (1, autoencoder.channels, 3, 2, 3)
    assert autoencoder.decode(latents).shape == video.shape
    with pytest.raises(ValueError, match="8 frames do not fill whole latents; give 4k \\+ 1 frames, such as 5"):
        autoencoder.encode(video[:, :, :8])


def test_what_a_video_begins_with_is_encoded_as_it_is_alone(autoencoder: WanAutoencoder) -> None:
    side = autoencoder.spatial_factor
    video = torch.rand(1, 3, 13, 2 * side, 2 * side) * 2 - 1
    whole, alone = autoencoder.encode(video), autoencoder.encode(video[:, :, :5])
    torch.testing.assert_close(whole[:, :, :2], alone, atol=1e-5, rtol=1e-5)
    later = autoencoder.encode(video[:, :, 4:])
    assert (whole[:, :, 2] - later[:, :, 1]).abs().max() > 1e-3, "and what comes later sees what was before"


@pytest.mark.parametrize("pieces", [[5], [1, 4], [2, 3], [3, 1, 1], [1, 1, 1, 1, 1]])
def test_pieces_decode_as_the_whole_does(autoencoder: WanAutoencoder, pieces: list[int]) -> None:
    """Against the decoding of diffusers, in double precision, restored from its state before every piece."""
    autoencoder.double()
    latents = some_latents(autoencoder, 5)
    whole = autoencoder.network.decode(latents * autoencoder.latent_std + autoencoder.latent_mean).sample
    stream = autoencoder.stream()
    assert stream.state() == {}
    parts = []
    for piece in latents.split(pieces, dim=2):
        stream = autoencoder.stream({name: value.clone() for name, value in stream.state().items()})
        parts.append(stream.push(piece))
    autoencoder.float()
    torch.testing.assert_close(torch.cat(parts, 2), whole.float(), atol=1e-6, rtol=0)


def test_the_state_does_not_grow(autoencoder: WanAutoencoder) -> None:
    stream = autoencoder.stream()
    sizes = []
    for latent in some_latents(autoencoder, 6).split(1, dim=2):
        stream.push(latent)
        held = stream.state().values()
        assert all(value.untyped_storage().nbytes() == value.nbytes for value in held)
        assert all(value.shape[2] <= 2 for value in held if value.numel())
        sizes.append(sum(value.nbytes for value in held))
    assert sizes[0] < sizes[1] <= sizes[2] == sizes[-1]


def test_painting_has_gradients_through_the_memory_and_is_not_clamped(autoencoder: WanAutoencoder) -> None:
    latents = some_latents(autoencoder, 3).requires_grad_()
    memory: dict[str, Tensor] = {}
    first, *_, last = [autoencoder.paint(piece, memory) for piece in latents.split(1, dim=2)]
    assert (first.shape[2], last.shape[2]) == (1, 4)
    (seen,) = torch.autograd.grad(last.square().sum(), latents)
    assert (seen.abs().amax(dim=(0, 1, 3, 4)) > 0).all()
    assert autoencoder.paint(1000 * latents, {}).abs().max() > 1


def test_only_the_decoder_trains_when_the_encoder_is_frozen() -> None:
    autoencoder = WanAutoencoder(WAN_2_2_TINY)
    autoencoder.freeze_encoder()
    trained = {name.split(".")[1] for name, value in autoencoder.named_parameters() if value.requires_grad}
    assert trained == {"decoder", "post_quant_conv"}
    stages = list(autoencoder.stages().values())
    assert len({id(stage) for stage in stages}) == len(stages) == 5


def test_latents_are_normalised_as_published(autoencoder: WanAutoencoder) -> None:
    side = autoencoder.spatial_factor
    video = torch.rand(1, 3, 1, side, side) * 2 - 1
    raw = autoencoder.network.encode(video).latent_dist.mode()
    mean, std = (torch.tensor(getattr(autoencoder.network.config, f"latents_{name}")) for name in ("mean", "std"))
    expected = (raw - mean.view(1, -1, 1, 1, 1)) / std.view(1, -1, 1, 1, 1)
    torch.testing.assert_close(autoencoder.encode(video), expected)


def test_it_survives_the_disk(autoencoder: WanAutoencoder, tmp_path: Path) -> None:
    save_network(autoencoder, tmp_path, torch.float32)
    latents = some_latents(autoencoder, 2)
    assert torch.equal(load_network(tmp_path).decode(latents), autoencoder.decode(latents))
