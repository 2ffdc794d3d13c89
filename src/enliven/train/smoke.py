"""Every kind of training takes steps on a few clips, is killed without warning, and goes on: ``make train-smoke``.

    python -m enliven.train.smoke --only lora
    python -m enliven.train.smoke --processes 2

The second shares every kind among processes that torchrun starts. The commands are those that a person would type, each
in a process of its own, with the shipped weights to begin from. The recipes of both papers are those of ``examples``,
on small networks and few clips.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from enliven.errors import SmokeError
from enliven.systems import find_model
from enliven.toonworld.voice import SHIPPED
from enliven.train import checkpoint

CLIPS, FRAMES = 2, 61
SAVING = 300.0  # seconds until a run must have saved
EXAMPLES = Path("examples")
LONG = 60.0  # minutes of a run that will be killed
MORE = 2.0  # seconds of training after it
MANY, FEW = 100_000, 3  # the same in steps
ENDING = 600.0  # seconds until a command that is not killed must have ended


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of training: a command whose ``budget`` setting is its minutes, where it keeps checkpoints and results.

    ``processes`` of them work together. With an ``example``, the recipe is that, and the budget is its steps.
    """

    name: str
    model: str
    command: tuple[str, ...]
    budget: str
    checkpoint: str
    result: str
    processes: int = 1
    example: str = ""

    def long(self) -> float:
        """The budget of a run that will be killed."""
        return MANY if self.example else LONG

    def rest(self, killed: "Saved") -> float:
        """The budget with which one that was killed soon ends."""
        return killed.step + FEW if self.example else (killed.seconds + MORE) / 60


CASES = (
    Case("toon", "longcat-toon", ("--stage", "backbone"), "backbone.minutes", "backbone", "weights/backbone"),
    Case("soul", "soul-toon", ("--stage", "backbone"), "backbone.minutes", "backbone", "weights/backbone"),
    Case("lora", "longcat-toon", ("--stage", "lora"), "adapting.minutes", "lora", "lora.safetensors"),
    Case(
        "decoder",
        "soul-toon",
        ("--stage", "drawing", "--stage", "efficient"),
        "efficient.minutes",
        "efficient",
        "weights/autoencoder-efficient",
    ),
    Case(
        "together",
        "longcat-toon",
        ("--stage", "backbone"),
        "backbone.minutes",
        "backbone",
        "weights/backbone",
        processes=2,
    ),
    Case("distill", "longcat-toon-4step", (), "minutes", "distillation", "student"),
    Case("longcat", "longcat-toon", (), "pace.steps", "run/training", "taught/backbone", example="longcat-avatar"),
    Case("soul-full", "soul-toon", (), "pace.steps", "run/training", "taught/backbone", example="soul-full"),
)


@dataclass(frozen=True, slots=True)
class Saved:
    """What a checkpoint counts."""

    step: int
    seconds: float


def smoke(folder: Path, cases: Sequence[Case] = CASES) -> Iterator[str]:
    """Run ``cases`` in a folder, several side by side; yields what each did. Raises SmokeError."""
    most = max(case.processes for case in cases)
    with ThreadPoolExecutor(max(1, (os.cpu_count() or 1) // most)) as hands:
        yield from hands.map(lambda case: _tried(case, folder / case.name), cases)


def _tried(case: Case, place: Path) -> str:
    began = time.monotonic()
    prepare(case, place)
    killed = kill_when_saved(case, place)
    _run(_command(case, place, case.rest(killed)), place)
    ended = find_saved(place / case.checkpoint)
    if ended is None or ended.step <= killed.step or not (place / case.result).exists():
        raise SmokeError(f"{case.name}: killed after {killed}, it ended at {ended}", hint=f"look into {place}")
    return (
        f"{case.name}: killed after step {killed.step}, went on to step {ended.step} and saved {case.result}"
        f" ({time.monotonic() - began:.0f} s)"
    )


def choose(cases: Sequence[Case], processes: int | None) -> list[Case]:
    """``cases`` with so many processes each, if told; those that then do what another does are left out."""
    found = dict[Case, Case]()
    for case in cases:
        shared = replace(case, processes=processes or case.processes)
        found.setdefault(replace(shared, name=""), shared)
    return list(found.values())


def prepare(case: Case, place: Path) -> None:
    """Recipe, sentences, weights, and clips for a student."""
    teacher = case.model.removesuffix("-4step")
    shutil.copytree(find_model(teacher).weights, place / "weights")
    (place / "speech").mkdir()
    for path in sorted(SHIPPED.iterdir())[: 2 * CLIPS]:
        shutil.copy(path, place / "speech")
    toon = f"""folder = "{place}"
weights = "{place}/weights"
model = "{teacher}"
clips = {CLIPS}
frames = {FRAMES}
warm_start = true
backbone = {{ minutes = {LONG}, learning_rate = 1e-4, batch = 1, parts = {case.processes} }}
adapting = {{ minutes = {LONG}, learning_rate = 1e-4, batch = 1, parts = {case.processes} }}
efficient = {{ minutes = {LONG}, learning_rate = 1e-4, batch = 1 }}
lora = {{ rank = 4, alpha = 4.0 }}
"""
    student = f"""model = "{case.model}"
teacher = "{place}/weights"
clips = [{{ folder = "{place}/encoded" }}]
folder = "{place}/distillation"
weights = "{place}/student"
imitating = 0.02
minutes = {LONG}
batch = 1
ratio = 1
parts = {case.processes}
"""
    (place / "toon.toml").write_text(toon)
    (place / "student.toml").write_text(student)
    if case.name == "distill":  # those of stages encode what they learn from
        _run(_enliven("train", str(place / "toon.toml"), "--stage", "encoding"), place)
    if case.example:
        _run(_enliven("encode", "--toon", str(2 * CLIPS), "--model", teacher, "-o", str(place / "shards")), place)
        begun = (EXAMPLES / f"{case.example}.toml").read_text().splitlines(keepends=True)
        (place / "example.toml").write_text("".join(line for line in begun if not line.startswith("deaf")))


def kill_when_saved(case: Case, place: Path) -> Saved:
    """Begin, and kill the run when it has saved; returns what was saved. Raises SmokeError."""
    with (place / "log.txt").open("a") as told:
        run = subprocess.Popen(_command(case, place, case.long()), stdout=told, stderr=told, env=_environment())
    try:
        until = time.monotonic() + SAVING
        while find_saved(place / case.checkpoint) is None:
            if run.poll() is not None or time.monotonic() > until:
                raise SmokeError(f"{case.name} saved nothing: {_last_lines(place)}", hint=f"look into {place}")
            time.sleep(0.1)
        time.sleep(1.0)  # some more steps, to be lost
    finally:
        _kill(run)
    saved = find_saved(place / case.checkpoint)
    assert saved is not None
    return saved


def find_saved(folder: Path) -> Saved | None:
    """The last checkpoint of a run, None where there is none."""
    counters = checkpoint.counters(folder / checkpoint.CHECKPOINT)
    return Saved(counters["step"], counters["seconds"]) if counters else None


def _kill(run: subprocess.Popen[bytes]) -> None:
    """Without warning, and all that it has started."""
    for pid in [*_children(run.pid), run.pid] if run.poll() is None else []:
        os.kill(pid, signal.SIGKILL)
    run.wait()


def _children(pid: int) -> list[int]:
    """All processes that a process has started, and those that these have."""
    own = [int(word) for path in Path(f"/proc/{pid}/task").glob("*/children") for word in path.read_text().split()]
    return [each for child in own for each in (*_children(child), child)]


def _command(case: Case, place: Path, budget: float) -> list[str]:
    settings: tuple[str, ...] = ("--set", f"{case.budget}={budget}")
    if case.example:
        changes = {
            "model": case.model,
            "weights": place / "weights",
            "folder": place / "run",
            "result": place / "taught",
            "sources": f'[{{ shards = "{place}/shards" }}]',
            "device": "cpu",
            "pace.parts": case.processes,
        }
        settings += tuple(word for name, value in changes.items() for word in ("--set", f"{name}={value}"))
        return _enliven("train", str(place / "example.toml"), *settings, processes=case.processes)
    if case.name == "distill":
        return _enliven("distill", str(place / "student.toml"), *settings, processes=case.processes)
    stages = ("--stage", "encoding", *case.command)
    return _enliven("train", str(place / "toon.toml"), *stages, *settings, processes=case.processes)


def _enliven(*arguments: str, processes: int = 1) -> list[str]:
    if processes == 1:
        return [sys.executable, "-m", "enliven", *arguments]
    together = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes))
    return [sys.executable, *together, "-m", "enliven", *arguments]


def _run(command: Sequence[str], place: Path) -> None:
    told = " ".join(command[1:])
    with (
        (place / "log.txt").open("a") as log,
        subprocess.Popen(command, stdout=log, stderr=log, env=_environment()) as run,
    ):
        try:
            code = run.wait(ENDING)
        except subprocess.TimeoutExpired:
            _kill(run)
            raise SmokeError(
                f"{told} did not end in {ENDING:.0f} s: {_last_lines(place)}", hint=f"look into {place}"
            ) from None
    if code:
        raise SmokeError(f"{told} failed: {_last_lines(place)}", hint=f"look into {place}")


def _last_lines(place: Path) -> str:
    return " | ".join((place / "log.txt").read_text().strip().splitlines()[-3:])


def _environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}


def main() -> None:
    """The command line; the exit code says whether all is well."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=[case.name for case in CASES], help="some kinds of training")
    parser.add_argument("--processes", type=int, help="so many for each kind, instead of its own number")
    asked = parser.parse_args()
    chosen = choose([case for case in CASES if not asked.only or case.name in asked.only], asked.processes)
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        try:
            for line in smoke(Path(folder), chosen):
                sys.stdout.write(line + "\n")
                sys.stdout.flush()
            sys.stdout.write(f"all of it in {time.monotonic() - began:.0f} s\n")
        except SmokeError as error:
            sys.exit(f"{error}")


if __name__ == "__main__":
    main()
