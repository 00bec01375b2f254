#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Whatever is killed in an embedded run: the rest goes with it, and says what stays undone.
. "$(dirname "$0")/checks"
step first <<'END'
#!/bin/sh
# rollback: nothing
END
step sleeps <<'END'
#!/bin/sh
# rollback: nothing
echo $$ >>"$TRAIL"
[ "$1" = rollback ] || exec sleep 60
END
TRAIL=$work/trail
export TRAIL
printf 'name: killed\nsteps: [{name: first}, {name: sleeps}]\n' >"$work/killed.yaml"

begin() {
    : >"$TRAIL"
    backstep run "$work/killed.yaml" -o json >"$work/out" 2>"$work/err" &
    pid=$!
    started=$pid
    check "a step runs" wait_for 20 test -s "$TRAIL"
    coordinator=$(pgrep -P "$pid" -f 'backstep serve')
    worker=$(pgrep -P "$pid" -f backstep-worker)
}
end() {
    code=0
    wait "$pid" || code=$?
    started=
}
# One that has ended and that nobody has waited for yet is gone, too.
is_gone() { case $(ps -o stat= -p "$1") in '' | Z*) ;; *) return 1 ;; esac; }

begin
kill -KILL "$pid"
end
for process in "$coordinator" "$worker" "$(cat "$TRAIL")"; do
    check "run is killed: process $process goes with it" wait_for 15 is_gone "$process"
done
for victim in worker coordinator; do
    begin
    eval "kill -KILL \$$victim"
    end
    check "the $victim is killed: exit 3" is "$code" 3
    check "... says so" has "$work/err" "the $victim has ended"
    check "... and what stays undone" has "$work/err" "'first', 'sleeps'"
    check "... in one object" json .status running
    check "... and the step is gone" wait_for 15 is_gone "$(cat "$TRAIL")"
done
done_checking
