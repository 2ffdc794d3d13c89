"""``enliven doctor``: what this machine has, which models it can run, and what is missing."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from enliven.commands import probes
from enliven.commands.probes import UNKNOWN, attempt, is_known
from enliven.errors import MissingExtra

if TYPE_CHECKING:
    from enliven.systems.spec import ModelSpec

KIB = 1024
UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
PIP = "pip install 'enliven{extra}'"


class Unfit(MissingExtra):
    """Something without which nothing runs is missing."""

    exit_code = 2


def doctor(*, as_json: Annotated[bool, Parameter(name="--json")] = False, quick: bool = False) -> None:
    """Say what this machine can run, and what it lacks.

    Args:
        as_json: Write everything as JSON.
        quick: Do not try how long the models take.

    """
    console = Console()
    with Console(stderr=True).status("looking around") as status:
        report = examine(quick=quick, on_step=lambda step: status.update(f"looking at {step}"))
    if as_json:
        console.print(json.dumps(report, indent=1), soft_wrap=True, highlight=False, markup=False)
    else:
        show(report, console)
    if report["problems"]:
        first = report["problems"][0]
        others = len(report["problems"]) - 1
        raise Unfit(first["what"] + (f", and {others} more" if others else ""), hint=first["remedy"])


def examine(*, quick: bool, on_step: Callable[[str], None]) -> dict[str, Any]:
    """Everything that can be found out, as JSON has it; what is essential and missing is in ``problems``."""
    report: dict[str, Any] = {}
    for step in (probes.software, probes.machine, probes.gpus, probes.disks, probes.video, probes.attention):
        on_step(step.__name__)
        report[step.__name__] = attempt(step)
    required = attempt(probes.requirements)
    missing, report["extras"] = required if is_known(required) else ([], required)
    specs = attempt(_specs)
    report["models"] = specs if not is_known(specs) else []
    weigh = _Weighing()
    for spec in specs if is_known(specs) else ():
        on_step(spec.name)
        report["models"].append({"name": spec.name, **_model(spec, attempt(partial(weigh, spec)), quick=quick)})
    report["problems"] = list(problems(report, missing))
    return report


def problems(report: dict[str, Any], missing: list[str]) -> Iterator[dict[str, str]]:
    """What must be there and is not, and what to do about it."""
    for name in missing:
        yield {"what": f"{name} is not installed", "remedy": PIP.format(extra="")}
    if not missing and not is_known(report["attention"]):
        yield {"what": f"torch cannot be used: {report['attention'][UNKNOWN]}", "remedy": "install torch anew"}
    if "av" not in missing:
        codecs = report["video"] if is_known(report["video"]) else dict.fromkeys(probes.CODECS, report["video"])
        for name, found in codecs.items():
            if found is not True:
                why = f": {found[UNKNOWN]}" if isinstance(found, dict) else ""
                yield {"what": f"PyAV cannot write {name}{why}", "remedy": "pip install --force-reinstall av"}
    disks = report["disks"] if is_known(report["disks"]) else {}
    output = disks.get("output", {})
    if output.get("writable") is False:
        yield {"what": f"{output['folder']} cannot be written to", "remedy": "run enliven in another folder"}


def show(report: dict[str, Any], console: Console) -> None:
    """The report as tables."""
    grid = Table(box=None, show_header=False, pad_edge=False)
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for title, rows in _sections(report).items():
        for index, (name, text) in enumerate(rows):
            grid.add_row("" if index else title, name, text)
    console.print(grid, highlight=False, markup=False)
    console.print()
    if is_known(report["models"]):
        console.print(_models_table(report["models"]), highlight=False)
        console.print("", *_remarks(report["models"]), sep="\n", highlight=False, markup=False)
    else:
        console.print(f"models: unknown ({report['models'][UNKNOWN]})", highlight=False, markup=False)
    for each in report["problems"]:
        console.print(f"problem: {each['what']}; {each['remedy']}", style="bold red", highlight=False, markup=False)


def size(count: float) -> str:
    """Bytes as a person says them."""
    power = 0
    while count >= KIB and power < len(UNITS) - 1:
        count, power = count / KIB, power + 1
    return f"{count:.0f} {UNITS[power]}" if power < 3 or count >= 100 else f"{count:.1f} {UNITS[power]}"


def _specs() -> list["ModelSpec"]:
    from enliven.systems import offered

    return offered()


class _Weighing:
    """What models need; those of the same networks and clips are looked at once."""

    def __init__(self) -> None:
        self._known: list[tuple[Any, dict[str, Any]]] = []

    def __call__(self, spec: "ModelSpec") -> dict[str, Any]:
        key = (spec.params, spec.geometry, spec.size, spec.decoder)
        found = next((sized for known, sized in self._known if known == key), None)
        if found is None:
            found = _sized(spec)
            self._known.append((key, found))
        return found


def _model(spec: "ModelSpec", sized: dict[str, Any], *, quick: bool) -> dict[str, Any]:
    """Whether the weights of a model are here, what it needs, how it would run, and how long a minute would take."""
    here = attempt(lambda: str(spec.weights))
    if not is_known(here):
        minute: Any = {UNKNOWN: "its weights are not here"}
    elif quick:
        minute = {UNKNOWN: "not tried"}
    elif is_known(sized) and not sized["plan"]["fits"]:
        minute = {UNKNOWN: "it does not fit"}
    else:
        minute = attempt(lambda: _minute(spec))
    return {"weights": here if is_known(here) else None, **sized, "minute_seconds": minute}


def _sized(spec: "ModelSpec") -> dict[str, Any]:
    from enliven.runtime.machine import this_machine
    from enliven.runtime.memory import EIGHT_BITS, plan_memory, weights_bytes
    from enliven.systems.footprint import model_needs

    needs = model_needs(spec)
    plan = plan_memory(needs, this_machine())
    total = sum(part.parameters for part in needs.parts.values())
    return {
        "parameters": {name: part.parameters for name, part in needs.parts.items()},
        "weights_bytes": {
            "float32": 4 * total,
            "bfloat16": sum(weights_bytes(needs, "bfloat16").values()),
            **{small: sum(weights_bytes(needs, "bfloat16", small).values()) for small in EIGHT_BITS},
        },
        "working_bytes": needs.cache + max(part.working for part in needs.parts.values()),
        "plan": {**asdict(plan), "fits": plan.fits},
    }


def _minute(spec: "ModelSpec") -> float:
    import torch

    from enliven.systems.trial import minute_seconds

    return round(minute_seconds(spec, "cuda" if torch.cuda.is_available() else "cpu"), 1)


def _sections(report: dict[str, Any]) -> dict[str, list[tuple[str, str]]]:
    """The rows of the report by title: a name, and what to say of it."""
    gpus, extras = report["gpus"], report["extras"]
    found = [
        (gpu["name"], f"{size(gpu['memory'])}, compute {gpu['compute_capability']}") for gpu in gpus if is_known(gpus)
    ]
    return {
        "Software": _rows(report["software"], lambda version: version or "not installed"),
        "Machine": [
            (name.replace("_", " "), _told(value, size if "memory" in name else str))
            for name, value in _items(report["machine"])
        ],
        "GPUs": found or [("none", "models run on the CPU" if is_known(gpus) else f"unknown: {gpus[UNKNOWN]}")],
        "Disks": _rows(report["disks"], _disk),
        "Video": _rows(report["video"], lambda found: "can be written" if found else "cannot be written"),
        "Attention": _rows(report["attention"], lambda found: "loads" if found is True else f"no: {found}"),
        "Extras": _rows(extras, lambda lacks: f"{', '.join(lacks)} missing" if lacks else "installed"),
    }


def _items(values: dict[str, Any]) -> list[tuple[str, Any]]:
    return list(values.items()) if is_known(values) else [("", values)]


def _rows(values: dict[str, Any], tell: Callable[[Any], str]) -> list[tuple[str, str]]:
    return [(name, _told(value, tell)) for name, value in _items(values)]


def _told(value: Any, tell: Callable[[Any], str]) -> str:
    return tell(value) if is_known(value) else f"unknown: {value[UNKNOWN]}"


def _disk(disk: dict[str, Any]) -> str:
    return f"{size(disk['free'])} free{'' if disk['writable'] else ', not writable'} in {disk['folder']}"


def _models_table(models: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("Model", "Here", "float32", "bfloat16", "8 bits", "working", "Runs"):
        table.add_column(title, no_wrap=True, justify="left" if title[0].isupper() else "right")
    for model in models:
        weights = model.get("weights_bytes", {})
        sizes = [size(weights[name]) if name in weights else "" for name in ("float32", "bfloat16", "int8")]
        working = size(model["working_bytes"]) if "working_bytes" in model else ""
        table.add_row(model["name"], "yes" if model["weights"] else "no", *sizes, working, _runs(model.get("plan")))
    return table


def _runs(plan: dict[str, Any] | None) -> str:
    if plan is None:
        return "unknown"
    if not plan["fits"]:
        return "no"
    return ("by blocks" if plan["offload"] else "whole") + (
        "" if plan["quantise"] == "none" else f", {plan['quantise']}"
    )


def _remarks(models: list[dict[str, Any]]) -> Iterator[str]:
    """What the table has no room for."""
    from enliven.commands.progress import clock

    for model in models:
        minute, plan = model["minute_seconds"], model.get("plan")
        if not is_known(model):
            yield f"{model['name']}: what it needs is unknown: {model[UNKNOWN]}"
        elif plan is not None and not plan["fits"]:
            yield f"{model['name']} does not fit: it takes {size(plan['needed'])}, and there are {size(plan['room'])}"
        if is_known(minute):
            yield f"{model['name']}: a minute of video takes about {clock(minute)} here, without decoding"
        elif model["weights"]:
            yield f"{model['name']}: how long a minute of video takes is unknown: {minute[UNKNOWN]}"
    if any(not model["weights"] for model in models):
        yield "Here: whether the weights are found; how long a minute takes is tried where they are"
    yield "working: what a clip takes besides the weights; the autoencoder always has float32"
    yield "Runs: as enliven generate does it; --memory asks for another way, and --dry-run shows it in full"
    if any(_runs(model.get("plan")).startswith("by blocks") for model in models):
        yield "by blocks: the weights come piece by piece, from disk or memory, which takes time"
