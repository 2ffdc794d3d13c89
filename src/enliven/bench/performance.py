"""Time and memory of one long generation, measured in a process of its own.

    python -m enliven.bench.performance --seconds 20
    python -m enliven.bench.performance --seconds 20 --model soul-toon --decoder efficient --decode-only

generates that much video as ``enliven generate`` would, clip by clip into an H.264 file, and says as JSON how long
everything took and how much memory was used at most. With ``--decode-only`` it does nothing but decode, with an
untrained decoder: neither time nor memory depend on weights.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from enliven.bench.cases import FPS, held_out, long_case
from enliven.bench.talkers import request_for
from enliven.errors import RequestError
from enliven.media.image import to_pixels
from enliven.media.video import encode_segment
from enliven.models.networks import FULL, build_network
from enliven.models.vae import VideoAutoencoder
from enliven.pipeline import AvatarPipeline, GenerateRequest
from enliven.runtime.allocator import give_back_large
from enliven.systems import find_model
from enliven.systems.spec import ModelSpec

MODEL = "longcat-toon"


@dataclass(frozen=True, slots=True)
class Performance:
    """``clip_seconds``: the time from one clip to the next; ``peak_mib``: the most memory the process ever had."""

    video_seconds: float
    total_seconds: float
    clip_seconds: tuple[float, ...]
    peak_mib: float

    @property
    def growth(self) -> float:
        """How the last clips' time compares with the first ones': the ratio of the medians of two thirds."""
        clips = self.clip_seconds[1:]  # the first clip waits for everything to be read and encoded
        third = len(clips) // 3
        if not third:
            return 1.0
        return _median(clips[-third:]) / _median(clips[:third])


def perform(pipeline: AvatarPipeline, request: GenerateRequest, folder: Path) -> Performance:
    """Generate a video into ``folder``, one clip in memory at a time."""
    times = [time.perf_counter()]

    def clips() -> Iterator[UInt8[Tensor, "f 3 h w"]]:
        for video in pipeline.stream(request):
            yield video.frames
            times.append(time.perf_counter())

    frames = encode_segment(clips(), FPS, folder / "video.mp4")
    laps = tuple(round(late - early, 4) for early, late in pairwise(times))
    return Performance(frames / FPS, time.perf_counter() - times[0], laps, peak_mib())


def decode_only(spec: ModelSpec, decoder: str, seconds: float) -> Performance:
    """Decode noise, as many latent frames at a time as a clip adds. Raises RequestError for an unknown decoder."""
    network = untrained_decoder(spec, decoder)
    new = spec.geometry.latents(spec.geometry.frames - spec.geometry.context)
    shape = (1, network.channels, new, *(side // network.spatial_factor for side in spec.size))
    stream, frames, times = network.stream(), 0, [time.perf_counter()]
    while frames < seconds * spec.geometry.fps:
        frames += len(to_pixels(stream.push(torch.randn(shape))[0].transpose(0, 1)))
        times.append(time.perf_counter())
    laps = tuple(round(late - early, 4) for early, late in pairwise(times))
    return Performance(frames / spec.geometry.fps, times[-1] - times[0], laps, peak_mib())


def untrained_decoder(spec: ModelSpec, decoder: str) -> VideoAutoencoder:
    """A decoder of a model with random weights. Raises RequestError for one that it does not have."""
    known = {FULL: spec.params.autoencoder, **spec.params.decoders}
    if decoder not in known:
        raise RequestError(f"{spec.name} has no decoder {decoder!r}", hint=f"choose one of {', '.join(known)}")
    network: VideoAutoencoder = build_network(known[decoder])
    return network


def perform_apart(
    seconds: float, model: str = MODEL, *, decoder: str | None = None, decodes: bool = False
) -> Performance:
    """``perform``, or ``decode_only``, in a fresh process, so that its memory is its own.

    That process is given a portrait and a sound file, as a user gives them: making these takes memory, too.
    """
    command = [sys.executable, "-m", "enliven.bench.performance", "--seconds", str(seconds), "--model", model]
    command += ["--decoder", decoder] if decoder else []
    with tempfile.TemporaryDirectory() as folder:
        command += ["--decode-only"] if decodes else _given(seconds, model, Path(folder))
        values = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    return Performance(**{**values, "clip_seconds": tuple(values["clip_seconds"])})


def _given(seconds: float, model: str, folder: Path) -> list[str]:
    """The files of a long speech, written into ``folder``, and its prompt, as options."""
    request = request_for(long_case(held_out(3), seconds), folder, find_model(model).size)
    files = ["--portrait", str(request.portrait), "--audio", str(request.audio[0])]
    return [*files, "--prompt", request.prompt, "--seed", str(request.seed)]


def peak_mib() -> float:
    """The most memory this process has had. Where Linux tells it, without what its parent had when it began."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _median(values: tuple[float, ...]) -> float:
    return sorted(values)[len(values) // 2]


def main() -> None:
    """Measure, and write JSON to standard output."""
    asked = _asked(sys.argv[1:])
    sys.stdout.write(json.dumps(asdict(_measured(asked))) + "\n")


def _asked(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="time and memory of one generation, as JSON")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--decoder", help="another decoder than the model's own choice")
    parser.add_argument("--decode-only", action="store_true")
    parser.add_argument("--portrait", type=Path, help="with --audio: what to generate from, instead of drawings")
    parser.add_argument("--audio", type=Path)
    parser.add_argument("--prompt", default="")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(arguments)
    if bool(asked.audio) != bool(asked.portrait):
        parser.error("give --portrait and --audio, or neither")
    return asked


def _measured(asked: argparse.Namespace) -> Performance:
    give_back_large()  # as the command line does
    if asked.decode_only:
        spec = find_model(asked.model)
        return decode_only(spec, asked.decoder or spec.decoder, asked.seconds)
    if not asked.audio:
        return perform_apart(asked.seconds, asked.model, decoder=asked.decoder)
    request = GenerateRequest(
        audio=(asked.audio,),
        prompt=asked.prompt,
        portrait=asked.portrait,
        seconds=asked.seconds,
        seed=asked.seed,
        decoder=asked.decoder,
    )
    with tempfile.TemporaryDirectory() as folder:
        return perform(AvatarPipeline.load(asked.model), request, Path(folder))


if __name__ == "__main__":
    main()
