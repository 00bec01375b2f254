#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The same program, in process and as a worker of a coordinator: the same outcome, step by step, and the same history.
. "$(dirname "$0")/checks"

if [ -n "${OUTCOME_BROKERS-}" ]; then # a cluster with a coordinator is there: tests/broker/outcome_test.py
    b=$OUTCOME_BROKERS
    export BACKSTEP_PREFIX="$OUTCOME_PREFIX"
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

# Who is told to stop at the end of his time says so, or it is seen first that he was told to: either is the same attempt that was too late.
late='sub("(failed|cancelled): gave up"; "too late: gave up")'

# serve COMMAND...: what serves the steps of what follows, on the broker.
serve() {
    "$@" -b "$b" >"$work/worker.out" 2>&1 &
    worker=$!
    started="$started $worker"
}

# begin WHAT PROGRAM... -- -p KEY=VALUE...: in process and on the broker, the program's words up to `--`, then the parameters. Both at a time, unless
# `mode` is `one` after the other, $work/store being emptied in between; or `cancel`, which does that when the step that waits for it has made the file `$work/held`.
mode=
begin() {
    what=$1
    shift
    program=
    while [ "$1" != -- ]; do
        program="$program $1"
        shift
    done
    shift
    count=$((count + 1))
    at=$work/$count
    mkdir "$at"
    echo "$what" >"$at/what"
    # shellcheck disable=SC2086 # words of a command
    $program plan "$@" >"$at/plan.json"
    # shellcheck disable=SC2086
    $program run --id "outcome-$count" "$@" >"$at/here.json" 2>"$at/here.err" &
    echo "$!" >"$at/here.pid"
    started="$started $!"
    cancel_by kill "$!"
    [ -z "$mode" ] || { reap here && rm -rf "$work/store"; }
    timeout 60 backstep start "$at/plan.json" -b "$b" --id "outcome-$count" --wait -o json >"$at/there.json" 2>"$at/there.err" &
    echo "$!" >"$at/there.pid"
    started="$started $!"
    cancel_by backstep cancel "outcome-$count" -b "$b"
    begun="$begun $at"
}

cancel_by() {
    [ "$mode" = cancel ] || return 0
    wait_for 30 test -e "$work/held" || return 0
    rm "$work/held"
    "$@" >/dev/null 2>>"$at/there.err" || true
}

# reap here|there: its exit code is known from now on
reap() {
    code=0
    wait "$(cat "$at/$1.pid")" || code=$?
    echo "$code" >"$at/$1.code"
}

# All that has begun ends alike here and there; and nobody serves any more.
all_end_alike() {
    for at in $begun; do
        [ -e "$at/here.code" ] || reap here
        reap there
        what=$(cat "$at/what")
        cat "$at"/*.err >"$work/err"
        timeout 20 backstep events "outcome-${at##*/}" -b "$b" -o json --from-beginning >"$work/events.json" 2>>"$work/err" || true
        check "$what: the same exit code" cmp "$at/there.code" "$at/here.code"
        check "$what: the same outcome" is "$(jq -cS "$outcome" "$at/there.json")" "$(jq -cS "$outcome" "$at/here.json")"
        check "$what: the same history" is "$(jq -sc "$history | map($late)" "$work/events.json")" "$(jq -c ".history | map($late)" "$at/here.json")"
    done
    begun=
    kill "$worker" && wait "$worker" 2>/dev/null || true
}
begun=

serve quickstart worker
begin "all succeed" quickstart -- -p note=1
all_end_alike

serve audited worker
begin "an action that was changed" audited -- -p city=Oslo
begin "a step that is skipped" audited -- -p city=Oslo -p cached=warm
begin "a validation that fails" audited -- -p city=Atlantis
all_end_alike

counts() { # in one directory
    mode=one
    begin "files in a directory$1" files -- -p "files=[\"$work/words\"]"
    begin "a failure that is undone$1" files -- -p "files=[\"$work/words\", \"$work/nowhere\"]"
    mode=
    all_end_alike
}
serve files worker
counts ""

serve shared train worker
begin "training" shared train -- -p rows=8
begin "a shared step" shared publish -- -p rows=2
begin "a permanent failure" shared train -- -p rows=0
all_end_alike

troubles() {
    begin "attempts that fail$1" drill -- -p failures=2
    begin "an attempt too many$1" drill -- -p failures=3
    begin "attempts that take too long$1" drill -- -p slow=true
    begin "a rollback that fails$1" drill -- -p failures=3 -p stuck=true
    mode=cancel
    begin "a cancel$1" drill -- -p "hold=$work/held"
    mode=
    all_end_alike
}
serve images worker
mode=one
begin "pictures made smaller" images -- -p "directory=$work/pictures"
begin "pictures that are taken away" images -- -p "directory=$work/none" -p least=1000
mode=
all_end_alike

serve upload worker
mode=one
begin "an upload that is undone" upload -- -p "source=$source/examples/upload/photos" -p "target=$work/undone" -p fail=true
begin "an upload" upload -- -p "source=$source/examples/upload/photos" -p "target=$work/store"
mode=
all_end_alike

serve catalog worker
mode=one
begin "a pipeline of actions" catalog -- -p "files=[\"$work/words\"]" -p "path=$work/label"
begin "a pipeline of actions that is undone" catalog -- -p "files=[\"$work/words\"]" -p "path=$work/label" -p expected=none
mode=
all_end_alike

serve drill worker
troubles ""

if [ -n "${OUTCOME_PYTHON-}" ]; then # the same steps in another language
    serve "$OUTCOME_PYTHON"
    counts ", in Python"
    serve "$OUTCOME_PYTHON" "$source/examples/python/drill.py"
    troubles ", in Python"
fi
done_checking
