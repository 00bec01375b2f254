#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The seed system beside ours: a pipeline of 100 empty steps in process, in `synapse-sdk` (PyPI) and in libbackstep.

    bench/seed.py BUILD/bin/bench_in_process       what bench/in_process runs, in a Python of 3.12 or later with synapse-sdk in it

Prints one JSON object.
Both are measured as steps a second of the processor's time of one process, the median of five rounds, one after the other.
"""

import json
import statistics
import subprocess
import sys
import time
from importlib import metadata

from synapse_sdk.plugins.steps import BaseStep, BaseStepContext, Orchestrator, StepRegistry, StepResult

STEPS = 100
ROUNDS = 5
ROUND_S = 1.0


class Runtime:
    """What a context of theirs asks of the system around it: nobody logs, nobody listens."""

    logger = None
    job_id = None


class Nothing(BaseStep):
    def __init__(self, name):
        self._name = name

    @property
    def name(self):
        return self._name

    @property
    def progress_weight(self):
        return 1.0

    def execute(self, context):
        return StepResult()


def round_of(registry):
    """Steps a second of processor time."""
    done, begun, cpu = 0, time.monotonic(), time.process_time()
    while time.monotonic() - begun < ROUND_S:
        Orchestrator(registry, BaseStepContext(runtime_ctx=Runtime()), lambda current, total: None).execute()
        done += STEPS
    return done / (time.process_time() - cpu)


def main():
    registry = StepRegistry()
    for number in range(STEPS):
        registry.register(Nothing(f"s{number}"))
    theirs = statistics.median(round_of(registry) for _ in range(ROUNDS))
    ours = json.loads(subprocess.run([sys.argv[1], str(STEPS)], check=True, capture_output=True, text=True).stdout)
    ours = ours["steps_per_cpu_second"]["median"]
    print(json.dumps({"bench": "seed", "steps": STEPS, "synapse_sdk": metadata.version("synapse-sdk"), "seed_steps_per_cpu_second": round(theirs),
                      "backstep_steps_per_cpu_second": round(ours), "times_as_fast": round(ours / theirs, 2)}))


if __name__ == "__main__":
    main()
