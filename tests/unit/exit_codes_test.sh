#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The table "Exit codes" of docs/OPERATIONS.md has the numbers of exit_codes.h: all of them, and no other.
set -eu
cd "$(dirname "$0")/../.."
code=$(sed -nE 's/^ *EXIT_[A-Z_]+ = ([0-9]+),.*/\1/p' coordinator/cli/exit_codes.h | sort -n | tr '\n' ' ')
page=$(sed -n '/^## Exit codes/,/^## /p' docs/OPERATIONS.md | sed -nE 's/^\| ([0-9]+) \|.*/\1/p' | tr '\n' ' ')
[ -n "$code" ] || { echo "FAIL no exit code was found in exit_codes.h"; exit 1; }
[ "$code" = "$page" ] || { echo "FAIL exit_codes.h has $code, docs/OPERATIONS.md has $page"; exit 1; }
echo "ok   exit codes $code"
