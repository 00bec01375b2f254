#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A secret parameter is a reference that only the worker resolves: the step gets the value, nobody else sees it.
. "$(dirname "$0")/checks"
step show <<'END'
#!/bin/sh
# rollback: nothing
[ "$1" = rollback ] || jq -r '.params.token + " " + .input.inner.token + " " + .params.key + " " + (env | tostring)' >"$JOURNAL"
END
printf 'hunter3\n' >"$work/key"
printf 'name: open\nparams: {token: {secret: true, required: true}, key: {secret: true, default: {file: key}}}\nsteps: [{name: show, rollback: none, with: {inner: {token: "${ .params.token }"}}}]\n' >"$work/open.yaml"
export JOURNAL="$work/journal" BACKSTEP_SECRET_API=hunter2 BACKSTEP_SECRETS="$work"
run timeout 60 backstep run "$work/open.yaml" --steps "$work/steps" -p 'token={"env": "API"}' -o json --log-level debug
check "exit 0" is "$code" 0
check "the step gets what the references stand for" is "$(cut -d ' ' -f 1-3 "$work/journal")" 'hunter2 hunter2 hunter3'
check "nothing shows it" is "$(cat "$work/out" "$work/err" | grep -c hunter)" 0
check "nor has any other step it in its environment" is "$(grep -c BACKSTEP_SECRET "$work/journal")" 0
run timeout 60 backstep run "$work/open.yaml" --steps "$work/steps" -p token=hunter2
check "a value in the open is refused: exit 2" is "$code" 2
check "... without showing it" is "$(cat "$work/out" "$work/err" | grep -c hunter2)" 0
run timeout 60 backstep run "$work/open.yaml" --steps "$work/steps" -p 'token={"env": "OTHER"}' -o json
check "a reference to nothing: exit 1" is "$code" 1
check "... says what the worker lacks" json .error "Step 'show' failed: secret env 'OTHER': this worker's environment has no BACKSTEP_SECRET_OTHER"
run timeout 60 backstep run "$work/open.yaml" --steps "$work/steps" -p 'token={"file": "../key"}'
check "a path is no name: exit 2" is "$code" 2
done_checking
