#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Finding one's way: overview, help, slips, no broker.
. "$(dirname "$0")/checks"

run backstep
check "no command: the overview" has "$work/out" "backstep run FILE"
run backstep --help
check "--help: exit 0" is "$code" 0
for command in run serve start status list watch events cancel pause resume retry rollback resolve workers topics check plan dev version; do
    run backstep $command --help
    check "$command --help: exit 0" is "$code" 0
    check "... has an example" has "$work/out" "backstep $command"
done
run backstep strat
check "an unknown command: exit 2" is "$code" 2
check "... and what was meant" has "$work/err" "did you mean 'start'?"
run backstep list --limt 3
check "an unknown option: exit 2" is "$code" 2
check "... and what was meant" has "$work/err" "did you mean '--limit'?"
run backstep list --all -b 127.0.0.1:1 --timeout 200ms
check "list --all without a status: exit 2" is "$code" 2
check "... and what to write instead" has "$work/err" "--limit N"
run backstep dev -b 127.0.0.1:9092
check "dev has a broker of its own and refuses another: exit 2" is "$code" 2
run backstep serve -b 127.0.0.1:1 --timeout 200ms --retention 24h
check "serve deletes nothing that is younger than 25 h: exit 2" is "$code" 2
run backstep status
check "an argument too few: exit 2" is "$code" 2
code=0
backstep version >/dev/full 2>"$work/err" || code=$?
check "output that cannot be written: exit 5" is "$code" 5
check "... and says so" has "$work/err" "could not be written"
run backstep version
check "version" has "$work/out" "backstep 0."

# A port nobody listens on: bound, and closed again.
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
printf 'name: c\nsteps:\n  - {name: ok}\n' >"$work/fine.yaml"
for command in "start $work/fine.yaml" "run $work/fine.yaml" "status x" list "watch x" events "cancel x" "pause x" "resolve x y --done --reason z" workers topics serve; do
    begun=$(date +%s%N)
    run timeout 20 backstep $command -b "127.0.0.1:$port" --timeout 1s
    took=$((($(date +%s%N) - begun) / 1000000))
    check "$command without a broker: exit 5" is "$code" 5
    check "... names it" has "$work/err" "127.0.0.1:$port"
    check "... within the timeout ($took ms)" [ "$took" -lt 4000 ]
done

printf 'brokers = 127.0.0.1:%s\nbrokres = x\n' "$port" >"$work/config"
run backstep list -F "$work/config"
check "a slip in a configuration file: exit 2" is "$code" 2
check "... its line" has "$work/err" "$work/config:2"
run backstep list -X nonsense.property=1 -b "127.0.0.1:$port" --timeout 1s
check "a property that is none: exit 2" is "$code" 2
done_checking
