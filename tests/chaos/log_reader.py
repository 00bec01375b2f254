# SPDX-License-Identifier: Apache-2.0
"""What the log says of each run, by a reader that shares no code with ours: claims, tickets and ends, in the order of the log."""

import collections

import wire
from confluent_kafka import Consumer, TopicPartition

BY_COORDINATORS = {"lost", "withdrawn", "timer_fired", "answered", "run_progressed", "run_finished", "snapshot", "finished_ids"}

# How a ticket ended: its kind, where in the log, and what a Done said.
End = collections.namedtuple("End", "kind outcome offset")


class Run:
    def __init__(self, partition, plan):
        self.partition = partition
        self.plan = plan
        self.steps = [step.name for step in plan.steps]
        self.ends = collections.defaultdict(list)     # (step name, "execute" | "rollback") -> [End]
        self.started = collections.defaultdict(set)   # likewise -> tickets of which Started stands there
        self.status = None

    def lost(self, key):
        return [end for end in self.ends[key] if end.kind == "lost"]


class Log:
    def __init__(self, brokers, topic, partitions=4):
        self.consumer = Consumer({"bootstrap.servers": brokers, "group.id": "chaos", "enable.auto.commit": False,
                                  "auto.offset.reset": "error", "reconnect.backoff.max.ms": 500, "fetch.wait.max.ms": 50,
                                  "allow.auto.create.topics": False})
        self.consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
        self.runs = {}
        self.epochs = {}
        self.finished = 0
        self.claims = 0
        self.fenced = 0
        self.records = 0

    def read(self, timeout_s):
        """Take in what has come; at most so long. Answers with the number of records."""
        messages = self.consumer.consume(1000, timeout_s)
        taken = [message for message in messages if not message.error()]
        for message in taken:
            self.apply(message)
        return len(taken)

    def close(self):
        self.consumer.close()

    def apply(self, message):
        self.records += 1
        record = wire.ProgressRecord()
        record.ParseFromString(message.value() or b"")
        kind = record.WhichOneof("body")
        body = getattr(record, kind) if kind else None
        if kind == "owner_claim":
            self.epochs[message.partition()] = message.offset()
            self.claims += 1
        elif kind in BY_COORDINATORS and body.epoch != self.epochs.get(message.partition()):
            self.fenced += 1
        elif message.key():
            self.apply_to_run(message, kind, body)

    def apply_to_run(self, message, kind, body):
        run_id = message.key().decode()
        if kind == "start":
            self.runs.setdefault(run_id, Run(message.partition(), body.plan))
        run = self.runs.get(run_id)
        if run is None:
            return
        if kind == "run_finished" and run.status is None:
            run.status = wire.RunStatus.Name(body.status).removeprefix("RUN_STATUS_").lower()
            self.finished += 1
        elif kind in ("done", "refused", "lost", "withdrawn", "started"):
            key = (run.steps[body.ticket.step], "execute" if body.ticket.direction == wire.DIRECTION_EXECUTE else "rollback")
            if body.ticket.ticket != 1 + len(run.ends[key]):
                return  # late, or a second time
            if kind == "started":
                run.started[key].add(body.ticket.ticket)
            else:
                outcome = wire.Outcome.Name(body.outcome).removeprefix("OUTCOME_").lower() if kind == "done" else None
                run.ends[key].append(End(kind, outcome, message.offset()))
