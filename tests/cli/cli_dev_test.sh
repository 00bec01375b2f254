#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# backstep dev, and every other command against it; a monitor with kcat alone.
. "$(dirname "$0")/checks"
step one <<'END'
#!/bin/sh
# rollback: nothing
echo '{"data":{"n":1}}'
END
step slow <<'END'
#!/bin/sh
# rollback: nothing
[ "$1" = rollback ] || sleep 30
END
step fails <<'END'
#!/bin/sh
# rollback: nothing
[ "$1" = rollback ] || { echo nope >&2; exit 65; }
END
printf 'name: short\nsteps: [{name: one}]\n' >"$work/short.yaml"
printf 'name: long\nsteps: [{name: one}, {name: slow}]\n' >"$work/long.yaml"
printf 'name: broken\nsteps: [{name: one}, {name: fails}]\n' >"$work/broken.yaml"
printf 'name: unserved\nsteps: [{name: one}, {name: nobody}]\n' >"$work/unserved.yaml"

backstep dev --steps "$work/steps" --address-file "$work/address" >"$work/dev.out" 2>"$work/dev.err" &
dev=$!
started=$dev
check "dev says where it is" wait_for 20 test -s "$work/address"
b=$(cat "$work/address")
check "... on standard output too" has "$work/dev.out" "$b"

run backstep start "$work/short.yaml" -b "$b" --id short-1
check "start: exit 0" is "$code" 0
check "... prints the run's id" is "$(cat "$work/out")" short-1
run timeout 30 backstep watch short-1 -b "$b"
check "watch: exit 0 when it has succeeded" is "$code" 0
run backstep status short-1 -b "$b" -o json
check "status: the object of run" json '[.run_id,.status,.progress,.steps[0].data.n]' '["short-1","succeeded",100,1]'
run backstep start "$work/short.yaml" -b "$b" --id short-1
check "the same id again: exit 8" is "$code" 8
check "... says so" has "$work/err" "exists"
run timeout 30 backstep start "$work/broken.yaml" -b "$b" --wait -o json
check "start --wait of one that fails: exit 1" is "$code" 1
check "... prints the object" json '[.status,.error]' "[\"rolled_back\",\"Step 'fails' failed: nope\"]"
run backstep status nothing-1 -b "$b"
check "status of no run: exit 2" is "$code" 2
check "... says so" has "$work/err" "no such run"
run backstep watch nothing-1 -b "$b"
check "watch of no run: exit 2" is "$code" 2
run backstep cancel nothing-1 -b "$b"
check "cancel of no run: exit 2" is "$code" 2

run backstep start "$work/unserved.yaml" -b "$b" --id unserved-1
waits() { backstep status unserved-1 -b "$b" -o json >"$work/out" && [ "$(jq -r '.steps[1].waiting.handler' "$work/out")" = nobody ]; }
check "a step nobody serves waits, visibly" wait_for 20 waits
check "... with its queue" json '.steps[1].waiting.queue' default
run backstep status unserved-1 -b "$b"
check "... in words too" has "$work/out" "waiting for a worker of queue 'default'"
one_line_of() { timeout 20 backstep "$@" -b "$b" 2>"$work/err" | head -n 1 | grep -q .; }
ends_with_its_reader() { begun=$(date +%s) && one_line_of "$@" && [ $(($(date +%s) - begun)) -lt 10 ]; }
check "events end when nobody reads them" ends_with_its_reader events --from-beginning
check "watch ends when nobody reads it" ends_with_its_reader watch unserved-1

run backstep start "$work/long.yaml" -b "$b" --id long-1
runs() { [ "$(backstep status long-1 -b "$b" -o json | jq -r '.steps[1].status')" = running ]; }
check "a long step runs" wait_for 20 runs
run backstep cancel long-1 -b "$b"
check "cancel: exit 0" is "$code" 0
run timeout 30 backstep watch long-1 -b "$b"
check "... and the run ends: exit 4" is "$code" 4

run backstep list -b "$b" -o json
check "list: newest first" is "$(jq -r .run_id "$work/out" | grep -v broken | tr '\n' ' ')" "long-1 unserved-1 short-1 "
run backstep list -b "$b" -o json --status succeeded
check "list --status" is "$(jq -r .run_id "$work/out")" short-1
run backstep list -b "$b" -o json --limit 1
check "list --limit" is "$(jq -r .run_id "$work/out")" long-1
run backstep list -b "$b"
check "list in words" has "$work/out" "rolled_back"
run backstep workers -b "$b" -o json
check "workers: who, what, how many" json '[.state,.queue,(.handlers|map(select(test("^(upload|export|train)\\.")|not))|sort|join(" "))]' '["ok","default","backstep.scope backstep.validate fails one slow"]'
run backstep topics -b "$b"
check "topics: exit 0" is "$code" 0

run timeout 20 backstep events short-1 --from-beginning -b "$b"
check "events of a run that is over end by themselves" is "$code" 0
check "... one line an event" has "$work/out" "short-1"
run timeout 20 backstep events short-1 --from-beginning --all -o json -b "$b"
check "events --all -o json: one object a line" is "$(jq -r .type "$work/out" | grep -xE 'Start|RunFinished' | tr '\n' ' ')" "Start RunFinished Start "

if command -v kcat >/dev/null; then
    kcat -C -b "$b" -t backstep.progress -e -q -f '%k %h\n' >"$work/out" 2>"$work/err"
    check "kcat is a monitor" grep -q "^short-1 status=succeeded,percent=100,type=RunFinished" "$work/out"
fi

kill -INT "$dev"
code=0
wait "$dev" || code=$?
started=
check "dev ends with 0 on SIGINT" is "$code" 0
check "... and takes its address with it" [ ! -e "$work/address" ]
left() { for p in /proc/[0-9]*; do cat "$p/cmdline" 2>/dev/null | tr '\0' ' ' | grep -F "$b"; done; true; }
check "... and leaves no process" is "$(left)" ""

mkfifo "$work/pipe"
ln -s address "$work/link"
for place in pipe link; do
    run timeout 10 backstep dev --address-file "$work/$place"
    check "dev replaces no $place by its address: exit 2" is "$code" 2
    check "... and leaves it" [ -p "$work/$place" -o -L "$work/$place" ]
done
backstep dev --address-file "$work/address" >"$work/dev.out" 2>"$work/dev.err" &
started=$!
wait_for 20 test -s "$work/address"
echo another >"$work/another"
mv "$work/another" "$work/address"
kill -INT "$started"
wait "$started"
started=
check "dev takes no address with it that another one has written" has "$work/address" another
done_checking
