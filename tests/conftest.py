"""Fixtures every test sees."""

import random
from collections.abc import Iterator

import numpy
import pytest
import torch


@pytest.fixture(autouse=True)
def restored_randomness() -> Iterator[None]:
    """Random state does not leak from one test into the next."""
    python, array, tensor = random.getstate(), numpy.random.get_state(), torch.random.get_rng_state()
    yield
    random.setstate(python)
    numpy.random.set_state(array)
    torch.random.set_rng_state(tensor)
