#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The rules that tests/simulation/masks_test.c takes away cannot be taken away from what is shipped: there is nothing to take them by. And
# what that test takes them away from is otherwise the same: the same files, which define the same symbols.
#     rules_stand.sh MASKED-OBJECT...
set -eu

lib=$BACKSTEP_BIN/../lib
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail()
{
    echo "FAILED: $*"
    exit 1
}

# Not as a symbol, not as a name in what is built for debugging either.
shipped=0
for file in "$lib"/libsaga.a "$lib"/libdispatch.a "$lib"/libbackstep_worker.a "$lib"/libbackstep.a "$lib"/libbackstep.so "$BACKSTEP_BIN"/backstep \
    "$BACKSTEP_BIN"/backstep-worker; do
    [ -e "$file" ] || continue
    shipped=$((shipped + 1))
    ! nm -a "$file" 2>/dev/null | grep -q rule_holds || fail "$file knows rule_holds"
done
[ "$shipped" -ge 3 ] || fail "only $shipped shipped files are built"

# The masked ones do ask.
nm -u "$@" | grep -q rule_holds || fail "no masked object asks rule_holds: nothing could be taken away"

defined()
{
    nm --defined-only --format=posix "$@" 2>/dev/null | awk 'NF >= 2 && $2 ~ /^[TDBR]$/ { print $1 }' | sort
}
(cd "$work" && ar x "$lib/libbackstep_worker.a" duty.c.o)
defined "$@" >"$work/masked"
defined "$lib/libsaga.a" "$lib/libdispatch.a" "$work/duty.c.o" >"$work/plain"
[ -s "$work/plain" ] || fail "nm found no symbols"
diff "$work/plain" "$work/masked" || fail "the masked modules define other symbols than the shipped ones"
echo "$shipped shipped files without masks; $(wc -l <"$work/plain") symbols the same"
