"""What a face does in every frame of a clip."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, slots=True)
class FaceState:
    """The pose of a face over ``f`` frames; identity is not part of it.

    Mouth values are 0..1 and neutral closed is open 0, width 0.5, round 0. Angles are radians: ``yaw`` to the right of
    the picture, ``pitch`` down, ``roll`` clockwise. Shifts are fractions of the frame height; gaze and brow -1..1;
    blink 0 open to 1 shut; breath 0..1; gesture 0..1, a hand rising into view.
    """

    mouth_open: Float[Tensor, "f"]
    mouth_width: Float[Tensor, "f"]
    mouth_round: Float[Tensor, "f"]
    teeth: Float[Tensor, "f"]
    tongue: Float[Tensor, "f"]
    yaw: Float[Tensor, "f"]
    pitch: Float[Tensor, "f"]
    roll: Float[Tensor, "f"]
    shift_x: Float[Tensor, "f"]
    shift_y: Float[Tensor, "f"]
    gaze_x: Float[Tensor, "f"]
    gaze_y: Float[Tensor, "f"]
    blink: Float[Tensor, "f"]
    brow: Float[Tensor, "f"]
    breath: Float[Tensor, "f"]
    gesture: Float[Tensor, "f"]

    @classmethod
    def neutral(cls, frames: int) -> "FaceState":
        """Looking straight ahead with a closed mouth."""
        still = {field.name: torch.zeros(frames) for field in fields(cls)}
        return cls(**still | {"mouth_width": torch.full((frames,), 0.5)})

    @classmethod
    def concatenate(cls, states: Sequence["FaceState"]) -> "FaceState":
        """The states one after another."""
        return cls(*(torch.cat([getattr(state, field.name) for state in states]) for field in fields(cls)))

    def __len__(self) -> int:
        return len(self.mouth_open)

    def __getitem__(self, frames: slice) -> "FaceState":
        """Some of the frames."""
        return replace(self, **{field.name: getattr(self, field.name)[frames] for field in fields(self)})

    def with_mouth(
        self,
        mouth_open: Float[Tensor, "f"],
        mouth_width: Float[Tensor, "f"],
        mouth_round: Float[Tensor, "f"],
        teeth: Float[Tensor, "f"],
        tongue: Float[Tensor, "f"],
    ) -> "FaceState":
        """The same movement with another mouth, as long as this state."""
        return replace(
            self,
            mouth_open=mouth_open,
            mouth_width=mouth_width,
            mouth_round=mouth_round,
            teeth=teeth,
            tongue=tongue,
        )

    def stack(self) -> Float[Tensor, "f values"]:
        """All values of a frame in one row, in the order of the fields."""
        return torch.stack([getattr(self, field.name) for field in fields(self)], dim=1)

    @classmethod
    def unstack(cls, values: Float[Tensor, "f values"]) -> "FaceState":
        """The inverse of :meth:`stack`."""
        return cls(*values.unbind(dim=1))
