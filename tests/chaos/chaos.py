#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs on a real broker while everything is killed, frozen and restarted; then what was promised is asked of the journals and the log.

    chaos.py [--runs N] [--seconds S] [--seed S] [--own group|list] [--brokers N] [--broker-restarts N] [--ahead always|auto|never]
             [--keep FILE] [--sabotage NAME|all ...]

The seed decides pipelines and trouble, not the order in which processes get to run: a failure is found again by running it again, not
surely at once. --sabotage runs programs of the same sources that lack one rule (common/rules.h), and is green only if it is noticed.
"""

import argparse
import collections
import os
import random as random_module
import shutil
import subprocess
import sys
import time
from pathlib import Path

import checks
import pipelines
import wire
from cluster import BIN, Cluster, Failed
from confluent_kafka import Producer
from nemesis import BROKER, LINKS, OWNS, Nemesis
from sent import Sent
from tail import Tail

PROGRAMS = Path(os.environ["BACKSTEP_CHAOS_BIN"])
LEASE = "2s"
SETTLE_S = 240
LOOK_EVERY_S = 2
CANCELLED = 0.05  # of the runs
PAUSED = 0.05  # likewise, and a little later they go on
SABOTAGED_S = 60
RARE_S = {"worker-epoch": 180, "guard": 120}  # one takeover in fifty or more shows it; 21 freezes have not

TROUBLE = {"kill_worker": 40, "kill_coordinator": 22, "freeze_worker": 16, "freeze_coordinator": 8, "replace_coordinator": 6, "kill_guard": 4,
           "drain_worker": 3, "drain_coordinator": 2, "freeze_broker": 3, "cut_worker": 6, "cut_coordinator": 4, "blackout": 1}

# What there is to do, and what goes wrong meanwhile. `lines` of the pipelines are lines, of steps `in_line`.
Story = collections.namedtuple("Story", "trouble pause_s mixture runs lines in_line cancelled", defaults=(0, {}, CANCELLED))

# Each rule, and the trouble against which it stands: what a long chaos would bring in time, sooner.
SABOTAGE = {
    "worker-epoch": Story({"replace_coordinator": 1}, 1.0, {"brief": 50, "quick": 50}, 1800),
    "handshake": Story({"kill_coordinator": 1}, 1.5, {"slow": 40, "long": 20, "brief": 40}, 500),
    "guard": Story({"freeze_worker_long": 1}, 1.0, {"long": 30, "brief": 70}, 240),
    "mark": Story({"freeze_coordinator_long": 2, "drain_worker": 1}, 1.0, {"long": 30, "brief": 70}, 120),
    "confirm": Story({"kill_worker": 1}, 0.7, {"once": 100}, 500),
    "ahead-opened": Story({"freeze_coordinator": 1}, 3, {}, 900, 1, {"brief": 100}, 1),
    "ahead-waits": Story({"kill_worker_unheard": 1}, 0.6, {}, 500, 1, {"brief": 100}),
    "ahead-inherited": Story({"kill_coordinator": 1}, 1.0, {}, 500, 1, {"brief": 100}),
}


class World(Cluster):
    def __init__(self, brokers):
        super().__init__(broker_properties=BROKER, brokers=brokers, links=LINKS)

    def __enter__(self):
        super().__enter__()
        self.steps_directory = pipelines.write_steps(self.directory / "steps")
        return self


class Starter:
    """Starts runs, a little at a time, straight on the log; cancels some, and pauses some for a while."""

    def __init__(self, world, random, story, seconds, prefix):
        self.random, self.story, self.runs, self.prefix = random, story, story.runs, prefix
        self.producer = Producer({"bootstrap.servers": world.brokers, "acks": "all", "enable.idempotence": True,
                                  "message.timeout.ms": 0, "partitioner": "murmur2_random", "reconnect.backoff.max.ms": 500,
                                  "log_level": 0})
        self.ids, self.controls = [], []
        self.begun_s, self.seconds = time.monotonic(), seconds

    def step(self):
        now_s = time.monotonic()
        due = min(self.runs, int(self.runs * (now_s - self.begun_s) / self.seconds) + 1)
        while len(self.ids) < due:
            run_id = f"chaos-{len(self.ids):05d}"
            self.send(run_id, pipelines.draw_start(self.random, self.story.mixture, self.story.in_line, self.story.lines), "Start")
            self.ids.append(run_id)
            self.draw_controls(run_id, now_s)
        for control in [control for control in self.controls if control[0] <= now_s]:
            self.controls.remove(control)
            self.send(control[1], pipelines.control_record(self.random, control[2]), "Control")
        self.producer.poll(0)

    def draw_controls(self, run_id, now_s):
        """A line of short steps is over soon, so half of them come at once."""
        most_s = self.random.choice((0.2, 2))
        if self.random.random() < self.story.cancelled:
            self.controls.append((now_s + self.random.uniform(0, most_s), run_id, wire.CONTROL_KIND_CANCEL))
        if self.random.random() < PAUSED:
            paused_s = now_s + self.random.uniform(0, most_s)
            self.controls.append((paused_s, run_id, wire.CONTROL_KIND_PAUSE))
            self.controls.append((paused_s + self.random.uniform(0.1, 2), run_id, wire.CONTROL_KIND_RESUME))

    def send(self, run_id, record, kind):
        self.producer.produce(f"{self.prefix}.progress", record, key=run_id, headers=[("type", kind.encode())])


def doctor(line):
    """A line of the recorded log; in a snapshot the run is a millionth further than it was."""
    kind, *fields, value = line.rstrip("\n").split(" ")
    if kind != "record":
        return line
    record = wire.ProgressRecord()
    record.ParseFromString(bytes.fromhex(value))
    if record.WhichOneof("body") == "snapshot":
        record.snapshot.progress_ppm ^= 1
    return " ".join((kind, *fields, record.SerializeToString().hex())) + "\n"


class Chaos:
    def __init__(self, world, options, sabotage):
        self.options, self.sabotage = options, sabotage
        self.prefix = sabotage or "backstep"
        self.restarts = 0 if sabotage else options.broker_restarts
        self.random = random_module.Random(options.seed)
        story = SABOTAGE.get(sabotage) or Story(TROUBLE, options.pause, pipelines.MIXED, options.runs, pipelines.LINES, pipelines.IN_LINE)
        self.runs = story.runs
        self.seconds = RARE_S.get(sabotage, SABOTAGED_S) if sabotage else options.seconds
        programs = PROGRAMS if sabotage else BIN
        world.cli("topics", "--prefix", self.prefix, "--progress-partitions", pipelines.PROGRESS_PARTITIONS)
        self.world = world
        self.recorded = world.directory / f"progress-{self.prefix}"
        self.tail = Tail(world.brokers, f"{self.prefix}.progress", f"{self.prefix}.coordinators", self.recorded,
                         pipelines.PROGRESS_PARTITIONS)
        self.log = self.tail.log
        self.sent = Sent(world.brokers, f"{self.prefix}.tasks.default")
        self.journal = checks.Journal(world.directory / f"journal-{self.prefix}")
        self.starter = Starter(world, random_module.Random(options.seed + 1), story, self.seconds, self.prefix)
        environment = {"CHAOS_JOURNAL": str(self.journal.path), **({"BACKSTEP_SABOTAGE": sabotage} if sabotage else {})}
        own = "list" if sabotage else options.own
        self.nemesis = Nemesis(world, own, self.random, story.trouble, story.pause_s, programs, LEASE, self.prefix, environment, options.ahead)
        self.begun_s = time.monotonic()
        self.broken = []
        self.replayed = (0, 0, 0)
        self.looked_s = 0

    def step(self):
        self.tail.read(0.05)
        self.sent.read(0)
        self.starter.step()

    def look_is_due(self):
        """Now and then; what has been committed is looked at then, where a broker can be asked."""
        if self.elapsed_s() - self.looked_s < LOOK_EVERY_S:
            return False
        self.looked_s = self.elapsed_s()
        if self.options.brokers > 1 or not self.nemesis.broker_is_busy():
            self.tail.look_at_checkpoints()
        return True

    def elapsed_s(self):
        return time.monotonic() - self.begun_s

    def trouble(self):
        """Until its time is over; with sabotage, until it is noticed."""
        broker_s = [self.seconds * (number + 0.4) / self.restarts for number in range(self.restarts)]
        while (self.elapsed_s() < self.seconds or broker_s or self.is_too_quiet()) and not self.broken:
            self.step()
            self.nemesis.step()
            if broker_s and self.elapsed_s() >= broker_s[0] and not self.nemesis.broker_is_busy():
                broker_s.pop(0)
                self.nemesis.restart_broker()
            if self.look_is_due():
                self.journal.read()
                self.broken = checks.at_any_time(self.log, self.journal)

    def is_too_quiet(self):
        """Fewer kills and freezes than were asked for."""
        return not self.sabotage and any(enough(self.nemesis.counts, self.options.least[:3]))

    def settle(self):
        """Everything is well again: all runs have to end."""
        self.nemesis.rest()
        self.starter.seconds = 0.001
        deadline_s = time.monotonic() + SETTLE_S
        while time.monotonic() < deadline_s and not self.ended():
            self.step()
            self.look_is_due()
            self.nemesis.bring_back()

    def ended(self):
        return len(self.starter.ids) == self.runs and not self.starter.controls and self.log.finished >= self.runs

    def judge(self):
        while self.tail.read(0.5) or self.sent.read(0.5):
            pass
        self.journal.read()
        self.broken = [*checks.at_any_time(self.log, self.journal), *checks.at_the_end(self.log, self.journal, self.starter.ids), *self.sent.twice]
        if self.options.ahead == "always" and not self.sent.begun_ahead(self.log):
            self.broken.append(f"no task that was sent ahead has begun, of {len(self.sent.ahead)}")

    def readers_agree(self):
        """What `list` folds is what the log says to a reader that shares no code with it."""
        listed = {run["run_id"]: run["status"] for run in self.world.list("--prefix", self.prefix, "--limit", "1000000")}
        for run_id, run in self.log.runs.items():
            if listed.get(run_id) != run.status:
                self.broken.append(f"{run_id}: `list` says {listed.get(run_id)}, the log says {run.status}")

    def replay_agrees(self):
        """What the product folds from each checkpoint is what it folds from the whole log, and each snapshot says the same."""
        self.tail.close()
        replayed = subprocess.run([PROGRAMS / "chaos_replay", self.recorded], capture_output=True, text=True)
        if replayed.returncode != 0:
            self.broken.append(f"the replay of the log: {replayed.stdout}{replayed.stderr}")
            return
        if not self.replay_can_fail():
            self.broken.append("the replay of the log: it takes snapshots that say something else for good")
        records, *self.replayed = map(int, replayed.stdout.split())
        if records != self.log.records or 0 in self.replayed:
            self.broken.append(f"the replay of the log had {replayed.stdout.strip()} records, snapshots, checkpoints, states, "
                               f"of {self.log.records} records")

    def replay_can_fail(self):
        """The same log with each snapshot a little wrong is refused."""
        doctored = self.recorded.with_suffix(".doctored")
        with open(self.recorded) as whole, open(doctored, "w") as wrong:
            wrong.writelines(doctor(line) for line in whole)
        return subprocess.run([PROGRAMS / "chaos_replay", doctored], capture_output=True).returncode == 1

    def counts(self):
        nemesis, log = self.nemesis.counts, self.log
        ends = {}
        for run in log.runs.values():
            ends[run.status] = ends.get(run.status, 0) + 1
        return {"seed": self.options.seed, "runs": len(log.runs), **ends, "kills": nemesis["kills"], "freezes": nemesis["freezes"],
                "broker restarts": nemesis["broker restarts"], "cuts": nemesis["cuts"], "takeovers": nemesis["takeovers"], "guards": nemesis["guards"],
                "drains": nemesis["drains"], "blackouts": nemesis["blackouts"], "executions": self.journal.executions, "extra": checks.extra_executions(log, self.journal),
                "sent ahead": len(self.sent.ahead), "begun of these": self.sent.begun_ahead(log),
                "lost": sum(end.kind == "lost" for run in log.runs.values() for ends in run.ends.values() for end in ends),
                "claims": log.claims, "fenced": log.fenced, "records": log.records,
                **dict(zip(("snapshots", "checkpoints", "compared states"), self.replayed)), "seconds": round(self.elapsed_s())}


def run_chaos(world, options, sabotage=None):
    chaos = Chaos(world, options, sabotage)
    chaos.trouble()
    if not chaos.broken:
        chaos.settle()
        chaos.judge()
        chaos.readers_agree()
        chaos.replay_agrees()
    chaos.nemesis.rest()
    chaos.nemesis.end()
    chaos.tail.close()
    chaos.sent.close()
    return chaos


def parse(arguments):
    parser = argparse.ArgumentParser(prog="tests/run chaos", description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=600)
    parser.add_argument("--seconds", type=float, default=75, help="how long there is trouble")
    parser.add_argument("--seed", type=int, default=random_module.SystemRandom().randrange(1 << 31))
    parser.add_argument("--brokers", type=int, default=1, help="3: a set that replicates; one of it is restarted at a time")
    parser.add_argument("--own", choices=OWNS, default="group", help="three coordinators share all partitions, or two have a list each")
    parser.add_argument("--broker-restarts", type=int, default=5)
    parser.add_argument("--pause", type=float, default=1.2, help="the longest time between two kills or freezes")
    parser.add_argument("--ahead", choices=("always", "auto", "never"), default="always", help="as of serve; with always some have to begin")
    parser.add_argument("--sabotage", choices=(*SABOTAGE, "all"), action="append", default=[],
                        help="take a rule away, and do nothing else: green only if that is noticed")
    parser.add_argument("--then-sabotage", choices=SABOTAGE, nargs="*", default=[], help="the same, afterwards")
    parser.add_argument("--least", type=int, nargs=4, metavar=("KILLS", "FREEZES", "RESTARTS", "RUNS"), default=(0, 0, 0, 0))
    parser.add_argument("--keep", metavar="FILE", help="where the journal of a failure goes")
    options = parser.parse_args(arguments)
    if "all" in options.sabotage:
        options.sabotage = list(SABOTAGE)
    return options


def enough(counts, least):
    for name, number in zip(("kills", "freezes", "broker restarts", "runs"), least):
        if counts[name] < number:
            yield f"only {counts[name]} of {number} {name}"


def note(chaos, what):
    print(f"note: {what} " + ", ".join(f"{name} {value}" for name, value in chaos.counts().items()), flush=True)


def all_hold(world, options):
    """Nothing is broken, and there was trouble enough."""
    chaos = run_chaos(world, options)
    note(chaos, "chaos")
    broken = [*chaos.broken, *enough(chaos.counts(), options.least)]
    for text in broken[:20]:
        print(f"BROKEN {text}")
        run_id = text.split(" ")[0].rstrip(":")
        if run_id in chaos.log.runs:
            print(world.cli("history", run_id, expect=None).stdout)
    if broken and options.keep:
        shutil.copy(chaos.journal.path, options.keep)
        shutil.copy(chaos.recorded, f"{options.keep}.log")
    if broken:
        print(f"note: the readers heard of {dict(chaos.tail.reader.troubles + chaos.sent.reader.troubles)}")
        raise Failed(f"{len(broken)} promises broken; again: tests/run chaos --runs {options.runs} --seed {options.seed}")


def is_noticed(world, options, sabotage):
    """Without a rule something is."""
    chaos = run_chaos(world, options, sabotage)
    note(chaos, f"without {sabotage}")
    noticed = [text for text in chaos.broken if "not finished" not in text and "`list`" not in text]
    if not noticed:
        raise Failed(f"without {sabotage} nothing was noticed")
    print(f"note: without {sabotage}: {noticed[0]}", flush=True)


def main(arguments):
    options = parse(arguments)
    with World(options.brokers) as world:
        if not options.sabotage:
            all_hold(world, options)
        for sabotage in (*options.sabotage, *options.then_sabotage):
            is_noticed(world, options, sabotage)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except Failed as failed:
        sys.exit(f"FAILED: {failed}")
