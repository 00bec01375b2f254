#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What is said to be pure calls no clock, no heap, no log and nothing that reads or writes. Its objects say so.
#     purity.sh OBJECT...
set -eu

if [ $# -eq 0 ]; then
    echo "usage: purity.sh OBJECT..." >&2
    exit 2
fi
command -v nm >/dev/null || { echo "nm is not installed (binutils)" >&2; exit 1; }

defined=$(nm --defined-only --format=posix "$@" | awk 'NF >= 2 { print $1 }' | sort -u)
undefined=$(nm --undefined-only --format=posix "$@" | awk 'NF >= 2 { print $1 }' | sort -u)
if [ -z "$defined" ]; then
    echo "nm found no symbols in: $*" >&2
    exit 1
fi

# Copying and comparing, a failed assert, and what compilers put in by themselves.
allowed='^(memcpy|memmove|memset|memcmp|strlen|__assert_fail|__stack_chk_fail|_GLOBAL_OFFSET_TABLE_|__(asan|ubsan|tsan|sanitizer|gcov)_.*|__mem(cpy|set|move)_chk|__llvm_.*)$'
bad=0
for symbol in $undefined; do
    if printf '%s\n' "$defined" | grep -qxF -- "$symbol" || printf '%s\n' "$symbol" | grep -qE -- "$allowed"; then
        continue
    fi
    echo "these objects call '$symbol': they must be pure" >&2
    bad=1
done
[ $bad -eq 0 ] && echo "pure: $(printf '%s\n' "$undefined" | wc -l) symbols of $# objects looked at"
exit $bad
