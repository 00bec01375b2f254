# SPDX-License-Identifier: Apache-2.0
"""What the tests of the actions share: running a program, looking at what came of it, and the list of cases."""

import concurrent.futures
import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

BIN = Path(os.environ["BACKSTEP_BIN"])
SOURCE = Path(os.environ.get("BACKSTEP_SOURCE", "."))
DEADLINE_S = 120


class Run:
    """What a program said of its run."""

    def __init__(self, code, output, errors):
        self.code, self.errors = code, errors
        try:
            self.json = json.loads(output)
        except ValueError:
            raise AssertionError(f"exit {code}, not JSON: {output!r}\n{errors}") from None
        self.status, self.error = self.json["status"], self.json["error"]
        self.text = output + errors

    def step(self, name):
        return next(step for step in self.json["steps"] if step["name"] == name)

    def data(self, name):
        return self.step(name)["data"]


@contextlib.contextmanager
def directory():
    path = Path(tempfile.mkdtemp(prefix="backstep-actions-"))
    try:
        yield path
    finally:
        shutil.rmtree(path)


def run(action, where, env=None, **params):
    """Run a whole action in process. Its workspace is WHERE/work."""
    params = {"work": str(where / "work"), **params}
    command = [BIN / f"backstep-{action}", "run"]
    for name, value in params.items():
        command += ["-p", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=DEADLINE_S,
                          env={**os.environ, **(env or {})})
    return Run(done.returncode, done.stdout, done.stderr)


def write(path, content):
    path = Path(os.fsdecode(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def tree(path):
    """{name: SHA-256} of every file below, directories as "name/"."""
    found = {}
    for root, directories, files in os.walk(os.fsencode(path)):
        for name in directories:
            found[os.path.relpath(os.path.join(root, name), os.fsencode(path)) + b"/"] = None
        for name in files:
            whole = os.path.join(root, name)
            with open(whole, "rb") as file:
                found[os.path.relpath(whole, os.fsencode(path))] = hashlib.sha256(file.read()).hexdigest()
    return found


def files_of(found):
    return {name: digest for name, digest in found.items() if digest is not None}


def check(condition, *what):
    if not condition:
        raise AssertionError(" ".join(str(part) for part in what))


def equal(found, expected, what=""):
    check(found == expected, what, f"\n  found    {found!r}\n  expected {expected!r}")


def side_by_side(check_row, rows):
    """Call it for every row, several at once: they mostly wait. The first failure is raised when all are done."""
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        for done in [pool.submit(check_row, *row) for row in rows]:
            done.result()


def passes(case):
    begun = time.monotonic()
    try:
        case()
        print(f"ok   {case.__name__} {time.monotonic() - begun:.1f} s", flush=True)
        return True
    except Exception as error:  # noqa: BLE001 the next case is to run too
        traceback.print_exc()
        print("FAIL", case.__name__, type(error).__name__, error, flush=True)
        return False


def main(cases, at_once=1):
    """Run the cases that are named, or all."""
    wanted = sys.argv[1:]
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        passed = list(pool.map(passes, [case for case in cases if not wanted or case.__name__ in wanted]))
    sys.exit(not all(passed))
