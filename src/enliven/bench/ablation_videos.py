"""The videos of an ablation: each a run folder that is made once, and gone on with when it was stopped."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from enliven.bench.ablation_cost import Cost, clip_cost
from enliven.bench.ablation_recipe import Ablation, Variant
from enliven.bench.cases import Case, MovedCase
from enliven.bench.codebook import told
from enliven.bench.talkers import request_for
from enliven.encode import Encoded, lay_out
from enliven.errors import WeightsError
from enliven.media.image import to_image
from enliven.media.storage import replacing
from enliven.media.video import read_video
from enliven.media.vocals import Hear, heard_voice
from enliven.models.networks import fingerprint
from enliven.pipeline import AvatarPipeline, GenerateRequest
from enliven.run import RECORD, read_result, resume, start
from enliven.runtime.choices import Choices
from enliven.systems.spec import ModelSpec

Load = Callable[..., AvatarPipeline]

LORA = "lora.safetensors"  # beside the weights that were taught with it


class Deaf(AvatarPipeline):
    """A pipeline whose networks are told null audio, whatever sounds."""

    def encode(self, request: GenerateRequest, spec: ModelSpec, hear: Hear = heard_voice) -> Encoded:
        """Everything the clips are told, with zeros for what is heard."""
        encoded = super().encode(request, spec, hear)
        voice = encoded.voice
        assert voice is not None, "ablations are of models that hear"
        unheard = tuple(replace(each, features=torch.zeros_like(each.features[:])) for each in voice.features)
        return replace(encoded, voice=replace(voice, features=unheard))


@dataclass(frozen=True, slots=True)
class Made:
    """A video, the frames that each of its clips adds, and the folder where it is kept.

    ``clipped`` is the share of vectors that a codebook moved, or would have, handover by handover; empty without one.
    """

    case: Case
    frames: UInt8[Tensor, "f 3 h w"]
    clips: tuple[range, ...]
    folder: Path
    clipped: tuple[float, ...] = ()


class Videos:
    """The videos of one variant. What taught weights it needs lie in ``taught``; ``load`` is that of a pipeline.

    Raises RequestError and WeightsError for a model, weights or a decoder that are not there.
    """

    def __init__(
        self, ablation: Ablation, variant: Variant, runs: Path, taught: Path, load: Load = AvatarPipeline.load
    ) -> None:
        self.ablation, self.variant = ablation, variant
        weights = None if variant.taught is None else taught / variant.taught
        if weights is not None and not weights.is_dir():
            raise WeightsError(f"{variant.taught!r} was not taught yet", hint="python -m enliven.train.ablations")
        lora = None if weights is None else weights / LORA
        loras = (str(lora),) if lora is not None and lora.exists() else ()
        loaded = load(variant.model or ablation.model, Choices(weights=weights, loras=loras))
        kind = Deaf if variant.hears == "nothing" else AvatarPipeline
        self.pipeline = kind(variant.apply(loaded.spec), loaded.networks, loaded.choices, loaded.execution)
        self.pipeline.networks.decoder(self.pipeline.spec.decoder)
        self.pipeline.spec.carry.check(self.pipeline.networks)
        says = repr((variant, self.pipeline.spec, ablation.seconds, fingerprint(loaded.networks)))
        self.folder = runs / f"{variant.name.replace(' ', '-')}-{hashlib.sha256(says.encode()).hexdigest()[:8]}"

    def made(self, case: Case) -> Made:
        """The video of a case."""
        folder, request = self._asked(case)
        tell, run = told(f"{self.variant.name}, person {case.seed}"), folder / "run"
        if (run / RECORD).exists():
            video = resume(run, tell, lambda *_, **__: self.pipeline)
        else:
            video = start(self.pipeline, request, run, on_progress=tell)
        plans = lay_out(request, self.pipeline.spec, None, ()).plans
        clipped = read_result(run).shares.get("clipped", ())
        return Made(case, read_video(video).frames, tuple(plan.emits for plan in plans), folder, clipped)

    def cost(self, case: Case) -> Cost:
        """What a clip of it costs, measured once."""
        folder, request = self._asked(case)
        return Cost(**kept(folder / "cost.json", lambda: asdict(clip_cost(self.pipeline, request))))

    def _asked(self, case: Case) -> tuple[Path, GenerateRequest]:
        folder = self.folder / str(case.seed)
        (folder / "inputs").mkdir(parents=True, exist_ok=True)
        heard = case if self.variant.hears == "speech" else case.silent()
        size = self.pipeline.spec.size
        request = request_for(heard, folder / "inputs", size)
        if self.variant.begins == "overlap":
            return folder, request
        portrait = None
        if self.variant.begins == "portrait":
            assert isinstance(case, MovedCase), "others have one portrait"
            portrait = folder / "inputs" / "there.png"
            to_image(case.picture_there(size)).save(portrait)
        scenes = tuple(replace(scene, cut=True, portrait=portrait) for scene in request.timeline)
        return folder, replace(request, timeline=scenes)


def kept(path: Path, make: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """What the JSON file holds; made and written first, where it is missing."""
    if not path.exists():
        with replacing(path) as part:
            part.write_text(json.dumps(make()), encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8"))
