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
exit $failed
