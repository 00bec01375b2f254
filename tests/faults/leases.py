# SPDX-License-Identifier: Apache-2.0
"""Leases of two seconds: steps that outlast them, workers that are frozen beyond them, handlers that take their worker down."""

import signal
import threading
import time

from embedded import BIN, JOURNAL, Embedded, check
from kafka import is_alive

LEASE_S = 2
LEASE = f"{LEASE_S}s"
CRASHING = BIN.parent / "tests/crashing_worker"

LONG = """
name: long
steps: [{name: before}, {name: long}]
"""
SLOW = [f"slow-{number}" for number in range(6)]
CRASHES = """
name: crashes
steps:
  - {name: work}
  - {name: %s, retry: {max_losses: %d}}
"""
# Whoever is started here leaves the group, the session, and the parent; the last of them the environment, too.
FAMILY = JOURNAL + """
[ "$1" = rollback ] && exit 0
[ -e "$JOURNAL/go" ] && exit 0
sleep 600 & echo $! >"$JOURNAL/pid-child"
setsid sleep 600 & echo $! >"$JOURNAL/pid-session"
(setsid sh -c 'echo $$ >"$JOURNAL/pid-orphan"; exec sleep 600' &)
(env -i JOURNAL="$JOURNAL" setsid sh -c 'echo $$ >"$JOURNAL/pid-stranger"; exec sleep 600' &)
echo $$ >"$JOURNAL/pid-program"
while :; do sleep 0.05; done
"""
MEMBERS = ("program", "child", "session", "orphan", "stranger")


def a_step_of_five_leases():
    """a step that lasts five leases is executed once, and nobody is believed lost"""
    with Embedded() as world:
        steps = world.steps(before=JOURNAL, long=JOURNAL + f'[ "$1" = rollback ] || sleep {5 * LEASE_S}\n')
        worker, other = (world.worker(steps, lease=LEASE) for _ in range(2))
        world.begin(world.pipeline(LONG), "long")
        run = world.end_of("long")
        check(run["status"] == "succeeded" and run["duration_seconds"] >= 5 * LEASE_S, f"a step of {5 * LEASE_S} s under a lease of {LEASE_S} s")
        check(world.did("long") == ["execute before 1", "execute long 1"], "each step was executed once")
        check(not world.events("long", "Lost"), "nobody was believed lost")
        check("incarnation_ends" not in worker.said() + other.said(), "no worker has ended its incarnation")


def frozen_beyond_its_lease():
    """a worker frozen beyond its lease: the guard ends its program and all it has started, wherever that went; what it says late counts for nothing"""
    with Embedded() as world:
        steps = world.steps(before=JOURNAL, long=FAMILY)
        frozen = world.worker(steps, lease=LEASE)
        world.begin(world.pipeline(LONG), "long")
        world.wait_for(lambda: all(world.did(f"pid-{name}") for name in MEMBERS), "the family to be there")
        pids = {name: int(world.did(f"pid-{name}")[0]) for name in MEMBERS}
        check(all(map(is_alive, pids.values())), "all of the family live")
        frozen.signal(signal.SIGSTOP)
        begun = time.monotonic()
        world.wait_for(lambda: not any(map(is_alive, pids.values())), "the guard to end the family")
        took_s = time.monotonic() - begun
        check(took_s < LEASE_S + 2, f"the guard ended all of it within the lease: {took_s:.1f} s")
        (world.journal / "go").touch()
        world.worker(steps, lease=LEASE)
        check(world.end_of("long")["status"] == "succeeded", "the run finished on another worker")
        check(frozen.id in [event["worker"] for event in world.events("long", "Lost")], "its ticket was ended as lost")
        before = world.objects("status", "long")
        frozen.signal(signal.SIGCONT)
        world.wait_for(lambda: frozen.said().count("event=serving") == 2, "the woken worker to begin anew")
        check(world.objects("status", "long") == before, "what the woken worker said has changed nothing")
        check(world.did("long")[:3] == ["execute before 1", "execute long 1", "execute long 1"], "the step was executed once more")
        check(frozen.stop() == 0, "the woken worker drains, and ends with exit 0")


def quick_and_slow(world):
    """Pipelines of crashing_worker's: thirty steps of no time, and one that waits until there is a file `go`."""
    return (world.pipeline("name: quick\nsteps: [" + ", ".join(f"{{name: q{number}, uses: quick}}" for number in range(30)) + "]", "quick.yaml"),
            world.pipeline("name: slow\nsteps: [{name: slow}]", "slow.yaml"))


def leaves_under_load():
    """a worker told to leave (SIGTERM) ends what runs and gives back what waits; another one does that; and one that came for so many tasks leaves after them"""
    with Embedded() as world:
        def worker(name, *options):
            return world.spawn(name, CRASHING, "worker", "-b", world.brokers, "--id", name, "--lease", "8s", "--concurrency", "1", *options)
        quick, slow = quick_and_slow(world)
        first = worker("first")
        world.begin(quick, "quick")
        world.wait_for_all(["quick"])
        world.wait_for(lambda: world.objects("workers")[0]["window"] >= len(SLOW), "its window to be wide")
        world.begin(slow, *SLOW)
        world.wait_for(lambda: world.objects("workers")[0]["load"] >= 3, "it to have taken tasks in advance")
        first.signal(signal.SIGTERM)
        world.wait_for(lambda: "event=draining" in first.said(), "it to drain")
        (world.journal / "go").touch()
        code = first.wait()
        second = worker("second", "--max-tasks", "1")
        check(second.wait() == 0, "who came for one task has left by itself, with exit 0")
        worker("third")
        for run_id in SLOW:
            check(world.end_of(run_id)["status"] == "succeeded", f"{run_id} succeeded")
            check(world.did(run_id) == ["execute slow 1"], "its step was executed once")
        given_back = [event for run_id in SLOW for event in world.events(run_id, "Done") if event["outcome"] == "cancelled before it began"]
        check(code == 0 and given_back, f"the worker ended with exit 0, and gave {len(given_back)} tasks back")
        warned = [line for line in world.dev.said().splitlines() if "level=warn" in line and "it said goodbye" in line]
        check(not warned, "who says goodbye is nothing to be warned of")


class Supervised:
    """A worker that is started again whenever it ends, under the same name, as a supervisor does it."""

    def __init__(self, world):
        self.world, self.deaths, self.wanted = world, [], True
        self.process = self.start()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()

    def start(self):
        return self.world.spawn("crashing", CRASHING, "worker", "-b", self.world.brokers, "--id", "crashing", "--lease", LEASE)

    def watch(self):
        while self.wanted:
            if self.process.is_running():
                time.sleep(0.02)
            else:
                self.deaths.append(self.process.wait())
                self.process = self.start()

    def end(self):
        self.wanted = False
        self.thread.join()
        return self.process.stop()


def crashes(handler, max_losses, executions):
    """Its worker is started again and again, and takes up what it died of, but not for ever."""
    with Embedded() as world:
        supervised = Supervised(world)
        try:
            world.begin(world.pipeline(CRASHES % (handler, max_losses)), "crashes")
            run = world.end_of("crashes")
            deaths = len(supervised.deaths)
        finally:
            code = supervised.end()
        check(run["status"] == "rolled_back", f"the run is rolled back: {run['status']}")
        check(run["error"] == f"Step '{handler}' failed: worker 'crashing' was lost while it ran", f"with the reason: {run['error']}")
        did = world.did("crashes")
        check(did == ["execute work 1", *[f"execute {handler} 1"] * executions, f"rollback {handler} 1", "rollback work 1"],
              f"{handler}: executed {executions} times, then taken back: {did}")
        check(deaths == executions and set(supervised.deaths) == {-signal.SIGSEGV}, f"each of them has taken a worker down: {supervised.deaths}")
        check(len(world.events("crashes", "Lost")) == executions, "each is a Lost in the log")
        step = run["steps"][1]
        check(step["attempts"] == 1, "and none of them an attempt")
        check(code == 0, "the last worker has survived all of it")


def a_handler_that_crashes_at_once():
    """a handler that crashes before anybody has heard of its beginning: that once is free; then its beginning is said first, and each crash is a loss"""
    crashes("at_once", 1, 1 + 2)


def a_handler_that_crashes_later():
    """a handler that crashes in its middle: each crash is a loss"""
    crashes("later", 2, 3)


SCENARIOS = (a_step_of_five_leases, leaves_under_load, frozen_beyond_its_lease, a_handler_that_crashes_at_once, a_handler_that_crashes_later)
