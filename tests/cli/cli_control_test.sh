#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# pause, resume, retry, rollback, resolve: each as a person would use it, against the embedded broker.
. "$(dirname "$0")/checks"
step ok <<'END'
#!/bin/sh
# rollback: nothing
exit 0
END
step held <<'END'
#!/bin/sh
# rollback: nothing; execute until told to go on
[ "$1" = rollback ] || until [ -e "$GATES/$BACKSTEP_RUN_ID" ]; do sleep 0.05; done
END
step moody <<'END'
#!/bin/sh
# rollback: nothing; execute waits until it may, and fails until its cause is gone
[ "$1" = execute ] || exit 0
until [ -e "$GATES/$BACKSTEP_RUN_ID.may" ]; do sleep 0.05; done
[ -e "$GATES/$BACKSTEP_RUN_ID" ] || { echo "the disk is full" >&2; exit 65; }
END
step stuck <<'END'
#!/bin/sh
# its rollback fails for good until its cause is gone: what it says is no answer
[ "$1" = execute ] || [ -e "$GATES/$BACKSTEP_RUN_ID" ] || echo '{"cannot undo": true}'
END
step fails <<'END'
#!/bin/sh
# rollback: nothing
[ "$1" = rollback ] || { echo nope >&2; exit 65; }
END
step slowly <<'END'
#!/bin/sh
# rollback: nothing; execute fails, to be tried again in a long time
[ "$1" = rollback ] || { echo "not yet" >&2; exit 1; }
END
step reads <<'END'
#!/bin/sh
# rollback: nothing; its data are those of moody
[ "$1" = rollback ] || jq -c '{data: {seen: .steps.moody}}'
END
GATES=$work/gates
mkdir "$GATES"
export GATES
open_gate() { touch "$GATES/$1"; }
printf 'name: two\nsteps: [{name: held}, {name: ok}]\n' >"$work/two.yaml"
printf 'name: holds\nsteps: [{name: ok}, {name: moody}, {name: reads}]\n' >"$work/holds.yaml"
printf 'name: asks\non_failure: pause\nsteps: [{name: ok}, {name: fails}]\n' >"$work/asks.yaml"
printf 'name: stays\nsteps: [{name: stuck}, {name: fails}]\n' >"$work/stays.yaml"
printf 'name: slowly\nsteps: [{name: slowly, retry: {max_attempts: 3, backoff: 1h}}]\n' >"$work/slowly.yaml"

backstep dev --steps "$work/steps" --address-file "$work/address" >"$work/dev.out" 2>"$work/dev.err" &
started=$!
check "dev is up" wait_for 20 test -s "$work/address"
b=$(cat "$work/address")
export BACKSTEP_BROKERS="$b"
stands() { [ "$(backstep status "$1" -o json | jq -r .status)" = "$2" ]; }
step_stands() { [ "$(backstep status "$1" -o json | jq -r ".steps[$2].status")" = "$3" ]; }
begin() { run backstep start "$work/$1.yaml" --id "$2"; }

begin two pause-1
check "a step runs" wait_for 20 step_stands pause-1 0 running
run backstep pause pause-1 --reason "the store is being moved"
check "pause: exit 0" is "$code" 0
check "... says what goes on" has "$work/out" "backstep resume pause-1"
run backstep pause pause-1 -o json
check "pause of a paused run: accepted" json '[.request,.answer,.status]' '["pause","accepted","paused"]'
run backstep status pause-1
check "status: paused, and why" has "$work/out" "the store is being moved"
check "... and what still runs" has "$work/out" "running"
run backstep retry pause-1
check "retry where nothing has failed: exit 7" is "$code" 7
check "... says why" has "$work/err" "pause-1 cannot be retried: no step of it has failed"
run backstep resolve pause-1 held --done --reason x
check "resolve of a step that runs: exit 7" is "$code" 7
run backstep retry pause-1 -o json
check "... as an object" json '[.answer,.status,(.reason|length > 0)]' '["refused","paused",true]'
timeout 20 backstep pause pause-1 --wait -q >"$work/waited" 2>&1 &
waiter=$!
open_gate pause-1
code=0
wait "$waiter" || code=$?
check "pause --wait: exit 0 when nothing runs any more" is "$code" 0
check "... the step that ran has ended" step_stands pause-1 0 succeeded
check "... and the next one has not begun" step_stands pause-1 1 waiting
run timeout 20 backstep watch pause-1
check "watch of a paused run: exit 6" is "$code" 6
run timeout 20 backstep start "$work/two.yaml" --id pause-1
check "the same id while it is paused: exit 8" is "$code" 8
check "... shows the state" has "$work/err" "exists already: paused, "
run timeout 20 backstep start "$work/two.yaml" --id pause-1 --if-exists return --wait -o json
check "... return and wait: exit 6" is "$code" 6
run timeout 20 backstep resume pause-1 --wait -o json
check "resume --wait: follows it to its end" is "$code" 0
check "... and prints its object" json .status succeeded
run backstep resume pause-1
check "resume of a run that has ended: exit 7" is "$code" 7
run backstep pause pause-1
check "pause of a run that has ended: exit 7" is "$code" 7

begin two roll-1
check "a step runs" wait_for 20 step_stands roll-1 0 running
run backstep rollback roll-1
check "rollback of a run that is not paused: exit 7" is "$code" 7
check "... says what to do" has "$work/err" "pause it first"
run backstep pause roll-1
open_gate roll-1
run timeout 20 backstep rollback roll-1 --wait -o json
check "rollback of a paused run: exit 4, for someone asked" is "$code" 4
check "... its step is undone" json '[.status,.steps[0].status,.steps[1].status]' '["cancelled","rolled_back","not_run"]'

# A step that fails while a person has paused its run: the run is held, as with on_failure: pause.
for id in again back done forgiven undone; do
    begin holds "hold-$id"
    check "a step runs" wait_for 20 step_stands "hold-$id" 1 running
    run backstep pause "hold-$id"
    open_gate "hold-$id.may"
    check "it fails, and the run stays paused" wait_for 20 step_stands "hold-$id" 1 failed
done
run backstep status hold-again
check "status: what failed, and why" has "$work/out" "the disk is full"
check "... and what can be done" has "$work/out" "retry or resolve it"
run backstep status hold-again -o json
check "... as an object" json '[.status,.paused.held,.error]' "[\"paused\",true,\"Step 'moody' failed: the disk is full\"]"
open_gate hold-again
run timeout 20 backstep retry hold-again --wait
check "retry: goes on from what had failed" is "$code" 0
check "... and tells only what has happened since" sh -c "! grep -q 'disk is full' '$work/out'"
check "... which is that" has "$work/out" "succeeded"
run timeout 20 backstep resume hold-undone --wait
check "resume of a run that only a person had paused: it is rolled back, as it would have been then" is "$code" 1
run timeout 20 backstep rollback hold-back --wait -o json
check "rollback of a held run: exit 1, for it failed" is "$code" 1
check "... with its cause" json '[.status,.error]' "[\"rolled_back\",\"Step 'moody' failed: the disk is full\"]"
run backstep resolve hold-done mody --done --reason x
check "resolve with a slip: exit 2" is "$code" 2
check "... names what was meant" has "$work/err" "did you mean 'moody'?"
run backstep resolve hold-done moody --done
check "resolve without a reason: exit 2" is "$code" 2
run backstep resolve hold-done moody --reason x
check "resolve without --done or --undone: exit 2" is "$code" 2
run backstep resolve hold-done moody --undone --data 1 --reason x
check "data of what is undone: exit 2" is "$code" 2
run backstep resolve hold-done moody --done --data '{oops' --reason x
check "data that is no JSON: exit 2" is "$code" 2
check "... says where" has "$work/err" "--data: "
run backstep resolve hold-done moody --done --data '{"by": "hand"}' --reason "copied it over"
check "resolve --done: exit 0" is "$code" 0
check "... says how it counts" has "$work/out" "step 'moody' of hold-done counts as done"
run backstep status hold-done -o json
check "... status says that a person did" json '[.status,.steps[1].status,.steps[1].resolved]' '["paused","succeeded",true]'
run backstep status hold-done
check "... in words too" has "$work/out" "resolved by a person"
run timeout 20 backstep resume hold-done --wait -o json
check "... resume goes on" json .status succeeded
check "... with what the person said" json '.steps[2].data.seen.by' hand
run backstep resolve hold-forgiven moody --undone --reason "nothing was written"
check "resolve --undone of a failed step: exit 0" is "$code" 0
run timeout 20 backstep rollback hold-forgiven --wait -o json
check "... it is not undone again" json '[.steps[].status]' '["rolled_back","failed","not_run"]'

for id in again by-hand; do begin stays "stay-$id"; done
for id in again by-hand; do check "a rollback is incomplete" wait_for 20 stands "stay-$id" rollback_incomplete; done
run timeout 20 backstep retry stay-again --wait
check "retry of it while its cause is there: exit 3" is "$code" 3
open_gate stay-again
run timeout 20 backstep retry stay-again --wait -o json
check "retry once its cause is gone: exit 1, rolled back" is "$code" 1
check "... all is undone" json '[.status,.steps[0].status]' '["rolled_back","rolled_back"]'
run backstep resolve stay-by-hand stuck --undone --reason "removed it by hand" -o json
check "resolve --undone: the last one makes it rolled back" json '[.answer,.status]' '["accepted","rolled_back"]'

begin slowly slowly-1
check "a step waits for its next attempt" wait_for 20 step_stands slowly-1 0 retrying
run backstep status slowly-1
check "... status says when" has "$work/out" "attempt 2 of 3 in "
run backstep resolve slowly-1 slowly --done --data 1 --reason "need not wait"
check "resolve of it: exit 0" is "$code" 0
run timeout 20 backstep watch slowly-1 -o json
check "... and the run has succeeded" json '[.status,.steps[0].data]' '["succeeded",1]'

begin asks asks-1
check "on_failure: pause holds a run that has failed" wait_for 20 stands asks-1 paused
run backstep status asks-1
check "... status: what can be done" has "$work/out" "a step failed: retry, roll back or resolve it"
run backstep resume asks-1
check "resume of it: exit 7" is "$code" 7
run timeout 20 backstep rollback asks-1 --wait
check "rollback of it: exit 1" is "$code" 1

run timeout 30 env -u BACKSTEP_BROKERS backstep run "$work/asks.yaml" --steps "$work/steps"
check "a pause on a broker that ends with its command: exit 3" is "$code" 3
check "... which names what stays undone" has "$work/err" "'ok', 'fails'"
done_checking
