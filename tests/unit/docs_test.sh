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
exit $failed
