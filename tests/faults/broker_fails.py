# SPDX-License-Identifier: Apache-2.0
"""A broker that fails while runs go on (backstep dev --fault): nothing is lost, and every program comes back by itself."""

import re
import signal
import time
from pathlib import Path

from embedded import BIN, JOURNAL, Embedded, check

PAIR = """
name: pair
steps: [{name: one}, {name: two}]
"""
UNSERVED = """
name: unserved
steps: [{name: nobody, start_timeout: 3s}]
"""
FATAL = ("OUT_OF_ORDER_SEQUENCE_NUMBER", "INVALID_PRODUCER_EPOCH")
RUNS = [f"run-{number}" for number in range(8)]
WORK = JOURNAL + "sleep 0.2\n"


def fails_on():
    """answers that come late, refusals, broken connections and outages: each step of each run is executed once"""
    with Embedded("rtt=20ms", "error=NOT_LEADER_FOR_PARTITION,every=400ms", "error=disconnect,request=fetch,every=1200ms",
                  "error=REQUEST_TIMED_OUT,count=2,every=1s", "down=400ms,after=1s,every=3s") as world:
        steps = world.steps(one=WORK, two=WORK)
        workers = [world.worker(steps, "--concurrency", "2", lease="20s", known=False) for _ in range(2)]
        world.begin(world.pipeline(PAIR), *RUNS)
        world.wait_for_all(RUNS)
        for run_id in RUNS:
            check(world.did(run_id) == ["execute one 1", "execute two 1"], f"each step of {run_id} was executed once: {world.did(run_id)}")
        world.wait_for(lambda: world.dev.said().count("broker=up") >= 2, "two outages to be over")
        check("incarnation_ends" not in "".join(worker.said() for worker in workers), "no worker has begun anew for it")
        check("begin_anew" not in world.dev.said(), "nor has the coordinator")


def worker_fails():
    """a worker whose producer fails for good begins another incarnation, and every run ends"""
    # They come to an end: each makes a worker wait longer before it begins anew.
    with Embedded(*(f"error={error},after={after_ms}ms" for after_ms, error in zip(range(1000, 13000, 800), 8 * FATAL))) as world:
        steps = world.steps(one=WORK, two=WORK)
        worker = world.worker(steps, "--concurrency", "2", lease="2s", known=False)
        world.begin(world.pipeline(PAIR), *RUNS)
        world.wait_for_all(RUNS)
        for run_id in RUNS:
            check({"execute one 1", "execute two 1"} == set(world.did(run_id)), f"both its steps were executed: {world.did(run_id)}")
        world.wait_for(lambda: "event=bus_failed" in worker.said(), "the worker's producer to fail")
        world.wait_for(lambda: worker.said().count("event=serving") >= 2, "the worker to begin another incarnation")
        check(worker.is_running(), "it is the same process")


def coordinator_fails():
    """a coordinator whose producer fails for good claims its partitions again, and does what is due"""
    # Once the runs are started it alone has something to say: that their deadline is over.
    with Embedded(*(f"error={error},after={after_ms}ms" for after_ms, error in zip(range(1000, 16000, 1000), 8 * FATAL))) as world:
        world.begin(world.pipeline(UNSERVED), *RUNS[:2])
        world.wait_for(lambda: len(re.findall("event=ready partitions=4", world.dev.said())) >= 2, "the coordinator to claim again")
        check("event=begin_anew" in world.dev.said() and world.dev.is_running(), "the coordinator has begun anew, and is the same process")
        for run_id in RUNS[:2]:
            error = "Step 'nobody' failed: no worker began it within its start_timeout of 3s"
            world.wait_for(lambda run_id=run_id: [run for run in world.objects("status", run_id) if run["error"] == error], f"the deadline of {run_id} to be seen to")
        world.worker(world.steps(nobody=WORK), lease="4s", known=False)  # which has nothing to do but to take back what may have begun
        world.wait_for_all(RUNS[:2], "rolled_back")
        check(not any("execute nobody 1" in world.did(run_id) for run_id in RUNS[:2]), "nothing of them was begun")


def catches_sigterm(process):
    caught = next(line.split()[1] for line in open(f"/proc/{process.pid}/status") if line.startswith("SigCgt"))
    return int(caught, 16) >> (signal.SIGTERM - 1) & 1


def has_both_clients(process):
    names = [name.read_text().strip() for name in Path(f"/proc/{process.pid}/task").glob("*/comm")]
    return names.count("rdk:main") >= 2


def told_to_end(fault, is_there):
    with Embedded(fault) as world:
        steps = world.steps(one=WORK, two=WORK)
        for program in ([BIN / "backstep-worker", "--steps", steps], [BIN / "backstep", "serve"]):
            process = world.spawn("told", *program, "-b", world.brokers, "--timeout", "60s")
            world.wait_for(lambda process=process: is_there(process), "it to look for the broker")
            begun = time.monotonic()
            code = process.stop()
            took_s = time.monotonic() - begun
            check(code == 0 and took_s < 20, f"{program[0].name} under {fault}: exit {code} after {took_s:.2f} s")


def told_to_end_before_a_broker_has_answered():
    """who is told to end while it waits for the first answer of a broker does so at once"""
    told_to_end("rtt=60s", catches_sigterm)


def told_to_end_while_it_begins():
    """likewise who has a broker, and waits for what it has to know to begin"""
    told_to_end("error=none,request=list_offsets,count=1000,delay=60s", has_both_clients)


SCENARIOS = (fails_on, worker_fails, coordinator_fails, told_to_end_before_a_broker_has_answered, told_to_end_while_it_begins)
