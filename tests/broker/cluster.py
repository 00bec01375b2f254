# SPDX-License-Identifier: Apache-2.0
"""A whole Backstep on a real broker for a test: coordinators, workers and the command line, each a process of its own.

    with Cluster() as cluster:
        cluster.serve()
        cluster.worker(steps)
        run_id = cluster.start(pipeline)
        cluster.wait_for(lambda: cluster.status(run_id)["status"] == "succeeded", "the run to succeed")

Everything lives in one temporary directory and is ended by process id. No wait is a sleep: each is for a thing, with a deadline.
The clusters of one test share its broker, each with a prefix of its own for its topics (BACKSTEP_PREFIX): a broker takes seconds
to start. Who wants a broker with other properties has it to himself.
"""

import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import kafka

BIN = Path(os.environ["BACKSTEP_BIN"])
SOURCE = Path(os.environ["BACKSTEP_SOURCE"])
POLL_S = 0.05


class Failed(Exception):
    """A check that did not hold."""


def check(holds, text):
    print(("ok     " if holds else "FAILED ") + text, flush=True)
    if not holds:
        raise Failed(text)


class Process:
    """A program of ours that runs, with what it says on standard error in a file."""

    def __init__(self, name, command, directory, environment):
        self.name = name
        self.log = directory / f"{name}.log"
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env={**os.environ, **environment}, cwd=directory)
        self.pid = self.process.pid

    def is_running(self):
        return self.process.poll() is None

    def signal(self, number):
        if self.is_running():
            self.process.send_signal(number)

    def kill(self):
        """SIGKILL, as a machine that dies does it."""
        self.signal(signal.SIGKILL)
        self.process.wait()

    def stop(self, timeout_s=40):
        """SIGTERM, and the exit code."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        return self.wait(timeout_s)

    def wait(self, timeout_s=40):
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.name} did not end within {timeout_s} s:\n{self.said()}") from None

    def said(self):
        return self.log.read_text(errors="replace")


class Broker:
    """A broker with its data. It is killed at the end: nobody asks for what it still had to write."""

    shared = None

    def __init__(self, properties=(), secured=None):
        self.directory = Path(tempfile.mkdtemp(prefix="backstep-test-broker-"))
        try:
            self.address = kafka.start(self.directory, properties, secured=secured)
        except BaseException:
            shutil.rmtree(self.directory, ignore_errors=True)
            raise

    def end(self):
        kafka.kill(self.directory)
        shutil.rmtree(self.directory, ignore_errors=True)

    @classmethod
    def of_all(cls):
        if cls.shared is None:
            cls.shared = cls()
            atexit.register(cls.shared.end)
        return cls.shared


class Cluster:
    number = 0

    def __init__(self, broker_properties=(), secured=None):
        Cluster.number += 1
        self.shares = not (broker_properties or secured)
        self.prefix = f"test{Cluster.number}" if self.shares else "backstep"
        self.directory = Path(tempfile.mkdtemp(prefix="backstep-test-"))
        self.broker_properties = broker_properties
        self.secured = secured
        self.processes = []
        self.count = 0

    def __enter__(self):
        try:
            self.broker = Broker.of_all() if self.shares else Broker(self.broker_properties, self.secured)
        except BaseException:
            shutil.rmtree(self.directory, ignore_errors=True)
            raise
        self.brokers = self.broker.address
        os.environ["BACKSTEP_PREFIX"] = self.prefix
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None:
            for process in self.processes:
                print(f"---- {process.name}:\n{process.said()[-4000:]}", file=sys.stderr)
        for process in self.processes:
            process.kill()
        if not self.shares:
            self.broker.end()
        shutil.rmtree(self.directory, ignore_errors=True)

    # ---- programs

    def spawn(self, name, *command, environment=None):
        self.count += 1
        process = Process(f"{self.count}-{name}", command, self.directory, environment or {})
        self.processes.append(process)
        return process

    def serve(self, *options, ready=True):
        process = self.spawn("serve", BIN / "backstep", "serve", "-b", self.brokers, "--log-level", "info", *options)
        if ready:
            self.wait_for(lambda: "event=ready" in process.said() or not process.is_running(), "a coordinator to be ready")
            if not process.is_running():
                raise Failed(f"the coordinator ended:\n{process.said()}")
        return process

    def worker(self, steps, *options, lease="3s", known=True):
        name = f"w{self.count + 1}"
        process = self.spawn(name, BIN / "backstep-worker", "-b", self.brokers, "--steps", steps, "--lease", lease, "--log-level", "info",
                             *(() if "--id" in options else ("--id", name)), *options)
        process.id = options[options.index("--id") + 1] if "--id" in options else name
        if known:
            self.wait_for(lambda: process.id in [worker["worker"] for worker in self.workers()], f"worker {process.id} to be known")
        return process

    def cli(self, *arguments, expect=0, timeout_s=60, input=None):
        """One command to its end: what it printed. Any other exit code than `expect` (None: any) fails."""
        command, *rest = arguments
        done = subprocess.run([str(BIN / "backstep"), command, "-b", self.brokers, *map(str, rest)], capture_output=True, text=True,
                              timeout=timeout_s, cwd=self.directory, stdin=subprocess.DEVNULL if input is None else None, input=input)
        if expect is not None and done.returncode != expect:
            raise Failed(f"backstep {' '.join(map(str, arguments))}: exit {done.returncode}, expected {expect}\n{done.stdout}{done.stderr}")
        done.lines = done.stdout.splitlines()
        return done

    def topic(self, name):
        return f"{self.prefix}.{name}"

    def start(self, pipeline, *options):
        return self.cli("start", pipeline, *options).stdout.strip()

    def status(self, run_id):
        return json.loads(self.cli("status", run_id, "-o", "json", expect=None).stdout)

    def list(self, *options):
        return [json.loads(line) for line in self.cli("list", "-o", "json", *options).lines]

    def workers(self):
        return [json.loads(line) for line in self.cli("workers", "-o", "json").lines]

    def records(self):
        """Every record of the progress topic: partition, offset, timestamp, key, headers."""
        lines = []
        for partition in range(4):
            done = subprocess.run(["kcat", "-C", "-q", "-e", "-b", self.brokers, "-t", self.topic("progress"), "-p", str(partition), "-o",
                                   "beginning", "-f", "%p %o %T %k %h\\n"], capture_output=True, text=True, timeout=60, check=True)
            lines += done.stdout.splitlines()
        return lines

    # ---- files

    def steps(self, name="steps", **programs):
        """A directory of shell steps: name=script."""
        directory = self.directory / name
        directory.mkdir(exist_ok=True)
        for step, script in programs.items():
            path = directory / step
            path.write_text("#!/bin/sh\n" + script)
            path.chmod(0o755)
        return directory

    def pipeline(self, text, name="pipeline.yaml"):
        path = self.directory / name
        path.write_text(text)
        return path

    def wait_for(self, is_so, what, timeout_s=60):
        deadline = time.monotonic() + timeout_s
        while True:
            answer = is_so()
            if answer:
                return answer
            if time.monotonic() > deadline:
                raise Failed(f"waited {timeout_s} s for {what}")
            time.sleep(POLL_S)


def main(*scenarios):
    """Run each scenario (a function of no arguments); its docstring is what it shows."""
    wanted = sys.argv[1:]
    for scenario in scenarios:
        if wanted and scenario.__name__ not in wanted:
            continue
        print(f"-- {scenario.__doc__}", flush=True)
        try:
            scenario()
        except Failed as failed:
            print(f"FAILED {scenario.__name__}: {failed}", file=sys.stderr)
            sys.exit(1)
