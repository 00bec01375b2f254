#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The steps that python_worker_test.py asks of a worker in Python: examples/python, with what a test needs besides.

    python_steps.py -b HOST:PORT --id ID --queue QUEUE [--handlers NAME ...] [--announce NAME ...] [--window N]
"""

import json
import os
import time
from pathlib import Path

import backstep
from backstep.program import options_parser
from backstep.worker import Worker

POLL_S = 0.02
JOURNAL = Path(os.environ["JOURNAL"])


def note(context):
    with open(JOURNAL / context.run_id, "a") as journal:
        print("rollback" if context.rolls_back else "execute", context.name, context.attempt, file=journal)


@backstep.step
def add_up(context):
    """Adds what a step in C has counted; undoing needs what executing has left."""
    note(context)
    numbers = context.steps["prepare"]["numbers"]
    for done, _ in enumerate(numbers, 1):
        context.progress(done, len(numbers))
    context.metrics(unit="numbers")
    context.metrics(largest=max(numbers))
    context.log("added", level="warn", event="sum", count=len(numbers))
    context.set("unit", context.params["unit"])
    context.rollback_data = {"added": numbers}
    return {"sum": sum(numbers)}


@add_up.rollback
def take_away(context):
    note(context)
    (JOURNAL / "undone").write_text(json.dumps([context.rollback_data, context.result]))


@backstep.step
def tell(context):
    """Gives back all it was given."""
    note(context)
    return {"steps": context.steps, "shared": context.shared, "input": context.input}


@backstep.step
def hold(context):
    """Takes until there is a file named `go`; its data says who it was."""
    note(context)
    while not (JOURNAL / "go").exists():
        context.progress(1, 2)
        time.sleep(POLL_S)
    return {"by": os.environ.get("WORKER", "")}


hold.rollback(note)


@backstep.step
def skip(context):
    note(context)
    raise backstep.Skip


@backstep.step
def refuse(context):
    """Fails as its input says."""
    note(context)
    if "progress" in context.input:
        context.progress(*context.input["progress"])
    if "size" in context.input:
        return "x" * context.input["size"]
    raise backstep.Permanent("it will never work")


class TestedWorker(Worker):
    """Says more than it keeps, where the test asks it to."""

    def __init__(self, options, steps):
        super().__init__(options, {name: steps[name] for name in options.handlers or steps})

    def announced(self):
        return self.options.announce or super().announced()

    def window(self):
        return self.options.window or super().window()


if __name__ == "__main__":
    parser = options_parser()
    parser.add_argument("--handlers", nargs="*", help="which ones to serve")
    parser.add_argument("--announce", nargs="*", help="say that these are served: the first step towards a refusal")
    parser.add_argument("--window", type=int, help="say this window, and take no more than the slots: the second")
    backstep.main(parser=parser, worker_class=TestedWorker)
