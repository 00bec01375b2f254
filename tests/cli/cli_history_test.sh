#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# backstep history tells the whole story of a run.
. "$(dirname "$0")/checks"
step one <<'END2'
#!/bin/sh
# rollback: nothing
[ "$1" = rollback ] || sleep 0.2
END2
step fails <<'END2'
#!/bin/sh
[ "$1" = rollback ] || { echo "disk is full" >&2; exit 1; }
END2
step gate <<END2
#!/bin/sh
# rollback: nothing
[ "\$1" = rollback ] || exec sleep 60
END2
printf 'name: broken\nsteps: [{name: one}, {name: fails, retry: {max_attempts: 2, backoff: 10ms}}, {name: never}]\n' >"$work/broken.yaml"
printf 'name: waits\nsteps: [{name: gate, timeout: 50s}]\n' >"$work/waits.yaml"
printf 'name: late\nsteps: [{name: gate, timeout: 300ms}]\n' >"$work/late.yaml"

backstep dev --steps "$work/steps" --address-file "$work/address" >"$work/dev.out" 2>"$work/dev.err" &
started=$!
check "a broker" wait_for 20 test -s "$work/address"
b=$(cat "$work/address")

run timeout 60 backstep start "$work/broken.yaml" -b "$b" --id broken-1 --wait
check "a run that fails" is "$code" 1
run backstep history broken-1 -b "$b"
check "history: exit 0" is "$code" 0
check "... how it ended, when it began, how long it took" grep -Eq '^broken-1  broken  rolled_back  started [0-9-]+ [0-9:]+, took [0-9]+\.[0-9] s$' "$work/out"
# What stands in the columns of step, direction and event.
columns() { sed 1d "$work/out" | awk '{print $3, $4, $5}'; }
# A step that takes more than a tenth of a second is also said to run: on a busy machine any may.
check "... every event, in order" is "$(columns | grep -v running | tr '\n' ',')" \
    "- run started,one execute done,fails execute failed,fails execute failed,- run rolling_back,fails rollback done,one rollback done,- run rolled_back,"
check "... that a step runs" grep -Eq 'one +execute +running +on ' "$work/out"
check "... with its duration" grep -Eq 'one +execute +done +0\.[2-9] s$' "$work/out"
check "... attempts, and why" has "$work/out" "attempt 2 of 2: disk is full"
check "... and when it is tried again" grep -Eq 'attempt 1 of 2, again in 0\.[0-9] s: disk is full' "$work/out"
run backstep history broken-1 -b "$b" -o json
check "as JSON: a record a line" is "$(jq -s 'map(.type)|[first, last]' -c "$work/out")" '["Start","RunFinished"]'
check "... with durations" is "$(jq -s 'map(select(.type == "Done" and .step == "one" and .direction == "execute"))[0].duration_seconds >= 0.2' "$work/out")" true

run backstep start "$work/waits.yaml" -b "$b" --id waits-1
runs() { [ "$(backstep status waits-1 -b "$b" -o json | jq -r '.steps[0].status')" = running ]; }
check "a run that goes on" wait_for 20 runs
run backstep history waits-1 -b "$b"
check "history of it: exit 0" is "$code" 0
check "... has no end" is "$(columns | tail -n 1)" "gate execute running"
run backstep cancel waits-1 -b "$b" --reason "not today"
run timeout 60 backstep watch waits-1 -b "$b"
run backstep history waits-1 -b "$b"
check "who asked for what is told" grep -Eq -- '- +run +cancel +not today$' "$work/out"
run timeout 60 backstep start "$work/late.yaml" -b "$b" --id late-1 --wait
run backstep history late-1 -b "$b"
check "a deadline is told" grep -Eq 'gate +execute +timer +timeout$' "$work/out"
run backstep history nothing-1 -b "$b"
check "no such run: exit 2" is "$code" 2
check "... says so" has "$work/err" "no such run"
done_checking
