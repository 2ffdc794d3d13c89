import torch

from enliven.train.spoiling_latents import LATENT_FAULTS, spoil_latents


def test_every_fault_changes_latents_by_degrees() -> None:
    torch.manual_seed(0)
    latents, others = torch.randn(12, 4, 4, 16, 16), torch.randn(12, 4, 4, 16, 16)
    for fault in LATENT_FAULTS:
        spoilt = spoil_latents(latents, others, fault)
        assert spoilt.shape == latents.shape
        error = (spoilt - latents).abs().mean(dim=(1, 2, 3, 4))
        assert error.max() > 1.5 * error.min(), fault
        assert error.max() > 0.05, fault


def test_faults_are_mixed_unless_one_is_named() -> None:
    torch.manual_seed(1)
    latents = torch.ones(24, 4, 2, 16, 16)
    assert (spoil_latents(latents, latents, lambda clip, *_: 2 * clip) == 2).all()
    untouched = (spoil_latents(latents, latents) == latents).flatten(1).all(dim=1)
    assert 0 < untouched.sum() < len(latents)


def test_a_wrong_pose_comes_from_the_same_person() -> None:
    mosaic = next(fault for fault in LATENT_FAULTS if fault.__name__ == "_mosaic")
    torch.manual_seed(2)
    spoilt = spoil_latents(torch.zeros(2, 1, 1, 16, 16), torch.stack([torch.ones(1, 1, 16, 16)] * 2), mosaic)
    patches = spoilt.unfold(3, 2, 2).unfold(4, 2, 2).flatten(5)
    assert torch.equal(patches.amax(dim=-1), patches.amin(dim=-1))
    assert 0 < spoilt.mean() < 0.7
