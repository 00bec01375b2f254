#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The checks of the chaos suite can fail: stories that keep every promise, and the same with one promise broken, each of which is found."""

import tempfile
from pathlib import Path

import checks
import pipelines
import wire
from log_reader import Log

STEPS = {"a": (), "b": ("a",), "c": ("a", "b")}
LINE = {"a": (), "b": ("a",), "c": ("b",)}
EXECUTE, ROLLBACK = wire.DIRECTION_EXECUTE, wire.DIRECTION_ROLLBACK


class Story:
    """One run of three steps, each of which needs the ones before it: what its processes wrote, and what the log says."""

    def __init__(self, steps=STEPS, fold_version=0):
        self.log, self.offset, self.lines = Log(), 0, []
        self.names, self.tickets = list(steps), {}
        self.record(owner_claim=wire.OwnerClaim(coordinator="c", progress_partitions=1), key=b"")
        plan = wire.Plan(name="story")
        for name, needs in steps.items():
            plan.steps.add(name=name, needs=[self.names.index(need) for need in needs]).retry.max_losses = 5
        self.record(start=wire.Start(plan=plan, fold_version=fold_version))

    def record(self, key=b"run", **body):
        self.log.apply(0, self.offset, key, wire.ProgressRecord(**body).SerializeToString())
        self.offset += 1

    # ---- the journal

    def say(self, what, step, direction="execute", process="1"):
        self.lines.append(f"{what} run {step} {direction} 1 {direction[0]}{step}{process} key")

    def works(self, step, direction="execute", process="1"):
        for what in ("begin", "effect", "end"):
            self.say(what, step, direction, process)

    # ---- the log

    def ended(self, step, direction=EXECUTE, kind="done", **how):
        number = self.tickets[step, direction] = self.tickets.get((step, direction), 0) + 1
        ticket = wire.TicketRef(step=self.names.index(step), direction=direction, ticket=number)
        if kind == "lost":
            body = wire.Lost(epoch=how.get("epoch", 0), ticket=ticket)
        else:
            body = wire.Done(ticket=ticket, outcome=how.get("outcome", wire.OUTCOME_OK))
        self.record(**{kind: body})

    def finished(self, status):
        self.record(run_finished=wire.RunFinished(epoch=0, status=status))

    def done(self, *steps):
        for step in steps:
            self.works(step)
            self.ended(step)
        return self

    def undone(self, *steps):
        for step in steps:
            self.works(step, "rollback")
            self.ended(step, ROLLBACK)
        return self

    # ---- what the checks say

    def broken(self):
        with tempfile.TemporaryDirectory() as directory:
            journal = checks.Journal(Path(directory) / "journal")
            journal.path.write_text("".join(f"{line}\n" for line in self.lines))
            journal.read()
            return [*checks.at_any_time(self.log, journal), *checks.at_the_end(self.log, journal, ["run"])]


def succeeded():
    story = Story().done("a", "b", "c")
    story.finished(wire.RUN_STATUS_SUCCEEDED)
    return story


def rolled_back(order=("c", "b", "a")):
    story = Story().done("a", "b")
    story.works("c")
    story.ended("c", outcome=wire.OUTCOME_FAILED)
    story.undone(*order)
    story.finished(wire.RUN_STATUS_ROLLED_BACK)
    return story


# ---- stories in which every promise is kept


def a_step_is_lost_and_runs_again():
    story = Story().done("a")
    story.say("begin", "b")
    story.ended("b", kind="lost")
    story.works("b", process="2")
    story.ended("b")
    story.done("c")
    story.finished(wire.RUN_STATUS_SUCCEEDED)
    return story


def a_step_fails_and_is_retried():
    story = Story()
    story.works("a")
    story.ended("a", outcome=wire.OUTCOME_FAILED)
    story.works("a", process="2")
    story.ended("a")
    story.done("b", "c")
    story.finished(wire.RUN_STATUS_SUCCEEDED)
    return story


def what_was_sent_ahead_ends_with_the_step_before_it():
    """Each has a second ticket then, and what is said of the first counts for nothing."""
    story = Story(LINE, pipelines.FOLD_OF_TASKS_AHEAD)
    story.say("begin", "a")
    story.ended("a", kind="lost")
    for step in ("b", "c"):
        story.ended(step, outcome=wire.OUTCOME_OK)
    story.works("a", process="2")
    story.ended("a")
    story.done("b", "c")
    story.finished(wire.RUN_STATUS_SUCCEEDED)
    return story


KEPT = (succeeded, rolled_back, a_step_is_lost_and_runs_again, a_step_fails_and_is_retried, what_was_sent_ahead_ends_with_the_step_before_it)

# ---- and those in which one is not


def not_finished():
    return Story().done("a", "b", "c")


def start_is_gone():
    story = succeeded()
    story.log.runs.clear()
    story.lines.clear()
    return story


def success_without_effect():
    story = succeeded()
    story.lines = [line for line in story.lines if not line.startswith("effect run b")]
    return story


def success_undone():
    story = succeeded()
    story.works("a", "rollback")
    return story


def effect_stands():
    story = rolled_back(order=("c", "b"))
    return story


def undone_oldest_first():
    return rolled_back(order=("c", "a", "b"))


def undone_before_one_that_needs_it():
    """The step whose failure began it may come first, out of turn: not where another one needed it."""
    story = Story({"a": (), "b": ("a",)})
    story.done("a")
    story.works("b")
    story.ended("b")
    story.undone("a", "b")
    story.finished(wire.RUN_STATUS_ROLLED_BACK)
    return story


def incomplete():
    story = Story().done("a")
    story.finished(wire.RUN_STATUS_ROLLBACK_INCOMPLETE)
    return story


def two_at_once():
    story = a_step_is_lost_and_runs_again()
    story.lines.append("tick run b execute 1 eb1 key")
    return story


def two_rollbacks_at_once():
    story = rolled_back()
    story.lines.insert(story.lines.index("begin run b rollback 1 rb1 key"), "begin run b rollback 1 rb0 key")
    story.lines.append("tick run b rollback 1 rb0 key")
    return story


def rollback_overlaps_its_step():
    story = rolled_back()
    story.lines.append("effect run c execute 1 ec1 key")
    return story


def begun_after_its_rollback():
    story = rolled_back()
    story.lines.append("begin run b execute 1 eb2 key")
    return story


def begun_more_often_than_tickets():
    """Nothing was lost, and nothing failed: one execution is all that the log allows."""
    story = succeeded()
    story.works("b", process="2")
    return story


def begun_again_after_a_fenced_loss():
    """A Lost of an owner that was replaced counts for nobody."""
    story = Story().done("a")
    story.record(owner_claim=wire.OwnerClaim(coordinator="d", progress_partitions=1), key=b"")
    story.say("begin", "b")
    story.record(lost=wire.Lost(epoch=0, ticket=wire.TicketRef(step=1, direction=EXECUTE, ticket=1)))
    story.works("b", process="2")
    story.ended("b")
    story.done("c")
    story.record(run_finished=wire.RunFinished(epoch=story.log.epochs[0], status=wire.RUN_STATUS_SUCCEEDED))
    return story


def rolled_back_more_often_than_tickets():
    story = rolled_back()
    story.works("a", "rollback", process="2")
    return story


def begun_although_refused():
    """A ticket that a worker refused has not begun."""
    story = Story({"a": ()})
    story.say("begin", "a")
    story.record(refused=wire.Refused(ticket=wire.TicketRef(step=0, direction=EXECUTE, ticket=1)))
    story.tickets["a", EXECUTE] = 1
    story.works("a", process="2")
    story.ended("a")
    story.finished(wire.RUN_STATUS_SUCCEEDED)
    return story


def begun_before_what_it_needs():
    """It was sent ahead, and began before the end of the other stood in the log; which it never did."""
    story = Story(LINE, pipelines.FOLD_OF_TASKS_AHEAD)
    story.works("a")
    story.say("begin", "b")
    story.ended("a", kind="lost")
    story.works("a", process="2")
    story.ended("a")
    story.tickets["b", EXECUTE] = story.tickets["c", EXECUTE] = 1
    story.works("b", process="2")
    story.ended("b")
    story.done("c")
    story.finished(wire.RUN_STATUS_SUCCEEDED)
    return story


def once_begun_twice():
    story = Story({"once-0": ()})
    story.say("begin", "once-0")
    story.ended("once-0", kind="lost")
    story.works("once-0", process="2")
    story.ended("once-0")
    story.finished(wire.RUN_STATUS_SUCCEEDED)
    return story


BROKEN = (
    (not_finished, "run: not finished"),
    (start_is_gone, "run: not finished: its start is not on the log"),
    (success_without_effect, "run b: the run has succeeded, and the step took no effect"),
    (success_undone, "run a: the run has succeeded, and the step is undone"),
    (effect_stands, "run a: the run is rolled_back, and the step's effect stands"),
    (undone_oldest_first, "run: undone in the order c a b"),
    (undone_before_one_that_needs_it, "run: undone in the order a b"),
    (incomplete, "run: its rollback is incomplete"),
    (two_at_once, "run b execute: two executions at once"),
    (two_rollbacks_at_once, "run b rollback: two executions at once"),
    (rollback_overlaps_its_step, "run c: it did something after its rollback had begun"),
    (begun_after_its_rollback, "run b: it did something after its rollback had begun"),
    (begun_more_often_than_tickets, "run b execute: began 2 times, the log allows 1"),
    (begun_again_after_a_fenced_loss, "run b execute: began 2 times, the log allows 1"),
    (rolled_back_more_often_than_tickets, "run a rollback: began 2 times, the log allows 1"),
    (begun_although_refused, "run a execute: began 2 times, the log allows 1"),
    (begun_before_what_it_needs, "run b: it began before a was done"),
    (begun_before_what_it_needs, "run b execute: began 2 times, the log allows 1"),
    (once_begun_twice, "run once-0: began 2 times, and must not twice"),
)


def main():
    failed = 0
    for story in KEPT:
        found = story().broken()
        failed += bool(found)
        print(f"{'FAILED' if found else 'ok    '} {story.__name__} breaks nothing {found or ''}")
    for story, expected in BROKEN:
        found = story().broken()
        is_found = any(text.startswith(expected) for text in found)
        failed += not is_found
        print(f"{'ok    ' if is_found else 'FAILED'} {story.__name__} is found: {found}")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
