#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The same program, in process and as a worker of a coordinator: the same outcome, step by step, and the same history.
. "$(dirname "$0")/checks"

if [ -n "${OUTCOME_BROKERS-}" ]; then # a cluster with a coordinator is there: tests/broker/outcome_test.py
    b=$OUTCOME_BROKERS
else
    backstep dev --address-file "$work/address" >"$work/dev.out" 2>"$work/dev.err" &
    started=$!
    check "dev says where it is" wait_for 20 test -s "$work/address"
    b=$(cat "$work/address")
fi
printf 'one two\nthree\n' >"$work/words"
count=0

# What has to be equal: all but ids and times, and what begins an action, which `backstep` shows as what its steps amount to.
outcome='[.steps[].name | select(contains("/")) | split("/")[0]] as $begin | {success, status, progress, error, steps_executed, steps_total,
    steps: [.steps[] | select(.name | IN($begin[]) | not) | {name, status, attempts, error, rollback_error, data: (.data | if type == "object" then del(.duration_seconds) else . end)}]}'
history='[.[] | select(.type == "Done") | "\(.step) \(.direction) \(.outcome)\(if .error then ": " + .error else "" end)"]'

# same WHAT PROGRAM... -- -p KEY=VALUE...: the program's words up to `--`, then the parameters. `serve` is what serves its steps
# on the broker, where that is not the program itself.
serve=
same() {
    what=$1
    shift
    program=
    while [ "$1" != -- ]; do
        program="$program $1"
        shift
    done
    shift
    count=$((count + 1))
    id=outcome-$count
    code_here=0
    # shellcheck disable=SC2086 # words of a command
    $program run --id "$id" "$@" >"$work/here.json" 2>"$work/err" || code_here=$?
    # shellcheck disable=SC2086
    $program plan "$@" >"$work/plan.json" 2>>"$work/err"
    # shellcheck disable=SC2086
    ${serve:-$program worker} -b "$b" >"$work/worker.out" 2>&1 &
    worker=$!
    started="$started $worker"
    code_there=0
    timeout 60 backstep start "$work/plan.json" -b "$b" --id "$id" --wait -o json >"$work/there.json" 2>>"$work/err" || code_there=$?
    timeout 20 backstep events "$id" -b "$b" -o json --from-beginning >"$work/events.json" 2>>"$work/err" || true
    kill "$worker" && wait "$worker" 2>/dev/null || true
    check "$what: the same exit code" is "$code_there" "$code_here"
    check "$what: the same outcome" is "$(jq -cS "$outcome" "$work/there.json")" "$(jq -cS "$outcome" "$work/here.json")"
    check "$what: the same history" is "$(jq -sc "$history" "$work/events.json")" "$(jq -c .history "$work/here.json")"
}

same "all succeed" quickstart -- -p note=1
same "an action that was changed" audited -- -p city=Oslo
same "a step that is skipped" audited -- -p city=Oslo -p cached=warm
same "a validation that fails" audited -- -p city=Atlantis
same "files in a directory" files -- -p "files=[\"$work/words\"]"
same "a failure that is undone" files -- -p "files=[\"$work/words\", \"$work/nowhere\"]"
same "training" shared train -- -p rows=8
same "a shared step" shared publish -- -p rows=2
same "a permanent failure" shared train -- -p rows=0
same "a pipeline of actions" catalog -- -p "files=[\"$work/words\"]" -p "path=$work/label"
same "a pipeline of actions that is undone" catalog -- -p "files=[\"$work/words\"]" -p "path=$work/label" -p expected=none
if [ -n "${OUTCOME_PYTHON-}" ]; then # the same steps in another language
    serve=$OUTCOME_PYTHON
    same "files, counted in Python" files -- -p "files=[\"$work/words\"]"
    same "a failure that Python undoes" files -- -p "files=[\"$work/words\", \"$work/nowhere\"]"
fi
done_checking
