#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The benchmark runs, and what it counts is right. It says nothing about times."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

from cluster import Failed, check, main

SOURCE, BIN = Path(os.environ["BACKSTEP_SOURCE"]), Path(os.environ["BACKSTEP_BIN"])


def runs_and_counts():
    """bench --quick runs everything, and each run, step and record is counted once"""
    if not (BIN / "bench_client").exists():
        raise Failed(f"{BIN} has no bench_client: configure with -DBACKSTEP_BENCH=ON")
    done = subprocess.run([sys.executable, SOURCE / "bench/measure.py", "--quick"], stdout=subprocess.PIPE, text=True, timeout=300)
    check(done.returncode == 0, "it ends well")
    figures = json.loads(done.stdout.splitlines()[-1])
    check(done.stdout.splitlines()[2].startswith("| what |"), "it prints a table, and then one JSON object")
    for window, load in figures["in_flight"].items():
        runs, records = load["runs"], load["records"]
        check(runs == load["succeeded"] == 2 * int(window) + 10, f"{window} in flight: {runs} runs were asked for, and all succeeded")
        check((load["steps"], records["Done"]) == (3 * runs, 3 * runs), f"{window} in flight: each step was done once")
        check(records["Start"] == records["Answered"] == records["RunFinished"] == runs, f"{window} in flight: a run begins and ends once")
        # What the segments hold has to agree with what the client read: a task for each Done, a Heartbeat now and then.
        check(2.0 <= round(load["records_per_step_beside_the_runs_own"], 3) < 2.3, f"{window} in flight: a step is a task and a Done")
        check(load["batches_per_step"] <= load["records_per_step"], f"{window} in flight: no more produce requests than records")
    check(figures["rollback"]["rollback"]["count"] == 5, "five runs were rolled back")
    check(figures["rollback"]["records"]["Done"] == 5 * 6, "three steps and three rollbacks each")
    check(figures["cancel"]["cancel"]["count"] == figures["cancel"]["records"]["Cancel"] == 2, "two runs were cancelled")
    check(all(rate > 0 for rate in figures["floor"]["round_trips_per_s"].values()), "raw messages came back in every window")
    programs = figures["programs"]
    check(figures["first_task_ms"] > 0 and programs["steps_per_s"] > 0 and programs["list_steps_per_s"] > 0, "a new worker and programs did their steps")
    check(figures["finished"]["runs"] == 200, "the first of 200 finished runs was found, and the last ones listed")


@contextlib.contextmanager
def actions():
    """The port of bench_dtm's own."""
    with subprocess.Popen([BIN / "bench_dtm", "actions"], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) as process:
        try:
            yield int(process.stdout.readline())
        finally:
            process.terminate()


def asks_as_bench_others_does():
    """bench_dtm drive counts what was answered, and gives up where nobody answers; in DTM's place its own actions do"""
    def drive(action="", window="4"):
        return subprocess.run([BIN / "bench_dtm", "drive", url, url + action, window, "0.2"], capture_output=True, text=True, timeout=60)

    with actions() as port:
        url = f"http://127.0.0.1:{port}"
        figures = json.loads(drive().stdout)
        check(0 < figures["steps_per_s"] <= 3 * figures["count"] / 0.15 and 0 < figures["p50_us"] <= figures["p99_us"], "sagas are counted, and timed")
        check(drive(window="0").returncode == 2, "none at once is no window")
        check("ACTION 200 bytes" in drive(200 * "a").stderr, "an action has to fit")
    refused = drive()
    check(refused.returncode == 1 and "Couldn't connect" in refused.stderr, "and nobody there is said")


if __name__ == "__main__":
    main(runs_and_counts, asks_as_bench_others_does)
