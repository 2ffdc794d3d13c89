"""Is the efficient decoder (Soul 3.3) worth it: what does it save, and what does a viewer lose?

    python -m enliven.bench.decoders --output benchmarks

encodes drawn people that no network has learnt from, decodes them piece by piece with both decoders, and compares
frames with the drawings and with each other; then both decode what the backbone generates. Speed is processor time in
one thread, which tells the same on a busy machine. An efficient decoder may have learnt from the judge that looks here,
which is then kinder to it than PSNR and SSIM are.
"""

import argparse
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor, nn

from enliven.bench.cases import FPS, Case, eight_bit, held_out, long_case
from enliven.bench.fidelity import psnr, seen_distance, ssim
from enliven.bench.report import Check, Section, write_report
from enliven.bench.talkers import Generated
from enliven.errors import RequestError
from enliven.judges.quality import QualityJudge
from enliven.media.sheet import contact_sheet, timestamp
from enliven.models.networks import FULL
from enliven.models.vae import VideoAutoencoder
from enliven.pipeline import AvatarPipeline
from enliven.toonworld.draw import draw

log = logging.getLogger(__name__)

MODEL = "soul-toon"
EFFICIENT = "efficient"
FRAMES = 33  # of each person
PEOPLE = 4
LOST, FASTER = 1.5, 3.0  # decibels at most, times at least
PIECES = (1, 4)  # latent frames at a time
REPEATS = 5
COLUMNS = 4
Frames = UInt8[Tensor, "f 3 h w"]


def decoders_report(pipeline: AvatarPipeline, cases: Sequence[Case], seconds: float, output: Path) -> Path:
    """Measure, and write the report; returns its Markdown file. RequestError where there is one decoder only."""
    if EFFICIENT not in pipeline.networks.decoders:
        raise RequestError(f"{pipeline.spec.name} has no efficient decoder", hint=f"name another model, or {MODEL}")
    return write_report(_parts(pipeline, cases, seconds), output, f"{pipeline.spec.name} decoders")


def _parts(pipeline: AvatarPipeline, cases: Sequence[Case], seconds: float) -> Iterator[Section]:
    decoders = {name: pipeline.networks.decoder(name) for name in (FULL, EFFICIENT)}
    eyes = QualityJudge().network.trunk
    log.info("speed")
    yield speed_part(decoders, pipeline.spec.size)
    log.info("drawn: %d people, %d frames each", len(cases), FRAMES)
    yield drawn_part(decoders, cases, pipeline.spec.size, eyes)
    if seconds:
        log.info("generated: %g s, by each decoder", seconds)
        yield generated_part(pipeline, long_case(cases, seconds), eyes)


def speed_part(decoders: Mapping[str, VideoAutoencoder], size: tuple[int, int]) -> Section:
    """Seconds of one processor for a second of video, in pieces of some sizes."""
    checks: list[Check] = []
    for piece in PIECES:
        spent = decoding_seconds(decoders, size, piece)
        kind = f"{piece} latent frame{'s' if piece > 1 else ''} at a time"
        checks += [Check(f"{name}, {kind}", value, unit="s for 1 s") for name, value in spent.items()]
        checks.append(Check(f"times faster, {kind}", spent[FULL] / spent[EFFICIENT], least=FASTER))
    sizes = {name: _decoder_size(decoder) for name, decoder in decoders.items()}
    return Section("Speed", checks, {"decoder parameters, millions": sizes})


def drawn_part(
    decoders: Mapping[str, VideoAutoencoder], cases: Sequence[Case], size: tuple[int, int], eyes: nn.Module
) -> Section:
    """Encoded drawings, decoded latent frame by latent frame."""
    true = [eight_bit(draw(case.character, case.state[:FRAMES], size)) for case in cases]
    shown = {name: torch.cat([through(decoder, frames) for frames in true]) for name, decoder in decoders.items()}
    truth = torch.cat(true)
    full, efficient = (compared(shown[name], truth, eyes) for name in (FULL, EFFICIENT))
    lost = Check("decibels lost", full["PSNR"] - efficient["PSNR"], most=LOST, unit="dB")
    checks = [*_checks("full", full), *_checks("efficient", efficient), lost]
    checks += _checks("efficient against full", compared(shown[EFFICIENT], shown[FULL], eyes))
    return Section("Held-out drawings", checks, {"frames": len(truth)}, {"drawn": sheet({"true": truth, **shown})})


def generated_part(pipeline: AvatarPipeline, case: Case, eyes: nn.Module) -> Section:
    """The same latents of the backbone, shown by both decoders."""
    made = {name: Generated(pipeline.varied(replace(pipeline.spec, decoder=name)))(case) for name in (FULL, EFFICIENT)}
    clean = {name: QualityJudge()(frames)["clean_face"] for name, frames in made.items()}
    checks = [
        Check(f"{name}: faces judged clean", (value > 0.5).float().mean().item()) for name, value in clean.items()
    ]
    checks += _checks("efficient against full", compared(made[EFFICIENT], made[FULL], eyes))
    return Section("Generated", checks, {"seconds": case.frames / FPS}, {"generated": sheet(made)})


@torch.no_grad()
def through(autoencoder: VideoAutoencoder, frames: Frames) -> Frames:
    """Encode a video of ``4k + 1`` frames and decode it latent frame by latent frame."""
    latents = autoencoder.encode((frames.float() / 127.5 - 1).transpose(0, 1)[None])
    stream = autoencoder.stream()
    video = torch.cat([stream.push(latent) for latent in latents.split(1, dim=2)], dim=2)
    return eight_bit((video[0].transpose(0, 1) + 1) / 2)


def compared(shown: Frames, meant: Frames, eyes: nn.Module) -> dict[str, float]:
    """The measures of ``fidelity``, by name."""
    return {
        "PSNR": psnr(shown, meant),
        "SSIM": ssim(shown, meant),
        "perceived distance": seen_distance(eyes, shown, meant),
    }


def decoding_seconds(decoders: Mapping[str, VideoAutoencoder], size: tuple[int, int], piece: int) -> dict[str, float]:
    """Processor time for a second of video: the least of some rounds in which the decoders take turns."""
    some = next(iter(decoders.values()))
    latents = torch.randn(1, some.channels, piece, *(side // some.spatial_factor for side in size))
    streams = {name: decoder.stream() for name, decoder in decoders.items()}
    spent: dict[str, list[float]] = {name: [] for name in streams}
    for _ in range(1 + REPEATS):
        for name, stream in streams.items():
            began = time.process_time()
            stream.push(latents)
            spent[name].append(time.process_time() - began)
    frames = piece * some.temporal_factor
    return {name: min(times[1:]) * FPS / frames for name, times in spent.items()}  # the first has less to paint


def sheet(rows: Mapping[str, Frames]) -> Image.Image:
    """The same moments as each row shows them."""
    count = len(next(iter(rows.values())))
    times = (torch.arange(COLUMNS) + 0.5).mul(count / COLUMNS).long()
    labels = [f"{name}, {timestamp(time / FPS)}" for name in rows for time in times.tolist()]
    return contact_sheet(torch.cat([frames[times] for frames in rows.values()]), COLUMNS, labels)


def _checks(name: str, measures: Mapping[str, float]) -> list[Check]:
    return [
        Check(f"{name}: {measure}", value, unit="dB" if measure == "PSNR" else "")
        for measure, value in measures.items()
    ]


def _decoder_size(autoencoder: VideoAutoencoder) -> float:
    assert isinstance(autoencoder, nn.Module)
    names = autoencoder.named_parameters()
    return sum(value.numel() for name, value in names if "analysis" not in name and "encoder" not in name) / 1e6


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--people", type=int, default=PEOPLE)
    parser.add_argument("--seconds", type=float, default=2.0, help="of generated video; 0 for none")
    parser.add_argument("--output", type=Path, default=Path("benchmarks"))
    asked = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    report = decoders_report(AvatarPipeline.load(asked.model), held_out(asked.people), asked.seconds, asked.output)
    log.info("%s", report.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
