# SPDX-License-Identifier: Apache-2.0
"""Random pipelines, and the step program that keeps a journal of what it does."""

import wire

FOLD_VERSION = 2
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


def write_steps(directory):
    directory.mkdir()
    for handler in HANDLERS:
        path = directory / handler
        path.write_text(PROGRAM)
        path.chmod(0o755)
    return directory


def draw_step(random, plan, index, mixture):
    handler = random.choices(list(mixture), list(mixture.values()))[0]
    step = plan.steps.add(name=f"{handler}-{index}", handler=handler, queue="default", weight=random.randint(0, 5))
    earlier = list(range(index))
    step.needs.extend(sorted(random.sample(earlier, min(len(earlier), random.choice((0, 1, 1, 1, 2))))))
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
        draw_step(random, plan, index, mixture)
    return plan


def start_record(random, plan):
    start = wire.Start(request_id=random.randbytes(16), fold_version=FOLD_VERSION, progress_partitions=PROGRESS_PARTITIONS, plan=plan,
                       params=b"{}")
    return wire.ProgressRecord(start=start).SerializeToString()


def cancel_record(random):
    control = wire.Control(request_id=random.randbytes(16), kind=wire.CONTROL_KIND_CANCEL, reason="chaos")
    return wire.ProgressRecord(control=control).SerializeToString()
