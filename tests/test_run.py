import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest
import torch
from PIL import Image

from enliven.diffusion.guidance import Guidance
from enliven.diffusion.sample import AnchorSchedule, even_anchors
from enliven.diffusion.solvers import Renoise, Solver, UniPC
from enliven.errors import Cancelled, MediaError, RequestError
from enliven.media import vocals
from enliven.media.audio import read_audio
from enliven.media.regions import Box, box_masks
from enliven.media.video import read_video
from enliven.media.voices import Turns
from enliven.pipeline import AvatarPipeline, GenerateRequest
from enliven.request import Scene
from enliven.run import check_inputs, read_record, read_result, resume, start
from enliven.runtime.choices import Choices
from enliven.systems.carry import Reencode
from enliven.types import Audio, OnProgress, Progress
from tiny import tiny_networks, tiny_soul, tiny_soul_networks, tiny_spec, write_portrait, write_speech


@pytest.fixture(scope="module")
def pipeline() -> AvatarPipeline:
    return AvatarPipeline(tiny_spec(), tiny_networks())


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    write_speech(folder / "speech.wav", 1.3)
    write_portrait(folder / "portrait.png")
    return folder


def asked(inputs: Path) -> GenerateRequest:
    return GenerateRequest(audio=(inputs / "speech.wav",), portrait=inputs / "portrait.png", steps=2, seed=4)


@pytest.fixture(scope="module")
def whole(pipeline: AvatarPipeline, inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was never stopped."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    start(pipeline, asked(inputs), folder)
    return folder


def stopping(after: int) -> OnProgress:
    """A listener that stops the run after so many steps."""

    def listen(progress: Progress) -> None:
        if progress.stage == "making the video" and progress.done == after:
            raise Cancelled("stopped")

    return listen


def load(pipeline: AvatarPipeline) -> Callable[[str, Choices], AvatarPipeline]:
    return lambda name, choices: pipeline


def test_a_run_ends_in_a_video_with_sound(pipeline: AvatarPipeline, inputs: Path, whole: Path) -> None:
    names = [".lock", "progress.jsonl", "result.json", "run.json", "video.mp4"]
    assert sorted(path.name for path in whole.iterdir()) == names
    assert read_video(whole / "video.mp4").frames.shape == (32, 3, 32, 32)
    assert read_audio(whole / "video.mp4").seconds == pytest.approx(1.3, abs=0.05)
    record = read_record(whole)
    assert record.request == asked(inputs)
    assert record.resolved["frames"] == 32
    lines = [json.loads(line) for line in (whole / "progress.jsonl").read_text().splitlines()]
    assert [line["done"] for line in lines if line["stage"] == "making the video"] == [1, 2, 3, 4, 5, 6]
    assert resume(whole, load=load(pipeline)) == whole / "video.mp4"


@pytest.mark.parametrize("steps", [1, 4])
def test_a_stopped_run_ends_in_the_same_bytes(
    pipeline: AvatarPipeline, inputs: Path, whole: Path, tmp_path: Path, steps: int
) -> None:
    folder = tmp_path / "stopped"
    with pytest.raises(Cancelled):
        start(pipeline, asked(inputs), folder, on_progress=stopping(steps))
    assert len(list(folder.glob("clip_*.mp4"))) == (steps - 1) // 2
    heard: list[Progress] = []
    output = resume(folder, heard.append, load(pipeline))
    assert output.read_bytes() == (whole / "video.mp4").read_bytes()
    assert min(progress.done for progress in heard if progress.stage == "making the video") == (steps - 1) // 2 * 2 + 1


def test_a_clip_without_its_handover_does_not_count(
    pipeline: AvatarPipeline, inputs: Path, whole: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "stopped"
    with pytest.raises(Cancelled):
        start(pipeline, asked(inputs), folder, on_progress=stopping(3))
    (folder / "clip_00001.mp4").write_bytes(b"half a clip")
    assert resume(folder, load=load(pipeline)).read_bytes() == (whole / "video.mp4").read_bytes()


def test_changed_inputs_are_noticed(pipeline: AvatarPipeline, tmp_path: Path) -> None:
    speech = write_speech(tmp_path / "speech.wav", 0.5)
    with pytest.raises(Cancelled):
        start(pipeline, GenerateRequest(audio=(speech,)), tmp_path / "run", on_progress=stopping(1))
    write_speech(speech, 0.4)
    with pytest.raises(RequestError, match=r"speech\.wav has changed"):
        resume(tmp_path / "run", load=load(pipeline))
    speech.unlink()
    with pytest.raises(RequestError, match=r"speech\.wav is no longer there"):
        resume(tmp_path / "run", load=load(pipeline))


def test_other_weights_of_what_parts_the_voice_are_noticed(pipeline: AvatarPipeline, tmp_path: Path) -> None:
    """Weights that cannot be used are told, and all is listened to: the other half of a video would sound otherwise."""
    (tmp_path / "demucs").mkdir()
    weights = tmp_path / "demucs" / "a.safetensors"
    weights.write_bytes(b"some")
    request = GenerateRequest(audio=(write_speech(tmp_path / "speech.wav", 0.5),), vocals=str(tmp_path / "demucs"))
    with pytest.raises(Cancelled):
        start(pipeline, request, tmp_path / "run", on_progress=stopping(1))
    weights.write_bytes(b"others")
    with pytest.raises(RequestError, match=r"a\.safetensors has changed"):
        resume(tmp_path / "run", load=load(pipeline))


def finding(monkeypatch: pytest.MonkeyPatch, samples: int | None) -> None:
    """A stand-in for a library that finds a voice: the sound, so much later. Without a number, it is not there."""

    def later(sound: Audio) -> Audio:
        if samples is None:
            raise RuntimeError("the library is gone")
        return Audio(sound.samples.roll(samples, dims=-1), sound.rate)

    monkeypatch.setattr(vocals, "find_separator", lambda _: later)


@pytest.mark.parametrize(("first", "then"), [(5000, 9000), (5000, None), (None, 5000)], ids=["other", "gone", "come"])
def test_a_resumed_run_listens_to_the_voice_it_began_with(
    pipeline: AvatarPipeline,
    inputs: Path,
    tmp_path: Path,
    first: int | None,
    then: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    request, folder = replace(asked(inputs), vocals="centre"), tmp_path / "stopped"
    finding(monkeypatch, first)
    whole = start(pipeline, request, tmp_path / "whole").read_bytes()
    with pytest.raises(Cancelled):
        start(pipeline, request, folder, on_progress=stopping(3))
    assert len(list(folder.glob("voice_*"))) == 1
    finding(monkeypatch, then)
    assert resume(folder, load=load(pipeline)).read_bytes() == whole
    assert not list(folder.glob("voice_*")), "it is done"
    assert start(pipeline, request, tmp_path / "other").read_bytes() != whole, "what is listened to decides"


def test_files_of_others_that_are_called_a_voice_stay(pipeline: AvatarPipeline, inputs: Path, tmp_path: Path) -> None:
    mine = tmp_path / "run" / "voice_of_my_lora.safetensors"
    mine.parent.mkdir()
    mine.write_bytes(b"mine")
    start(pipeline, replace(asked(inputs), vocals="centre", seconds=0.3), tmp_path / "run")
    assert [path.name for path in mine.parent.glob("voice_*")] == [mine.name]


def test_a_run_without_the_voice_it_began_with_does_not_go_on(
    pipeline: AvatarPipeline, inputs: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    with pytest.raises(Cancelled):
        start(pipeline, replace(asked(inputs), vocals="centre"), folder, on_progress=stopping(3))
    (voice,) = folder.glob("voice_*")
    voice.write_bytes(b"half")
    with pytest.raises(MediaError, match=r"voice_\w+\.safetensors is damaged"):
        resume(folder, load=load(pipeline))
    voice.unlink()
    with pytest.raises(RequestError, match=r"the voice of speech\.wav is no longer kept"):
        resume(folder, load=load(pipeline))


def test_nothing_is_kept_of_a_voice_where_no_run_was_begun(
    pipeline: AvatarPipeline, inputs: Path, tmp_path: Path
) -> None:
    """A voice that was kept by a start that failed is not that of the next one."""

    class Failing(AvatarPipeline):
        def encode(self, *given: object) -> NoReturn:
            super().encode(*given)  # type: ignore[arg-type]
            raise Cancelled("stopped")

    request, folder = replace(asked(inputs), vocals="centre"), tmp_path / "run"
    with pytest.raises(Cancelled):
        start(Failing(pipeline.spec, pipeline.networks), request, folder)
    assert not folder.exists()


def test_other_weights_are_noticed(pipeline: AvatarPipeline, inputs: Path, tmp_path: Path) -> None:
    with pytest.raises(Cancelled):
        start(pipeline, asked(inputs), tmp_path / "run", on_progress=stopping(3))
    other = AvatarPipeline(pipeline.spec, tiny_networks(seed=1))
    with pytest.raises(RequestError, match="weights of tiny"):
        resume(tmp_path / "run", load=load(other))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"carry": Reencode()}, "other carry"),
        ({"solver": UniPC()}, "other solver"),
        ({"guidance": Guidance(2.0, 3.0)}, "other guidance"),
        ({"schedule": AnchorSchedule(even_anchors(7), 3.0)}, "other schedule"),
        ({"negative_prompt": "blurred"}, "other negative_prompt"),
    ],
)
def test_other_defaults_are_noticed(
    pipeline: AvatarPipeline, inputs: Path, tmp_path: Path, changes: dict[str, object], named: str
) -> None:
    with pytest.raises(Cancelled):
        start(pipeline, asked(inputs), tmp_path / "run", on_progress=stopping(1))
    with pytest.raises(RequestError, match=named):
        resume(tmp_path / "run", load=load(AvatarPipeline(tiny_spec(**changes), pipeline.networks)))


def test_an_output_never_replaces_an_input(pipeline: AvatarPipeline, inputs: Path, tmp_path: Path) -> None:
    speech = inputs / "speech.wav"
    held = speech.read_bytes()
    (tmp_path / "link.wav").symlink_to(speech)
    with pytest.raises(RequestError, match=r"would replace .*speech\.wav"):
        start(pipeline, asked(inputs), tmp_path / "run", tmp_path / "link.wav")
    assert speech.read_bytes() == held
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("content", [None, b"", b"no sound"])
def test_inputs_that_cannot_be_read_leave_no_folder(
    pipeline: AvatarPipeline, tmp_path: Path, content: bytes | None
) -> None:
    speech = tmp_path / "speech.wav"
    if content is not None:
        speech.write_bytes(content)
    with pytest.raises(MediaError, match=r"speech\.wav"):
        start(pipeline, GenerateRequest(audio=(speech,)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_sound_that_turns_out_damaged_leaves_no_folder(pipeline: AvatarPipeline, tmp_path: Path) -> None:
    speech = write_speech(tmp_path / "speech.wav", 0.05)
    with pytest.raises(MediaError, match="at least"):
        start(pipeline, GenerateRequest(audio=(speech,)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_folders_are_not_mixed_up(pipeline: AvatarPipeline, inputs: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="there is no run in"):
        resume(tmp_path / "nothing")
    with pytest.raises(Cancelled):
        start(pipeline, asked(inputs), tmp_path / "run", on_progress=stopping(1))
    with pytest.raises(RequestError, match="holds a run already"):
        start(pipeline, asked(inputs), tmp_path / "run")


def test_only_one_works_in_a_folder(pipeline: AvatarPipeline, inputs: Path, tmp_path: Path) -> None:
    def intrude(progress: Progress) -> None:
        if progress.stage == "making the video":
            with pytest.raises(RequestError, match="somebody works in"):
                resume(tmp_path / "run", load=load(pipeline))
            raise Cancelled("seen")

    with pytest.raises(Cancelled):
        start(pipeline, asked(inputs), tmp_path / "run", on_progress=intrude)


def test_without_sound_the_video_is_silent(pipeline: AvatarPipeline, tmp_path: Path) -> None:
    torch.manual_seed(0)
    output = start(pipeline, GenerateRequest(seconds=0.2, steps=1), tmp_path / "run")
    assert len(read_video(output).frames) == 5


@pytest.mark.parametrize("solver", [UniPC(), Renoise()])
def test_a_stopped_run_behind_a_pivot_ends_in_the_same_bytes(inputs: Path, tmp_path: Path, solver: Solver) -> None:
    """And tells of each handover how much of it was repaired, of those made before it was stopped too."""
    pipeline = AvatarPipeline(tiny_soul(solver=solver), tiny_soul_networks())
    timeline = (Scene(0.6, "a man with a hat"),)
    request = replace(asked(inputs), timeline=timeline, steps=3)
    whole = start(pipeline, request, tmp_path / "whole")
    with pytest.raises(Cancelled):
        start(pipeline, request, tmp_path / "stopped", on_progress=stopping(5))
    assert read_record(tmp_path / "stopped").request.timeline == timeline
    output = resume(tmp_path / "stopped", load=load(pipeline))
    assert output.read_bytes() == whole.read_bytes()
    told, again = (read_result(tmp_path / name).shares for name in ("whole", "stopped"))
    assert told == again
    assert len(told["clipped"]) == 2, "of three clips"
    assert all(0 <= share <= 1 for share in told["clipped"])


@pytest.mark.parametrize("made", ["longcat", "soul"])
@pytest.mark.parametrize("steps", [2, 3, 5])
def test_a_run_of_several_shots_ends_in_the_same_bytes(
    pipeline: AvatarPipeline, inputs: Path, tmp_path: Path, steps: int, made: str
) -> None:
    """Stopped before a cut, right after it, and in the second clip behind it, which goes on from the first."""
    if made == "soul":
        pipeline = AvatarPipeline(tiny_soul(), tiny_soul_networks())
    shot = write_portrait(inputs / "shot.png", (48, 40))
    request = replace(asked(inputs), timeline=(Scene(0.3, "a", portrait=shot),), steps=2)
    whole = start(pipeline, request, tmp_path / "whole")
    with pytest.raises(Cancelled):
        start(pipeline, request, tmp_path / "stopped", on_progress=stopping(steps))
    assert str(shot) in read_record(tmp_path / "stopped").inputs
    output = resume(tmp_path / "stopped", load=load(pipeline))
    assert output.read_bytes() == whole.read_bytes()
    write_portrait(shot, (44, 40))
    with pytest.raises(RequestError, match=r"shot\.png has changed"):
        check_inputs(read_record(tmp_path / "stopped"))


def test_a_single_clip_hands_nothing_on_and_tells_nothing(tmp_path: Path) -> None:
    pipeline = AvatarPipeline(tiny_soul(), tiny_soul_networks())
    start(pipeline, GenerateRequest(seconds=0.4, steps=1), tmp_path / "run")
    assert not read_result(tmp_path / "run").shares


def test_a_run_records_the_percentile_it_repaired_with(inputs: Path, tmp_path: Path) -> None:
    """That of the codebook, unless the request says another."""
    networks = tiny_soul_networks()
    assert networks.codebook is not None
    networks.codebook.params = replace(networks.codebook.params, percentile=50.0)
    pipeline = AvatarPipeline(tiny_soul(), networks)
    for name, asked_for, recorded in (("own", None, 50.0), ("asked", 95.0, 95.0)):
        request = replace(asked(inputs), steps=1, repair_percentile=asked_for)
        start(pipeline, request, tmp_path / name)
        assert f"percentile={recorded}" in read_record(tmp_path / name).resolved["carry"]
    own, other = (read_result(tmp_path / name).shares["clipped"][0] for name in ("own", "asked"))
    assert own > other


def test_a_run_that_is_not_done_has_no_result(pipeline: AvatarPipeline, inputs: Path, tmp_path: Path) -> None:
    with pytest.raises(Cancelled):
        start(pipeline, asked(inputs), tmp_path / "run", on_progress=stopping(1))
    with pytest.raises(RequestError, match="no run is done in"):
        read_result(tmp_path / "run")


@pytest.mark.parametrize("placed", ["boxes", "masks", "nowhere"])
def test_a_stopped_run_of_two_people_ends_in_the_same_bytes(
    pipeline: AvatarPipeline, inputs: Path, tmp_path: Path, placed: str
) -> None:
    boxes = (Box(0, 0, 40, 24), Box(0, 24, 40, 48))
    speakers: tuple[Box | Path, ...] = boxes if placed == "boxes" else ()
    if placed == "masks":
        speakers = (tmp_path / "one.png", tmp_path / "two.png")
        for path, mask in zip(speakers, box_masks(boxes, 40, 48), strict=True):
            Image.fromarray(mask.numpy().astype("uint8") * 255).save(path)
    two = (inputs / "speech.wav", write_speech(tmp_path / "other.wav", 0.5))
    size = {"height": 64, "width": 64}
    request = replace(asked(inputs), audio=two, speakers=speakers, turns=Turns.IN_TURN, seconds=1.0, **size)
    whole = start(pipeline, request, tmp_path / "whole")
    with pytest.raises(Cancelled):
        start(pipeline, request, tmp_path / "stopped", on_progress=stopping(3))
    record = read_record(tmp_path / "stopped")
    assert record.request == request
    assert len(record.resolved["people"]) == 2
    assert resume(tmp_path / "stopped", load=load(pipeline)).read_bytes() == whole.read_bytes()
    assert read_audio(whole).seconds == pytest.approx(1.0, abs=0.05)
    if placed == "masks":
        assert str(speakers[1]) in record.inputs
