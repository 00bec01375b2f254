# SPDX-License-Identifier: Apache-2.0
"""What the log says of each run, by a reader that shares no code with ours: claims, tickets and ends, in the order of the log."""

import collections

import wire

BY_COORDINATORS = {"lost", "withdrawn", "timer_fired", "answered", "run_progressed", "run_finished", "snapshot", "finished_ids"}

FOLD_OF_TASKS_AHEAD = 4
AHEAD_MAX = 7  # tasks sent ahead in a row

# How a ticket ended: its kind, where in the log, what a Done said, and its number.
End = collections.namedtuple("End", "kind outcome offset number")


def is_behind(plan, index):
    """May its task be sent ahead, behind that of the step before it?"""
    step = plan.steps[index]
    return list(step.needs) == [index - 1] and step.retry.max_losses > 0 and step.queue == plan.steps[index - 1].queue


class Run:
    def __init__(self, partition, plan, fold_version):
        self.partition = partition
        self.plan = plan
        self.may_go_ahead = fold_version >= FOLD_OF_TASKS_AHEAD
        self.steps = [step.name for step in plan.steps]
        self.ends = collections.defaultdict(list)     # (step name, "execute" | "rollback") -> [End]
        self.started = collections.defaultdict(set)   # likewise -> tickets of which Started stands there
        self.numbers = collections.Counter()          # likewise -> tickets that have ended, those too that ended with the one before them
        self.status = None

    def lost(self, key):
        return [end for end in self.ends[key] if end.kind == "lost"]

    def take_end(self, index, key, end):
        self.ends[key].append(end)
        self.numbers[key] = end.number
        if self.may_go_ahead and key[1] == "execute" and end.outcome not in ("ok", "skipped"):
            self.end_ahead(index)

    def end_ahead(self, index):
        """What may have been sent behind that step has not begun, and has ended with it."""
        for behind in range(index + 1, min(index + 1 + AHEAD_MAX, len(self.steps))):
            if not is_behind(self.plan, behind):
                break
            self.numbers[self.steps[behind], "execute"] += 1


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
            self.runs.setdefault(run_id, Run(partition, body.plan, body.fold_version))
        run = self.runs.get(run_id)
        if run is None:
            return
        if kind == "run_finished" and run.status is None:
            run.status = wire.RunStatus.Name(body.status).removeprefix("RUN_STATUS_").lower()
            self.finished += 1
        elif kind in ("done", "refused", "lost", "withdrawn", "started"):
            key = (run.steps[body.ticket.step], "execute" if body.ticket.direction == wire.DIRECTION_EXECUTE else "rollback")
            if body.ticket.ticket != 1 + run.numbers[key]:
                return  # late, or a second time
            if kind == "started":
                run.started[key].add(body.ticket.ticket)
            else:
                outcome = wire.Outcome.Name(body.outcome).removeprefix("OUTCOME_").lower() if kind == "done" else None
                run.take_end(body.ticket.step, key, End(kind, outcome, offset, body.ticket.ticket))
