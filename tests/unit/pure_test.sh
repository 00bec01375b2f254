#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What is called pure calls no clock, no log and no input or output, and the saga and duty no heap: their symbols say so.
set -eu

lib=$BACKSTEP_BIN/../lib
memory='memcmp|memcpy|memmove|memset|memchr|strlen|strcmp|strncmp|strnlen'
checks='__assert_fail|__stack_chk_fail|__(asan|ubsan|tsan)_[a-z0-9_]*|_GLOBAL_OFFSET_TABLE_'
heap='malloc|calloc|realloc|free|abort|exit' # the last two are uthash's, where no memory is left
fold='saga_[a-z0-9_]*|plan_[a-z0-9_]*'

# is_pure WHAT ALLOWED FILE...: these objects call nothing beyond themselves and what is allowed.
is_pure()
{
    what=$1 allowed=$2
    shift 2
    nm -g "$@" | awk 'NF > 1 && $(NF - 1) ~ /^[TDBR]$/ { print $NF }' | sort -u >"$work/defined"
    nm -u "$@" | awk 'NF > 1 && $(NF - 1) == "U" { print $NF }' | sort -u >"$work/undefined"
    [ -s "$work/defined" ] || { echo "FAILED: $what defines nothing"; exit 1; }
    odd=$(comm -23 "$work/undefined" "$work/defined" | grep -vxE "$allowed" || :)
    [ -z "$odd" ] || { echo "FAILED: $what is not pure; it calls:" $odd; exit 1; }
    echo "$what: $(wc -l <"$work/defined") symbols, and nothing but them and memory's"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
is_pure saga "$memory|$checks" "$lib/libsaga.a"
is_pure dispatch "$memory|$checks|$heap|$fold" "$lib/libdispatch.a"
(cd "$work" && ar x "$lib/libbackstep_worker.a" duty.c.o)
is_pure duty "$memory|$checks|$fold" "$work/duty.c.o"

# The seams: one source file that knows librdkafka, one that knows protobuf-c.
for seam in 'rd_kafka_|rdkafka(_mock)?\.h' 'pb-c'; do
    files=$(cd "$BACKSTEP_SOURCE" && grep -rlE --include='*.[ch]' "$seam" common coordinator worker)
    [ "$(echo "$files" | wc -l)" -eq 1 ] || { echo "FAILED: '$seam' stands in:" $files; exit 1; }
done
