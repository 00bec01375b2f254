#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Many runs at once: one coordinator, two workers that share a queue, every tenth run failing in its last step."""

import concurrent.futures
import json
import subprocess
from collections import defaultdict

from cluster import BIN, Cluster, check, main

RUNS = 200

STEP = """
cat >/dev/null
printf '%s %s\\n' "$1" "$BACKSTEP_STEP" >>"$JOURNAL/$BACKSTEP_RUN_ID"
"""
LAST = """
fail=$(jq .params.fail)
printf '%s %s\\n' "$1" "$BACKSTEP_STEP" >>"$JOURNAL/$BACKSTEP_RUN_ID"
[ "$1" = rollback ] || [ "$fail" = false ] || { echo "disk is full" >&2; exit 1; }
"""
PIPELINE = """
name: many
params: {fail: {default: false}}
steps:
  - {name: first, weight: 20}
  - {name: second, weight: 60}
  - {name: third, weight: 20}
"""
FORWARD = ["execute first", "execute second", "execute third"]
BACK = ["rollback third", "rollback second", "rollback first"]


def fields_of(line):
    partition, offset, time_ms, rest = line.split(" ", 3)
    key, _, headers = rest.partition(" ")
    return key, int(partition), int(offset), dict(header.split("=", 1) for header in headers.split(",") if "=" in header)


def progress_of(cluster):
    """Run id → the percent of each RunProgressed and RunFinished, in order of the log."""
    percents = defaultdict(list)
    finished = defaultdict(int)
    for line in cluster.records():
        key, _, _, headers = fields_of(line)
        if headers.get("type") in ("RunProgressed", "RunFinished"):
            percents[key].append(int(headers["percent"]))
        finished[key] += headers.get("type") == "RunFinished"
    return percents, finished


def many_runs():
    """200 runs started by `start` on 2 workers: 180 succeed, 20 are rolled back in reverse order, nothing is lost"""
    with Cluster() as cluster:
        steps = cluster.steps(first=STEP, second=STEP, third=LAST)
        pipeline = cluster.pipeline(PIPELINE)
        cluster.serve()
        for _ in range(2):
            cluster.worker(steps, "--concurrency", "4")
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            failing = [number % 10 == 0 for number in range(RUNS)]
            ids = list(pool.map(lambda fails: cluster.start(pipeline, *(["-p", "fail=true"] if fails else [])), failing))
        check(len(set(ids)) == RUNS, f"{RUNS} runs were started, each with an id of its own")
        cluster.wait_for(lambda: all(run["status"] in ("succeeded", "rolled_back") for run in cluster.list("--limit", "1000")),
                         "all runs to end", 120)
        statuses = {run["run_id"]: run["status"] for run in cluster.list("--limit", "1000")}
        count = list(statuses.values()).count
        check((count("succeeded"), count("rolled_back")) == (180, 20), "list shows 180 succeeded and 20 rolled back")
        for run_id, fails in zip(ids, failing):
            wanted = FORWARD + (BACK if fails else [])
            said = cluster.did(run_id)
            if said != wanted:
                check(False, f"{run_id} did {said}, expected {wanted}")
        check(True, "each step ran once, each rollback once, in reverse order")
        percents, finished = progress_of(cluster)
        check(all(finished[run_id] == 1 for run_id in ids), "each end is announced once")
        check(all(percents[run_id] == sorted(percents[run_id]) for run_id in ids), "progress never goes back")
        check(all((100 in percents[run_id]) != fails for run_id, fails in zip(ids, failing)), "100 % stands in what succeeded, and only there")
        failed = cluster.status(ids[0])
        check(failed["error"] == "Step 'third' failed: disk is full", "the error is the cause, in its own words")
        check([step["status"] for step in failed["steps"]] == ["rolled_back"] * 3, "status shows each step undone")


def what_is_urgent():
    """of a run whose tasks go ahead only the last Done is made long enough for the coordinator to hear of it at once"""
    with Cluster() as cluster:
        cluster.serve("--ahead", "always")
        cluster.worker(cluster.steps(first=STEP, second=STEP, third=STEP))
        run_id = cluster.start(cluster.pipeline(PIPELINE))
        cluster.wait_for(lambda: cluster.status(run_id)["status"] == "succeeded", "the run to end")
        headers = [headers for key, _, _, headers in map(fields_of, cluster.records()) if key == run_id]
        check(["fill" in header for header in headers if header["type"] == "Done"] == [False, False, True], "not those behind which a task waits")
        check(not any("fill" in header for header in headers if header["type"] in ("Answered", "RunFinished")), "nor its own words")


def what_can_wait():
    """of a short record that nobody has filled up a coordinator hears with what comes next, or when its patience is over: here it has much"""
    with Cluster() as cluster:
        def append(value):
            kcat = ["kcat", "-P", "-b", cluster.brokers, "-t", cluster.topic("progress"), "-p", "0"]
            subprocess.run(kcat, input=value, text=True, timeout=60, check=True)

        # Its first fetch is without the partitions it takes up next, and lasts as long as its patience; so when it is ready the next has begun.
        coordinator = cluster.serve("-X", "fetch.wait.max.ms=15000")
        append("x")
        cluster.records()  # readers of another kind have all there is
        check("event=dead_letter" not in coordinator.said(), "what is short and no message is not met at once")
        append("x" * 256)
        cluster.wait_for(lambda: coordinator.said().count("event=dead_letter") == 2, "both to be met", 30)


if __name__ == "__main__":
    main(many_runs, what_is_urgent, what_can_wait)
