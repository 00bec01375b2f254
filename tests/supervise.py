#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""supervise.py ctest --verbose ARGUMENT...: run ctest, show little of what it says, and look at what is left behind.

Shown are ctest's own lines, of a failed test all output, of every test the lines that begin with "note: ".

This process takes in every orphan below it (a child subreaper), so that what still lives when ctest has ended was left
behind by a test, whatever session or group it hid in. Such a process is an error, named and then killed; so is a
listening socket that was not there before, unless it belongs to a process that is none of ours.
"""

import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
GRACE_S = 5  # for what is on its way out
POLL_S = 0.1

LINE_OF_TEST = re.compile(r"(\d+): (.*)")
RESULT = re.compile(r"\s*\d+/\d+ Test +#(\d+): \S+ \.* *(\S+)")
CHATTER = re.compile(r"(test \d+$|\s+Start +\d+: |UpdateCTestConfiguration|Constructing a list|Done constructing"
                     r"|Updating test list|Checking test dep|Parse Config file| Add coverage|SetCTestConfiguration|Added 0 tests"
                     r"|Internal ctest changing|Test project|The following tests FAILED|Test command|$)")


def show(line):
    print(line, flush=True)


def filter_output(stream):
    """Print what a reader wants; keeps the lines of each test until its result is known."""
    kept = {}
    closing = False
    for line in (raw.rstrip("\n") for raw in stream):
        closing = closing or line.endswith("tests failed out of " + line.rpartition(" ")[2])
        if closing:
            show(line)
        elif of_test := LINE_OF_TEST.match(line):
            kept.setdefault(of_test[1], []).append(of_test[2])
            if of_test[2].startswith("note: "):
                show(f"        {of_test[2]}")
        elif result := RESULT.match(line):
            output = kept.pop(result[1], [])
            show(line)
            if not result[2].startswith("Passed"):
                show("\n".join(f"    {text}" for text in output))
        elif not CHATTER.match(line):
            show(line)


# --- What is left behind ---------------------------------------------------------------------------------------------


def parents():
    """The parent of every process there is, and its state."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                found[int(entry.name)] = (int(parent), state)
            except OSError:
                pass  # it ended meanwhile
    return found


def descendants():
    table = parents()
    ours, size = {os.getpid()}, 0
    while len(ours) != size:
        size = len(ours)
        ours |= {pid for pid, (parent, _) in table.items() if parent in ours}
    return {pid for pid in ours - {os.getpid()} if pid in table and table[pid][1] not in "ZX"}


def describe(pid):
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        command = "?"
    return f"process {pid}: {command[:200]}"


def reap():
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def left_processes():
    deadline = time.monotonic() + GRACE_S
    while True:
        reap()
        left = descendants()
        if not left or time.monotonic() > deadline:
            return sorted(left)
        time.sleep(POLL_S)


def listening_sockets():
    """{address: ids of the processes that hold it}"""
    listing = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True).stdout
    found = {}
    for line in listing.splitlines():
        found[line.split()[3]] = {int(pid) for pid in re.findall(r"pid=(\d+)", line)}
    return found


def left_sockets(before):
    """Sockets that are new and ours; where nobody is seen to hold one, it counts too. Others may work on this machine."""
    ours = descendants()
    return sorted(f"listening socket {address}" for address, pids in listening_sockets().items()
                  if address not in before and (not pids or pids & ours))


def kill_all(pids):
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def main(command):
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    before = listening_sockets()
    ctest = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                             text=True, errors="replace")
    try:
        filter_output(ctest.stdout)
    except KeyboardInterrupt:
        ctest.terminate()
    status = ctest.wait()
    processes = left_processes()
    left = [describe(pid) for pid in processes] + left_sockets(before)
    for what in left:
        show(f"left behind: {what}")
    while processes:  # what a killed one had started comes to us
        kill_all(processes)
        processes = left_processes()
    return status or (1 if left else 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
