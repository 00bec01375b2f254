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
from link import Link

BIN = Path(os.environ["BACKSTEP_BIN"])
SOURCE = Path(os.environ["BACKSTEP_SOURCE"])
POLL_S = 0.05
PROGRESS_PARTITIONS = 4  # more than the default, so that what belongs to another one is seen
THREE = """
name: three
steps:
  - {name: first, weight: 20}
  - {name: second, weight: 60}
  - {name: third, weight: 20}
"""


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
    """A broker with its data, or several that replicate. They are killed at the end: nobody asks for what they still had to write.

    `count` brokers, numbered from 1: of several a topic is on all, and a write is acknowledged once all but one have it. Each of
    `links` is a network of its own between them and whoever is told its address, which can be cut: see link.py."""

    shared = {}

    def __init__(self, properties=(), secured=None, count=1, links=()):
        self.directory = Path(tempfile.mkdtemp(prefix="backstep-test-broker-"))
        self.links = {}
        self.nodes = [self.directory]
        try:
            if count == 1 and not links:
                self.address = kafka.start(self.directory, properties, secured=secured)
            else:
                self.links = {name: Link(count) for name in links}
                listeners = [[link.listener(name.upper(), number) for name, link in self.links.items()] for number in range(count)]
                self.nodes = [self.directory / str(number) for number in range(1, count + 1)]
                self.address = kafka.start_set(self.directory, count, properties, listeners)
        except BaseException:
            self.end()
            raise

    def kill(self, number=1):
        kafka.kill(self.nodes[number - 1])

    def stop(self, number=1):
        kafka.stop(self.nodes[number - 1])

    def restart(self, number=1):
        kafka.restart(self.nodes[number - 1])

    def is_running(self, number=1):
        return kafka.running_pid(self.nodes[number - 1]) is not None

    def end(self):
        for link in self.links.values():
            link.end()
        for node in self.nodes:
            kafka.kill(node)
        shutil.rmtree(self.directory, ignore_errors=True)

    @classmethod
    def of_all(cls, count, links):
        key = (count, tuple(links))
        if key not in cls.shared:
            cls.shared[key] = cls(count=count, links=links)
            atexit.register(cls.shared[key].end)
        return cls.shared[key]


class Cluster:
    """`brokers` and `links` as of Broker: cluster.broker.kill(2), cluster.link("worker").cut(). Steps find the directory `journal` as $JOURNAL."""

    number = 0

    def __init__(self, broker_properties=(), secured=None, brokers=1, links=()):
        Cluster.number += 1
        self.secured = secured
        self.shares = not (broker_properties or secured)
        self.prefix = f"test{Cluster.number}" if self.shares else "backstep"
        self.directory = Path(tempfile.mkdtemp(prefix="backstep-test-"))
        self.how = {"properties": broker_properties, "secured": secured, "count": brokers, "links": links}
        self.processes = []
        self.count = 0
        self.journal = self.directory / "journal"
        self.journal.mkdir()

    def __enter__(self):
        try:
            self.broker = Broker.of_all(self.how["count"], self.how["links"]) if self.shares else Broker(**self.how)
        except BaseException:
            shutil.rmtree(self.directory, ignore_errors=True)
            raise
        self.brokers = self.broker.address
        os.environ["BACKSTEP_PREFIX"] = self.prefix
        os.environ["JOURNAL"] = str(self.journal)
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

    def link(self, name):
        return self.broker.links[name]

    # ---- programs

    def spawn(self, name, *command, environment=None):
        self.count += 1
        process = Process(f"{self.count}-{name}", command, self.directory, environment or {})
        self.processes.append(process)
        return process

    def reached_by(self, link):
        return self.link(link).address if link else self.brokers

    def serve(self, *options, ready=True, link=None, group=False):
        """It owns by a list, unless the group is what is tested: who is killed is out of a group only when his session is over."""
        owns = () if group or "--own" in options else ("--own", "all")
        if "--progress-partitions" not in options:
            options = (*options, "--progress-partitions", PROGRESS_PARTITIONS)
        process = self.spawn("serve", BIN / "backstep", "serve", "-b", self.reached_by(link), "--log-level", "info", *owns, *options)
        if ready:
            self.wait_for(lambda: "event=ready" in process.said() or not process.is_running(), "a coordinator to be ready")
            if not process.is_running():
                raise Failed(f"the coordinator ended:\n{process.said()}")
        return process

    def worker(self, steps, *options, lease="3s", known=True, link=None):
        name = f"w{self.count + 1}"
        process = self.spawn(name, BIN / "backstep-worker", "-b", self.reached_by(link), "--steps", steps, "--lease", lease, "--log-level",
                             "info", *(() if "--id" in options else ("--id", name)), *options)
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

    def did(self, run_id):
        """The lines of the journal's file of that name; none where a step has only just made it."""
        path = self.journal / run_id
        return path.read_text().splitlines() if path.exists() else []

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
