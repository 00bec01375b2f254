#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# backstep run on the embedded broker: success, failure with rollback, skip, retry, parallel steps, JSON, exit codes.
. "$(dirname "$0")/checks"

step first <<'END'
#!/bin/sh
# on rollback: note it
echo "first $1" >>"$TRAIL"
echo '{"data":{"n":1},"rollback_data":{"undo":"me"}}'
END
step second <<'END'
#!/bin/sh
# on rollback: note it
input=$(cat)
echo "second $1" >>"$TRAIL"
[ "$1" = rollback ] || echo '{"progress":[1,2]}'
printf '{"data":{"seen":%s}}\n' "$(printf %s "$input" | jq -c .steps.first)"
END
step breaks <<'END'
#!/bin/sh
# on rollback: note it
echo "breaks $1" >>"$TRAIL"
[ "$1" = rollback ] && exit 0
echo "the disk is full" >&2
exit 1
END
step stuck <<'END'
#!/bin/sh
# its rollback fails for good, at once: what it says is no answer
echo "stuck $1" >>"$TRAIL"
[ "$1" = execute ] || echo '{"cannot undo": true}'
END
step skips <<'END'
#!/bin/sh
# nothing to do, so nothing to rollback
exit 77
END
step flaky <<'END'
#!/bin/sh
# fails twice; rollback is nothing
[ "$1" = execute ] || exit 64
[ "$BACKSTEP_ATTEMPT" -ge 3 ] || { echo "not yet" >&2; exit 1; }
END
TRAIL=$work/trail
export TRAIL

cat >"$work/good.yaml" <<'END'
name: good
params:
  who: {default: world}
steps:
  - {name: first, weight: 20}
  - {name: second, weight: 60}
  - {name: skips, weight: 20}
END
run backstep run "$work/good.yaml" --steps "$work/steps" -o json
check "a run that succeeds exits 0" is "$code" 0
check "... prints one object" one_object
check "... that says so" json '[.success,.status,.steps_executed,.steps_total,.progress,.error]' '[true,"succeeded",2,3,100,null]'
check "... with each step" json '[.steps[]|.name+" "+.status+" "+(.attempts|tostring)]' '["first succeeded 1","second succeeded 1","skips skipped 0"]'
check "... and what they said" json '.steps[1].data' '{"seen":{"n":1}}'
check "... and nothing else on either side" empty "$work/err"

cat >"$work/bad.yaml" <<'END'
name: bad
steps: [{name: first}, {name: second}, {name: breaks}, {name: skips}]
END
: >"$TRAIL"
run backstep run "$work/bad.yaml" -o json
check "a run that fails exits 1" is "$code" 1
check "... says why" json '[.success,.status,.error]' "[false,\"rolled_back\",\"Step 'breaks' failed: the disk is full\"]"
check "... what became of each step" json '[.steps[].status]' '["rolled_back","rolled_back","rolled_back","not_run"]'
check "... counts what was executed" json .steps_executed 2
check "... rolls back newest first, the failed one before" is "$(tr '\n' ',' <"$TRAIL")" \
    "first execute,second execute,breaks execute,breaks rollback,second rollback,first rollback,"

run backstep run "$work/bad.yaml"
check "without a terminal: lines" has "$work/out" "the disk is full"
check "... without escape codes" sh -c "! grep -q '$(printf '\033')' '$work/out'"
check "... and the same exit code" is "$code" 1

cat >"$work/stuck.yaml" <<'END'
name: stuck
steps: [{name: first}, {name: stuck}, {name: breaks}]
END
: >"$TRAIL"
run backstep run "$work/stuck.yaml" -o json
check "a rollback that fails for good: exit 3" is "$code" 3
check "... rollback_incomplete" json .status rollback_incomplete
check "... says what failed" json '[.steps[]|.status]' '["rolled_back","rollback_failed","rolled_back"]'
check "... and why" json '.steps[1].rollback_error|contains("cannot undo")' true
check "... and the others were undone" is "$(tail -n 1 "$TRAIL")" "first rollback"

cat >"$work/flaky.yaml" <<'END'
name: flaky
steps: [{name: flaky, retry: {max_attempts: 3, backoff: 50ms}}]
END
run backstep run "$work/flaky.yaml" -o json
check "a step is tried again" json '[.success,.steps[0].attempts]' '[true,3]'

cat >"$work/apart.yaml" <<'END'
name: "two at once: \"é\" & 'more'"
steps:
  - {name: left side, uses: first, needs: []}
  - {name: right side, uses: first, needs: []}
  - {name: both, uses: second, needs: [left side, right side]}
END
run backstep run "$work/apart.yaml" -o json
check "steps beside each other, and odd names" json '[.success,.pipeline]' "[true,\"two at once: \\\"é\\\" & 'more'\"]"

run backstep run "$work/good.yaml" -p who=me -o json
check "a parameter is taken" is "$code" 0
run backstep run "$work/good.yaml" -p whoo=me
check "an undeclared parameter: exit 2" is "$code" 2
check "... with a suggestion" has "$work/err" "did you mean 'who'?"
check "... and nothing on standard output" empty "$work/out"

run backstep run "$work/good.yaml" --id my-run -o json
check "an id of one's own" json .run_id my-run
run backstep run "$work/good.yaml" --id 'my run'
check "an impossible id: exit 2" is "$code" 2

cat >"$work/nobody.yaml" <<'END'
name: nobody
steps: [{name: first}, {name: frist}]
END
run backstep run "$work/nobody.yaml"
check "a step that no program serves: exit 2" is "$code" 2
check "... names it" has "$work/err" "frist"
run backstep run "$work/good.yaml" --steps "$work/nowhere"
check "a steps directory that is not there: exit 2" is "$code" 2
check "... names it" has "$work/err" "$work/nowhere"

run prlimit --nofile=30:30 backstep run "$work/good.yaml"
check "too few files for a process: exit 2" is "$code" 2
check "... names the limit, and what is needed" has "$work/err" "a process may have 30 files open here, and this one needs 64"
run prlimit --nofile=30:64 backstep run "$work/good.yaml"
check "what it may ask for it asks for" is "$code" 0
done_checking
