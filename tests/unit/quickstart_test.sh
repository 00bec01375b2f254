#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The quick example, as a person calls it: no broker anywhere.
set -eu
quickstart="$BACKSTEP_BIN/quickstart"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
    printf 'quickstart_test: %s\n' "$*" >&2
    exit 1
}

# the README shows this program, from its first #include on
sed -n '/^#include/,$p' "$BACKSTEP_SOURCE/examples/quickstart/quickstart.c" >"$work/program"
sed -n '/^The quick example/,/^```$/p' "$BACKSTEP_SOURCE/README.md" | sed -e '1,/^```c$/d' -e '/^```$/d' >"$work/shown"
diff "$work/program" "$work/shown" || fail 'README.md shows another program'

# run prints one line, and it tells the truth
"$quickstart" run -p note='"a
b"' >"$work/out" || fail "run ended with $?"
[ "$(wc -l <"$work/out")" -eq 1 ] || fail 'run printed more than one line'
grep -q '"success": true, "steps_executed": 3, "steps_total": 3' "$work/out" || fail "run printed $(cat "$work/out")"
jq -e '.status == "succeeded" and .progress == 100 and .error == null and .steps[2].data == {"processed": 3}' "$work/out" >/dev/null ||
    fail "run printed $(cat "$work/out")"
"$quickstart" run --id mine | jq -e '.run_id == "mine"' >/dev/null || fail 'run did not take its id'

# plan is a pipeline with the seed's weights
"$quickstart" plan >"$work/plan.json"
jq -e '[.steps[].name] == ["load_data", "process_data", "finalize"] and [.steps[].weight] == [2, 7, 1]' "$work/plan.json" >/dev/null ||
    fail "plan printed $(cat "$work/plan.json")"
if [ -x "$BACKSTEP_BIN/backstep" ]; then
    "$BACKSTEP_BIN/backstep" check "$work/plan.json" >/dev/null || fail 'backstep check does not like the plan'
fi
"$quickstart" steps | grep -q 'process_data *70.0 %   rollback' || fail "steps printed $("$quickstart" steps)"

# test calls one step
echo '{"steps": {"process_data": {"count": 5}}}' | "$quickstart" test finalize | jq -e '.data == {"processed": 5}' >/dev/null ||
    fail 'test finalize'
echo '{"direction": "rollback", "result": {"success": true, "data": {"count": 3}}}' | "$quickstart" test process_data |
    jq -e '.outcome == "ok"' >/dev/null || fail 'test process_data, back'

# wrong usage is 2, and says so on standard error only
for arguments in '' 'runn' 'run --idd x' 'run extra' 'test nobody' 'run --params /nowhere' 'worker extra'; do
    status=0
    # shellcheck disable=SC2086 # it is a list of words
    "$quickstart" $arguments >"$work/out" 2>"$work/err" </dev/null || status=$?
    [ "$status" -eq 2 ] || fail "'$arguments' ended with $status, not 2"
    [ ! -s "$work/out" ] && [ -s "$work/err" ] || fail "'$arguments' said it in the wrong place"
done

# no broker is 5, within the timeout
status=0
"$quickstart" worker -b 127.0.0.1:1 --timeout 500ms >"$work/out" 2>"$work/err" || status=$?
[ "$status" -eq 5 ] || fail "without a broker it ended with $status: $(cat "$work/err")"
grep -q 'no broker answered on 127.0.0.1:1 within' "$work/err" || fail "without a broker it said: $(cat "$work/err")"
