#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs on a real broker while everything is killed, frozen and restarted; then what was promised is asked of the journals and the log.

    chaos.py [--runs N] [--seconds S] [--seed S] [--broker-restarts N] [--keep] [--sabotage NAME]

The seed decides pipelines and trouble, not the order in which processes get to run: a failure is found again by running it again, not
surely at once. --sabotage runs programs of the same sources that lack one rule (common/rules.h), and is green only if it is noticed.
"""

import argparse
import os
import random as random_module
import sys
import time
from pathlib import Path

import checks
import pipelines
from cluster import BIN, Cluster, Failed
from confluent_kafka import Producer
from log_reader import Log
from nemesis import Nemesis

LEASE = "2s"
SETTLE_S = 90
CANCELLED = 0.05 # of the runs

TROUBLE = {"kill_worker": 40, "kill_coordinator": 22, "freeze_worker": 16, "freeze_coordinator": 8, "replace_coordinator": 6, "kill_guard": 4,
           "drain_worker": 3, "freeze_broker": 3}

# Each rule, and the trouble against which it stands: what a long chaos would bring in time, sooner.
SABOTAGE = {
    "worker-epoch": ({"replace_coordinator": 1}, 1.0, {"brief": 50, "quick": 50}),
    "handshake": ({"kill_coordinator": 1}, 1.5, {"slow": 40, "long": 20, "brief": 40}),
    "guard": ({"freeze_worker": 1}, 1.0, {"long": 50, "brief": 50}),
    "mark": ({"freeze_coordinator": 1}, 2.0, {"long": 50, "brief": 50}),
    "confirm": ({"kill_worker": 1}, 0.7, {"once": 100}),
}


class World(Cluster):
    def __enter__(self):
        super().__enter__()
        self.journal_path = self.directory / "journal"
        os.environ["CHAOS_JOURNAL"] = str(self.journal_path)
        self.steps_directory = pipelines.write_steps(self.directory / "steps")
        return self


class Starter:
    """Starts runs, a little at a time, straight on the log; and cancels some."""

    def __init__(self, world, random, runs, seconds, mixture):
        self.random, self.mixture, self.runs = random, mixture, runs
        self.producer = Producer({"bootstrap.servers": world.brokers, "acks": "all", "enable.idempotence": True,
                                  "message.timeout.ms": 0, "partitioner": "murmur2_random", "reconnect.backoff.max.ms": 500})
        self.ids, self.cancels = [], []
        self.begun_s, self.seconds = time.monotonic(), seconds

    def step(self):
        now_s = time.monotonic()
        due = min(self.runs, int(self.runs * (now_s - self.begun_s) / self.seconds) + 1)
        while len(self.ids) < due:
            run_id = f"chaos-{len(self.ids):05d}"
            self.send(run_id, pipelines.start_record(self.random, pipelines.draw_plan(self.random, self.mixture)), "Start")
            self.ids.append(run_id)
            if self.random.random() < CANCELLED:
                self.cancels.append((now_s + self.random.uniform(0, 2), run_id))
        for cancel in [cancel for cancel in self.cancels if cancel[0] <= now_s]:
            self.cancels.remove(cancel)
            self.send(cancel[1], pipelines.cancel_record(self.random), "Control")
        self.producer.poll(0)

    def send(self, run_id, record, kind):
        self.producer.produce("backstep.progress", record, key=run_id, headers=[("type", kind.encode())])


class Chaos:
    def __init__(self, world, options):
        self.options = options
        self.random = random_module.Random(options.seed)
        weights, pause_s, mixture = SABOTAGE.get(options.sabotage, (TROUBLE, options.pause, pipelines.MIXED))
        programs = Path(os.environ["BACKSTEP_CHAOS_BIN"]) if options.sabotage else BIN
        world.cli("topics")
        self.world = world
        self.log = Log(world.brokers)
        self.journal = checks.Journal(world.journal_path)
        self.starter = Starter(world, random_module.Random(options.seed + 1), options.runs, options.seconds, mixture)
        self.nemesis = Nemesis(world, self.random, weights, pause_s, programs, LEASE)
        self.begun_s = time.monotonic()
        self.broken = []

    def step(self):
        self.log.read(0.05)
        self.starter.step()

    def elapsed_s(self):
        return time.monotonic() - self.begun_s

    def trouble(self):
        """Until its time is over; with sabotage, until it is noticed."""
        options = self.options
        broker_s = [options.seconds * (number + 0.5) / max(1, options.broker_restarts) for number in range(options.broker_restarts)]
        looked_s = 0
        while self.elapsed_s() < options.seconds and not self.broken:
            self.step()
            self.nemesis.step()
            if broker_s and self.elapsed_s() >= broker_s[0]:
                broker_s.pop(0)
                self.nemesis.restart_broker()
            if self.elapsed_s() - looked_s > 2:
                looked_s = self.elapsed_s()
                self.journal.read()
                self.broken = checks.at_any_time(self.journal)
                if options.sabotage and not self.broken:
                    self.broken = list(checks.too_often(self.log, self.journal)) if self.settled() else []

    def settled(self):
        return False

    def settle(self):
        """Everything is well again: all runs have to end."""
        self.nemesis.rest()
        self.starter.seconds = 0.001
        deadline_s = time.monotonic() + SETTLE_S
        while time.monotonic() < deadline_s and not self.ended():
            self.step()
            self.nemesis.bring_back()

    def ended(self):
        return len(self.starter.ids) == self.options.runs and not self.starter.cancels and self.log.finished >= self.options.runs

    def judge(self):
        while self.log.read(0.5):
            pass
        self.journal.read()
        self.broken = [*checks.at_any_time(self.journal), *checks.at_the_end(self.log, self.journal, self.starter.ids)]

    def readers_agree(self):
        """What `list` folds is what the log says to a reader that shares no code with it."""
        listed = {run["run_id"]: run["status"] for run in self.world.list("--limit", "1000000")}
        for run_id, run in self.log.runs.items():
            if listed.get(run_id) != run.status:
                self.broken.append(f"{run_id}: `list` says {listed.get(run_id)}, the log says {run.status}")

    def counts(self):
        nemesis, log = self.nemesis.counts, self.log
        ends = {}
        for run in log.runs.values():
            ends[run.status] = ends.get(run.status, 0) + 1
        return {"seed": self.options.seed, "runs": len(log.runs), **ends, "kills": nemesis["kills"], "freezes": nemesis["freezes"],
                "broker restarts": nemesis["broker restarts"], "takeovers": nemesis["takeovers"], "guards": nemesis["guards"],
                "drains": nemesis["drains"], "executions": self.journal.executions, "extra": checks.extra_executions(log, self.journal),
                "lost": sum(end.kind == "lost" for run in log.runs.values() for ends in run.ends.values() for end in ends),
                "claims": log.claims, "fenced": log.fenced, "records": log.records, "seconds": round(self.elapsed_s())}


def run_chaos(world, options):
    chaos = Chaos(world, options)
    chaos.trouble()
    if not chaos.broken:
        chaos.settle()
        chaos.judge()
        if not options.sabotage:
            chaos.readers_agree()
    chaos.nemesis.rest()
    chaos.log.close()
    return chaos


def parse(arguments):
    parser = argparse.ArgumentParser(prog="tests/run chaos", description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=600)
    parser.add_argument("--seconds", type=float, default=75, help="how long there is trouble")
    parser.add_argument("--seed", type=int, default=random_module.SystemRandom().randrange(1 << 31))
    parser.add_argument("--broker-restarts", type=int, default=5)
    parser.add_argument("--pause", type=float, default=1.2, help="the longest time between two kills or freezes")
    parser.add_argument("--sabotage", choices=sorted(SABOTAGE), help="take one rule away: green only if that is noticed")
    parser.add_argument("--least", type=int, nargs=4, metavar=("KILLS", "FREEZES", "RESTARTS", "RUNS"), default=(0, 0, 0, 0))
    parser.add_argument("--keep", action="store_true", help="keep the journal of a failure")
    return parser.parse_args(arguments)


def enough(counts, least):
    for name, number in zip(("kills", "freezes", "broker restarts", "runs"), least):
        if counts[name] < number:
            yield f"only {counts[name]} {name}, not {number}"


def main(arguments):
    options = parse(arguments)
    if options.sabotage:
        os.environ["BACKSTEP_SABOTAGE"] = options.sabotage
        options.broker_restarts = 0
    with World() as world:
        chaos = run_chaos(world, options)
        counts = chaos.counts()
        print("note: chaos " + ", ".join(f"{name} {value}" for name, value in counts.items()), flush=True)
        if options.sabotage:
            noticed = [text for text in chaos.broken if "not finished" not in text]
            print(f"note: without {options.sabotage}: {noticed[0] if noticed else 'nothing was noticed'}", flush=True)
            return 0 if noticed else 1
        broken = [*chaos.broken, *enough(counts, options.least)]
        for text in broken[:40]:
            print(f"BROKEN {text}")
            run_id = text.split(" ")[0].rstrip(":")
            if run_id in chaos.log.runs:
                print(world.cli("history", run_id, expect=None).stdout)
        if broken:
            if options.keep:
                os.rename(world.journal_path, f"/tmp/chaos-journal-{options.seed}")
            raise Failed(f"{len(broken)} promises broken; again: tests/run chaos --runs {options.runs} --seed {options.seed}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
