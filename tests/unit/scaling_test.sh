#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The tables of docs/SCALING.md are what the program prints.
set -eu
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$BACKSTEP_BIN/bench_scaling" >"$work/out"
grep '^|' "$work/out" >"$work/printed"
grep '^|' docs/SCALING.md >"$work/page"
[ "$(wc -l <"$work/page")" -ge 20 ]
diff -u "$work/page" "$work/printed"
tail -n 1 "$work/out" | jq -e '(.traffic | length) == 3 and (.dispatch | length) == 12 and .dispatch[0].busy_permille > 0' >/dev/null
