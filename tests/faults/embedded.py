# SPDX-License-Identifier: Apache-2.0
"""The cluster of the broker tests on an embedded broker, which has a coordinator beside it and can be told to fail. It is there within a
second, so that each scenario has one of its own, and several run at once: most of them wait for leases."""

import concurrent.futures
import json
import sys
import time
import traceback

from cluster import BIN, Cluster, Failed, check

JOURNAL = """
cat >/dev/null
printf '%s %s %s\\n' "$1" "$BACKSTEP_STEP" "$BACKSTEP_ATTEMPT" >>"$JOURNAL/$BACKSTEP_RUN_ID"
"""
ENDS = ("succeeded", "rolled_back", "cancelled", "rollback_incomplete")


class Embedded(Cluster):
    def __init__(self, *faults):
        super().__init__(broker_properties=("none",))
        self.faults = [part for fault in faults for part in ("--fault", fault)]

    def __enter__(self):
        address = self.directory / "address"
        self.dev = self.spawn("dev", BIN / "backstep", "dev", "--address-file", address, "--log-level", "info", *self.faults)
        self.wait_for(lambda: address.exists() or not self.dev.is_running(), "the embedded broker")
        self.broker = self
        self.brokers = address.read_text().strip()
        return self

    def __exit__(self, kind, value, trace):
        for process in self.processes[1:]:
            process.kill()
        self.dev.stop()  # which waits for its coordinator
        super().__exit__(kind, value, trace)

    def end(self):
        """Of the broker: it has gone with `dev`."""

    def spawn(self, name, *command, environment=None):
        return super().spawn(name, *command, environment={"JOURNAL": str(self.journal), **(environment or {})})

    def begin(self, pipeline, *run_ids):
        """Whatever the broker does meanwhile: a start that was not heard is made again."""
        for run_id in run_ids:
            self.wait_for(lambda run_id=run_id: self.cli("start", pipeline, "--id", run_id, "--if-exists", "return", expect=None).returncode == 0,
                          f"{run_id} to be accepted")

    def objects(self, *command):
        """What a command prints with -o json; nothing where the broker does not let it."""
        done = self.cli(*command, "-o", "json", expect=None)
        return [json.loads(line) for line in done.lines] if done.returncode == 0 else []

    def end_of(self, run_id, timeout_s=90):
        return self.wait_for(lambda: [run for run in self.objects("status", run_id) if run["status"] in ENDS], f"{run_id} to end", timeout_s)[0]

    def wait_for_all(self, run_ids, status="succeeded"):
        def are_all():
            return {run["run_id"] for run in self.objects("list", "--status", status, "--limit", len(run_ids))} == set(run_ids)
        self.wait_for(are_all, f"all runs to be {status}", 90)
        check(True, f"{len(run_ids)} runs {status}")

    def events(self, run_id, kind):
        """Its records of that type."""
        return [event for event in self.objects("history", run_id) if event["type"] == kind]

    def wait_until_did(self, run_id, line):
        self.wait_for(lambda: line in self.did(run_id), f"'{line}' of {run_id}")


def passes(scenario):
    begun = time.monotonic()
    try:
        scenario()
        print(f"ok     {scenario.__name__} {time.monotonic() - begun:.1f} s: {scenario.__doc__}", flush=True)
        return True
    except Exception as error:  # noqa: BLE001 the others are to end first
        if not isinstance(error, Failed):
            traceback.print_exc()
        print(f"FAILED {scenario.__name__}: {error}", file=sys.stderr, flush=True)
        return False


AT_ONCE = 5  # each is a handful of processes


def main(*scenarios):
    """All, several at once, or those that are named."""
    wanted = sys.argv[1:]
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        passed = list(pool.map(passes, [each for each in scenarios if not wanted or each.__name__ in wanted]))
    sys.exit(not all(passed))


__all__ = ["BIN", "JOURNAL", "Embedded", "check", "main"]
