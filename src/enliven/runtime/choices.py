"""How a model is opened and run, as a caller chooses it: in Python, with flags, in a run file and in a run."""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from enliven.runtime.memory import Dtype, Memory, Quantise

DtypeChoice = Literal["auto", Dtype]
QuantiseChoice = Literal["auto", Quantise]


@dataclass(frozen=True)  # without slots: a run file is a request and these
class Choices:
    """What a caller may choose.

    ``weights`` is a folder as it is published, or one that was saved here; it may hold several models, of which the
    first is taken. ``base`` is that of LongCat-Video, where it is not beside a published avatar. Each of ``loras`` is a
    file beside the backbone, ``PATH`` or ``PATH:STRENGTH``. ``expressiveness`` is for LongCat-Video-Avatar 1.5: the
    strength of the LoRA that made it quick, 1 as trained.

    Backbone and text encoder have ``dtype``, or ``auto``: published ones the type they are published in, others float32
    (bfloat16 from 10^9 parameters on). Large models run in the memory that there is: ``memory`` and ``quantise`` are
    those of ``plan_memory``. ``attention`` is a kernel by name, see ``kernel_names``.
    """

    dtype: DtypeChoice = "auto"
    quantise: QuantiseChoice = "auto"
    memory: Memory = "auto"
    attention: str = "auto"
    weights: Path | None = None
    base: Path | None = None
    loras: tuple[str, ...] = ()
    expressiveness: float | None = None

    @property
    def given(self) -> dict[str, Any]:
        """Those that say something."""
        values = {field.name: getattr(self, field.name) for field in fields(Choices)}
        return {name: value for name, value in values.items() if value != getattr(AS_IT_IS, name)}

    def absolute(self) -> "Choices":
        """The same from any folder."""
        files = (split_strength(lora) for lora in self.loras)
        loras = tuple(f"{path.resolve()}:{_exact(strength)}" for path, strength in files)
        weights, base = (path and path.resolve() for path in (self.weights, self.base))
        return replace(self, weights=weights, base=base, loras=loras)


AS_IT_IS = Choices()


def split_strength(lora: str) -> tuple[Path, float]:
    """Path and strength in ``PATH:STRENGTH``; without a number behind a colon, the strength is 1."""
    path, _, strength = lora.rpartition(":")
    try:
        return (Path(path), float(strength)) if path else (Path(lora), 1.0)
    except ValueError:
        return Path(lora), 1.0


def _exact(number: float) -> str:
    """The shortest text that is read as this very number."""
    return repr(number).removesuffix(".0")
