#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A coordinator is killed among many short runs and one long one: its successor begins at the checkpoint, not at the start of the log."""

import re
import time

from cluster import Cluster, check, main

RUNS = 40

QUICK = "cat >/dev/null; echo '{\"data\": {}}'\n"
HOLD = "cat >/dev/null; while [ ! -e \"$RELEASE\" ]; do sleep 0.05; done\n"
SHORT = """
name: short
steps:
  - {name: one, uses: quick, rollback: none}
  - {name: two, uses: quick, rollback: none}
"""
LONG = """
name: long
steps:
  - {name: first, uses: quick, rollback: none}
  - {name: hold, rollback: none}
"""


def begun_at(process):
    """Partition -> where the coordinator began to read, and the end of the log then."""
    return {int(p): (int(f), int(t)) for p, f, t in re.findall(r"event=recovering partition=(\d+) from=(\d+) to=(\d+)", process.said())}


def recovery():
    """A killed coordinator's successor reads a fraction of the log, goes on with what runs, and knows the ids of what has ended"""
    with Cluster() as cluster:
        import os
        release = cluster.directory / "release"
        os.environ["RELEASE"] = str(release)
        steps = cluster.steps(quick=QUICK, hold=HOLD)
        short, long = cluster.pipeline(SHORT, "short.yaml"), cluster.pipeline(LONG, "long.yaml")
        first = cluster.serve("--checkpoint-bytes", "600")
        cluster.worker(steps, "--concurrency", "4")
        held = cluster.start(long)
        cluster.wait_for(lambda: cluster.status(held)["steps"][1]["status"] == "running", "the long run to be at its second step")
        ids = [cluster.start(short) for _ in range(RUNS)]
        cluster.wait_for(lambda: sum(run["status"] == "succeeded" for run in cluster.list("--limit", "1000")) == RUNS, "the short runs to end")
        types = [line.split("type=")[1].split(",")[0] for line in cluster.records() if "type=" in line]
        check(types.count("Snapshot") > 0 and types.count("FinishedIds") > 0,
              f"{types.count('Snapshot')} snapshots and {types.count('FinishedIds')} lists of ended ids stand in the log")
        first.kill()
        began = time.monotonic()
        second = cluster.serve("--checkpoint-bytes", "600")
        print(f"note: ready {1000 * (time.monotonic() - began):.0f} ms after the start of the successor")
        places = begun_at(second)
        print(f"note: it began at {places}")
        check(any(begin > 0 for begin, _ in places.values()), "the successor begins at a checkpoint")
        read, all_of_it = sum(end - begin for begin, end in places.values()), sum(end for _, end in places.values())
        check(2 * read < all_of_it, f"it reads {read} of {all_of_it} records")
        refused = cluster.cli("start", short, "--id", ids[0], expect=None)
        check(refused.returncode == 8, "a second start of a run that ended is answered 'existing'")
        release.touch()
        cluster.wait_for(lambda: cluster.status(held)["status"] == "succeeded", "the long run to end")
        check("snapshot_differs" not in first.said() + second.said(), "no snapshot differs from the replay")
        check("event=ticket_lost" not in second.said(), "what ran was left where it was")


if __name__ == "__main__":
    main(recovery)
