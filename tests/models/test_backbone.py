"""What a clip cache keeps."""

import torch

from enliven.models.backbone import ClipCache


def test_the_first_keys_stay_in_front_of_all_later_ones() -> None:
    cache, clean, noise = ClipCache(), torch.zeros(1, 2, 3, 1, 4), torch.ones(1, 1, 3, 1, 4)
    assert not cache.filled
    cache[5].extend(clean, clean + 10)
    for step in (1, 2):
        keys, values = cache[5].extend(step * noise, step * noise + 10)
        assert keys[0, :, 0, 0, 0].tolist() == [0, 0, step]
        assert values[0, :, 0, 0, 0].tolist() == [10, 10, step + 10]
    assert cache.filled


def test_blocks_remember_apart() -> None:
    cache, keys = ClipCache(), torch.zeros(1, 1, 1, 1, 1)
    cache[0].extend(keys, keys)
    assert cache[1].keys is None
