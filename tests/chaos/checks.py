# SPDX-License-Identifier: Apache-2.0
"""What was promised, asked of the journals and of the log. Each check yields a sentence for each promise that was broken."""

import collections

BEGUN = ("ok", "failed", "cancelled_started")


class Journal:
    """Per (run, step, direction) its lines in the order in which they were written: (what, process)."""

    def __init__(self, path):
        self.path = path
        self.position = 0
        self.lines = collections.defaultdict(list)
        self.executions = 0

    def read(self):
        """What has come since; a line that is being written is left for the next time."""
        if not self.path.exists():
            return
        with open(self.path, "rb") as journal:
            journal.seek(self.position)
            text = journal.read()
        text = text[: text.rfind(b"\n") + 1]
        for line in text.decode().splitlines():
            what, run, step, direction, _attempt, process, _key = line.split(" ", 6)
            self.lines[run, step, direction].append((what, process, self.position))
            self.position += len(line) + 1
            self.executions += what == "begin"

    def of(self, run, step, direction):
        return self.lines.get((run, step, direction), [])

    def begun(self, run, step, direction):
        return len({process for what, process, _ in self.of(run, step, direction) if what == "begin"})

    def effects(self, run, step, direction):
        return [place for what, _, place in self.of(run, step, direction) if what == "effect"]


# ---- at any time


def two_at_once(journal):
    """A process of a step goes on after a later one of the same step has begun."""
    for (run, step, direction), lines in list(journal.lines.items()):
        latest = None
        for what, process, _ in lines:
            if what == "begin":
                latest = process
            elif process != latest:
                yield f"{run} {step} {direction}: two executions at once"
                break


def begun_after_rollback(journal):
    """A step does anything after its rollback has begun."""
    for (run, step, direction), lines in list(journal.lines.items()):
        undone = journal.of(run, step, "rollback")
        if direction != "execute" or not undone:
            continue
        last = max(place for _, _, place in lines)
        if last > undone[0][2]:
            yield f"{run} {step}: it did something after its rollback had begun"


def begun_twice(journal):
    """A step that must never begin twice did."""
    for run, step, direction in list(journal.lines):
        if direction == "execute" and step.startswith("once-") and journal.begun(run, step, direction) > 1:
            yield f"{run} {step}: began {journal.begun(run, step, direction)} times, and must not twice"


def begun_too_early(log, journal):
    """A step has begun, and one that it needs does something after that."""
    for run_id, run in log.runs.items():
        for index, step in enumerate(run.steps):
            begun = journal.of(run_id, step, "execute")
            for need in (run.steps[need] for need in run.plan.steps[index].needs) if begun else ():
                lines = journal.of(run_id, need, "execute")
                if not lines or lines[-1][2] > begun[0][2]:
                    yield f"{run_id} {step}: it began before {need} was done"


def at_any_time(log, journal):
    """The journal is to be read after the log: of a run that has ended there it says all."""
    return [*two_at_once(journal), *begun_after_rollback(journal), *begun_twice(journal), *begun_too_early(log, journal), *not_undone(log, journal)]


# ---- at the end


def unfinished(log, ids):
    for run_id in ids:
        run = log.runs.get(run_id)
        if run is None or run.status is None:
            yield f"{run_id}: not finished{': its start is not on the log' if run is None else ''}"


def steps_without_effect(log, journal):
    for run_id, run in log.runs.items():
        for step in run.steps if run.status == "succeeded" else ():
            if not journal.effects(run_id, step, "execute"):
                yield f"{run_id} {step}: the run has succeeded, and the step took no effect"


def not_undone(log, journal):
    for run_id, run in log.runs.items():
        for step in run.steps:
            done, undone = journal.effects(run_id, step, "execute"), journal.effects(run_id, step, "rollback")
            if run.status in ("rolled_back", "cancelled") and done and not undone:
                yield f"{run_id} {step}: the run is {run.status}, and the step's effect stands"
            if run.status == "succeeded" and undone:
                yield f"{run_id} {step}: the run has succeeded, and the step is undone"
        if run.status == "rollback_incomplete":
            yield f"{run_id}: its rollback is incomplete"


def last_end(run, step):
    """Where the last ticket of a step ended in the log, even one that was taken back."""
    ends = run.ends[step, "execute"]
    return ends[-1].offset if ends else -1


def undone_too_early(run, order):
    """A step before one that needed it."""
    for place, step in enumerate(order):
        needed = {run.steps[index] for index in run.plan.steps[run.steps.index(step)].needs}
        if needed & set(order[:place]):
            return True
    return False


def wrong_order(log, journal):
    """After the step whose failure began it: newest first. By the log for when they ended, by the journal for when they were undone."""
    for run_id, run in log.runs.items():
        if run.status not in ("rolled_back", "cancelled"):
            continue
        undone = [(journal.effects(run_id, step, "rollback"), step) for step in run.steps]
        order = [step for places, step in sorted((places[0], step) for places, step in undone if places)]
        rest = order[1:] if run.status == "rolled_back" else order
        ends = [last_end(run, step) for step in rest]
        if ends != sorted(ends, reverse=True) or undone_too_early(run, order):
            yield f"{run_id}: undone in the order {' '.join(order)}; all but the first ended at {ends}"


def too_often(log, journal):
    """No ticket begins twice: a step begins at most once for each ticket that may have begun, so 1 + retried attempts + lost tickets."""
    for run_id, run in log.runs.items():
        for step in run.steps:
            for direction in ("execute", "rollback"):
                ends = run.ends[step, direction]
                may = sum(end.outcome in BEGUN or end.kind == "lost" for end in ends) + (run.status is None)  # one may be under way
                begun = journal.begun(run_id, step, direction)
                if begun > may:
                    told = " ".join(f"{end.kind}:{end.outcome or ''}" for end in ends)
                    yield f"{run_id} {step} {direction}: began {begun} times, the log allows {may} ({told})"


def at_the_end(log, journal, ids):
    return [*unfinished(log, ids), *steps_without_effect(log, journal), *wrong_order(log, journal), *too_often(log, journal)]


def extra_executions(log, journal):
    """How many executions there were beyond those that had to be: one a step, and one for each attempt that failed."""
    extra = 0
    for run_id, run in log.runs.items():
        for step in run.steps:
            for direction in ("execute", "rollback"):
                failed = sum(end.outcome == "failed" for end in run.ends[step, direction][:-1])
                extra += max(0, journal.begun(run_id, step, direction) - 1 - failed)
    return extra
