#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Each action's example in one command: in process, on the embedded broker, and on a broker that somebody else runs.
set -eu

work=$(mktemp -d "${TMPDIR:-/tmp}/backstep-examples.XXXXXX")
broker=
trap '[ -z "$broker" ] || { kill "$broker" && wait "$broker" || :; }; rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
export PATH="$BACKSTEP_BIN:$PATH" BACKSTEP_EXAMPLE_OUT="$work/out" TMPDIR="$work"

backstep dev --address-file "$work/address" >"$work/dev" 2>&1 &
broker=$!
for _ in $(seq 400); do
    [ ! -s "$work/address" ] || break
    sleep 0.05
done
address=$(cat "$work/address")

for action in upload export train; do
    for where in --in-process '' "-b $address"; do
        # shellcheck disable=SC2086 # words
        if ! examples/actions/run $action $where >"$work/said" 2>&1 || ! grep -q succeeded "$work/said"; then
            cat "$work/said"
            echo "FAILED: examples/actions/run $action $where"
            exit 1
        fi
        echo "ok   $action ${where:-on the embedded broker}"
    done
    "$BACKSTEP_BIN/backstep" check "examples/actions/$action.yaml" >/dev/null
done
[ "$(find "$work/out" -name 'data-units.jsonl' | wc -l)" -eq 3 ]
[ "$(find "$work/out" -name '*.db' | wc -l)" -eq 3 ]
[ "$(find "$work/out" -name '*.json' | wc -l)" -eq 3 ]
