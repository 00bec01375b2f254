# SPDX-License-Identifier: Apache-2.0
"""What the log says of each run, by a reader that shares no code with ours: claims, tickets and ends, in the order of the log."""

import collections

import wire

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
    def __init__(self):
        self.runs = {}
        self.epochs = {}
        self.finished = 0
        self.claims = 0
        self.fenced = 0
        self.records = 0

    def apply(self, partition, offset, key, value):
        self.records += 1
        record = wire.ProgressRecord()
        record.ParseFromString(value)
        kind = record.WhichOneof("body")
        body = getattr(record, kind) if kind else None
        if kind == "owner_claim":
            self.epochs[partition] = offset
            self.claims += 1
        elif kind in BY_COORDINATORS and body.epoch != self.epochs.get(partition):
            self.fenced += 1
        elif key:
            self.apply_to_run(key.decode(), partition, offset, kind, body)

    def apply_to_run(self, run_id, partition, offset, kind, body):
        if kind == "start":
            self.runs.setdefault(run_id, Run(partition, body.plan))
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
                run.ends[key].append(End(kind, outcome, offset))
