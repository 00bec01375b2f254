#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Each test that the README or a page names as the one that shows a claim is there.
set -eu
cd "$(dirname "$0")/../.."
failed=0
for name in $(grep -ohE '`(unit|embedded|simulation|broker|container)\.[a-z_]+`' README.md docs/*.md | tr -d '`' | sort -u); do
    label=${name%%.*}
    test=${name#*.}
    places=tests/$label
    [ "$label" != embedded ] || places='tests/kafka tests/cli tests/screen tests/actions tests/faults'
    [ "$label" != unit ] || places='tests/unit tests/install tests/examples tests/fuzz tests/chaos'
    [ "$label" != broker ] || places='tests/broker tests/actions tests/chaos'
    # shellcheck disable=SC2086 # several directories
    found=$(find $places -name "${test}_test.*" | head -n 1)
    if [ -n "$found" ]; then
        echo "ok   $name: $found"
    else
        echo "FAIL $name: no such $label test"
        failed=1
    fi
done

# stands TEST FILE DEFINE: the README's row that names TEST has the number which FILE defines.
stands()
{
    number=$(sed -n "s/^#define $3 \([0-9]*\).*/\1/p" "$2" | sed -e ':again' -e 's/\([0-9]\)\([0-9][0-9][0-9]\)\($\|,\)/\1,\2\3/' -e 't again')
    if [ -n "$number" ] && grep -F "\`$1\` |" README.md | grep -qE "(^|[^0-9,])$number([^0-9,]|\$)"; then
        echo "ok   README: $1 with $number"
    else
        echo "FAIL README: the row of $1 does not say $3 of $2, $number"
        failed=1
    fi
}
stands simulation.every_crash tests/simulation/every_crash_test.c CRASH_POINTS_MIN
stands simulation.random_faults tests/simulation/random_faults_test.c SEEDS
stands simulation.random_pipelines tests/simulation/random_pipelines_test.c SEEDS
stands simulation.random_pipelines tests/simulation/random_pipelines_test.c SECONDS

# What a reader is told of at once, as a page and the worker in Python have it.
defined() { sed -n "s/^#define $1 \([0-9]*\) .*/\1/p" common/bus.h; }
if grep -q "asks its brokers for $(defined BUS_PROMPT_BYTES) bytes of records, or for what there is after $(defined BUS_PATIENCE_MS) ms" docs/PROTOCOL.md &&
    grep -q "^PROMPT_BYTES, BATCH_BYTES = $(defined BUS_PROMPT_BYTES), " examples/python/backstep/worker.py; then
    echo "ok   short records: bus.h, PROTOCOL.md and worker.py agree"
else
    echo "FAIL short records: PROTOCOL.md or worker.py does not say what bus.h does"
    failed=1
fi

# What broker.chaos asserts, the four numbers of --least, as the README and a page say it.
says()
{
    words=$(sed -n "s/.*--least \([0-9]*\) \([0-9]*\) \([0-9]*\) \([0-9]*\) .*/$2/p" tests/chaos/chaos_test.sh)
    if [ -n "$words" ] && tr '\n' ' ' <"$1" | grep -qE "$words"; then
        echo "ok   $1: broker.chaos with what is asserted"
    else
        echo "FAIL $1 does not say of broker.chaos what --least of tests/chaos/chaos_test.sh does: $words"
        failed=1
    fi
}
says README.md 'under \4 runs [^|]*[|] \1 · \2 · \3; none [|] `broker.chaos`'
says docs/OPERATIONS.md '`broker.chaos`: at least \1 kills, \2 freezes, \3 restarts of the broker and \4 runs,'

# By hand: what is said of all seeds is the sum of the table that has a row for each.
sums=$(awk -F'|' '/^\| seed \|/ {table = 1} /^$/ {table = 0} table && /^\| [0-9]/ {gsub(/[ ,]/, "", $4); kills += $4; seeds++} END {print seeds, kills}' \
    docs/OPERATIONS.md | sed -e 's/\([0-9]\)\([0-9][0-9][0-9]\)$/\1,\2/')
if grep -qE "by hand, ${sums% *} seeds, .*[|] ${sums#* }; none [|]" README.md && grep -q "No promise was broken by ${sums#* } kills" docs/OPERATIONS.md; then
    echo "ok   README: by hand, ${sums% *} seeds and ${sums#* } kills"
else
    echo "FAIL README.md and docs/OPERATIONS.md do not both say what the table there has: ${sums% *} seeds, ${sums#* } kills"
    failed=1
fi
exit $failed
