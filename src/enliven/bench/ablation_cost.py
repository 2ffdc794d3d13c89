"""What a clip costs: passes of the backbone, and the time that a processor worked on them and on all that follows.

It is the time of the processor and not of the clock, so that other work on the machine matters little.
"""

import time
from dataclasses import dataclass
from itertools import islice

from enliven.pipeline import AvatarPipeline, GenerateRequest


@dataclass(frozen=True, slots=True)
class Cost:
    """Of the first clip of a video, in seconds of processor time; ``rest`` is mostly decoding."""

    passes: int
    backbone: float
    rest: float
    video_seconds: float

    @property
    def measures(self) -> dict[str, float]:
        """By name, for each second of video."""
        return {
            "passes of the backbone for a clip": float(self.passes),
            "backbone, processor seconds for a second": self.backbone / self.video_seconds,
            "the rest, processor seconds for a second": self.rest / self.video_seconds,
            "all of it, processor seconds for a second": (self.backbone + self.rest) / self.video_seconds,
        }


def clip_cost(pipeline: AvatarPipeline, request: GenerateRequest) -> Cost:
    """The cost of the first clip of a request. Raises as ``AvatarPipeline.clips``."""
    spec = request.apply(pipeline.spec)
    marks, spent = list[float](), list[float]()
    before = pipeline.networks.backbone.register_forward_pre_hook(lambda *_: marks.append(time.process_time()))
    after = pipeline.networks.backbone.register_forward_hook(lambda *_: spent.append(time.process_time() - marks[-1]))
    try:
        clips = pipeline.clips(spec, pipeline.encode(request, spec), request.seed)
        began = time.process_time()
        (clip,) = islice(clips, 1)
        whole = time.process_time() - began
    finally:
        before.remove()
        after.remove()
    return Cost(len(spent), sum(spent), whole - sum(spent), len(clip.frames) / spec.geometry.fps)
