#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What people ask of a run: pause, resume, retry, rollback, resolve; and that a coordinator's death in between changes nothing."""

import json

from cluster import THREE, Cluster, check, main

# Executes until told to go on, and fails while its cause is there; a rollback that says what is no answer has failed for good.
STEP = """
cat >/dev/null
printf '%s %s\\n' "$1" "$BACKSTEP_STEP" >>"$JOURNAL/$BACKSTEP_RUN_ID"
may() { [ -e "$JOURNAL/$BACKSTEP_RUN_ID.$1" ]; }
case $1 in
execute)
    touch "$JOURNAL/$BACKSTEP_RUN_ID.$BACKSTEP_STEP.runs"
    ! may "wait-$BACKSTEP_STEP" || until may "go-$BACKSTEP_STEP"; do sleep 0.05; done
    ! may "break-$BACKSTEP_STEP" || { echo "the disk is full" >&2; exit 65; }
    echo '{"data": {"by": "program"}}' ;;
rollback)
    ! may "stick-$BACKSTEP_STEP" || echo '{"cannot undo": true}' ;;
esac
"""


class World(Cluster):
    def __enter__(self):
        super().__enter__()
        self.three = self.pipeline(THREE)
        self.coordinator = self.serve()
        self.worker(self.steps(first=STEP, second=STEP, third=STEP))
        return self

    def allow(self, run_id, *what):
        for each in what:
            (self.journal / f"{run_id}.{each}").touch()

    def forbid(self, run_id, *what):
        for each in what:
            (self.journal / f"{run_id}.{each}").unlink()

    def begin(self, run_id, *what):
        self.allow(run_id, *what)
        return self.start(self.three, "--id", run_id)

    def wait_for_step(self, run_id, index, status):
        self.wait_for(lambda: self.status(run_id)["steps"][index]["status"] == status, f"step {index} of {run_id} to be {status}")

    def wait_for_status(self, run_id, status):
        self.wait_for(lambda: self.status(run_id)["status"] == status, f"{run_id} to be {status}")

    def restart(self):
        """The coordinator dies, and another one reads the log."""
        self.coordinator.kill()
        self.coordinator = self.serve()

    def finishes(self, run_id):
        lines = self.cli("events", run_id, "--from-beginning", "--all", "-o", "json").lines
        return sum(json.loads(line)["type"] == "RunFinished" for line in lines)


def pause_and_resume():
    """A paused run lets its running step end and begins nothing else, also under another coordinator; resumed, it goes on"""
    with World() as world:
        world.begin("p", "wait-second")
        world.wait_for_step("p", 1, "running")
        world.cli("pause", "p", "--reason", "the store is being moved")
        world.restart()
        world.allow("p", "go-second")
        world.cli("pause", "p", "--wait", "-q")
        run = world.status("p")
        statuses = [step["status"] for step in run["steps"]]
        check(statuses == ["succeeded", "succeeded", "waiting"], f"the step that ran has ended, the next one waits: {statuses}")
        check((run["status"], run["paused"]["reason"]) == ("paused", "the store is being moved"), "status knows that it is paused, and why")
        world.restart()
        check(world.status("p")["status"] == "paused", "it is paused still under another coordinator")
        check(json.loads(world.cli("resume", "p", "--wait", "-o", "json").stdout)["status"] == "succeeded", "resume: it goes on to its end")
        check(world.did("p") == ["execute first", "execute second", "execute third"], "each step ran once")
        check(world.cli("pause", "p", expect=7).stderr.endswith("it has succeeded already\n"), "pause of a run that is over is refused, with the reason")


def a_request_waits_for_a_coordinator():
    """A request to a cluster without a coordinator is answered by the next one"""
    with World() as world:
        world.begin("w", "wait-first")
        world.wait_for_step("w", 0, "running")
        world.coordinator.kill()
        silent = world.cli("pause", "w", "--timeout", "1s", expect=5)
        check("the request is on the log" in silent.stderr, "it says so, exit 5")
        world.coordinator = world.serve()
        world.wait_for_status("w", "paused")
        check(True, "the next coordinator pauses the run")
        world.allow("w", "go-first")
        world.cli("rollback", "w", "--wait", expect=4)
        check(world.did("w") == ["execute first", "rollback first"], "rollback undoes what was done, and nothing else")


def retry_of_what_failed():
    """A step fails in a paused run, which is held: retry gives it fresh attempts, resume would roll back, rollback does"""
    with World() as world:
        for run_id in ("again", "back"):
            world.begin(run_id, "wait-second", "break-second")
            world.wait_for_step(run_id, 1, "running")
            world.cli("pause", run_id)
            world.allow(run_id, "go-second")
            world.wait_for_step(run_id, 1, "failed")
            check(world.status(run_id)["paused"]["held"], "the failed step holds the run")
        world.restart()
        check(world.status("again")["error"] == "Step 'second' failed: the disk is full", "another coordinator knows why")
        world.forbid("again", "break-second")
        world.cli("retry", "again", "--wait")
        check(world.did("again") == ["execute first", "execute second", "execute second", "execute third"], "retry: only what had failed runs again")
        world.cli("rollback", "back", "--wait", expect=1)
        check(world.did("back")[2:] == ["rollback second", "rollback first"], "rollback: newest first")


def retry_of_what_stays_undone():
    """rollback_incomplete, its cause mended, retry: rolled_back; what was undone before is not undone again"""
    with World() as world:
        world.begin("r", "break-third", "stick-second")
        world.wait_for_status("r", "rollback_incomplete")
        world.restart()
        world.cli("retry", "r", "--wait", expect=3)
        check(True, "retry while the cause is there: rollback incomplete again")
        world.forbid("r", "stick-second")
        world.cli("retry", "r", "--wait", expect=1)
        check([step["status"] for step in world.status("r")["steps"]] == ["rolled_back"] * 3, "retry once it is gone: rolled back")
        check(world.did("r")[3:] == ["rollback third", "rollback second", "rollback first", "rollback second", "rollback second"],
              "only what was undone still was tried again")
        check(world.finishes("r") == 3, "each end is announced")


def resolve_by_hand():
    """A person says how a step stands: done with data, or undone; it is kept over a restart"""
    with World() as world:
        world.begin("done", "wait-first", "break-first")
        world.wait_for_step("done", 0, "running")
        world.cli("pause", "done")
        world.allow("done", "go-first")
        world.wait_for_step("done", 0, "failed")
        world.cli("resolve", "done", "first", "--done", "--data", '{"by": "hand"}', "--reason", "copied it over")
        world.begin("undone", "break-second", "stick-first")
        world.wait_for_status("undone", "rollback_incomplete")
        world.restart()
        run = json.loads(world.cli("resume", "done", "--wait", "-o", "json").stdout)
        check((run["status"], run["steps"][0]["data"], run["steps"][0]["resolved"]) == ("succeeded", {"by": "hand"}, True),
              "--done: the run goes on with what the person said")
        check(world.did("done") == ["execute first", "execute second", "execute third"], "the step does not run again")
        world.cli("resolve", "undone", "first", "--undone", "--reason", "removed it by hand")
        check(world.status("undone")["status"] == "rolled_back", "--undone of the last one: the run is rolled back")
        refused = world.cli("resolve", "undone", "second", "--done", "--reason", "x", expect=7)
        check("cannot be resolved" in refused.stderr, "what is over cannot be resolved again")


if __name__ == "__main__":
    main(pause_and_resume, a_request_waits_for_a_coordinator, retry_of_what_failed, retry_of_what_stays_undone, resolve_by_hand)
