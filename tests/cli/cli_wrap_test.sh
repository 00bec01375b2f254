#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# `wrap` in a pipeline file: the worker puts the wrappers around the step, which keeps its name.
. "$(dirname "$0")/checks"
step one <<'END'
#!/bin/sh
# rollback: nothing
cat >/dev/null
echo '{"data":{"n":1}}'
END
printf 'name: wrapped\nparams: {fault: {default: {}}}\nsteps: [{name: one, wrap: [logging, timing, fault]}]\n' >"$work/wrapped.yaml"
run timeout 60 backstep run "$work/wrapped.yaml" --steps "$work/steps" -o json
check "exit 0" is "$code" 0
check "the step keeps its name, its data gets the time it took" json \
    '.steps[0] | [.name, .data.n, (.data.duration_seconds >= 0)]' '["one",1,true]'
run timeout 60 backstep run "$work/wrapped.yaml" --steps "$work/steps" -p 'fault={"one": {"fails": 1, "message": "no luck"}}' -o json
check "a fault on demand: exit 1" is "$code" 1
check "... is the step's failure" json .error "Step 'one' failed: no luck"
done_checking
