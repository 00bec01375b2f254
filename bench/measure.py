#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures Backstep beside raw librdkafka on one real broker, in one run. bench/run calls it; see there.

Everything lives in one temporary directory and is ended by process id. Standard library only."""

import argparse
import contextlib
import datetime
import json
import os
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(SOURCE / "tests/broker"))
import kafka  # noqa: E402
from chart import chart  # noqa: E402
from report import table, write_docs  # noqa: E402

BIN = Path(os.environ["BACKSTEP_BIN"])
PARTITIONS = 4
CLIENT_S = 600
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
BATCH_HEAD = struct.Struct(">qi")  # of a record batch in a segment: base offset, bytes that follow
BATCH_COUNT_AT = 57  # where it says how many records it holds
MANY = 10**7


class Bench:
    def __init__(self, quick, large):
        self.quick, self.large = quick, large
        self.directory = Path(tempfile.mkdtemp(prefix="backstep-bench-"))
        self.processes = []
        self.figures = {}

    def __enter__(self):
        try:
            self.brokers = kafka.start(self.directory / "broker")
        except BaseException:
            shutil.rmtree(self.directory, ignore_errors=True)
            raise
        return self

    def __exit__(self, kind, value, trace):
        for process in list(self.processes):
            self.end(process)
            if kind is not None:
                print(f"---- {process.args[0]}:\n{process.log.read_text(errors='replace')[-4000:]}", file=sys.stderr)
        kafka.stop(self.directory / "broker")
        shutil.rmtree(self.directory, ignore_errors=True)

    # ---- programs

    def spawn(self, *command):
        log = self.directory / f"{len(list(self.directory.glob('*.log')))}.log"
        with open(log, "wb") as out:
            process = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        process.log = log
        self.processes.append(process)
        return process

    def end(self, process, kill=False):
        if process.poll() is None:
            process.kill() if kill else process.terminate()
        with contextlib.suppress(ValueError):
            self.processes.remove(process)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def coordinator(self, prefix="backstep"):
        return self.spawn(BIN / "backstep", "serve", "-b", self.brokers, "--prefix", prefix)

    def worker(self, name, prefix="backstep", queue="default", slots=4):
        return self.spawn(*self.worker_command(name, prefix, queue, slots))

    def worker_command(self, name, prefix="backstep", queue="default", slots=4):
        return [BIN / "bench_worker", "worker", "-b", self.brokers, "--prefix", prefix, "--queue", queue, "--id", name,
                "--concurrency", str(slots), "--log-level", "warn"]

    def topics(self, prefix, partitions=PARTITIONS):
        subprocess.run([BIN / "backstep", "topics", "-b", self.brokers, "--prefix", prefix, "--progress-partitions", str(partitions)],
                       check=True, stdout=subprocess.DEVNULL)

    def client(self, pipeline, prefix="backstep", worker=None, **settings):
        command = [BIN / "bench_client", self.brokers, prefix, self.pipelines[pipeline], *(f"{k}={v}" for k, v in settings.items())]
        done = subprocess.run(list(map(str, command + (["--", *worker] if worker else []))), stdout=subprocess.PIPE, timeout=CLIENT_S,
                              stdin=subprocess.DEVNULL, check=True)
        return json.loads(done.stdout)

    @contextlib.contextmanager
    def cluster(self, prefix, workers=1, partitions=PARTITIONS):
        self.topics(prefix, partitions)
        mine = [self.coordinator(prefix), *(self.worker(f"w{i}", prefix) for i in range(workers))]
        try:
            self.client("three", prefix, runs=1)
            yield mine
        finally:
            for process in reversed(mine):
                self.end(process)

    # ---- pipelines

    def write_pipelines(self):
        self.pipelines = {}
        self.pipeline("three", ["uses: nothing"] * 3)
        self.pipeline("one", ["uses: nothing, queue: fresh"])
        self.pipeline("undo", ["uses: nothing", "uses: nothing", "uses: fail"])
        self.pipeline("hold", ["uses: hold"])
        self.pipeline("program", ["uses: 'true', queue: programs, rollback: none"])
        self.pipeline("parked", ["uses: nothing, queue: nobody", *["uses: nothing"] * 2])

    def pipeline(self, name, steps):
        path = self.directory / f"{name}.yaml"
        path.write_text(f"name: {name}\nsteps:\n" + "".join(f"  - {{name: s{i}, {step}}}\n" for i, step in enumerate(steps)))
        self.pipelines[name] = path
        return name

    # ---- what is measured

    def measure(self):
        self.write_pipelines()
        steps = [self.floor, self.runs, self.first_task, self.programs, self.idle, self.embedded, self.readers, self.unfinished]
        for step in steps + ([] if self.quick else [self.curves]):
            begun = time.monotonic()
            print(f"bench: {step.__name__} ...", end=" ", file=sys.stderr, flush=True)
            step()
            print(f"{time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
        return self.figures

    def floor(self):
        """Raw librdkafka."""
        seconds = "0.1" if self.quick else "3"
        done = subprocess.run([BIN / "bench_floor", self.brokers, str(PARTITIONS), seconds], stdout=subprocess.PIPE, check=True,
                              timeout=CLIENT_S)
        self.figures["floor"] = json.loads(done.stdout)

    def runs(self):
        """Empty steps: one at a time, many at once; rollbacks, cancels."""
        self.topics("backstep")
        self.coordinator_process, self.worker_process = self.coordinator(), self.worker("w")
        self.client("three", runs=1)
        self.client("three", runs=20) if self.quick else self.client("three", runs=MANY // 10, window=256, seconds=3)
        self.figures["in_flight"] = {}
        for window in (1, 16) if self.quick else (1, 64, 1024, 10000):
            self.figures["in_flight"][str(window)] = self.load(window)
        self.figures["rollback"] = self.client("undo", runs=5 if self.quick else 200)
        self.figures["cancel"] = self.client("hold", runs=2 if self.quick else 30, cancel=1)

    def load(self, window):
        limits = {"runs": 2 * window + 10} if self.quick else {"runs": MANY // 10, "seconds": 5}
        before = self.cpu_s(), logs_of(self.directory / "broker/data", "backstep.")
        figure = self.client("three", window=window, **limits)
        after = self.cpu_s(), logs_of(self.directory / "broker/data", "backstep.")
        steps = figure["steps"]
        for program in ("coordinator", "worker"):
            figure[f"{program}_cpu_s_per_1000_steps"] = (after[0][program] - before[0][program]) * 1000 / steps
        for unit in ("records", "batches", "bytes"):
            figure[f"{unit}_per_step"] = sum(after[1][topic][unit] - before[1].get(topic, EMPTY)[unit] for topic in after[1]) / steps
        kinds = figure["records"]
        beside = sum(kinds.get(kind, 0) for kind in ("Start", "Answered", "RunProgressed", "RunFinished"))
        figure["records_per_step_beside_the_runs_own"] = figure["records_per_step"] - beside / steps
        return figure

    def cpu_s(self):
        return {"coordinator": cpu_s(self.coordinator_process.pid), "worker": cpu_s(self.worker_process.pid)}

    def first_task(self):
        """From the fork of a worker to the end of its first step, which waited for it."""
        times = [self.client("one", worker=self.worker_command(f"fresh{i}", queue="fresh"))["from_spawn_ms"]
                 for i in range(1 if self.quick else 7)]
        self.figures["first_task_ms"] = statistics.median(times)

    def programs(self):
        """fork + exec of `true`, as steps, and by xargs with as many at once."""
        count = 20 if self.quick else 2000
        steps = self.directory / "programs"
        steps.mkdir()
        shutil.copy("/bin/true", steps / "true")
        worker = self.spawn(BIN / "backstep-worker", "-b", self.brokers, "--queue", "programs", "--steps", steps, "--concurrency", "2", "--id", "p")
        self.client("program", runs=1)
        begun = time.monotonic()
        subprocess.run(["xargs", "-P", "2", "-n", "1", str(steps / "true")], input="x\n" * count, text=True, check=True)
        xargs_s = time.monotonic() - begun
        figure = self.client("program", runs=count, window=64)
        self.end(worker)
        self.figures["programs"] = {"steps_per_s": figure["steps_per_s"], "xargs_per_s": count / xargs_s}

    def idle(self):
        """What both cost when nothing happens."""
        seconds = 0.2 if self.quick else 5
        before, begun = self.cpu_s(), time.monotonic()
        time.sleep(seconds)  # to idle is what is measured
        after, seconds = self.cpu_s(), time.monotonic() - begun
        self.topics("fresh")
        fresh = self.coordinator("fresh"), self.worker("w", "fresh")
        self.client("three", "fresh", runs=1)
        self.figures["idle"] = {
            "coordinator_percent": (after["coordinator"] - before["coordinator"]) / seconds * 100,
            "worker_percent": (after["worker"] - before["worker"]) / seconds * 100,
            "coordinator_mb": memory_bytes(fresh[0].pid) / 1e6,
            "worker_mb": memory_bytes(fresh[1].pid) / 1e6,
        }
        for process in reversed(fresh):
            self.end(process)

    def embedded(self):
        """`backstep run` of one empty program on the embedded broker, from exec to exit."""
        steps = self.directory / "embedded"
        steps.mkdir()
        shutil.copy("/bin/true", steps / "empty")
        path = self.directory / "embedded.yaml"
        path.write_text("name: embedded\nsteps:\n  - {name: empty, rollback: none}\n")
        command = [BIN / "backstep", "run", path, "--steps", steps]
        self.figures["embedded_run_ms"] = statistics.median(seconds_of(command) for _ in range(1 if self.quick else 9)) * 1000

    def readers(self):
        """`status` and `list` beside all the runs that were made so far."""
        one = [BIN / "backstep", "list", "-b", self.brokers, "--limit", "1", "-o", "json"]
        run_id = json.loads(subprocess.run(one, stdout=subprocess.PIPE, check=True).stdout)["run_id"]
        records = logs_of(self.directory / "broker/data", "backstep.progress")["backstep.progress"]["records"]
        self.figures["readers"] = {
            "records": records,
            "status_s": seconds_of([BIN / "backstep", "status", "-b", self.brokers, run_id]),
            "list_s": seconds_of([BIN / "backstep", "list", "-b", self.brokers, "--limit", "20"]),
        }
        self.end(self.worker_process)
        self.end(self.coordinator_process)

    def unfinished(self):
        """Memory of runs that wait, and how long a coordinator needs to come back to them after SIGKILL."""
        self.figures["unfinished"] = {}
        for count in [200] if self.quick else [10000, 100000] + ([1000000] if self.large else []):
            self.figures["unfinished"][str(count)] = self.park(count, f"park{count}")

    def park(self, count, prefix):
        self.topics(prefix)
        coordinator, worker = self.coordinator(prefix), self.worker("w", prefix)
        self.client("three", prefix, runs=1)
        before = memory_bytes(coordinator.pid)
        self.client("parked", prefix, runs=count, window=1000, park=1)
        grown = memory_bytes(coordinator.pid) - before
        self.end(coordinator, kill=True)
        bare_s = seconds_of(["kcat", "-C", "-q", "-e", "-b", self.brokers, "-t", f"{prefix}.progress", "-o", "beginning", "-f", ""])
        begun = time.monotonic()
        coordinator = self.coordinator(prefix)
        self.client("three", prefix, runs=1)
        recovered_s = time.monotonic() - begun
        self.end(worker)
        self.end(coordinator, kill=True)
        return {"bytes_per_run": grown / count, "recovery_s": recovered_s, "bare_read_s": bare_s}

    def curves(self):
        """How it grows."""
        self.figures["curves"] = {}
        self.curve("steps a run", (3, 10, 30, 100, 300), self.with_steps)
        self.curve("bytes a result", (100, 1000, 8000, 64000), self.with_bytes)
        self.curve("workers", (1, 2, 4, 8, 16), self.with_workers)
        self.curve("progress partitions", (1, 2, 4, 8), self.with_partitions)

    def curve(self, name, sizes, measure):
        self.figures["curves"][name] = {str(size): measure(size) for size in sizes}

    def rate(self, pipeline, prefix):
        return self.client(pipeline, prefix, runs=MANY // 10, window=64, seconds=2)["steps_per_s"]

    def with_steps(self, count):
        with self.cluster(f"steps{count}"):
            return self.rate(self.pipeline(f"steps{count}", ["uses: nothing"] * count), f"steps{count}")

    def with_bytes(self, count):
        with self.cluster(f"bytes{count}"):
            return self.rate(self.pipeline(f"bytes{count}", [f"uses: fill, with: {{bytes: {count}}}"] * 3), f"bytes{count}")

    def with_workers(self, count):
        with self.cluster(f"workers{count}", workers=count):
            return self.rate("three", f"workers{count}")

    def with_partitions(self, count):
        with self.cluster(f"partitions{count}", partitions=count):
            return self.rate("three", f"partitions{count}")


EMPTY = {"records": 0, "batches": 0, "bytes": 0}


def batches_of(segment):
    """The record batches of one segment, each as its producer sent it: its bytes, and how many records it holds."""
    with open(segment, "rb") as file:
        while True:
            head = file.read(BATCH_COUNT_AT + 4)
            if len(head) < BATCH_COUNT_AT + 4:
                return
            base, size = BATCH_HEAD.unpack_from(head)
            records = int.from_bytes(head[BATCH_COUNT_AT:], "big")
            if size <= 0:
                return  # preallocated, and not written yet
            yield BATCH_HEAD.size + size, records
            file.seek(BATCH_HEAD.size + size - len(head), os.SEEK_CUR)


def logs_of(data, prefix):
    """Topic → records, batches and bytes in its log. A produce request of librdkafka holds one batch, so these are the requests too."""
    found = {}
    for segment in Path(data).glob(f"{prefix}*/*.log"):
        topic = found.setdefault(segment.parent.name.rpartition("-")[0], dict(EMPTY))
        for size, records in batches_of(segment):
            topic["batches"] += 1
            topic["records"] += records
            topic["bytes"] += size
    return found


def cpu_s(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def memory_bytes(pid):
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


def seconds_of(command):
    begun = time.monotonic()
    subprocess.run([str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, check=True,
                   timeout=CLIENT_S)
    return time.monotonic() - begun


def machine():
    model = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "?")
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "cores": os.cpu_count(), "processor": model, "memory_gb": round(memory_gb), "kernel": os.uname().release, "kafka": kafka.VERSION,
        "load_before": round(os.getloadavg()[0], 1),
    }


def main():
    parser = argparse.ArgumentParser(prog="bench/run")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--large", action="store_true")
    options = parser.parse_args()
    about = machine()
    with Bench(options.quick, options.large) as bench:
        figures = {"machine": about, **bench.measure()}
    about["load_after"] = round(os.getloadavg()[0], 1)
    print(table(figures))
    if options.write:
        write_docs(SOURCE / "docs", figures, chart)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
