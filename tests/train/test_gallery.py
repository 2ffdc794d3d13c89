import torch

from enliven.judges.face import READINGS
from enliven.train.gallery import Gallery, code_gallery, draw_gallery, gallery_batches, moving_state, pair, random_state
from tiny import tiny_networks


def test_a_pair_differs_but_not_much() -> None:
    one, other = pair(5)
    assert one != other
    same = [name for name in ("person", "cloth", "scene", "wall") if getattr(one, name) == getattr(other, name)]
    assert len(same) == 4


def test_states_cover_closed_and_wide_mouths_and_stay_in_range() -> None:
    state = random_state(400, torch.Generator().manual_seed(0))
    assert (state.mouth_open == 0).float().mean() > 0.15
    assert state.mouth_open.max() > 0.9
    assert (state.blink > 0.5).float().mean() > 0.02
    moving = moving_state(13, torch.Generator().manual_seed(0))
    assert moving.yaw.diff().abs().max() < 0.01
    assert moving.mouth_open.diff().abs().max() > 0.01


def test_batches_hold_each_person_twice_with_the_truth() -> None:
    gallery = draw_gallery(range(3, 5), poses=3)
    assert gallery.frames.shape == (4, 3, 3, 128, 128)
    batch = next(gallery_batches(gallery, pairs=2))
    assert batch["frames"].shape == (4, 2, 3, 128, 128)
    for person, (first, second) in zip(batch["frames"], batch["readings"], strict=True):
        assert not torch.equal(person[0], person[1])
        assert not torch.equal(first, second)
    found = (gallery.frames == batch["frames"][0, 0]).flatten(2).all(dim=2)
    assert torch.equal(gallery.readings[found][0], batch["readings"][0, 0])
    assert gallery.readings.shape[-1] == len(READINGS)


def test_an_autoencoder_gives_pictures_and_spoilt_ones() -> None:
    gallery = code_gallery(range(2), tiny_networks().autoencoder, poses=2, frames=5)
    assert gallery.frames.shape == gallery.spoilt.shape == (4, 2, 3, 128, 128)
    assert not torch.equal(gallery.frames, gallery.spoilt)
    assert len(Gallery.join([gallery, gallery])) == 8
