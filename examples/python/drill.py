#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The steps of examples/drill/drill.c in Python: trouble on demand. `drill plan` writes the pipeline."""

import signal
from pathlib import Path

import backstep


def wait_for_the_end(last_words):
    """Until the run is cancelled, or the time is over."""
    try:
        signal.pause()
    except backstep.Cancelled:
        raise backstep.Cancelled(last_words) from None


@backstep.step
def reserve(context):
    context.rollback_data = {"seat": "12A"}
    return {"reserved": 1}


@reserve.rollback
def release(context):
    if context.params["stuck"]:
        raise backstep.Permanent(f"seat {context.rollback_data['seat']} is stuck")


@backstep.step
def work(context):
    if context.params["slow"]:
        wait_for_the_end(f"gave up in attempt {context.attempt}")
    if context.attempt <= context.params["failures"]:
        raise RuntimeError(f"no luck in attempt {context.attempt}")
    return {"attempts": context.attempt}


@work.rollback
def rework(context):
    context.log("undone: " + ("what was only begun" if context.result is None else "what was done"))


@backstep.step
def hold(context):
    if "hold" not in context.params:
        raise backstep.Skip
    Path(context.params["hold"]).touch()
    wait_for_the_end("let go")


if __name__ == "__main__":
    backstep.main()
