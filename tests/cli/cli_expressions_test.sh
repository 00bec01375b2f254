#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Expressions in a pipeline, from the file to the worker's helper: when, with, each, validate, and from within a pipeline in a pipeline.
. "$(dirname "$0")/checks"

step list <<'EOF'
#!/bin/sh
# rollback: nothing
echo '{"data": {"files": ["a", "b", "c"], "count": 3}}'
EOF
step echo <<'EOF'
#!/bin/sh
# Tells what it was given; on rollback too, into a file beside the steps.
case $1 in
rollback) jq -c '[.step, .input]' >>"$(dirname "$0")/../undone" ;;
*) jq -c '{data: {input, element, index, params, seen: (.steps | keys)}}' ;;
esac
EOF
step fail <<'EOF'
#!/bin/sh
# rollback: nothing
echo 'no luck' >&2
exit 65
EOF

cat >"$work/inner.yaml" <<'EOF'
name: inner
params:
  who: {required: true}
steps:
  - {name: one, uses: echo, with: {who: "${ .params.who }"}}
  - {name: two, uses: echo, with: {saw: "${ .steps.one.input.who | ascii_upcase }"}}
EOF
cat >"$work/all.yaml" <<'EOF'
name: all
params:
  name: {default: Ada}
  strict: {default: true}
steps:
  - name: list
  - {name: check, validate: {assert: .steps.list.count == 3, message: there must be three}}
  - {name: skipped, uses: echo, when: .params.strict | not}
  - {name: greet, uses: echo, with: {text: "Hello ${ .params.name }", all: "${ .steps.list.files }", price: "$${ 5 }"}}
  - {name: fan, uses: echo, each: .steps.list.files, max_parallel: 2, when: .element != "b", with: {file: "${ .element }.txt", nth: "${ .index + 1 }"}}
  - {name: nested, uses: "pipeline:inner.yaml", with: {who: "${ .params.name + \"!\" }"}}
  - {name: after, uses: echo, with: {saw: "${ .steps.nested | keys }", fan: "${ .steps.fan | length }"}}
EOF
run timeout 60 backstep run "$work/all.yaml" --steps "$work/steps" -o json
check "a pipeline full of expressions succeeds" json '.status' succeeded
of() { json ".steps[] | select(.name == \"$1\") | $2" "$3"; }
check "what holds lets pass" of check .status succeeded
check "false skips" of skipped .status skipped
check "a template gives text" of greet .data.input.text "Hello Ada"
check "a template alone gives a value" of greet .data.input.all '["a","b","c"]'
check "two dollars are text" of greet .data.input.price '${ 5 }'
check "each makes instances, which see their element" of fan '[.data[] | .input]' '[{"file":"a.txt","nth":1},null,{"file":"c.txt","nth":3}]'
check "a program sees it too" of fan '[.data[2].element, .data[2].index]' '["c",2]'
check "an inner step sees its pipeline's params" of nested/one .data.params '{"who":"Ada!"}'
check "and its pipeline's steps" of nested/two '[.data.input.saw, .data.seen]' '["ADA!",["one"]]'
check "from outside the inner steps are members" of after .data.input '{"saw":["one","two"],"fan":3}'

# fails NAME STEP-LINE ERROR: a run of `echo` and that step is rolled back, with that error
fails() {
    rm -f "$work/undone"
    printf 'name: bad\nsteps:\n  - {name: first, uses: echo, with: {n: "${ 1 + 1 }"}}\n  - %s\n' "$2" >"$work/bad.yaml"
    run timeout 60 backstep run "$work/bad.yaml" --steps "$work/steps" -o json
    check "$1" json .error "$3"
    check "... is rolled back, with the input evaluated" is "$(cat "$work/undone")" '["first",{"n":2}]'
}
fails "what does not hold" '{name: check, validate: {assert: ".steps.first.input.n > 2", message: too few}}' "Step 'check' failed: too few"
fails "what jq cannot do" '{name: it, uses: list, rollback: none, retry: {max_attempts: 3}, when: ".params | tonumber"}' \
    "Step 'it' failed: when: '.params | tonumber' fails: object ({}) cannot be parsed as a number"
check "... is not tried again" of it .attempts 1
# Without a timeout of the step: with one of a second it and the evaluation's run out at the same moment, and either may be first.
fails "what has no end" '{name: it, uses: list, rollback: none, when: "last(range(1e15))"}' \
    "Step 'it' failed: when: 'last(range(1e15))' fails: it takes longer than the 10 s there are for it"
fails "no list for each" '{name: it, uses: list, rollback: none, each: .params}' \
    "Step 'it' failed: each: '.params' is not for each: it gives an object, not a list"

DATABASE_PASSWORD=swordfish
export DATABASE_PASSWORD
printf 'name: secret\nsteps:\n  - {name: tell, uses: echo, with: {all: "${ [env, $ENV] }"}}\n' >"$work/secret.yaml"
run timeout 60 backstep run "$work/secret.yaml" --steps "$work/steps" -o json
check "the worker's environment is not seen" of tell .data.input.all '[{},{}]'

# A program in C is its own helper, too, and serves what every worker serves.
backstep dev --address-file "$work/address" >"$work/dev.out" 2>&1 &
started=$!
check "a broker and a coordinator without a worker" wait_for 20 test -s "$work/address"
b=$(cat "$work/address")
quickstart worker -b "$b" --log-level none 2>"$work/worker.err" &
started="$! $started"
cat >"$work/c.yaml" <<'EOF'
name: c
steps:
  - {name: load_data, when: "[1, 2] | length == 2"}
  - name: check
    validate: {assert: "(.steps.load_data | type) == \"object\""}
  - {name: no, uses: load_data, when: "[] | length > 0"}
  - {name: inner, uses: "pipeline:inner_c.yaml", with: {a: "${ 6 * 7 }"}}
EOF
printf 'name: inner\nparams: {a: {required: true}}\nsteps:\n  - {name: check, validate: {assert: .params.a == 42}}\n' >"$work/inner_c.yaml"
run timeout 60 backstep start "$work/c.yaml" -b "$b" --wait -o json
check "a worker in C evaluates" json '[.status, [.steps[].status]]' \
    '["succeeded",["succeeded","succeeded","skipped","succeeded","succeeded"]]'

printf 'name: wrong\nsteps:\n  - name: list\n    when: .params.a +\n' >"$work/wrong.yaml"
run backstep check "$work/wrong.yaml"
check "check compiles expressions: exit 2" is "$code" 2
check "... and says which is wrong" has "$work/err" "'.params.a +' is not jq: line 1: syntax error, unexpected end"
done_checking
