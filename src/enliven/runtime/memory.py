"""How a model is run in the memory that there is: what is kept, what comes and goes, and in which numbers.

``plan_memory`` goes down a ladder, from what is fastest to what is smallest, and stops where it fits. Only weights of
8 bits change the numbers, and come after all on a GPU that does not. Unasked they are int8: fp8 takes as much, and is
three times farther from weights that are spread normally.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from enliven.errors import ConfigError
from enliven.runtime.machine import Machine

Dtype = Literal["float32", "bfloat16"]
Quantise = Literal["none", "int8", "fp8"]
Memory = Literal["auto", "low", "full"] | float

EIGHT_BITS: tuple[Quantise, ...] = ("int8", "fp8")
GIB = 2**30
BYTES = {"float32": 4, "bfloat16": 2}
CHOICES = ("auto", "low", "full")  # or a number of GiB
LARGE = 10**9  # parameters of a backbone from which on it runs in bfloat16, as large ones are published
BACKBONE, AUTOENCODER, TEXT = "backbone", "autoencoder", "text"
IN_DTYPE = (BACKBONE, TEXT)  # the others have float32
GPU_SHARE = 0.92  # of its memory; the rest is for kernels, and for gaps between tensors
CPU_SHARE = 0.85  # of the memory that is free
PINNED_SHARE = 0.7  # of the CPU's memory that may wait for the GPU, out of reach of everyone else


@dataclass(frozen=True, slots=True)
class NetworkNeeds:
    """One network: numbers of all ``parameters`` and of those in each of its blocks, and bytes it takes to compute.

    ``working`` is taken when it works through what it is given piece by piece, ``whole`` when all at once, and
    ``encoding`` by what becomes latents before a clip is made. In 8 bits, ``exact`` of the parameters stay as they are,
    and there are ``scales`` beside the others.
    """

    parameters: int
    blocks: tuple[int, ...] = ()
    working: int = 0
    whole: int = 0
    encoding: int = 0
    exact: int = 0
    scales: int = 0


@dataclass(frozen=True, slots=True)
class Needs:
    """What a model needs: its networks by name, and bytes for the keys and values of a clip's clean frames.

    ``asked`` is a type other than that of its size, and ``stored`` says what its weights are in their files.
    """

    parts: Mapping[str, NetworkNeeds]
    cache: int = 0
    asked: Dtype | None = None
    stored: Quantise = "none"

    @property
    def dtype(self) -> Dtype:
        """The numbers that the backbone and the text encoder run in; the autoencoder always has float32."""
        return self.asked or ("bfloat16" if self.parts[BACKBONE].parameters >= LARGE else "float32")


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """How to run.

    With ``offload``, the blocks of the backbone come to the device one by one; they wait in memory if ``held``, else in
    their files. With ``release_text``, the text encoder comes from its files, block by block, and nothing of it stays
    once it has read. With ``stream_decoder``, latents are decoded one by one. Without ``cache``, clean frames are
    computed anew in each step. ``needed`` bytes of ``room`` on the device are then used at most; 0 where nobody asked.
    """

    dtype: Dtype
    offload: bool = False
    held: bool = True
    quantise: Quantise = "none"
    release_text: bool = False
    stream_decoder: bool = False
    cache: bool = True
    needed: int = 0
    room: int = 0

    @property
    def fits(self) -> bool:
        """Whether the device has as much."""
        return self.needed <= self.room


def plan_memory(
    needs: Needs, machine: Machine, choice: str | float = "auto", quantise: Quantise | None = None
) -> MemoryPlan:
    """The plan for a machine: ``full`` keeps everything, ``low`` takes the least, ``auto`` the fastest that fits.

    A number is ``auto`` with as many GiB of the device. Weights are int8 where it helps, or as ``quantise`` says
    everywhere. Where nothing fits, the plan is the one that needs the least; ask ``fits``. Raises ConfigError for
    another choice.
    """
    if choice not in CHOICES and not (isinstance(choice, int | float) and choice > 0):
        raise ConfigError(f"--memory {choice!r} is not known", hint=f"choose {', '.join(CHOICES)}, or a number of GiB")
    room = int(GPU_SHARE * machine.gpu) if machine.gpu else int(CPU_SHARE * machine.memory)
    if isinstance(choice, int | float):
        room = min(room, int(choice * GIB))
    ladder = [
        replace(rung, needed=_peak(rung, needs, machine), room=room) for rung in _ladder(needs, machine, quantise)
    ]
    if choice == "full":
        return ladder[0]
    least = min(ladder, key=lambda plan: plan.needed)
    if choice == "low":
        return least
    return next((plan for plan in ladder if plan.fits), least)


def weights_bytes(needs: Needs, dtype: Dtype, quantise: Quantise = "none") -> dict[str, int]:
    """Bytes of the parameters of each part."""
    plan = MemoryPlan(dtype, quantise=quantise)
    return {name: _bytes(name, part, plan, part.parameters) for name, part in needs.parts.items()}


def _ladder(needs: Needs, machine: Machine, quantise: Quantise | None) -> list[MemoryPlan]:
    """From the fastest to the smallest; what does not change the numbers comes first.

    Blocks that are made small here are in no file, so they are never read from one.
    """
    everything = MemoryPlan(needs.dtype, quantise=needs.stored)
    released = replace(everything, release_text=True)
    streamed = replace(released, stream_decoder=True)
    held = replace(streamed, offload=True)
    mapped = replace(held, held=False)
    least = [replace(held, cache=False), replace(mapped, cache=False)]
    rungs = [everything, released, streamed, held, *_small(streamed, held), mapped, *least]
    if not machine.gpu:  # what is held takes the memory that is to be saved, and files are read as fast as it computes
        rungs = [everything, released, streamed, mapped, least[-1]]
    if quantise not in (None, "none", needs.stored):
        rungs = [replace(rung, quantise=quantise) for rung in rungs if rung.held]
    elif quantise is not None:
        rungs = [rung for rung in rungs if rung.quantise == quantise]
    return [
        rung for rung in dict.fromkeys(rungs) if not (rung.offload and rung.held) or _can_wait(needs, rung, machine)
    ]


def _small(*plans: MemoryPlan) -> list[MemoryPlan]:
    return [replace(plan, quantise=EIGHT_BITS[0]) for plan in plans]


def _can_wait(needs: Needs, plan: MemoryPlan, machine: Machine) -> bool:
    backbone = needs.parts[BACKBONE]
    return _bytes(BACKBONE, backbone, plan, sum(backbone.blocks)) <= PINNED_SHARE * machine.memory


def _peak(plan: MemoryPlan, needs: Needs, machine: Machine) -> int:
    """The most bytes that the device holds at a time: while reading, encoding, making, or decoding."""
    parts = needs.parts
    copies = 2 if machine.gpu else 1  # a GPU gets the next block while it computes
    held = {name: _resident(name, part, plan, copies) for name, part in parts.items()}
    stays = sum(size for name, size in held.items() if name != TEXT)
    text = held.get(TEXT, 0)
    reading = text + (parts[TEXT].working if TEXT in parts else 0)
    kept = 0 if plan.release_text else text
    making = kept + parts[BACKBONE].working + (needs.cache if plan.cache else 0)
    autoencoder = parts.get(AUTOENCODER, NetworkNeeds(0))
    encoding = kept + autoencoder.encoding
    decoding = kept + (autoencoder.working if plan.stream_decoder else autoencoder.whole)
    return stays + max(reading, encoding, making, decoding)


def _resident(name: str, part: NetworkNeeds, plan: MemoryPlan, copies: int) -> int:
    comes = part.blocks and ((name == BACKBONE and plan.offload) or (name == TEXT and plan.release_text))
    parameters = part.parameters - sum(part.blocks) + copies * max(part.blocks) if comes else part.parameters
    return _bytes(name, part, plan, parameters)


def _bytes(name: str, part: NetworkNeeds, plan: MemoryPlan, parameters: int) -> int:
    """Bytes of so many parameters of a part; in 8 bits, with what is beside them in all of it."""
    width = BYTES[plan.dtype] if name in IN_DTYPE else BYTES["float32"]
    if name != BACKBONE or plan.quantise == "none":
        return parameters * width
    return parameters + part.exact * (width - 1) + part.scales * BYTES["float32"]
