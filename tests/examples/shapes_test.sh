#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Each example of examples/shapes says and leaves what its page says.
set -eu

work=$(mktemp -d "${TMPDIR:-/tmp}/shapes_test.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
BACKSTEP=$BACKSTEP_BIN/backstep
export BACKSTEP

# shape NAME LINE...: its output has each of these lines, in this order.
shape() {
    name=$1
    shift
    if ! examples/shapes/run "$name" >"$work/$name" 2>&1; then
        cat "$work/$name"
        echo "FAILED examples/shapes/run $name"
        exit 1
    fi
    rest=$work/$name
    for line in "$@"; do
        if ! grep -q -- "$line" "$rest"; then
            cat "$work/$name"
            echo "FAILED $name: there is no '$line' (in this order)"
            exit 1
        fi
        sed "0,\\|$line|d" "$rest" >"$work/rest"
        cp "$work/rest" "$work/rest.now"
        rest=$work/rest.now
    done
    echo "ok     $name"
}

shape diamond 'right .*failed .*the disk is full' 'right .*rollback done' 'left .*rollback done' 'begin .*rollback done' \
    'rolled_back' 'In the store: nothing'
shape when 'shrink .*skipped' 'check .*done' 'In the store: label.after-measure measure $' 'shrink .*done' 'label.after-measure measure shrink'
shape each 'thumbnail .* 4 of 4 elements' 'thumbnail.beach thumbnail.forest thumbnail.harbour thumbnail.summit' 'publish .*failed' \
    'publish .*rollback done' 'thumbnail\[[1-4]\] rollback done' 'In the store: nothing'
shape nested 'album/cover .*done' 'album/pages .*done' 'In the store: collect cover.summer pages send' 'send .*rollback done' \
    'album/pages .*rollback done' 'album/cover .*rollback done' 'collect .*rollback done' 'In the store: nothing'
shape pause 'run .* paused .*the disk is full' 'A person mends it' 'second .*done' 'succeeded' 'backstep history' 'retry' 'succeeded'
shape incomplete 'first .*rollback failed .*attempt 2 of 2' 'rollback_incomplete' 'A person unlocks' 'rolled_back' 'In the store: nothing' \
    'backstep history' 'rollback_incomplete' 'retry' 'rolled_back'
