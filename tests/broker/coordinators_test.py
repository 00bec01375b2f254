#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Several coordinators share the progress partitions as a group, while runs are under way: one comes, one is stopped, one is killed, one is
frozen until the others have its partitions and wakes. How long runs stand still for that is read from the times at which their steps begin.

By hand, for the figures in OPERATIONS.md: coordinators_test.py how_long"""

import json
import re
import signal
import sys
import time

from cluster import PROGRESS_PARTITIONS as PARTITIONS
from cluster import Cluster, check, main

SESSION_S = 3
STEPS = 160
STEP_S = 0.25
JOURNAL = f"""
cat >/dev/null
printf '%s %s %s\\n' "$(date +%s.%N)" "$BACKSTEP_STEP" "$BACKSTEP_ATTEMPT" >>"$JOURNAL/$BACKSTEP_RUN_ID"
[ -e "$JOURNAL/hurry" ] || sleep {STEP_S}
"""
CHAIN = "name: chain\nsteps:\n" + "".join(f"  - {{name: s{i}, uses: work, rollback: none}}\n" for i in range(STEPS))


def partition_of(key):
    """murmur2, as all clients of Kafka compute the partition of a key."""
    data, mask, m = key.encode(), 0xFFFFFFFF, 0x5BD1E995
    h = (0x9747B28C ^ len(data)) & mask
    whole = len(data) // 4 * 4
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i:i + 4], "little") * m & mask
        h = (h * m & mask) ^ ((k ^ k >> 24) * m & mask)
    if len(data) > whole:
        h = (h ^ int.from_bytes(data[whole:], "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return ((h ^ h >> 15) & 0x7FFFFFFF) % PARTITIONS


class World(Cluster):
    def coordinator(self, partitions, *others):
        """One more, that has so many partitions once it and the others are ready."""
        process = self.serve("--session-timeout", f"{SESSION_S}s", group=True, ready=False)
        self.wait_for(lambda: self.has(process) == partitions and self.all_are_held(process, *others), "a coordinator to be given its share")
        return process

    def has(self, process):
        """How many partitions it has, all of them ready."""
        said = re.findall(r"event=(ready partitions=|partition_given|partition_revoked|partition_lost|claimed_by_another)(\d*)", process.said())
        return int(said[-1][1]) if said and said[-1][0].startswith("ready") else 0

    def all_are_held(self, *processes):
        return sum(map(self.has, processes)) == PARTITIONS

    def begin_runs(self, prefix="run-"):
        """One on each partition."""
        pipeline = self.pipeline(CHAIN)
        names = [f"{prefix}{number}" for number in range(100)]
        ids = [next(name for name in names if partition_of(name) == partition) for partition in range(PARTITIONS)]
        return [self.start(pipeline, "--id", name) for name in ids]

    def steps_begun(self, run_id):
        """(time, step, attempt) of each."""
        return [(float(at), step, attempt) for at, step, attempt in (line.split() for line in (self.journal / run_id).read_text().splitlines())]

    def stood_still_s(self, ids, since):
        """The longest that a run has waited for its next step after that moment, beyond what the step before took."""
        pauses = []
        for run_id in ids:
            times = [at for at, _, _ in self.steps_begun(run_id)]
            before = max((at for at in times if at <= since), default=since)
            after = sorted(at for at in times if at > since)
            if not after:
                return None
            pauses += [b - a for a, b in zip([before, *after], after)]
        return max(pauses) - STEP_S

    def wait_until_all_go_on(self, ids, since, what):
        self.wait_for(lambda: all(max(at for at, _, _ in self.steps_begun(run_id)) > since for run_id in ids), f"the runs to go on {what}")

    def pause(self, ids, since, what, most_s):
        """Every run goes on; how long the longest stood still."""
        self.wait_until_all_go_on(ids, time.time(), what)
        pause = self.stood_still_s(ids, since)
        print(f"note: {what} a run stood still for {1000 * pause:.0f} ms at most")
        check(pause < most_s, f"runs go on {what}")


def one_comes(world, ids, first):
    since = time.time()
    second = world.coordinator(PARTITIONS // 2, first)
    check(world.has(first) == PARTITIONS // 2, "each has half of the partitions")
    world.pause(ids, since, "when a coordinator comes", 8)
    return second


def one_is_stopped(world, ids, leaving, staying):
    since = time.time()
    check(leaving.stop() == 0, "a coordinator that is stopped ends with 0")
    world.wait_for(lambda: world.has(staying) == PARTITIONS, "the other to have all partitions")
    world.pause(ids, since, "when a coordinator is stopped", 3)


def one_is_killed(world, ids, dying, staying):
    since = time.time()
    dying.kill()
    world.wait_for(lambda: world.has(staying) == PARTITIONS, "the other to have all partitions")
    world.pause(ids, since, "when a coordinator is killed", SESSION_S + 6)


def one_freezes(world, ids, frozen, staying):
    since = time.time()
    frozen.signal(signal.SIGSTOP)
    world.wait_for(lambda: world.has(staying) == PARTITIONS, "the other to have all partitions")
    world.pause(ids, since, "when a coordinator is frozen", SESSION_S + 6)
    since, given = time.time(), frozen.said().count("event=partition_given")
    frozen.signal(signal.SIGCONT)
    world.wait_for(lambda: frozen.said().count("event=partition_given") > given and world.all_are_held(frozen, staying), "the woken one to be given its share")
    check(re.search("event=(partition_lost|claimed_by_another)", frozen.said()), "one that wakes sees that it has lost its partitions")
    world.pause(ids, since, "when it wakes", 8)


def runs_end(world, ids):
    (world.journal / "hurry").touch()
    world.wait_for(lambda: all(run["status"] == "succeeded" for run in world.list("--limit", "1000")), "all runs to succeed", 90)
    expected = sorted((f"s{i}", "1") for i in range(STEPS))
    wrong = [run_id for run_id in ids if sorted((step, attempt) for _, step, attempt in world.steps_begun(run_id)) != expected]
    check(not wrong, f"each step of {len(ids)} runs was executed once {wrong or ''}")


def not_mixed(world):
    done = world.cli("serve", "--own", "all", expect=2)
    check("2 coordinators of" in done.stderr and "start this one without --own" in done.stderr, "a list is refused while there is a group")
    done = world.cli("serve", "--session-timeout", "2s", expect=5)
    check("2000 ms" in done.stderr and "group.min.session.timeout.ms" in done.stderr, "a session timeout that the broker refuses is said")
    done = world.cli("serve", "--session-timeout", "1s", expect=2)
    check("--session-timeout" in done.stderr, "and one that is none is not even tried")


def they_are_stopped_while_they_join(world):
    """The group's leader may die before it has dealt out: who waits for that is told to stop. Which of them leads is left to chance."""
    def comes():
        process = world.serve("--session-timeout", f"{SESSION_S}s", group=True, ready=False)
        world.wait_for(lambda: "event=joined" in process.said(), "one more to be known to the group")
        return process

    dying = [comes() for _ in range(3)]
    waiting = []
    for process in dying:
        process.kill()
        waiting.append(comes())
    codes = [process.stop() for process in waiting]
    said = [process.said().splitlines()[-1] for process in waiting if process.wait() != 0]
    check(codes == [0, 0, 0], f"who is stopped while it joins ends with 0: {codes} {said}")


def coordinators_come_and_go():
    """Coordinators come, are stopped, killed, frozen and wake among runs: the others go on with these, and no step is executed twice"""
    with World() as world:
        first = world.coordinator(PARTITIONS)
        for _ in range(2):
            world.worker(world.steps(work=JOURNAL), "--concurrency", "12", "--no-actions", lease="30s")
        ids = world.begin_runs()
        second = one_comes(world, ids, first)
        not_mixed(world)
        one_is_stopped(world, ids, first, second)
        third = world.coordinator(PARTITIONS // 2, second)
        one_is_killed(world, ids, second, third)
        fourth = world.coordinator(PARTITIONS // 2, third)
        one_freezes(world, ids, third, fourth)
        runs_end(world, ids)
        they_are_stopped_while_they_join(world)


def a_spare():
    """By default there is one progress partition: a second coordinator is a spare, and goes on for the first when that is killed"""
    with World() as world:
        shown = [json.loads(line) for line in world.cli("topics", "-o", "json").stdout.splitlines()]
        check([each["partitions"] for each in shown if each["topic"] == world.topic("progress")] == [1], "`topics` makes one progress partition")
        first = world.serve("--session-timeout", f"{SESSION_S}s", group=True)
        spare = world.serve("--session-timeout", f"{SESSION_S}s", group=True, ready=False)
        world.wait_for(lambda: "event=joined" in spare.said(), "the group to take the second one in")
        world.worker(world.steps(work=JOURNAL), "--no-actions", lease="30s")
        run_id = world.start(world.pipeline(CHAIN))
        world.wait_for(lambda: (world.journal / run_id).exists() and len(world.steps_begun(run_id)) > 2, "the run to be under way")
        check(world.has(first) == 1 and world.has(spare) == 0, "the first has it, the second waits")
        first.kill()
        world.wait_for(lambda: world.has(spare) == 1, "the spare to have it")
        (world.journal / "hurry").touch()
        runs_end(world, [run_id])


def how_long():
    """Ten coordinators are stopped, five are killed: how long the runs of theirs stand still"""
    with World() as world:
        staying = world.coordinator(PARTITIONS)
        for _ in range(2):
            world.worker(world.steps(work=JOURNAL), "--concurrency", "12", "--no-actions", lease="30s")
        took = {"SIGTERM": [], "SIGKILL": [], "nothing": []}
        for ending in ["SIGTERM", "SIGKILL", "nothing", "SIGTERM"] * 5:
            (world.journal / "hurry").unlink(missing_ok=True)
            leaving = world.coordinator(PARTITIONS // 2, staying)
            ids = world.begin_runs(f"{len(world.processes)}-")
            world.wait_for(lambda: all((world.journal / run_id).exists() for run_id in ids), "all runs to begin")
            settled = time.time() + 2  # librdkafka joins again at most once a second
            world.wait_for(lambda: time.time() > settled, "the group to settle")
            since = time.time()
            if ending != "nothing":
                leaving.signal(signal.Signals[ending])
                world.wait_for(lambda: world.has(staying) == PARTITIONS, "the other to have all partitions")
            world.wait_until_all_go_on(ids, since + 1, ending)
            took[ending].append(round(1000 * world.stood_still_s(ids, since)))
            (world.journal / "hurry").touch()
            world.wait_for(lambda: all(len(world.steps_begun(run_id)) >= STEPS for run_id in ids), "the runs to end")
            leaving.stop()
        for ending, pauses in took.items():
            print(f"note: {ending}: runs stand still for {sorted(pauses)} ms, with a session of {SESSION_S} s", flush=True)


if __name__ == "__main__":
    main(coordinators_come_and_go, a_spare, *([how_long] if "how_long" in sys.argv else []))
