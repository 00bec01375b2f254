# SPDX-License-Identifier: Apache-2.0
"""A broker, a coordinator, and workers of the stock kind that can be killed: for runs over Kafka."""

import json
import os
import signal
import subprocess
import time

from checks import BIN, DEADLINE_S

LEASE = "2s"
ENDED = "succeeded", "rolled_back", "cancelled", "rollback_incomplete"


class Cluster:
    def __init__(self, where, env=None, brokers=None):
        self.where, self.env = where, {**os.environ, **(env or {})}
        self.processes, self.brokers = [], brokers

    def __enter__(self):
        if self.brokers is None:
            address = self.where / "address"
            self.start("backstep", "dev", "--address-file", address)
            self.wait_for(lambda: address.exists() and address.read_text().strip(), "the broker's address")
            self.brokers = address.read_text().strip()
        else:
            self.start("backstep", "serve", "-b", self.brokers)
        return self

    def __exit__(self, *_):
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
        for process in self.processes:
            try:
                process.wait(DEADLINE_S)
            finally:
                process.kill()

    def start(self, program, *arguments):
        log = (self.where / f"{os.path.basename(program)}.log").open("ab")
        process = subprocess.Popen([BIN / program, *map(str, arguments)], stdout=log, stderr=log, env=self.env)
        log.close()
        self.processes.append(process)
        return process

    def worker(self):
        return self.start("backstep-worker", "-b", self.brokers, "--lease", LEASE, "--log-level", "debug")

    def kill(self, process):
        """The worker, at once. Its guard sees to the rest."""
        process.send_signal(signal.SIGKILL)
        process.wait(DEADLINE_S)

    def backstep(self, *arguments, check=True):
        done = subprocess.run([BIN / "backstep", *map(str, arguments), "-b", self.brokers], capture_output=True, text=True,
                              timeout=DEADLINE_S, env=self.env)
        if check and done.returncode != 0:
            raise AssertionError(f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def begin(self, pipeline, run_id, **params):
        arguments = [part for name, value in params.items() for part in ("-p", f"{name}={value}")]
        self.backstep("start", pipeline, "--id", run_id, *arguments)

    def status(self, run_id):
        return json.loads(self.backstep("status", run_id, "-o", "json").stdout)

    def end_of(self, run_id, within_s=DEADLINE_S):
        self.wait_for(lambda: self.status(run_id)["status"] in ENDED, f"the end of {run_id}", within_s)
        return self.status(run_id)

    def ends_of(self, run_ids):
        """{run: status} of many, when all of them have ended."""
        found = {}

        def all_ended():
            listed = self.backstep("list", "-o", "json", "--limit", len(run_ids)).stdout
            found.update({run["run_id"]: run["status"] for run in map(json.loads, listed.splitlines())})
            return all(found.get(run_id) in ENDED for run_id in run_ids)
        self.wait_for(all_ended, "the end of all runs", pause_s=0.2)
        return found

    def logs(self):
        return "".join(path.read_text(errors="replace") for path in self.where.glob("*.log"))

    def wait_for(self, condition, what, within_s=DEADLINE_S, pause_s=0.02):
        deadline = time.monotonic() + within_s
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"no sign of {what} within {within_s} s\n{self.logs()[-4000:]}")
            time.sleep(pause_s)
