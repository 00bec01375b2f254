#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Steps so short that a worker's main thread runs them, and one that is not: under ThreadSanitizer too, for who has the loop changes."""

import signal
import time

from embedded import Embedded, check, main
from leases import CRASHING, LEASE, LEASE_S


def a_quick_worker_gets_a_slow_step():
    """steps of no time run on the worker's main thread; one of them that lasts three leases costs no lease, and keeps neither others nor SIGTERM waiting"""
    with Embedded() as world:
        worker = world.spawn("quick", CRASHING, "worker", "-b", world.brokers, "--id", "quick", "--lease", LEASE)
        quick = world.pipeline("name: quick\nsteps: [" + ", ".join(f"{{name: q{number}, uses: quick}}" for number in range(30)) + "]", "quick.yaml")
        slow = world.pipeline("name: slow\nsteps: [{name: slow}]", "slow.yaml")
        world.begin(quick, "before")
        world.end_of("before")
        world.begin(slow, "slow")
        begun = time.monotonic()
        world.wait_for(lambda: world.did("slow") and world.did("thread"), "it to begin")
        check(world.did("thread") == ["main"], "the slow step has the main thread")
        world.begin(quick, "meanwhile")
        check(world.end_of("meanwhile")["status"] == "succeeded", "others have the other threads")
        world.wait_for(lambda: time.monotonic() > begun + 3 * LEASE_S, "three leases to go by")
        check("incarnation_ends" not in worker.said(), "its lease goes on")
        (world.journal / "go").touch()
        world.end_of("slow")
        (world.journal / "go").unlink()
        after = [f"after-{number}" for number in range(8)]  # the mean has to forget the slow one
        world.begin(quick, *after)
        for run_id in after:
            world.end_of(run_id)
        world.begin(slow, "last")
        world.wait_for(lambda: world.did("last"), "it to begin")
        worker.signal(signal.SIGTERM)
        world.wait_for(lambda: "event=draining" in worker.said(), "it to drain")
        (world.journal / "go").touch()
        check(worker.wait() == 0, "told to end meanwhile it ends with exit 0, when the step has")
        ends = [world.end_of(run_id)["status"] for run_id in ("slow", "last")]
        check(ends == ["succeeded"] * 2 and [world.did(run_id) for run_id in ("slow", "last")] == [["execute slow 1"]] * 2, "each step was executed once")
        check(world.did("thread") == ["main"], "the last of them on the main thread, which had been back")


main(a_quick_worker_gets_a_slow_step)
