#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# No program of ours can reach a shell, nor look a program up by name: they are not even linked to what does.
set -eu
for program in "$BACKSTEP_BIN/backstep" "$BACKSTEP_BIN/backstep-worker"; do
    symbols=$(nm -D --undefined-only "$program" | awk '{sub(/@.*/, "", $2); print $2}')
    echo "$symbols" | grep -qx execve || echo "$symbols" | grep -qx execv || { echo "FAIL $program: execve is missing: is this list one at all?"; exit 1; }
    found=$(echo "$symbols" | grep -xE 'system|popen|wordexp|execlp|execvp|execvpe|posix_spawnp|dlopen' || :)
    [ -z "$found" ] || { echo "FAIL $program calls $found"; exit 1; }
    echo "ok   $program"
done
