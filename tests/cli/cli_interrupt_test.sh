#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Ctrl-C once: cancel, with rollback. Twice: leave at once, and say what stays undone.
. "$(dirname "$0")/checks"
step first <<'END'
#!/bin/sh
# rollback: note it
echo "first $1" >>"$TRAIL"
END
step sleeps <<'END'
#!/bin/sh
# rollback: note it
echo "sleeps $1" >>"$TRAIL"
[ "$1" = rollback ] || exec sleep 60
END
step clings <<'END'
#!/bin/sh
# deaf to being asked; rollback: note it
trap '' TERM
echo "clings $1" >>"$TRAIL"
[ "$1" = rollback ] || sleep 60
END
TRAIL=$work/trail
export TRAIL
printf 'name: polite\nsteps: [{name: first}, {name: sleeps}]\n' >"$work/polite.yaml"
printf 'name: deaf\nsteps: [{name: first}, {name: clings}]\n' >"$work/deaf.yaml"

begin() {
    : >"$TRAIL"
    backstep run "$work/$1.yaml" -o json >"$work/out" 2>"$work/err" &
    pid=$!
    started=$pid
    check "$1: the second step runs" wait_for 20 grep -q "$2 execute" "$TRAIL"
}
end() {
    code=0
    wait "$pid" || code=$?
    started=
}

begin polite sleeps
kill -INT "$pid"
end
check "SIGINT: exit 4" is "$code" 4
check "... cancelled" json '[.status,.steps[0].status,.steps[1].status]' '["cancelled","rolled_back","rolled_back"]'
check "... rolled back in order" is "$(tr '\n' ',' <"$TRAIL")" "first execute,sleeps execute,sleeps rollback,first rollback,"

begin polite sleeps
kill -HUP "$pid"
kill -HUP "$pid" 2>/dev/null || :
end
check "SIGHUP, the terminal is gone, once or twice: exit 4" is "$code" 4
check "... rolled back in order" is "$(tr '\n' ',' <"$TRAIL")" "first execute,sleeps execute,sleeps rollback,first rollback,"

cat >"$work/hang_up.py" <<'END'
"""Run a command on a terminal, and close that once the file has the line."""
import os, pty, sys, time
path, line, *command = sys.argv[1:]
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(command[0], command)
while line not in open(path).read():
    time.sleep(0.05)
os.close(terminal)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
END
: >"$TRAIL"
run timeout 30 python3 "$work/hang_up.py" "$TRAIL" "sleeps execute" backstep run "$work/polite.yaml"
check "a terminal that is closed: what was done is undone" is "$(tr '\n' ',' <"$TRAIL")" "first execute,sleeps execute,sleeps rollback,first rollback,"

begin deaf clings
kill -INT "$pid"
sleep 0.5
begun=$(date +%s)
kill -INT "$pid"
end
check "a second SIGINT: exit 3" is "$code" 3
check "... at once" [ $(($(date +%s) - begun)) -lt 8 ]
check "... says what stays undone" has "$work/err" "'first'"
check "... and the step that ran" has "$work/err" "'clings'"
check "... nothing was undone" is "$(grep -c rollback "$TRAIL")" 0
done_checking
