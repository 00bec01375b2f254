#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# --if-exists: what a start does where a run of that id stands already, for every state such a run can be in.
. "$(dirname "$0")/checks"
step ok <<'END'
#!/bin/sh
# rollback: nothing
exit 0
END
step slow <<'END'
#!/bin/sh
# rollback: until told to go on
[ "$1" = execute ] || until [ -e "$GATE" ]; do sleep 0.05; done
END
step held <<'END'
#!/bin/sh
# rollback: nothing; execute until told to go on
[ "$1" = rollback ] || until [ -e "$GATE" ]; do sleep 0.05; done
END
step fails <<'END'
#!/bin/sh
# rollback: nothing
[ "$1" = rollback ] || { echo nope >&2; exit 65; }
END
step stuck <<'END'
#!/bin/sh
# its rollback fails for good, at once: what it says is no answer
[ "$1" = execute ] || echo '{"cannot undo": true}'
END
GATE=$work/gate
export GATE
# pipeline STATE STEP...: all of one name, so that one may be taken for the other
pipeline() {
    file=$work/$1.yaml
    shift
    printf 'name: same\nsteps:\n' >"$file"
    for name in "$@"; do printf '  - {name: %s, weight: 20}\n' "$name" >>"$file"; done
}
pipeline pending nobody
pipeline running ok held
pipeline rolling_back ok slow fails
pipeline succeeded ok
pipeline rolled_back ok fails
pipeline cancelled ok nobody
pipeline rollback_incomplete stuck fails
printf 'name: other\nsteps: [{name: ok}]\n' >"$work/other.yaml"

backstep dev --steps "$work/steps" --address-file "$work/address" >"$work/dev.out" 2>"$work/dev.err" &
started=$!
check "dev is up" wait_for 20 test -s "$work/address"
b=$(cat "$work/address")
export BACKSTEP_BROKERS="$b"
status_of() { backstep status "$1" -o json | jq -r .status; }
stands() { [ "$(status_of "$1")" = "${2:-$1}" ]; }

states="pending running rolling_back succeeded rolled_back cancelled rollback_incomplete"
for state in $states; do
    run backstep start "$work/$state.yaml" --id "$state" -o json
    check "a run that is to be $state is started" json '[.run_id,.existing]' "[\"$state\",false]"
done
run backstep cancel cancelled
for state in $states; do
    check "it is $state" wait_for 20 stands "$state"
    run backstep start "$work/$state.yaml" --id "$state"
    check "$state, fail: exit 8" is "$code" 8
    check "... shows the state" has "$work/err" "the run $state exists already: $state, "
    check "... and prints no id" empty "$work/out"
    run timeout 30 backstep run "$work/$state.yaml" --id "$state"
    check "$state, run: exit 8" is "$code" 8
    check "... and it is not said to have started" empty "$work/out"
    run backstep start "$work/$state.yaml" --id "$state" -o json
    check "$state, fail, as JSON: the state" json '[.run_id,.status]' "[\"$state\",\"$state\"]"
    run backstep start "$work/$state.yaml" --id "$state" --if-exists return -o json
    check "$state, return: exit 0" is "$code" 0
    check "... and its id" json '[.run_id,.existing]' "[\"$state\",true]"
    run backstep start "$work/succeeded.yaml" --id "$state" --if-exists new
    other=$(cat "$work/out")
    check "$state, new: exit 0" is "$code" 0
    check "... and another id" [ "$other" != "$state" ]
    check "... that is a run" wait_for 20 stands "$other" succeeded
    check "it is still $state" stands "$state"
done

for row in succeeded:0 rolled_back:1 rollback_incomplete:3 cancelled:4; do
    run timeout 20 backstep start "$work/${row%:*}.yaml" --id "${row%:*}" --if-exists return --wait -o json
    check "${row%:*}, return and wait: its exit code" is "$code" "${row#*:}"
    check "... and its object" json .run_id "${row%:*}"
done
run backstep start "$work/other.yaml" --id succeeded --if-exists return
check "return of a run of another pipeline: exit 8" is "$code" 8
check "... says so" has "$work/err" "another pipeline"
run backstep start "$work/succeeded.yaml" --if-exists always
check "what is no choice: exit 2" is "$code" 2

timeout 30 backstep start "$work/running.yaml" --id running --if-exists return --wait -o json >"$work/followed" 2>&1 &
follower=$!
timeout 30 backstep run "$work/rolling_back.yaml" --id rolling_back --if-exists return >"$work/lines" 2>&1 &
second=$!
touch "$GATE"
code=0
wait "$follower" || code=$?
check "running, return and wait: follows it to its end" is "$code" 0
code=0
wait "$second" || code=$?
check "rolling_back, run and return: follows it to its end" is "$code" 1
check "... line by line, from its beginning" has "$work/lines" "started"
count() { timeout 20 backstep events "$1" --from-beginning --all -o json | jq -r 'select(.type=="RunFinished").type' | grep -c .; }
check "no run was started twice" is "$(count running)$(count succeeded)$(count rolling_back)" 111
done_checking
