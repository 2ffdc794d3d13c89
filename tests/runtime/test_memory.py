"""Plans over a table of machines and models."""

from dataclasses import replace

import pytest

from enliven.errors import ConfigError
from enliven.runtime.machine import Machine
from enliven.runtime.memory import EIGHT_BITS, MemoryPlan, Needs, NetworkNeeds, Quantise, plan_memory, weights_bytes

GIB = 2**30
MILLION = 10**6

TOON = Needs(
    {
        "backbone": NetworkNeeds(6 * MILLION, (MILLION,) * 6, working=13 * MILLION),
        "autoencoder": NetworkNeeds(2 * MILLION, working=10 * MILLION, whole=40 * MILLION),
        "audio": NetworkNeeds(MILLION),
        "text": NetworkNeeds(MILLION, (MILLION // 4,) * 3),
    },
    cache=2 * MILLION,
)
# As found for the models of those names.
LONGCAT = Needs(
    {
        "backbone": NetworkNeeds(15_872 * MILLION, (329 * MILLION,) * 48, working=int(3.9 * GIB)),
        "autoencoder": NetworkNeeds(127 * MILLION, working=int(6.6 * GIB), whole=int(10.6 * GIB)),
        "audio": NetworkNeeds(94 * MILLION),
        "text": NetworkNeeds(5_681 * MILLION, (193 * MILLION,) * 24),
    },
    cache=int(5.7 * GIB),
)
SOUL = Needs(
    {
        "backbone": NetworkNeeds(6_166 * MILLION, (202 * MILLION,) * 30, working=int(4.5 * GIB)),
        "autoencoder": NetworkNeeds(890 * MILLION, working=int(8.3 * GIB), whole=int(14.5 * GIB)),
        "audio": NetworkNeeds(8 * MILLION),
        "text": NetworkNeeds(5_681 * MILLION, (193 * MILLION,) * 24),
    }
)
LAPTOP, WORKSTATION = Machine(8 * GIB), Machine(64 * GIB, 24 * GIB)
SMALL_HOST, SERVER = Machine(16 * GIB, 24 * GIB), Machine(256 * GIB, 80 * GIB)

EVERYTHING = MemoryPlan("float32")
LARGE = MemoryPlan("bfloat16")
STREAMED = replace(LARGE, release_text=True, stream_decoder=True)
BLOCKS = replace(STREAMED, offload=True)


@pytest.mark.parametrize(
    ("needs", "machine", "expected", "fits"),
    [
        (TOON, LAPTOP, EVERYTHING, True),
        (TOON, WORKSTATION, EVERYTHING, True),
        (LONGCAT, SERVER, LARGE, True),
        (LONGCAT, WORKSTATION, BLOCKS, True),
        (LONGCAT, SMALL_HOST, replace(BLOCKS, held=False), True),
        (LONGCAT, Machine(32 * GIB, 24 * GIB), replace(BLOCKS, quantise="int8"), True),
        (LONGCAT, Machine(32 * GIB), replace(BLOCKS, held=False), True),
        (LONGCAT, LAPTOP, replace(BLOCKS, held=False, cache=False), False),
        (LONGCAT, Machine(64 * GIB, 48 * GIB), replace(LARGE, release_text=True), True),
        (LONGCAT, Machine(64 * GIB, 44 * GIB), STREAMED, True),
        (SOUL, SERVER, LARGE, True),
        (SOUL, WORKSTATION, BLOCKS, True),
        (SOUL, Machine(16 * GIB, 28 * GIB), STREAMED, True),
        (SOUL, LAPTOP, replace(BLOCKS, held=False), False),
    ],
)
def test_the_fastest_plan_that_fits(needs: Needs, machine: Machine, expected: MemoryPlan, *, fits: bool) -> None:
    plan = plan_memory(needs, machine)
    assert replace(plan, needed=0, room=0) == expected
    assert plan.fits is fits
    assert plan.needed > 0


@pytest.mark.parametrize("needs", [TOON, LONGCAT, SOUL])
@pytest.mark.parametrize("machine", [LAPTOP, WORKSTATION, SMALL_HOST, SERVER])
def test_low_takes_the_least_and_full_keeps_everything(needs: Needs, machine: Machine) -> None:
    low, auto, full = (plan_memory(needs, machine, choice) for choice in ("low", "auto", "full"))
    assert low.needed <= auto.needed <= full.needed
    assert low.offload
    assert replace(full, needed=0, room=0) == MemoryPlan(needs.dtype)
    assert low.fits or not auto.fits


def test_more_memory_never_makes_a_plan_slower_or_less_exact() -> None:
    plans = [plan_memory(LONGCAT, Machine(64 * GIB, gib * GIB)) for gib in range(6, 96, 6)]
    prices = [(not plan.fits, plan.quantise != "none", plan.offload, plan.stream_decoder) for plan in plans]
    assert prices == sorted(prices, reverse=True)


def test_what_is_counted() -> None:
    """By hand: with blocks one by one, a GPU holds two, and the largest of reading, making and decoding counts."""
    low = plan_memory(LONGCAT, WORKSTATION)
    others = 4 * (127 + 94) * MILLION
    backbone = 2 * (15_872 - 48 * 329 + 2 * 329) * MILLION
    assert low.needed == others + backbone + int(3.9 * GIB) + int(5.7 * GIB)
    full = plan_memory(LONGCAT, WORKSTATION, "full")
    assert full.needed == others + 2 * (15_872 + 5_681) * MILLION + int(10.6 * GIB)
    assert weights_bytes(LONGCAT, "bfloat16", "int8")["backbone"] == 15_872 * MILLION
    assert weights_bytes(LONGCAT, "bfloat16", "int8")["text"] == 2 * 5_681 * MILLION


def test_what_is_encoded_counts_beside_what_stays() -> None:
    """By hand: a draft that takes more than decoding; a text encoder that has read is gone by then, or is not."""
    autoencoder = replace(LONGCAT.parts["autoencoder"], encoding=12 * GIB)
    needs = replace(LONGCAT, parts={**LONGCAT.parts, "autoencoder": autoencoder})
    low, full = (plan_memory(needs, WORKSTATION, choice, "none") for choice in ("low", "full"))
    others = 4 * (127 + 94) * MILLION
    assert full.needed == others + 2 * (15_872 + 5_681) * MILLION + 12 * GIB
    assert low.release_text
    assert low.needed == others + 2 * (15_872 - 48 * 329 + 2 * 329) * MILLION + 12 * GIB


@pytest.mark.parametrize("small", EIGHT_BITS)
def test_eight_bits_are_counted_with_what_is_beside_them(small: Quantise) -> None:
    """By hand: a byte each, one more for what stays bfloat16, four for each scale; these are taken as always there."""
    backbone = replace(LONGCAT.parts["backbone"], exact=20 * MILLION, scales=3 * MILLION)
    needs = replace(LONGCAT, parts={**LONGCAT.parts, "backbone": backbone})
    beside = (20 + 4 * 3) * MILLION
    assert weights_bytes(needs, "bfloat16", small)["backbone"] == 15_872 * MILLION + beside
    assert weights_bytes(needs, "bfloat16") == weights_bytes(LONGCAT, "bfloat16")
    low = plan_memory(needs, WORKSTATION, "low", small)
    held = (15_872 - 48 * 329 + 2 * 329) * MILLION + beside
    assert low.needed == 4 * (127 + 94) * MILLION + held + int(6.6 * GIB)
    nearly = Machine(int((48 * 329 * MILLION + beside) / 0.7) - 1, 24 * GIB)
    assert not any(plan.offload for plan in (plan_memory(needs, nearly, choice, small) for choice in ("low", "auto")))
    assert plan_memory(needs, replace(nearly, memory=nearly.memory + 2), "low", small).offload


def test_a_number_is_so_much_of_the_device() -> None:
    assert plan_memory(LONGCAT, SERVER).needed > 24 * GIB
    part = plan_memory(LONGCAT, SERVER, 24)
    assert part.needed <= 24 * GIB == part.room
    assert replace(part, needed=0, room=0) == BLOCKS
    assert plan_memory(LONGCAT, SERVER, 0.5).fits is False
    assert plan_memory(LONGCAT, SERVER, 1000) == plan_memory(LONGCAT, SERVER), "no more than there is"


@pytest.mark.parametrize("choice", ["auto", "low", "full", 24])
@pytest.mark.parametrize("machine", [LAPTOP, WORKSTATION, SMALL_HOST, SERVER, Machine(32 * GIB, 24 * GIB)])
def test_numbers_that_were_chosen_are_kept_in_any_memory(choice: str | float, machine: Machine) -> None:
    assert plan_memory(LONGCAT, machine, choice, "none").quantise == "none"
    for name in EIGHT_BITS:
        small = plan_memory(LONGCAT, machine, choice, name)
        assert small.quantise == name
        assert small.held, "blocks that are made small here are in no file"
    assert small.needed == plan_memory(LONGCAT, machine, choice, "int8").needed, "fp8 takes as much"
    stored = replace(LONGCAT, stored="int8")
    assert plan_memory(stored, machine, choice).quantise == "int8"
    assert plan_memory(stored, machine, choice).needed < plan_memory(LONGCAT, machine, choice, "none").needed


@pytest.mark.parametrize("choice", ["auto", "low", "full", 8])
def test_a_cpu_never_makes_weights_small_unasked(choice: str | float) -> None:
    """Blocks from files take less than small ones that stay, and are exact."""
    for gib in (4, 16, 64):
        assert plan_memory(LONGCAT, Machine(gib * GIB), choice).quantise == "none"


def test_a_gpu_makes_them_int8_unasked_and_never_fp8() -> None:
    """Which is as large and three times farther from normal weights."""
    chosen = {plan_memory(LONGCAT, Machine(32 * GIB, gib * GIB)).quantise for gib in range(4, 96, 4)}
    assert chosen == {"none", "int8"}


def test_the_type_that_was_asked_for_counts() -> None:
    wide = plan_memory(replace(LONGCAT, asked="float32"), SERVER, "full")
    assert wide.dtype == "float32"
    assert wide.needed - plan_memory(LONGCAT, SERVER, "full").needed == 2 * (15_872 + 5_681) * MILLION


@pytest.mark.parametrize("choice", ["tiny", "", 0, -4.0])
def test_an_unknown_choice_is_refused(choice: str | float) -> None:
    with pytest.raises(ConfigError, match=rf"--memory {choice!r} is not known"):
        plan_memory(TOON, LAPTOP, choice)
