import json
from pathlib import Path

import pytest
import torch

from bench_cases import case
from enliven.bench import toon
from enliven.bench.cases import Case
from enliven.bench.performance import Performance
from enliven.bench.report import Section
from enliven.bench.talkers import Drawn
from enliven.bench.toon import Bench, Plan, toon_report
from enliven.errors import ConfigError

PLAN = Plan(clips=3, silent=1, long_seconds=4.0)


class Wrong:
    """Draws the truth and spoils it."""

    name = "wrong"

    def __init__(self, fault: str) -> None:
        self.fault = fault

    def __call__(self, asked: Case) -> torch.Tensor:
        frames = asked.drawn()
        match self.fault:
            case "patchy":
                bright = torch.arange(128) // 16 % 2 * 6
                return (frames.float() + bright + bright[:, None]).clamp(0, 255).to(torch.uint8)
            case "late":
                return torch.cat([frames[:1].expand(4, -1, -1, -1), frames[:-4]])
            case "frozen":
                return frames[:1].expand_as(frames)
            case "deaf":
                return frames.flip(0)
            case "ghost":
                return ((frames.float() + frames.roll((4, 5), (2, 3)).float()) / 2).round().to(torch.uint8)
            case _:
                stranger = Case("stranger", asked.seed + 77, asked.speech, asked.frames)
                return stranger.drawn()


def bench(talker: Drawn | Wrong) -> Bench:
    made = Bench(talker, PLAN, patch=16)
    made.cases = [case(3.0, seed=9_000_001 + i, name=f"babble {i}") for i in range(3)]
    return made


def failed(part: Section) -> set[str]:
    return {check.name for check in part.checks if not check.passed}


def test_the_truth_passes_everything() -> None:
    truth = bench(Drawn())
    for part in (truth.sync(), truth.clean(), truth.silence(), truth.identity()):
        assert not failed(part), part.title
    correlation = truth.sync().checks[0]
    assert correlation.value > 0.95


@pytest.mark.parametrize(
    ("fault", "part", "check"),
    [
        ("late", "sync", "best lag"),
        ("deaf", "sync", "mouth opening, correlation with truth"),
        ("frozen", "sync", "mouth opening, correlation with truth"),
        ("ghost", "clean", "face region: frames judged clean"),
        ("stranger", "identity", "similarity kept, last second, share of true renderings'"),
    ],
)
def test_a_fault_fails_the_check_meant_for_it(fault: str, part: str, check: str) -> None:
    assert check in failed(getattr(bench(Wrong(fault)), part)())


def test_seams_of_patches_are_compared_with_the_truth() -> None:
    name = "seams of patches, times those of the drawn truth"
    true, patchy = (
        {check.name: check for check in bench(talker).clean().checks}[name] for talker in (Drawn(), Wrong("patchy"))
    )
    assert true.value == 1
    assert patchy.value > 2
    assert true.target == ""


def test_nothing_to_compare_with_does_not_pass() -> None:
    alone = bench(Drawn())
    alone.cases = alone.cases[:1]
    assert failed(alone.sync()) == {"the same with the audio of another clip"}


def test_a_silent_person_who_freezes_or_babbles_fails() -> None:
    class Frozen(Drawn):
        def __call__(self, asked: Case) -> torch.Tensor:
            frames = asked.drawn()
            return frames[:1].expand_as(frames) if "silent" in asked.name else frames

    class Babbling(Drawn):
        def __call__(self, asked: Case) -> torch.Tensor:
            return case(asked.frames / 25, asked.seed).drawn()

    assert {"head motion, share of that under speech", "body motion, share of that under speech"} <= failed(
        bench(Frozen()).silence()
    )
    assert {"mouth opening, mean", "frames with a closed mouth"} <= failed(bench(Babbling()).silence())


def test_the_command_measures_the_parts_it_is_asked_for(tmp_path: Path) -> None:
    page = toon_report(tmp_path, Plan(clips=1), only=["clean"], drawn=True)
    parts = json.loads(page.with_suffix(".json").read_text())["parts"]
    assert list(parts) == ["Clean drawing"]
    assert parts["Clean drawing"]["note"] == "frames are judged at 128 x 128; seams every 16 pixels of 128 x 128"
    with pytest.raises(ConfigError, match="taste"):
        toon_report(tmp_path, only=["taste"], drawn=True)


def test_words_alone_are_measured_of_as_many_people_as_planned(tmp_path: Path) -> None:
    page = toon_report(tmp_path, Plan(clips=1, described=2), only=["words"], drawn=True)
    part = json.loads(page.with_suffix(".json").read_text())["parts"]["Words alone"]
    assert len(part["details"]) == 2
    assert part["checks"]["sweater: people with the colour asked for"]["value"] == 1
    assert part["note"].startswith("2 people")


def test_every_decoder_is_measured_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(seconds: float, model: str, *, decoder: str, decodes: bool) -> Performance:
        assert decodes
        return Performance(seconds, seconds / 2, (), 100.0 if decoder == "full" or seconds < 10 else 200.0)

    monkeypatch.setattr(toon, "perform_apart", measured)
    part = toon.decoding(Plan(memory_seconds=(5.0, 20.0)), "soul-toon")
    assert [check.value for check in part.checks] == [0.5, 1.0, 0.5, 2.0]
    assert failed(part) == {"efficient: peak memory, 20 s over 5 s"}
