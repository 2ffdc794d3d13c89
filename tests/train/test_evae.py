"""Tests of the training of efficient decoders: what costs nothing, what is learnt, what stays."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from enliven.judges.trunk import Trunk
from enliven.models.vae import ToonAutoencoder, ToonAutoencoderParams
from enliven.models.wan_autoencoder import WAN_2_2, WanAutoencoder, WanAutoencoderParams
from enliven.train.evae import (
    EfficientDecoderObjective,
    EfficientWeights,
    Painter,
    changes,
    paint_in_pieces,
    perceived_distance,
    random_pieces,
)
from enliven.train.narrowing import begin_narrow
from enliven.train.trainer import TrainConfig, Trainer

WIDE = ToonAutoencoderParams(4, 16, 8, blocks=(1, 1, 1), spatial_factor=16, middle_widths=(12,))
NARROW = replace(WIDE, inner_width=8, middle_widths=(6,), outer_width=4)
PLAIN = {name: value for name, value in WAN_2_2.config.items() if not name.startswith("latents_")}
WAN = WanAutoencoderParams({**PLAIN, "z_dim": 4, "base_dim": 4, "decoder_base_dim": 4, "num_res_blocks": 1})
WAN_NARROW = WanAutoencoderParams({**WAN.config, "decoder_base_dim": 2})


def build(params: ToonAutoencoderParams | WanAutoencoderParams, seed: int = 0) -> ToonAutoencoder | WanAutoencoder:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = ToonAutoencoder(params) if isinstance(params, ToonAutoencoderParams) else WanAutoencoder(params)
        for name, value in network.named_parameters():
            if value.ndim > 1 and "decoder" in name:
                nn.init.normal_(value, std=0.7 / value[0].numel() ** 0.5)
    return network


def videos(count: int = 2, frames: int = 9, side: int = 32) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    coarse = torch.rand(count, 3, frames, 4, 4, generator=generator)
    return (nn.functional.interpolate(coarse, (frames, side, side), mode="trilinear") * 255).to(torch.uint8)


def copied(params: ToonAutoencoderParams | WanAutoencoderParams) -> EfficientDecoderObjective:
    teacher, student = build(params), build(params, 1)
    begin_narrow(student, teacher, torch.randn(1, 4, 2, 2, 2))
    objective = EfficientDecoderObjective(student, teacher, eyes=Trunk())
    for head in objective.heads.values():
        nn.init.eye_(head.weight)
    return objective


@pytest.mark.parametrize("params", [WIDE, WAN], ids=["toon", "wan"])
def test_a_copy_of_the_teacher_costs_nothing_where_the_teacher_is_the_truth(
    params: ToonAutoencoderParams | WanAutoencoderParams,
) -> None:
    objective = copied(params)
    assert isinstance(objective.student, Painter)
    losses = objective.losses({"latents": torch.randn(2, 4, 3, 2, 2)}, 0)
    assert {name: loss.item() for name, loss in losses.items()} == pytest.approx(dict.fromkeys(losses, 0.0), abs=1e-6)
    assert losses.keys() == {"truth", "teacher", "edges", "motion", "features", "perceived"}
    seen = objective.losses({"video": videos()}, 0)
    assert seen["teacher"] == 0
    assert all(seen[name] > 0.001 for name in ("truth", "edges", "motion", "perceived"))


@pytest.mark.parametrize(("wide", "narrow"), [(WIDE, NARROW), (WAN, WAN_NARROW)], ids=["toon", "wan"])
def test_only_decoder_and_heads_of_the_student_are_taught(
    wide: ToonAutoencoderParams | WanAutoencoderParams, narrow: ToonAutoencoderParams | WanAutoencoderParams
) -> None:
    teacher, student = build(wide), build(narrow, 1)
    objective = EfficientDecoderObjective(student, teacher)
    losses = objective.losses({"video": videos()}, 0)
    assert "perceived" not in losses
    losses["features"].backward(retain_graph=True)
    assert all(head.weight.grad.abs().max() > 0 for head in objective.heads.values())
    sum(losses.values()).backward()  # type: ignore[union-attr]
    taught = {name for name, value in student.named_parameters() if value.grad is not None}
    frozen = ("analysis", "network.encoder", "network.quant_conv")
    assert taught == {name for name, _ in student.named_parameters() if not name.startswith(frozen)}
    assert not [name for name, value in teacher.named_parameters() if value.requires_grad or value.grad is not None]


def test_features_fade_evenly_and_then_are_not_looked_at() -> None:
    teacher, student = build(WIDE), build(NARROW, 1)
    objective = EfficientDecoderObjective(student, teacher, EfficientWeights(feature_steps=100, noise=0))
    batch = {"latents": torch.randn(1, 4, 2, 1, 1)}
    found = [objective.losses(batch, step)["features"].item() for step in (0, 50, 75, 100, 500)]
    assert found == pytest.approx([found[0], found[0] / 2, found[0] / 4, 0, 0], rel=1e-4)
    assert found[0] > 0.1


def test_guesses_of_a_video_are_painted_as_they_are_and_the_video_is_true() -> None:
    objective, video = copied(WIDE), videos()
    guesses = torch.randn(2, 4, 3, 2, 2)
    losses = objective.losses({"video": video, "latents": guesses}, 0)
    error = objective.teacher.paint(guesses, {}) - (video.float() / 127.5 - 1)
    assert losses["teacher"].item() == pytest.approx(0, abs=1e-6)
    assert losses["truth"].item() == pytest.approx(error.abs().mean().item(), abs=1e-5)


def test_a_teacher_that_counts_for_nothing_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = EfficientWeights(teacher=0.0, feature_steps=1)
    objective = EfficientDecoderObjective(build(NARROW, 1), build(WIDE), weights)
    painted: list[int] = []
    paint = objective.teacher.paint
    monkeypatch.setattr(objective.teacher, "paint", lambda *given: painted.append(1) or paint(*given))
    for step, batch in (
        (1, {"video": videos()}),
        (0, {"video": videos()}),
        (1, {"latents": torch.randn(1, 4, 1, 2, 2)}),
    ):
        losses = objective.losses(batch, step)
        assert (losses["teacher"], bool(painted)) == (0, step == 0 or "latents" in batch)
        painted.clear()


def test_a_narrow_decoder_learns_from_its_teacher(tmp_path: Path) -> None:
    torch.manual_seed(0)
    teacher, student = build(WIDE), build(NARROW, 1)
    begin_narrow(student, teacher, torch.randn(2, 4, 2, 2, 2))
    objective = EfficientDecoderObjective(student, teacher, EfficientWeights(feature_steps=10))
    config = TrainConfig(tmp_path, steps=20, learning_rate=1e-2, muon="", warmup=1, dtype="float32", ema=0.9)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    latents = torch.randn(2, 4, 3, 3, 3)
    target = teacher.paint(latents, {})

    def distance() -> float:
        return (student.paint(latents, {}) - target).abs().mean().item()

    began = distance()
    trainer = Trainer(config, objective, iter(lambda: {"latents": torch.randn(2, 4, 2, 3, 3)}, None))
    trainer.fit()
    assert distance() < 0.87 * began
    student.load_state_dict(trainer.averaged("autoencoder"))
    after = student.state_dict()
    assert torch.equal(after["analysis.weight"], before["analysis.weight"])
    assert not torch.equal(after["decoder_in.weight"], before["decoder_in.weight"])
    assert not [name for name in trainer.average if "teacher" in name]


def test_pieces_are_random_and_fill_the_whole() -> None:
    torch.manual_seed(0)
    drawn = {tuple(random_pieces(4)) for _ in range(300)}
    assert drawn == {(4,), (3, 1), (1, 3), (2, 2), (2, 1, 1), (1, 2, 1), (1, 1, 2), (1, 1, 1, 1)}


@pytest.mark.parametrize("params", [WIDE, WAN], ids=["toon", "wan"])
def test_features_of_pieces_are_as_many_as_those_of_the_whole(
    params: ToonAutoencoderParams | WanAutoencoderParams,
) -> None:
    painter, latents = build(params), torch.randn(1, 4, 4, 2, 2)
    whole, rows = paint_in_pieces(painter, latents, [4], watch=True)
    video, others = paint_in_pieces(painter, latents, [1, 2, 1], watch=True)
    torch.testing.assert_close(video, whole, atol=1e-4, rtol=1e-4)
    assert rows.keys() == painter.stages().keys()
    for name, values in rows.items():
        torch.testing.assert_close(others[name], values, atol=1e-4, rtol=1e-4)
    assert paint_in_pieces(painter, latents, [4])[1] == {}
    assert not any(stage._forward_hooks for stage in painter.stages().values())


def test_changes_see_flicker_and_edges_apart() -> None:
    flicker = torch.zeros(1, 3, 4, 8, 8)
    flicker[:, :, ::2] = 1
    edge = torch.zeros(1, 3, 4, 8, 8)
    edge[..., 4:] = 1
    assert (changes(flicker, (2,)), changes(flicker, (3, 4))) == (1, 0)
    assert (changes(edge, (2,)), changes(edge, (3, 4))) == (0, pytest.approx(1 / 7))
    assert changes(edge[:, :, :1], (2,)) == 0


def test_what_looks_less_alike_is_farther_away() -> None:
    torch.manual_seed(0)
    eyes = Trunk().eval()
    video = videos().float() / 127.5 - 1
    near, far = (perceived_distance(eyes, video + level * torch.randn_like(video), video) for level in (0.1, 0.6))
    assert perceived_distance(eyes, video, video) == 0
    assert 0 < near < far
