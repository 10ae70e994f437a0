"""What the first use of provnet costs above `import torch`, in a fresh process.

    python -m tests.benchmarks.bench_import

Bytecode is kept between the processes, as pip leaves it: where `PYTHONDONTWRITEBYTECODE` is set, every process compiles
all sources again and the import takes twice as long. Target: 0.35 s.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from statistics import median

from tests.benchmarks.clock import report

RUNS = 9
TARGET = 0.35

SCRIPT = """
import time
import torch
wall, processor = time.perf_counter(), time.process_time()
import provnet
provnet.trace
print(time.perf_counter() - wall, time.process_time() - processor)
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": folder}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        runs = []
        for _ in range(1 + RUNS):
            done = subprocess.run(
                [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True
            )
            runs.append([float(number) for number in done.stdout.split()])
    wall, processor = (median(column) for column in zip(*runs[1:], strict=True))
    report("first use of provnet above torch", seconds=wall, processor_seconds=processor, target=TARGET)


if __name__ == "__main__":
    main()
