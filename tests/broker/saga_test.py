#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The whole saga on a real broker: one coordinator, two workers, and every shape a run can take."""

import json
import subprocess
from collections import Counter

from cluster import Cluster, check, main

# Every step writes what it did to a journal, and does what the run's params say of it:
#   wait: NAME   runs until the file "go" is there (or it is cancelled)
#   fail: NAME   fails when executed, once all that wait have begun; stuck: NAME fails for good when undone, until the file "mended" is there
STEP = """
name=$BACKSTEP_STEP
input=$(cat)
say() { printf '%s %s%s\\n' "$1" "$name" "$2" >>"$JOURNAL/$BACKSTEP_RUN_ID"; }
param() { printf '%s' "$input" | jq -r ".params.$1 // empty"; }
element=$(printf '%s' "$input" | jq -r '.element // empty')
say "$1" "${element:+ $element}"
if [ "$1" = execute ]; then
    case " $(param wait) " in *" $name "*) until [ -e "$JOURNAL/go" ]; do sleep 0.05; done ;; esac
    if [ "$(param fail)" = "$name" ] && [ ! -e "$JOURNAL/mended" ]; then
        for one in $(param wait); do until grep -qx "execute $one" "$JOURNAL/$BACKSTEP_RUN_ID"; do sleep 0.05; done; done
        echo "disk is full" >&2
        exit 1
    fi
    printf '{"data": {"of": "%s", "element": "%s"}}\\n' "$name" "$element"
elif [ "$(param stuck)" = "$name" ] && [ ! -e "$JOURNAL/mended" ]; then
    echo "the store does not answer" >&2
    exit 1
fi
"""

# The least a step can be: 500 of them are to be executed and undone.
TINY = """
printf '%s %s\\n' "$1" "$BACKSTEP_IDEMPOTENCY_KEY" >>"$JOURNAL/$BACKSTEP_RUN_ID"
[ "$1" != execute ] || echo '{"data": {}}'
"""

PARAMS = "params: {wait: {default: ''}, fail: {default: ''}, stuck: {default: ''}, files: {default: []}, big: {default: false}}\n"

DIAMOND = "name: diamond\n" + PARAMS + """steps:
  - {name: a, uses: step}
  - {name: b, uses: step, needs: [a]}
  - {name: c, uses: step, needs: [a]}
  - {name: d, uses: step, needs: [a]}
  - {name: e, uses: step, needs: [b, c, d]}
"""

SMALL = "name: small\n" + PARAMS + """steps:
  - {name: a, uses: step}
  - {name: b, uses: step, when: .params.big}
  - {name: c, uses: step, with: {left: "${ .steps.a.of }", size: "n=${ 1 + 1 }"}}
  - {name: d, validate: {assert: '.steps.b == null and .steps.c.of == "c"', message: it is too big}}
"""

EACH = "name: each\n" + PARAMS + """steps:
  - {name: a, uses: tiny, each: '[range(500)]', max_parallel: 20}
  - {name: b, validate: {assert: '.steps.a | length == 500', message: some are missing}}
  - {name: c, uses: step}
"""

INNER = "name: inner\nparams: {fail: {default: ''}, who: {required: true}}\n" + """steps:
  - {name: x, uses: step}
  - {name: y, uses: step, with: {who: "${ .params.who }", x: "${ .steps.x.of }"}}
"""
OUTER = "name: outer\n" + PARAMS + """steps:
  - {name: a, uses: step}
  - {name: in, uses: 'pipeline:inner.yaml', with: {who: "${ .steps.a.of }"}}
  - {name: z, uses: step}
"""

INCOMPLETE = "name: incomplete\n" + PARAMS + """steps:
  - {name: a, uses: step, rollback: {retry: {max_attempts: 1}}}
  - {name: b, uses: step}
"""

HELD = "name: held\n" + PARAMS + """on_failure: pause
steps:
  - {name: a, uses: step}
  - {name: b, uses: step}
"""


class Saga:
    def __init__(self, cluster):
        self.cluster = cluster
        self.journal, self.did = cluster.journal, cluster.did
        steps = cluster.steps(step=STEP, tiny=TINY)
        cluster.serve()
        for _ in range(2):
            cluster.worker(steps, "--concurrency", "12")

    def start(self, text, **params):
        name = text.split()[1]
        options = [part for key, value in params.items() for part in ("-p", f"{key}={json.dumps(value)}")]
        return self.cluster.start(self.cluster.pipeline(text, f"{name}.yaml"), *options)

    def until(self, run_id, *statuses):
        self.cluster.wait_for(lambda: self.cluster.status(run_id)["status"] in statuses, f"{run_id} to be {statuses}")
        return self.cluster.status(run_id)

    def until_did(self, run_id, *what):
        self.cluster.wait_for(lambda: set(what) <= set(self.did(run_id)), f"{run_id} to have done {what}")

    def go(self, name="go"):
        (self.journal / name).touch()

    def stop_going(self):
        for name in ("go", "mended"):
            (self.journal / name).unlink(missing_ok=True)


def steps_of(status):
    return {step["name"]: step["status"] for step in status["steps"]}


def a_branch_of_a_diamond_fails(saga):
    run = saga.start(DIAMOND, fail="c", wait="b d")
    saga.until_did(run, "execute b", "execute d")
    status = saga.until(run, "rolled_back")
    did = saga.did(run)
    check(status["error"] == "Step 'c' failed: disk is full", "a branch fails: its error is the run's")
    check(did[4] == "rollback c" and did[-1] == "rollback a" and sorted(did[5:7]) == ["rollback b", "rollback d"] and len(did) == 8,
          "the others are cancelled and waited for, then all is undone: the failed one first, what came first last")
    check(steps_of(status)["e"] == "not_run", "what needed all branches has not run")


def a_condition_skips(saga):
    run = saga.start(SMALL)
    status = saga.until(run, "succeeded")
    check(steps_of(status) == {"a": "succeeded", "b": "skipped", "c": "succeeded", "d": "succeeded"}, "a step whose 'when' is false is skipped")
    run = saga.start(SMALL, big=True)
    status = saga.until(run, "rolled_back")
    check(status["error"] == "Step 'd' failed: it is too big", "a validation fails with its own message")
    check(saga.did(run)[3:] == ["rollback c", "rollback b", "rollback a"], "and what ran is undone")


def five_hundred_elements(saga):
    run = saga.start(EACH, fail="c")
    status = saga.until(run, "rolled_back")
    did = saga.did(run)
    done = [line for line in did if line.startswith("execute each-")]
    undone = [line for line in did if line.startswith("rollback each-")]
    check(len(done) == 500 and len(set(done)) == 500, "500 elements, each executed once")
    check(len(undone) == 500 and len(set(undone)) == 500, "when a later step fails each is undone on its own, once")
    check(did.index("rollback c") < did.index(undone[0]), "after the step that failed")
    check(status["error"] == "Step 'c' failed: disk is full", "and the cause is named")


def a_pipeline_in_a_pipeline_is_rolled_back(saga):
    saga.cluster.pipeline(INNER, "inner.yaml")
    run = saga.start(OUTER)
    status = saga.until(run, "succeeded")
    check(saga.did(run) == [f"execute {name}" for name in ("a", "in/x", "in/y", "z")], "a pipeline runs as a step")
    run = saga.start(OUTER, fail="z")
    status = saga.until(run, "rolled_back")
    check(saga.did(run)[4:] == [f"rollback {name}" for name in ("z", "in/y", "in/x", "a")], "and is undone as one")


def three_running_steps_are_cancelled(saga):
    run = saga.start(DIAMOND, wait="b c d")
    saga.until_did(run, "execute b", "execute c", "execute d")
    saga.cluster.cli("cancel", run, "--reason", "not today")
    status = saga.until(run, "cancelled")
    counts = Counter(line.split()[0] for line in saga.did(run))
    check(counts == {"execute": 4, "rollback": 4} and saga.did(run)[-1] == "rollback a", "three running steps are cancelled, then all is undone")
    check("not today" in status["error"], "and the reason is kept")


def pause_and_resume(saga):
    run = saga.start(DIAMOND, wait="b c d")
    saga.until_did(run, "execute b", "execute c", "execute d")
    saga.cluster.cli("pause", run)
    saga.go()
    saga.cluster.wait_for(lambda: list(steps_of(saga.cluster.status(run)).values()).count("succeeded") == 4, "what runs to end")
    check(saga.cluster.status(run)["status"] == "paused", "a paused run lets end what runs, and begins nothing")
    saga.cluster.cli("resume", run)
    saga.until(run, "succeeded")
    check(saga.did(run)[-1] == "execute e", "and goes on when it is resumed")
    saga.stop_going()


def an_incomplete_rollback_is_taken_up_again(saga):
    run = saga.start(INCOMPLETE, fail="b", stuck="a")
    status = saga.until(run, "rollback_incomplete")
    check(steps_of(status) == {"a": "rollback_failed", "b": "rolled_back"}, "a rollback that fails for good is recorded")
    saga.go("mended")
    saga.cluster.cli("retry", run)
    saga.until(run, "rolled_back")
    check(saga.did(run) == ["execute a", "execute b", "rollback b", "rollback a", "rollback a"], "retry undoes only what was still undone")
    history = saga.cluster.cli("history", run).stdout
    check(history.count("rollback_incomplete") >= 1 and "rolled_back" in history, "history tells both ends")
    saga.stop_going()


def a_held_run_is_retried(saga):
    run = saga.start(HELD, fail="b")
    saga.until(run, "paused")
    saga.cluster.cli("resume", run, expect=7)
    saga.go("mended")
    saga.cluster.cli("retry", run)
    saga.until(run, "succeeded")
    check(saga.did(run) == ["execute a", "execute b", "execute b"], "a held run goes on from the step that failed")
    saga.stop_going()
    run = saga.start(HELD, fail="b")
    saga.until(run, "paused")
    saga.cluster.cli("resolve", run, "b", "--done", "--reason", "did it by hand", "--data", '{"of": "b"}')
    saga.cluster.cli("resume", run, expect=None)
    saga.until(run, "succeeded")
    check("did it by hand" in saga.cluster.cli("history", run).stdout, "a step can be resolved by a person, and history says so")


def a_run_with_steps_of_its_own_leaves_no_topic(saga):
    cluster = saga.cluster
    cluster.cli("run", cluster.pipeline("name: own\n" + PARAMS + "steps: [{name: a, uses: step}]\n", "own.yaml"), "--steps", cluster.directory / "steps")
    topics = subprocess.run(["kcat", "-L", "-b", cluster.brokers], capture_output=True, text=True, timeout=60, check=True).stdout
    check(cluster.topic("tasks.default") in topics and "tasks.run-" not in topics, "a run with steps of its own leaves no topic behind")


def the_whole_saga():
    """diamond, condition, 500 elements, nesting, cancel, pause, incomplete rollback, held run: on a real broker"""
    with Cluster() as cluster:
        saga = Saga(cluster)
        for scenario in (a_branch_of_a_diamond_fails, a_condition_skips, five_hundred_elements, a_pipeline_in_a_pipeline_is_rolled_back,
                         three_running_steps_are_cancelled, pause_and_resume, an_incomplete_rollback_is_taken_up_again, a_held_run_is_retried,
                         a_run_with_steps_of_its_own_leaves_no_topic):
            scenario(saga)


if __name__ == "__main__":
    main(the_whole_saga)
