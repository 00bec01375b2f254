#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A worker in Python (examples/python), written from docs/PROTOCOL.md and proto/ alone, does its half of a pipeline; the stock worker does the other."""

import atexit
import contextlib
import functools
import json
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from cluster import SOURCE, Cluster, Failed, check, main
from confluent_kafka import Consumer, TopicPartition

generated = Path(tempfile.mkdtemp(prefix="backstep-test-proto-"))
atexit.register(shutil.rmtree, generated, ignore_errors=True)
subprocess.run(["protoc", f"--proto_path={SOURCE / 'proto'}", f"--python_out={generated}", "backstep.proto"], check=True)
sys.path.insert(0, str(generated))
import backstep_pb2 as wire  # noqa: E402

NOTE = """
given=$(cat)
printf '%s %s %s\\n' "$1" "$BACKSTEP_STEP" "$BACKSTEP_ATTEMPT" >>"$JOURNAL/$BACKSTEP_RUN_ID"
"""
PREPARE = NOTE + """
[ "$1" = rollback ] || echo '{"data": {"numbers": [20, 1, 21]}}'
"""
DOUBLE = NOTE + """
[ "$1" = rollback ] || printf '%s' "$given" | jq -c '{data: {total: (.steps.add.sum * 2), unit: .shared.unit}}'
"""
HALVES = """
name: halves
params: {unit: {default: metre}}
steps:
  - {name: prepare, weight: 10}
  - {name: add, uses: add_up, queue: python, weight: 40}
  - {name: double, weight: 40}
  - {name: tell, queue: python, weight: 10, with: {greeting: "größe"}}
"""
HELD = """
name: held
params: {unit: {default: metre}}
steps:
  - {name: prepare}
  - {name: add, uses: add_up, queue: python}
  - {name: hold, queue: python}
  - {name: double}
"""
BOUNDS = """
name: bounds
steps:
  - {name: nothing, uses: skip, queue: python}
  - {name: %s, uses: refuse, queue: python, retry: {max_attempts: 3, backoff: 50ms}, %s}
"""
ONE = """
name: one
steps: [{name: hold, queue: python}]
"""
ENDS = ("succeeded", "rolled_back", "cancelled", "rollback_incomplete")


def check_message(message):
    if message.error() is not None:
        raise Failed(f"reading the progress topic: {message.error()}")


class World(Cluster):
    """One broker for all scenarios, and a coordinator and a worker for steps in C that the first one who asks starts."""

    coordinator = programs = reader = None

    def __enter__(self):
        super().__enter__()
        self.found, self.read = [], dict.fromkeys(range(4), 0)
        return self

    def __exit__(self, *failure):
        if self.reader is not None:
            self.reader.close()
        super().__exit__(*failure)

    @contextlib.contextmanager
    def scenario(self):
        """Of what was before only finished runs are left: no worker in Python, no file, and nothing that log() has found."""
        before = len(self.processes)
        for path in self.journal.iterdir():
            path.unlink()
        if self.coordinator is not None:
            self.log()
            self.found.clear()
        yield
        for process in self.processes[before:]:
            if process not in (self.coordinator, self.programs) and process.is_running():
                check(process.stop() == 0, f"{process.name} drains, and ends with exit 0")

    def serving(self):
        if self.coordinator is None:
            self.coordinator = self.serve()
        return self.coordinator

    def c_worker(self):
        if self.programs is None:
            self.programs = self.worker(self.steps(prepare=PREPARE, double=DOUBLE))

    def python(self, *options, lease=3, known=True):
        name = f"py{self.count + 1}"
        process = self.spawn(name, sys.executable, SOURCE / "tests/broker/python_steps.py", "--brokers", self.brokers, "--prefix", self.prefix, "--id", name, "--queue",
                             "python", "--lease", lease, "--slots", 2, *options,
                             environment={"PYTHONPATH": f"{SOURCE / 'examples/python'}:{generated}", "WORKER": name})
        process.id = name
        if known:
            self.wait_for_worker(process)
        return process

    def wait_for_worker(self, process):
        self.wait_for(lambda: process.id in [worker["worker"] for worker in self.workers()], f"worker {process.id} to be known")

    def wait_for_end(self, run_id, timeout_s=60):
        return self.wait_for(lambda: (lambda run: run if run["status"] in ENDS else None)(self.status(run_id)), f"{run_id} to end", timeout_s)

    def wait_for_hold(self, run_id, step=2):
        """The run's step of that name is under way, and the log says so."""
        self.wait_for(lambda: any(key == run_id and started.ticket.step == step for _, key, started in self.log("started")), "Started")
        self.wait_for(lambda: "execute hold 1" in self.did(run_id), "the handler to have begun")

    def let_go(self):
        (self.journal / "go").touch()

    def log(self, *kinds):
        """The bodies of these kinds that came to the progress topic in this scenario: (kind, key, body), in the order of each partition."""
        if self.reader is None:
            self.reader = Consumer({"bootstrap.servers": self.brokers, "group.id": "log", "enable.auto.commit": False, "fetch.wait.max.ms": 10})
            self.reader.assign([TopicPartition(self.topic("progress"), number, 0) for number in self.read])
        ends = {number: self.reader.get_watermark_offsets(TopicPartition(self.topic("progress"), number), timeout=10)[1] for number in self.read}
        while any(self.read[number] < ends[number] for number in ends):
            for message in self.reader.consume(1000, 0.1):
                check_message(message)
                self.read[message.partition()] = message.offset() + 1
                record = wire.ProgressRecord.FromString(message.value())
                kind = record.WhichOneof("body")
                self.found.append((kind, (message.key() or b"").decode(), getattr(record, kind)))
        return [each for each in self.found if each[0] in kinds]

    def wait_for_log(self, kind, holds, what):
        return self.wait_for(lambda: [body for _, _, body in self.log(kind) if holds(body)], what)


def killed_worker(world):
    """A Python worker is killed: its handler ends with the lease, and the step goes to another worker"""
    victim = world.python(lease=2, known=False)
    world.wait_for(lambda: "event=incarnation id=" in victim.said(), "the worker to say Hello")
    world.serving()
    world.wait_for_worker(victim)
    check(True, "a worker may be the first to come: it makes the topics it needs")
    run_id = world.start(world.pipeline(ONE))
    world.wait_for_hold(run_id, step=0)
    victim.kill()
    world.python(lease=2)
    world.wait_for(lambda: len(world.did(run_id)) == 2, "the step to be taken up")
    world.let_go()
    run = world.wait_for_end(run_id)
    check(run["status"] == "succeeded" and world.did(run_id) == ["execute hold 1", "execute hold 1"], "the step ran again, and the run succeeded")


def success(world):
    """A pipeline half in C, half in Python: data, shared values, input and parameters flow both ways"""
    world.serving()
    world.c_worker()
    python = world.python()
    run = world.wait_for_end(world.start(world.pipeline(HALVES)))
    check(run["status"] == "succeeded" and run["steps_executed"] == 4, "the run succeeded")
    data = {step["name"]: step["data"] for step in run["steps"]}
    check(data["add"] == {"sum": 42}, "Python read what C had said")
    check(data["double"] == {"total": 84, "unit": "metre"}, "C read what Python had said, and what it had shared")
    check(data["tell"]["steps"]["double"] == data["double"] and data["tell"]["shared"] == {"unit": "metre"}, "and Python all of it")
    check(data["tell"]["input"] == {"greeting": "größe"}, "the input of the step came through")
    check(world.did(run["run_id"]) == [f"execute {name} 1" for name in ("prepare", "add", "double", "tell")], "each step ran once, in order")
    lines = world.wait_for(lambda: world.cli("logs", run["run_id"], "-o", "json").lines, "the step's log, which goes its own way")
    lines = [json.loads(line) for line in lines]
    check([(line["event"], line["text"], line["level"], line["data"]) for line in lines] == [("sum", "added", "warn", {"count": 3})],
          f"what the step logged is there: {lines}")
    said = [json.loads(body.metrics) for _, key, body in world.log("done") if key == run["run_id"] and body.metrics]
    check(said == [{"unit": "numbers", "largest": 21}], f"so are its metrics, merged: {said}")
    bounds(world)
    check(python.stop() == 0 and world.wait_for(lambda: python.id not in [each["worker"] for each in world.workers()], "the Bye") is True,
          "the Python worker drains, says Bye and ends with exit 0")


def bounds(world):
    """What a step may not do is an error that says so; a permanent one is not tried again."""
    started = []
    for name, given, message, attempts in (
            ("permanent", "with: {}", "it will never work", 1),
            ("outside", "with: {progress: [3, 2]}", "current must be between 0 and 2, got 3", 3),
            ("zero", "with: {progress: [0, 0]}", "total must be > 0, got 0", 3),
            ("large", "with: {size: 70000}", "data is larger than 65536 bytes: 70002", 1),
            ("jq", "when: 'true'", "a worker in Python does not serve 'when'; give this step to a queue of backstep-worker", 1)):
        started.append((name, message, attempts, world.start(world.pipeline(BOUNDS % (name, given)))))
    for name, message, attempts, run_id in started:
        run = world.wait_for_end(run_id)
        steps = {step["name"]: step for step in run["steps"]}
        check(run["error"] == f"Step '{name}' failed: {message}" and steps[name]["attempts"] == attempts, f"{name}: {run['error']}")
        check(steps["nothing"]["status"] == "skipped" and "rollback nothing 1" not in world.did(run["run_id"]), "a skipped step is not undone")


def refused_as_unknown(world):
    """Refused(unknown) uses no attempt, and the run finishes with another worker"""
    world.serving()
    world.python("--announce", "hold", "--handlers", "tell")
    world.let_go()
    run_id = world.start(world.pipeline(ONE))
    unknown = world.wait_for_log("refused", lambda refused: refused.reason == wire.REFUSED_REASON_UNKNOWN, "Refused(unknown)")
    check(len(unknown) == 1, "a worker answers Refused(unknown) for what it does not serve")
    world.wait_for(lambda: world.status(run_id)["steps"][0].get("waiting"), "the step to wait")
    check(len(world.log("refused")) == 1, "and is not asked again")
    world.python()
    run = world.wait_for_end(run_id)
    check(run["status"] == "succeeded" and run["steps"][0]["attempts"] == 1, "another worker takes it up, as the first attempt")


def refused_as_busy(world):
    """Refused(busy) uses no attempt, and the runs finish one after the other"""
    world.serving()
    world.python("--slots", 1, "--window", 8)
    pipeline = world.pipeline(ONE)
    ids = [world.start(pipeline) for _ in range(3)]
    world.wait_for_log("refused", lambda refused: refused.reason == wire.REFUSED_REASON_BUSY, "Refused(busy)")
    check(True, "a worker with a full window answers Refused(busy)")
    world.let_go()
    check(all(world.wait_for_end(run_id)["status"] == "succeeded" for run_id in ids), "all runs finish")
    check(all(world.did(run_id) == ["execute hold 1"] for run_id in ids), "each step ran once, as the first attempt")


def cancel(world):
    """A cancel reaches a running Python step; what ran is undone in reverse order, in either language"""
    world.serving()
    world.c_worker()
    world.python()
    run_id = world.start(world.pipeline(HELD))
    world.wait_for_hold(run_id)
    world.cli("cancel", run_id, expect=None)
    run = world.wait_for_end(run_id)
    check(run["status"] == "cancelled", f"the run is cancelled: {run['error']}")
    did = world.did(run_id)
    check(did == ["execute prepare 1", "execute add 1", "execute hold 1", "rollback hold 1", "rollback add 1", "rollback prepare 1"],
          f"rolled back newest first, the stopped step included: {did}")
    outcomes = [body.outcome for _, _, body in world.log("done") if body.ticket.step == 2]
    check(outcomes[0] == wire.OUTCOME_CANCELLED_STARTED, "the step ended as Done(cancelled, started)")
    check(json.loads((world.journal / "undone").read_text()) == [{"added": [20, 1, 21]}, {"sum": 42}],
          "a rollback is given its rollback_data and its result")


def lost_lease(world):
    """A frozen Python worker loses its lease: another takes the step up, and what the old incarnation says late changes nothing"""
    world.serving()
    world.c_worker()
    frozen = world.python(lease=2)
    run_id = world.start(world.pipeline(HELD))
    world.wait_for_hold(run_id)
    frozen.signal(signal.SIGSTOP)
    world.let_go()  # its handler ends well, in a process of its own; its worker cannot say so
    lost = world.wait_for_log("lost", lambda lost: lost.worker == frozen.id, "Lost")
    check(len(lost) == 1 and lost[0].ticket.ticket == 1, "the coordinator ends the ticket of the silent worker")
    other = world.python()
    run = world.wait_for_end(run_id)
    check(run["status"] == "succeeded" and run["steps"][2]["data"] == {"by": other.id}, "another worker did the step")
    check(run["steps"][2]["attempts"] == 1, "the loss used no attempt")
    before = world.status(run_id)
    frozen.signal(signal.SIGCONT)
    late = world.wait_for_log("done", lambda done: done.worker == frozen.id and done.ticket.step == 2, "the late Done")
    check(late[0].outcome == wire.OUTCOME_OK and json.loads(late[0].data) == {"by": frozen.id}, "the old incarnation's Done(ok) comes late")
    check(world.status(run_id) == before, "and changes nothing")
    world.wait_for(lambda: frozen.said().count("event=incarnation id=") == 2, "the worker to begin a new incarnation")
    check(other.stop() == 0, "the other one leaves")
    check(world.wait_for_end(world.start(world.pipeline(HALVES)))["status"] == "succeeded", "a new incarnation serves again")


def coordinator_dies(world):
    """The coordinator is killed and started again under a running Python step: Holding keeps the step where it is"""
    coordinator = world.serving()
    world.c_worker()
    world.python()
    run_id = world.start(world.pipeline(HELD))
    world.wait_for_hold(run_id)
    coordinator.kill()
    world.coordinator = world.serve()
    held = world.wait_for_log("holding", lambda holding: run_id in [each.run_id for each in holding.tickets], "Holding to name the run")
    check(held[0].tickets[0].ticket.step == 2, "the worker tells the new owner what it holds")
    world.let_go()
    run = world.wait_for_end(run_id)
    check(run["status"] == "succeeded", "the run finished under the new owner")
    check(world.did(run_id) == [f"execute {name} 1" for name in ("prepare", "add", "hold", "double")], "each step ran once")
    check(not world.log("lost"), "nothing was lost")


def in_world(world, scenario):
    @functools.wraps(scenario)
    def run():
        with world.scenario():
            scenario(world)
    return run


if __name__ == "__main__":
    with World() as here:
        main(*(in_world(here, each) for each in (killed_worker, success, refused_as_unknown, refused_as_busy, cancel, lost_lease, coordinator_dies)))
