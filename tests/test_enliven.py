"""The public surface."""

import pytest

import enliven


def test_every_public_name_is_there_and_named_once() -> None:
    assert sorted(name for names in enliven.HOMES.values() for name in names) == sorted(enliven.__all__)
    assert all(getattr(enliven, name) is not None for name in enliven.__all__)


def test_another_name_is_not() -> None:
    with pytest.raises(AttributeError, match="Avatar"):
        _ = enliven.Avatar
