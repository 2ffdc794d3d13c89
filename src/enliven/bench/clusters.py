"""How long the k-means of a codebook takes, in several processes on one machine.

    python -m enliven.bench.clusters --processes 2

learns 4096 centroids from a million random vectors of 48 numbers in 25 iterations, each process on one thread with its
share of the vectors. Random vectors have no clusters, so no iteration is spared: it is the slowest case.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from enliven.bench.report import Check, Section, write_report

log = logging.getLogger(__name__)

LONGEST = 180.0  # seconds, on two cores


def measure(processes: int, **sizes: int) -> dict[str, Any]:
    """What ``enliven.train.clusters`` says of one k-means; ``sizes`` are its flags."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    flags = [part for name, value in sizes.items() for part in (f"--{name}", str(value))]
    command += ["-m", "enliven.train.clusters", *flags]
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}
    told: dict[str, Any] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, env=alone).stdout)
    return told


def clusters_part(told: dict[str, Any]) -> Section:
    """What was measured, as a part of a report."""
    title = "{vectors} vectors of {width} numbers, {size} centroids, {iterations} iterations".format(**told)
    return Section(
        title,
        [
            Check(f"time with {told['processes']} processes", told["seconds"], most=LONGEST, unit="s"),
            Check("processor time of all processes", told["processor_seconds"], unit="s"),
            Check("multiplications and additions, a second", told["gflop_per_second"], unit="GFLOP"),
            Check("mean squared distance to the nearest centroid", told["mean_squared_distance"]),
        ],
        told,
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2)
    for name, default in (("vectors", 1_000_000), ("width", 48), ("size", 4096), ("iterations", 25)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/speed"))
    asked = vars(parser.parse_args())
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    output, processes = asked.pop("output"), asked.pop("processes")
    page = write_report([clusters_part(measure(processes, **asked))], output, "k-means")
    log.info("%s", page.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
