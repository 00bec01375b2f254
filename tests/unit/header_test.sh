#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The public header compiles alone: as C11, as C17, and as C++ where there is a compiler for it; and declares nothing that is not ours.
set -eu
header="$BACKSTEP_SOURCE/worker/backstep.h"
flags='-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wstrict-prototypes -Werror -fsyntax-only'
for standard in c11 c17; do
    printf '#include "%s"\n' "$header" | ${CC:-cc} -std="$standard" $flags -xc -
done
if command -v "${CXX:-c++}" >/dev/null 2>&1; then
    printf '#include "%s"\n' "$header" | ${CXX:-c++} -std=c++11 -Wall -Wextra -Wpedantic -Werror -fsyntax-only -xc++ -
fi
strangers=$(sed 's,/\*.*\*/,,' "$header" | grep -oE '^[a-z].*[ *]([a-z_]+)\(' | grep -oE '[a-z_]+\($' | grep -v '^backstep_' || true)
if [ -n "$strangers" ]; then
    printf 'not ours to name: %s\n' "$strangers" >&2
    exit 1
fi
