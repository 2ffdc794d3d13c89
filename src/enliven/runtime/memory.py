"""How a model is run in the memory that there is: what is kept, what comes and goes, and in which numbers.

``plan_memory`` goes down a ladder, from what is fastest to what is smallest, and stops where it fits. Only the last
rungs change the numbers (int8).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from enliven.errors import ConfigError
from enliven.runtime.machine import Machine

Dtype = Literal["float32", "bfloat16"]
Quantise = Literal["none", "int8"]

BYTES = {"float32": 4, "bfloat16": 2}
CHOICES = ("auto", "low", "full")
LARGE = 10**9  # parameters of a backbone from which on it runs in bfloat16, as large ones are published
BACKBONE, AUTOENCODER, TEXT = "backbone", "autoencoder", "text"
COME_AND_GO = (BACKBONE, TEXT)  # parts made of equal blocks
GPU_SHARE = 0.92  # of its memory; the rest is for kernels, and for gaps between tensors
CPU_SHARE = 0.85  # of the memory that is free
PINNED_SHARE = 0.7  # of the CPU's memory that may wait for the GPU, out of reach of everyone else


@dataclass(frozen=True, slots=True)
class Part:
    """One network: numbers of all ``parameters`` and of those in each of its blocks, and bytes it takes to compute.

    ``working`` is taken when it works through what it is given piece by piece, ``whole`` when all at once.
    """

    parameters: int
    blocks: tuple[int, ...] = ()
    working: int = 0
    whole: int = 0


@dataclass(frozen=True, slots=True)
class Needs:
    """What a model needs: its networks by name, and bytes for the keys and values of a clip's clean frames."""

    parts: Mapping[str, Part]
    cache: int = 0

    @property
    def dtype(self) -> Dtype:
        """The numbers that the backbone and the text encoder run in; the autoencoder always has float32."""
        return "bfloat16" if self.parts[BACKBONE].parameters >= LARGE else "float32"


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """How to run.

    With ``offload``, the blocks of the backbone and of the text encoder come to the device one by one; they wait in
    memory if ``held``, else in their files. With ``release_text``, the text encoder goes once it has read, before the
    backbone comes. With ``stream_decoder``, latents are decoded one by one. Without ``cache``, clean frames are
    computed anew in each step. ``needed`` bytes of ``room`` on the device are then used at most.
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


def plan_memory(needs: Needs, machine: Machine, choice: str = "auto") -> MemoryPlan:
    """The plan for a machine: ``full`` keeps everything, ``low`` takes the least, ``auto`` the fastest that fits.

    Where nothing fits, the plan is the one that needs the least; ask ``fits``. Raises ConfigError for another choice.
    """
    if choice not in CHOICES:
        raise ConfigError(f"--memory {choice!r} is not known", hint=f"choose one of {', '.join(CHOICES)}")
    ladder = [_weighed(plan, needs, machine) for plan in _ladder(needs, machine)]
    if choice == "full":
        return ladder[0]
    least = min(ladder, key=lambda plan: plan.needed)
    if choice == "low":
        return least
    return next((plan for plan in ladder if plan.fits), least)


def weights_bytes(needs: Needs, dtype: Dtype, quantise: Quantise = "none") -> dict[str, int]:
    """Bytes of the parameters of each part."""
    plan = MemoryPlan(dtype, quantise=quantise)
    return {name: part.parameters * _width(name, plan) for name, part in needs.parts.items()}


def _ladder(needs: Needs, machine: Machine) -> list[MemoryPlan]:
    """From the fastest to the smallest; what does not change the numbers comes first."""
    everything = MemoryPlan(needs.dtype)
    released = replace(everything, release_text=True)
    streamed = replace(released, stream_decoder=True)
    rungs = [everything, released, streamed]
    held = replace(streamed, offload=True)
    mapped = replace(held, held=False)
    rungs += [held] if machine.gpu and _can_wait(needs, held, machine) else []
    small = replace(streamed, quantise="int8")
    rungs += [small] if machine.gpu else [mapped]  # a CPU reads files as fast as it computes; a GPU does not
    small_held, small_mapped = (replace(plan, quantise="int8") for plan in (held, mapped))
    rungs += [small_held] if machine.gpu and _can_wait(needs, small_held, machine) else []
    rungs += [mapped] if machine.gpu else []
    return [*rungs, small_mapped, replace(mapped, cache=False), replace(small_mapped, cache=False)]


def _can_wait(needs: Needs, plan: MemoryPlan, machine: Machine) -> bool:
    backbone = needs.parts[BACKBONE]
    return sum(backbone.blocks) * _width(BACKBONE, plan) <= PINNED_SHARE * machine.memory


def _weighed(plan: MemoryPlan, needs: Needs, machine: Machine) -> MemoryPlan:
    """The plan with the most bytes that the device holds at a time: while reading, making, or decoding."""
    parts = needs.parts
    copies = 2 if machine.gpu else 1  # a GPU gets the next block while it computes
    held = {name: _resident(name, part, plan, copies) for name, part in parts.items()}
    others = sum(size for name, size in held.items() if name not in COME_AND_GO)
    text, backbone = held.get(TEXT, 0), held[BACKBONE]
    reading = text + (0 if plan.release_text else backbone) + (parts[TEXT].working if TEXT in parts else 0)
    kept = 0 if plan.release_text else text
    cache = needs.cache if plan.cache else 0
    making = kept + backbone + parts[BACKBONE].working + cache
    decoder = parts.get(AUTOENCODER, Part(0))
    decoding = kept + backbone + (decoder.working if plan.stream_decoder else decoder.whole)
    room = int(GPU_SHARE * machine.gpu) if machine.gpu else int(CPU_SHARE * machine.memory)
    return replace(plan, needed=others + max(reading, making, decoding), room=room)


def _resident(name: str, part: Part, plan: MemoryPlan, copies: int) -> int:
    comes = plan.offload and name in COME_AND_GO and part.blocks
    parameters = part.parameters - sum(part.blocks) + copies * max(part.blocks) if comes else part.parameters
    return parameters * _width(name, plan)


def _width(name: str, plan: MemoryPlan) -> int:
    """Bytes of a number in a part."""
    if name == BACKBONE and plan.quantise == "int8":
        return 1
    return BYTES[plan.dtype] if name in COME_AND_GO else BYTES["float32"]
