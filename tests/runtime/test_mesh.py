"""How the work is told to be shared; that it is shared rightly, the tests of each way to do so prove."""

import pytest

from enliven.errors import ConfigError
from enliven.runtime.mesh import Parallel, join, own_device


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("context=2", Parallel(context=2)),
        ("context=2, guidance=3", Parallel(2, 3)),
        ("sharded,context=4", Parallel(4, sharded=True)),
    ],
)
def test_what_is_told_is_understood_in_any_order(told: str, expected: Parallel) -> None:
    assert Parallel.parse(told) == expected
    assert Parallel.parse(str(expected)) == expected


def test_processes_are_counted() -> None:
    assert Parallel.parse("context=2,guidance=3,sharded").processes == 6


@pytest.mark.parametrize(
    "told", ["", "contxt=2", "context", "context=two", "context=0", "sharded=2", "context=2,context=2"]
)
def test_what_is_not_understood_is_refused(told: str) -> None:
    with pytest.raises(ConfigError, match="--parallel"):
        Parallel.parse(told)


def test_another_number_of_processes_says_how_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="context=2,guidance=2 is for 4 processes, but 2 started") as caught:
        join(Parallel(2, 2))
    assert "torchrun --nproc-per-node 4 -m enliven generate" in caught.value.hint


def test_every_process_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.set_device", lambda index: None)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert str(own_device()) == "cuda:1"
    assert str(own_device("cpu")) == "cpu"
    for device, rank in (("auto", "2"), ("cuda:0", "1")):
        monkeypatch.setenv("LOCAL_RANK", rank)
        with pytest.raises(ConfigError, match="device of its own; there are 2 GPUs"):
            own_device(device)
