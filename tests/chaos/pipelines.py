# SPDX-License-Identifier: Apache-2.0
"""Random pipelines, and the step program that keeps a journal of what it does."""

import wire

FOLD_VERSION = 2
FOLD_OF_TASKS_AHEAD = 4
PROGRESS_PARTITIONS = 4

# One program under several names. Each line of the journal is one append: where, what, the key, the process, a counter that tells a
# process from a later one of the same number. "begin" when it begins, "tick" while a long one lives, "effect" once it has taken effect,
# "end" before it ends by itself.
PROGRAM = r"""#!/bin/sh
read -r nonce </proc/sys/kernel/random/uuid
say()
{
    echo "$1 $BACKSTEP_RUN_ID $BACKSTEP_STEP $BACKSTEP_DIRECTION $BACKSTEP_ATTEMPT $nonce $BACKSTEP_IDEMPOTENCY_KEY" >>"$CHAOS_JOURNAL"
}
say begin
name=${0##*/}
case $BACKSTEP_DIRECTION.$name in
execute.brief | execute.once | execute.flaky) sleep 0.06 ;;
execute.slow) for i in 1 2 3 4 5 6; do sleep 0.2; say tick; done ;;
execute.long) for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 0.4; say tick; done ;;
rollback.slow | rollback.long) sleep 0.2; say tick ;;
esac
say effect
say end
case $BACKSTEP_DIRECTION.$name.$BACKSTEP_ATTEMPT in
execute.flaky.[12] | rollback.flaky.1) echo "not yet" >&2; exit 1 ;;
execute.broken.*) echo "broken" >&2; exit 65 ;;
esac
exit 0
"""
HANDLERS = ("quick", "brief", "once", "flaky", "slow", "long", "broken")

# Of 100 steps. "once" must never begin twice; "broken" fails for good.
MIXED = {"quick": 34, "brief": 33, "once": 10, "flaky": 8, "slow": 9, "long": 1, "broken": 5}
# Of 100 steps of a line, where each needs the one before it: most are short, as where tasks are sent ahead.
IN_LINE = {"quick": 70, "brief": 14, "once": 2, "flaky": 6, "slow": 4, "long": 1, "broken": 3}
LINES = 0.5  # of the pipelines
LINE_STEPS = 10


def write_steps(directory):
    directory.mkdir()
    for handler in HANDLERS:
        path = directory / handler
        path.write_text(PROGRAM)
        path.chmod(0o755)
    return directory


def draw_needs(random, index):
    return sorted(random.sample(range(index), min(index, random.choice((0, 1, 1, 1, 2)))))


def draw_step(random, plan, index, mixture, needs):
    handler = random.choices(list(mixture), list(mixture.values()))[0]
    step = plan.steps.add(name=f"{handler}-{index}", handler=handler, queue="default", weight=random.randint(0, 5))
    step.needs.extend(needs)
    step.retry.max_attempts = 3 if handler == "flaky" else 1
    step.retry.max_losses = 0 if handler == "once" else 20
    step.retry.backoff_ms = 50
    step.retry.multiplier_permille = 2000
    step.retry.max_backoff_ms = 1000
    step.rollback_retry.max_attempts = 10
    step.rollback_retry.max_losses = 50
    step.rollback_retry.backoff_ms = 50
    step.rollback_retry.multiplier_permille = 2000
    step.rollback_retry.max_backoff_ms = 1000


def draw_plan(random, mixture):
    plan = wire.Plan(name="chaos")
    for index in range(random.randint(1, 5)):
        draw_step(random, plan, index, mixture, draw_needs(random, index))
    return plan


def draw_line(random, mixture):
    plan = wire.Plan(name="line")
    for index in range(random.randint(2, LINE_STEPS)):
        draw_step(random, plan, index, mixture, [index - 1] if index > 0 else [])
    return plan


def draw_start(random, mixture, in_line, lines):
    """A line may be sent ahead; of the others some are of the time before that."""
    if random.random() < lines:
        return start_record(random, draw_line(random, in_line), FOLD_OF_TASKS_AHEAD)
    return start_record(random, draw_plan(random, mixture), random.choice((FOLD_VERSION, FOLD_OF_TASKS_AHEAD)))


def start_record(random, plan, fold_version):
    start = wire.Start(request_id=random.randbytes(16), fold_version=fold_version, progress_partitions=PROGRESS_PARTITIONS, plan=plan,
                       params=b"{}")
    return wire.ProgressRecord(start=start).SerializeToString()


def control_record(random, kind):
    control = wire.Control(request_id=random.randbytes(16), kind=kind, reason="chaos")
    return wire.ProgressRecord(control=control).SerializeToString()
