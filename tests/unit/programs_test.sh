#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The example programs do what they say, in process.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# expect STATUS JQ-CONDITION PROGRAM ARGUMENTS...
expect() {
    wanted=$1
    condition=$2
    shift 2
    status=0
    "$BACKSTEP_BIN/$@" >"$work/out" 2>"$work/err" || status=$?
    if [ "$status" -ne "$wanted" ] || ! jq -e "$condition" "$work/out" >/dev/null; then
        printf '%s: ended with %s (%s was wanted), printed %s, %s; wanted: %s\n' "$*" "$status" "$wanted" "$(cat "$work/out")" \
            "$(cat "$work/err")" "$condition" >&2
        exit 1
    fi
}

expect 0 '[.steps[].name] == ["check_city", "fetch", "audited_timed_report", "file"] and .steps[3].data.filed == "4 C"' audited run -p city=Oslo
grep -q 'audit' "$work/err" || { echo 'the audit is not seen' >&2; exit 1; }
expect 0 '.steps[1].status == "skipped" and .steps_executed == 3 and .steps[3].data.filed == "12 C"' audited run -p city=Oslo -p cached=12\ C
expect 1 '.error == "Step '"'check_city'"' failed: Atlantis is under water" and .steps[1].status == "not_run"' audited run -p city=Atlantis
status=0
"$BACKSTEP_BIN/audited" run 2>"$work/err" || status=$?
[ "$status" -eq 2 ] && grep -q "requires the parameter 'city'" "$work/err"

printf 'one two\nthree\n' >"$work/a"
expect 0 '.steps[1].data == {"files": 1, "words": 3}' files run --id counts -p "files=[\"$work/a\"]"
expect 1 '.status == "rolled_back" and .steps[0].status == "rolled_back"' files run --id counts -p "files=[\"$work/a\", \"$work/nowhere\"]"
[ ! -e /tmp/backstep-files-counts ]

expect 0 '.steps[1].data.mean == 4.5 and .steps[2].data.uploaded == "model"' shared train run -p rows=8
expect 0 '.steps_total == 2 and .steps[1].data.uploaded == "dataset"' shared publish run
expect 1 '.error == "Step '"'dataset'"' failed: rows must be greater than 0, got 0"' shared train run -p rows=0

expect 0 '.steps[3].data.label == "3 words in 1 files" and .steps[4].data.words == 3' catalog run -p "files=[\"$work/a\"]" -p "path=$work/label"
[ "$(cat "$work/label")" = '3 words in 1 files' ]
expect 1 '.status == "rolled_back" and .progress == 87.5' catalog run -p "files=[\"$work/a\"]" -p "path=$work/label" -p expected=none
[ ! -e "$work/label" ]
expect 1 '.error == "Step '"'count'"' failed: the action requires the parameter '"'files'"', and nobody gives it"' catalog run
"$BACKSTEP_BIN/catalog" steps | grep -q '^count/read *50.0 %$'

# Real pictures, each of them reported; what was made is taken away when it is not good enough.
expect 0 '.steps[1].data.resized == 3 and .steps[2].data == {"width": 80, "height": 50}' images run --id one -p "directory=$work/p" -p count=3
for number in 000 001 002; do
    for kind in picture small; do
        [ "$(head -c 8 "$work/p/$kind-one-$number.png" | od -An -tx1 | tr -d ' ')" = 89504e470d0a1a0a ]
    done
done
if cmp "$work/p/small-one-000.png" "$work/p/small-one-001.png"; then
    echo 'two pictures are the same' >&2
    exit 1
fi
expect 1 '.status == "rolled_back" and (.error | endswith("small-two-000.png is only 80 wide"))' images run --id two -p "directory=$work/p" -p least=1000
[ "$(ls -A "$work/p" | wc -l)" -eq 6 ] # those of the other run

# All files or none; what was there stays there.
photos=$BACKSTEP_SOURCE/examples/upload/photos
expect 0 '.steps[2].data.uploaded == 4' upload run -p "source=$photos" -p "target=$work/store"
for file in "$photos"/*; do
    [ -d "$file" ] || cmp "$file" "$work/store/${file##*/}"
done
[ "$(ls -A "$work/store" | wc -l)" -eq 4 ]
expect 1 '.status == "rolled_back" and (.error | endswith(" is there already"))' upload run -p "source=$photos" -p "target=$work/store"
[ "$(ls -A "$work/store" | wc -l)" -eq 4 ]
expect 1 '.status == "rolled_back" and .steps[2].status == "rolled_back"' upload run -p "source=$photos" -p "target=$work/other" -p fail=true
[ -z "$(ls -A "$work/other")" ]
expect 1 '.error | endswith("bytes are more than 100")' upload run -p "source=$photos" -p "target=$work/other" -p max_bytes=100

"$BACKSTEP_BIN/tested" >"$work/out" 2>&1 || { cat "$work/out" >&2; exit 1; }
grep -q 'PASSED.* 4 test' "$work/out"
