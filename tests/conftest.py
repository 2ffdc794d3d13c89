"""Fixtures every test sees."""

import random
from collections.abc import Iterator

import numpy
import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests keep speech features in a folder of their own, never in that of whoever runs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENLIVEN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def restored_randomness() -> Iterator[None]:
    """Random state does not leak from one test into the next."""
    python, array, tensor = random.getstate(), numpy.random.get_state(), torch.random.get_rng_state()
    yield
    random.setstate(python)
    numpy.random.set_state(array)
    torch.random.set_rng_state(tensor)
