import pytest
import torch

from enliven.models.vae import ToonAutoencoder, ToonAutoencoderParams
from enliven.systems.carry import Carry, KeepLatents, Reencode
from enliven.systems.longcat import ReferenceSkip
from enliven.types import LatentClip


@pytest.fixture(scope="module")
def autoencoder() -> ToonAutoencoder:
    torch.manual_seed(0)
    return ToonAutoencoder(ToonAutoencoderParams(channels=16, outer_width=16, inner_width=16)).eval()


@pytest.mark.parametrize("carry", [KeepLatents(), Reencode()])
def test_context_has_the_size_the_next_clip_needs(carry: Carry, autoencoder: ToonAutoencoder) -> None:
    clip = LatentClip(torch.randn(1, 16, 12, 4, 4), ReferenceSkip(5, 1)(frames=11, context=2, reference=True))
    frames = torch.randint(0, 256, (36, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        assert carry(clip, frames, 2, autoencoder).shape == (1, 16, 2, 4, 4)


def test_stitching_hands_over_the_very_latents(autoencoder: ToonAutoencoder) -> None:
    clip = LatentClip(torch.randn(1, 16, 12, 4, 4), ReferenceSkip(5, 1)(frames=11, context=2, reference=True))
    frames = torch.zeros(36, 3, 32, 32, dtype=torch.uint8)
    assert torch.equal(KeepLatents()(clip, frames, 2, autoencoder), clip.latents[:, :, 10:])


def test_encoding_again_starts_from_the_last_frames(autoencoder: ToonAutoencoder) -> None:
    clip = LatentClip(torch.zeros(1, 16, 12, 4, 4), ReferenceSkip(5, 1)(frames=11, context=2, reference=True))
    frames = torch.randint(0, 256, (36, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        handed = Reencode()(clip, frames, 2, autoencoder)
        expected = autoencoder.encode((frames[31:].float() / 127.5 - 1).transpose(0, 1)[None])
    torch.testing.assert_close(handed, expected)
