#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What steps log is read with backstep logs, while they run and afterwards.
. "$(dirname "$0")/checks"
step talk <<'END2'
#!/bin/sh
# rollback: nothing
[ "$1" = rollback ] && { echo "undone again" >&2; exit 0; }
echo "plain on stdout"
echo "level=warn nearly full" >&2
echo '{"level":"error","event":"boom","message":"it went","n":3}' >&2
echo '{"data":{"n":1}}'
END2
step flood <<'END2'
#!/bin/sh
# rollback: nothing
[ "$1" = rollback ] || seq 1 300000
END2
step gate <<END2
#!/bin/sh
# rollback: nothing
[ "\$1" = rollback ] && exit 0
echo waits >&2
until [ -e $work/open ]; do sleep 0.05; done
echo "goes on" >&2
END2
step fails <<'END2'
#!/bin/sh
# rollback: nothing
[ "$1" = rollback ] || { echo nope >&2; exit 65; }
END2
printf 'name: small\nsteps: [{name: talk}]\n' >"$work/small.yaml"
printf 'name: chat\nsteps: [{name: talk}, {name: flood}]\n' >"$work/chat.yaml"
printf 'name: waits\nsteps: [{name: gate}]\n' >"$work/waits.yaml"
printf 'name: broken\nsteps: [{name: talk}, {name: fails}]\n' >"$work/broken.yaml"

backstep dev --steps "$work/steps" --address-file "$work/address" >"$work/dev.out" 2>"$work/dev.err" &
started=$!
check "a broker" wait_for 20 test -s "$work/address"
b=$(cat "$work/address")

run timeout 60 backstep start "$work/chat.yaml" -b "$b" --id chat-1 --wait
check "a run that talks" is "$code" 0
logs_are_there() { backstep logs chat-1 -b "$b" --step flood >"$work/all" && grep -q dropped "$work/all"; }
check "what a step logs is there soon" wait_for 20 logs_are_there
run backstep logs chat-1 -b "$b" --step talk
check "logs: exit 0" is "$code" 0
check "... what it says on standard output" has "$work/out" "execute  info      plain on stdout"
check "... the level it names" has "$work/out" "warn      level=warn nearly full"
check "... an object on standard error" has "$work/out" 'error     boom it went {"n":3}'
check "... and no more" is "$(wc -l <"$work/out")" 3
check "... not what is a result" is "$(grep -c '"data"' "$work/out")" 0
run backstep logs chat-1 -b "$b" --level error -o json
check "--level, as JSON" is "$(jq -c 'select(.level)|[.step,.direction,.attempt,.level,.source,.event,.text,.data]' "$work/out")" \
    '["talk","execute",1,"error","stderr","boom","it went",{"n":3}]'
check "what was dropped is said" is "$(jq -s 'map(.dropped_lines // 0)|add > 0' "$work/out")" true
# A busy worker drops what its queue has no room for, too; but nothing goes uncounted.
counted() {
    backstep logs chat-1 -b "$b" --step flood >"$work/all" && [ "$(awk '$5 == "info" {sum++}
        $5 == "dropped" && $7 ~ /^line/ {sum += $6} END {print sum}' "$work/all")" = 300000 ]
}
check "... and every line is kept or counted" wait_for 20 counted
few() { [ "$(kcat -C -q -e -b "$b" -t backstep.logs -f '%h\n' | grep -c step=flood)" -lt 300 ]; }
check "many lines take few records" few

run backstep logs chat-1 -b "$b" --step tlak
check "a step that is none: exit 2" is "$code" 2
check "... with what may be meant" has "$work/err" "did you mean 'talk'?"
run backstep logs nothing-1 -b "$b"
check "no such run: exit 2" is "$code" 2
run backstep logs chat-1 -b "$b" --level loud
check "a level that is none: exit 2" is "$code" 2

run timeout 60 backstep run "$work/small.yaml" --steps "$work/steps" --logs
check "run --logs shows them among its lines" grep -Eq 'talk +execute +warn +level=warn nearly full' "$work/out"
check "... with the last one" has "$work/out" "boom it went"
run timeout 60 backstep run "$work/small.yaml" --steps "$work/steps" --logs -o json
check "... beside its object, on standard error" has "$work/err" "plain on stdout"
check "... which stays the only thing on standard output" one_object
run timeout 60 backstep run "$work/small.yaml" --steps "$work/steps"
check "... and not unasked" is "$(grep -c nearly "$work/out")" 0
run timeout 60 backstep watch chat-1 -b "$b" --logs
check "watch --logs shows what was logged before" has "$work/out" "level=warn nearly full"

run timeout 60 backstep start "$work/broken.yaml" -b "$b" --id broken-1 --wait
undone() { backstep logs broken-1 -b "$b" >"$work/out" && grep -q 'rollback info *undone again' "$work/out"; }
check "what a rollback logs is there too" wait_for 20 undone

run backstep start "$work/waits.yaml" -b "$b" --id waits-1
timeout 60 backstep logs waits-1 -b "$b" -f >"$work/followed" 2>"$work/follow.err" &
follower=$!
started="$started $follower"
check "-f shows what is logged while it runs" wait_for 20 grep -q waits "$work/followed"
check "... and goes on" kill -0 "$follower"
touch "$work/open"
check "... until the run ends" wait "$follower"
check "... with its last line" has "$work/followed" "goes on"
ends_with_its_reader() { timeout 20 backstep logs chat-1 -b "$b" 2>"$work/err" | head -n 1 | grep -q .; }
check "logs end when nobody reads them" ends_with_its_reader

done_checking
