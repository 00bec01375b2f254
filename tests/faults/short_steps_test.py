#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Steps so short that a worker's main thread runs them, and one that is not: under ThreadSanitizer too, for who has the loop changes."""

import signal
import time

from embedded import Embedded, check, main
from leases import CRASHING, LEASE, LEASE_S, quick_and_slow

TRIES = 20  # a quick step that had to wait for a processor was not quick, and the next ones are not believed to be


class Quick(Embedded):
    def __enter__(self):
        super().__enter__()
        self.quick, self.slow = quick_and_slow(self)
        self.process = self.spawn("quick", CRASHING, "worker", "-b", self.brokers, "--id", "quick", "--lease", LEASE)
        return self

    def succeeds(self, run_id):
        return self.end_of(run_id)["status"] == "succeeded"

    def begin_slow(self, name):
        """The name of a run whose step has the worker's main thread, and waits."""
        for run_id in (f"{name}-{number}" for number in range(TRIES)):
            quick = [f"before-{run_id}-{number}" for number in range(8)]
            self.begin(self.quick, *quick)
            check(all(map(self.succeeds, quick)), "steps of no time")
            (self.journal / "thread").unlink(missing_ok=True)
            self.begin(self.slow, run_id)
            self.wait_for(lambda: self.did("thread"), f"{run_id} to begin")
            if self.did("thread") == ["main"]:
                return run_id
            self.let_go()
            check(self.succeeds(run_id), f"{run_id} was handed to another thread")
            (self.journal / "go").unlink()
        return None

    def let_go(self):
        (self.journal / "go").touch()


def a_quick_worker_gets_a_slow_step():
    """steps of no time run on the worker's main thread; one of them that lasts three leases costs no lease, and keeps neither others nor SIGTERM waiting"""
    with Quick() as world:
        slow = world.begin_slow("slow")
        begun = time.monotonic()
        check(slow, "the slow step has the main thread")
        world.begin(world.quick, "meanwhile")
        check(world.succeeds("meanwhile"), "others have the other threads")
        world.wait_for(lambda: time.monotonic() > begun + 3 * LEASE_S, "three leases to go by")
        check("incarnation_ends" not in world.process.said(), "its lease goes on")
        world.let_go()
        check(world.succeeds(slow), "and so does its run")
        (world.journal / "go").unlink()
        last = world.begin_slow("last")
        check(last, "the next one has the main thread, which had been back")
        world.process.signal(signal.SIGTERM)
        world.wait_for(lambda: "event=draining" in world.process.said(), "it to drain")
        world.let_go()
        check(world.process.wait() == 0, "told to end meanwhile it ends with exit 0, when the step has")
        check(world.succeeds(last), "the run has its end")
        check([world.did(run_id) for run_id in (slow, last)] == [["execute slow 1"]] * 2, "each step was executed once")


main(a_quick_worker_gets_a_slow_step)
