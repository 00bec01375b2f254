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
from rounds import median_of  # noqa: E402

BIN = Path(os.environ["BACKSTEP_BIN"])
# How a broker is set up: Kafka's properties, and Java's options, for which KAFKA_JVM_OPTIONS may have others.
AS_TESTED = ((), None)  # by the tests: quick to start
STOCK = ((), "-server -Xms1G -Xmx1G -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:InitiatingHeapOccupancyPercent=35 "
             "-XX:+ExplicitGCInvokesConcurrent -XX:MaxInlineLevel=15")  # by Kafka's own scripts
FITTED = (("num.network.threads=1", "num.io.threads=1"), "-server -Xms1G -Xmx1G -XX:+UseSerialGC -XX:MaxInlineLevel=15")  # OPERATIONS.md, Sizing
JVM_OPTIONS_ASKED = os.environ.get("KAFKA_JVM_OPTIONS")
ROUNDS = 3
WARM_ROUNDS_MAX = 3  # of half a minute: a compiler that is busy after them is so for another reason
WARM_SHARE = 0.03  # of a core: what its compiler takes of a broker that has seen it all before
WINDOWS = {1: 3, 64: 3, 1024: 3, 10000: 5}  # runs in flight → seconds
PARTITIONS = 1  # as by default
SHARED_PARTITIONS = 4  # where several coordinators share them
CLIENT_S = 900
PROGRAM = "uses: 'true', queue: programs, rollback: none"
FINISHED = 10**6
UNFINISHED = (10**4, 10**5, 10**6)
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
BATCH_HEAD = struct.Struct(">qi")  # of a record batch in a segment: base offset, bytes that follow
BATCH_COUNT_AT = 57  # where it says how many records it holds
MANY = 10**7


class Bench:
    def __init__(self, quick, broker=FITTED):
        self.quick = quick
        self.properties, self.jvm_options = AS_TESTED if quick else broker
        self.directory = Path(tempfile.mkdtemp(prefix="backstep-bench-"))
        self.processes = []
        self.figures = {}

    def __enter__(self):
        try:
            if self.jvm_options is not None:
                os.environ["KAFKA_JVM_OPTIONS"] = JVM_OPTIONS_ASKED or self.jvm_options
            self.brokers = kafka.start(self.directory / "broker", self.properties)
            self.broker_pid = kafka.running_pid(self.directory / "broker")
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

    def end_all(self, processes):
        """Together: two hundred one after another take their time."""
        processes = list(processes)
        for process in processes:
            if process.poll() is None:
                process.terminate()
        for process in processes:
            self.end(process)

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

    def coordinator(self, prefix="backstep", *more):
        return self.spawn(BIN / "backstep", "serve", "-b", self.brokers, "--prefix", prefix, "--own", "all", *more)

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
    def cluster(self, prefix, workers=1, partitions=PARTITIONS, coordinators=1):
        """A prefix of its own; several coordinators share the partitions by a fixed list."""
        self.topics(prefix, partitions)
        each = partitions // coordinators
        owned = [("--own", f"{i * each}-{i * each + each - 1}") for i in range(coordinators)] if coordinators > 1 else [()]
        mine = [*(self.coordinator(prefix, *own) for own in owned), *(self.worker(f"w{i}", prefix) for i in range(workers))]
        try:
            self.client("three", prefix, runs=1)
            self.await_workers(prefix, workers)
            yield mine
        finally:
            self.end_all(reversed(mine))

    def await_workers(self, prefix, count):
        """Until so many are there: what a worker costs when it begins is another question."""
        deadline, there = time.monotonic() + CLIENT_S, 0
        while there < count:
            assert time.monotonic() < deadline, f"only {there} of {count} workers came"
            said = subprocess.run([str(BIN / "backstep"), "workers", "-b", self.brokers, "--prefix", prefix, "-o", "json"],
                                  stdout=subprocess.PIPE, check=True)
            there = len(said.stdout.splitlines())

    # ---- pipelines

    def write_pipelines(self):
        self.pipelines = {}
        self.pipeline("three", ["uses: nothing"] * 3)
        self.pipeline("one", ["uses: nothing, queue: fresh"])
        self.pipeline("undo", ["uses: nothing", "uses: nothing", "uses: fail"])
        self.pipeline("hold", ["uses: hold"])
        self.pipeline("program", [PROGRAM] * 3)
        self.pipeline("programs", [PROGRAM + f", each: '[range({self.program_count()})]'"])
        self.pipeline("parked", ["uses: nothing, queue: nobody", *["uses: nothing"] * 2])

    def pipeline(self, name, steps):
        path = self.directory / f"{name}.yaml"
        path.write_text(f"name: {name}\nsteps:\n" + "".join(f"  - {{name: s{i}, {step}}}\n" for i, step in enumerate(steps)))
        self.pipelines[name] = path
        return name

    # ---- what is measured

    def measure(self):
        self.write_pipelines()
        steps = [self.warm_up, self.rounds, self.undoing, self.first_task, self.programs, self.idle, self.embedded, self.readers, self.finished,
                 self.unfinished]
        first = time.monotonic()
        for step in steps + ([] if self.quick else [self.curves]):
            begun = time.monotonic()
            self.say(f"{step.__doc__.rstrip(chr(46))} ...")
            step()
            self.say(f"  {time.monotonic() - begun:.0f} s, {time.monotonic() - first:.0f} s in all")
        return self.figures

    @staticmethod
    def say(text):
        print(f"bench: {text}", file=sys.stderr, flush=True)

    def warm_up(self):
        """The broker, with what is measured then, until its compiler has done."""
        self.topics("backstep")
        self.coordinator_process, self.worker_process = self.coordinator(), self.worker("w")
        self.client("three", runs=20)
        for number in range(0 if self.quick else WARM_ROUNDS_MAX):
            if self.round(f"warm{number}")["broker_compiler_share"] < WARM_SHARE:
                break

    def rounds(self):
        """Rounds of raw librdkafka and of runs of empty steps, one at a time and many at once."""
        self.figures["rounds"] = [self.round(f"round{number}") for number in range(1 if self.quick else ROUNDS)]
        self.figures.update(median_of(self.figures["rounds"]))

    def round(self, name):
        """Raw and ours see the same broker in the same minute."""
        before, begun = self.compiler_s(), time.monotonic()
        figures = {"floor": self.floor(name), "in_flight": {str(window): self.load(window) for window in ((1, 16) if self.quick else WINDOWS)}}
        figures["broker_compiler_share"] = max(0, self.compiler_s() - before) / (time.monotonic() - begun)
        self.say(f"  {name}: " + " · ".join(f"{window}: {load['steps_per_s']:,.0f}" for window, load in figures["in_flight"].items()) +
                 f"; the broker's compiler took {figures['broker_compiler_share'] * 100:.0f} % of a core")
        return figures

    def floor(self, name):
        done = subprocess.run([BIN / "bench_floor", self.brokers, f"floor.{name}", str(PARTITIONS), "0.1" if self.quick else "1.5"],
                              stdout=subprocess.PIPE, check=True, timeout=CLIENT_S)
        return json.loads(done.stdout)

    def undoing(self):
        """Rollbacks and cancels."""
        self.figures["rollback"] = self.client("undo", runs=5 if self.quick else 200)
        self.figures["cancel"] = self.client("hold", runs=2 if self.quick else 30, cancel=1)

    def load(self, window):
        limits = {"runs": 2 * window + 10} if self.quick else {"runs": MANY // 10, "seconds": WINDOWS[window]}
        before = self.cpu_s(), logs_of(self.directory / "broker/data", "backstep.")
        figure = self.client("three", window=window, **limits)
        after = self.cpu_s(), logs_of(self.directory / "broker/data", "backstep.")
        steps = figure["steps"]
        for program in before[0]:
            figure[f"{program}_cpu_s_per_1000_steps"] = (after[0][program] - before[0][program]) * 1000 / steps
        figure["client_cpu_s_per_1000_steps"] = figure["cpu_s"] * 1000 / steps
        for unit in ("records", "batches", "bytes"):
            figure[f"{unit}_per_step"] = sum(after[1][topic][unit] - before[1].get(topic, EMPTY)[unit] for topic in after[1]) / steps
        kinds = figure["records"]
        beside = sum(kinds.get(kind, 0) for kind in ("Start", "Answered", "RunProgressed", "RunFinished"))
        figure["records_per_step_beside_the_runs_own"] = figure["records_per_step"] - beside / steps
        return figure

    def cpu_s(self):
        return {"coordinator": cpu_s(self.coordinator_process.pid), "worker": cpu_s(self.worker_process.pid), "broker": cpu_s(self.broker_pid)}

    def compiler_s(self):
        """Processor time of the broker's compilers, as long as they live."""
        return sum(cpu_s(f"{self.broker_pid}/task/{task.name}") for task in Path(f"/proc/{self.broker_pid}/task").iterdir()
                   if "CompilerThre" in (task / "comm").read_text())

    def first_task(self):
        """From the fork of a worker to the end of its first step, which waited for it."""
        times = [self.client("one", worker=self.worker_command(f"fresh{i}", queue="fresh"))["from_spawn_ms"]
                 for i in range(1 if self.quick else 7)]
        self.figures["first_task_ms"] = statistics.median(times)

    def program_count(self):
        return 24 if self.quick else 3000

    def programs(self):
        """fork + exec of `true`, as steps, and by xargs with as many at once."""
        count = self.program_count()
        steps = self.directory / "programs"
        steps.mkdir()
        shutil.copy("/bin/true", steps / "true")
        worker = self.spawn(BIN / "backstep-worker", "-b", self.brokers, "--queue", "programs", "--steps", steps, "--concurrency", "2", "--id", "p")
        self.client("program", runs=1)
        xargs_s, rounds = [], 1 if self.quick else 3  # beside each other in time, and the median: what else runs does not choose
        lists, runs = [], []
        for _ in range(rounds):
            begun = time.monotonic()
            subprocess.run(["xargs", "-P", "2", "-n", "1", str(steps / "true")], input="x\n" * count, text=True, check=True)
            xargs_s.append(time.monotonic() - begun)
            lists.append(self.client("programs")["run"]["p50_us"] / 1e6)
            runs.append(self.client("program", runs=count // 3, window=64)["steps_per_s"])
        self.end(worker)
        self.figures["programs"] = {"steps_per_s": statistics.median(runs), "list_steps_per_s": count / statistics.median(lists),
                                    "xargs_per_s": count / statistics.median(xargs_s), "steps_a_run": 3}

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

    def finished(self):
        """`status` of the first of a million finished runs, and `list` beside them."""
        count, prefix = 200 if self.quick else FINISHED, "finished"
        self.topics(prefix)
        done = subprocess.run([str(part) for part in (BIN / "bench_fill", self.brokers, prefix, count, "finished")], stdout=subprocess.PIPE,
                              timeout=CLIENT_S, check=True)
        of = ["-b", self.brokers, "--prefix", prefix]
        self.figures["finished"] = {
            "runs": count,
            "status_s": seconds_of([BIN / "backstep", "status", *of, json.loads(done.stdout)["first"]]),
            "list_s": seconds_of([BIN / "backstep", "list", *of, "--limit", "20"]),
            "bare_read_s": self.bare_read_s(prefix),
        }

    def bare_read_s(self, prefix):
        return seconds_of(["kcat", "-C", "-q", "-e", "-b", self.brokers, "-t", f"{prefix}.progress", "-o", "beginning", "-f", ""])

    def unfinished(self):
        """Memory of runs that wait, and how long a coordinator needs to come back to them after SIGKILL."""
        self.figures["unfinished"] = {}
        for count in [200] if self.quick else UNFINISHED:
            self.figures["unfinished"][str(count)] = figure = self.park(count, f"park{count}")
            self.say(f"  {count:,} runs: {figure}")

    def park(self, count, prefix):
        self.topics(prefix)
        coordinator, worker = self.coordinator(prefix), self.worker("w", prefix)
        self.client("three", prefix, runs=1)
        before = memory_bytes(coordinator.pid)
        self.client("parked", prefix, runs=count, window=1000, park=1)
        grown = memory_bytes(coordinator.pid) - before
        self.end(coordinator, kill=True)
        bare_s = self.bare_read_s(prefix)
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
        self.curve("steps a run", (3, 10, 30, 100, 300, 1000), self.with_steps)
        self.curve("bytes a result", (100, 1000, 8000, 64000), self.with_bytes)
        self.curve("workers", (1, 4, 16, 64, 200), self.with_workers)
        self.curve("coordinators", (1, 2, 4), self.with_coordinators)
        self.curve("progress partitions", (1, 2, 4, 8), self.with_partitions)

    def curve(self, name, sizes, measure):
        self.figures["curves"][name] = {str(size): measure(size) for size in sizes}
        self.say(f"  {name}: " + " · ".join(f"{size}: {value:,.0f}" for size, value in self.figures["curves"][name].items()))

    def rate(self, pipeline, prefix):
        """Steps that were done, whether their runs have ended or not: one of 1,000 steps takes its time."""
        return self.client(pipeline, prefix, runs=MANY // 10, window=64, seconds=3, leave=1)["done_per_s"]

    def with_steps(self, count):
        with self.cluster(f"steps{count}"):
            return self.rate(self.pipeline(f"steps{count}", ["uses: nothing"] * count), f"steps{count}")

    def with_bytes(self, count):
        with self.cluster(f"bytes{count}"):
            return self.rate(self.pipeline(f"bytes{count}", [f"uses: fill, with: {{bytes: {count}}}"] * 3), f"bytes{count}")

    def with_workers(self, count):
        with self.cluster(f"workers{count}", workers=count):
            return self.rate("three", f"workers{count}")

    def with_coordinators(self, count):
        with self.cluster(f"coordinators{count}", partitions=SHARED_PARTITIONS, coordinators=count):
            return self.rate("three", f"coordinators{count}")

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
    """Of a process; of one thread: PID/task/THREAD."""
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


def load_now():
    return round(os.getloadavg()[0], 1)


def machine(bench):
    model = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "?")
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "cores": os.cpu_count(), "processor": model, "memory_gb": round(memory_gb), "kernel": os.uname().release, "kafka": kafka.VERSION,
        "broker": " ".join(bench.properties) or "nothing set",
        "jvm_options": JVM_OPTIONS_ASKED or bench.jvm_options or "as the tests start it",
        "load_before": load_now(),
    }


def main():
    parser = argparse.ArgumentParser(prog="bench/run")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    bench = Bench(options.quick)
    about = machine(bench)
    with bench:
        figures = {"machine": about, **bench.measure()}
    about["load_after"] = load_now()
    print(table(figures))
    if options.write:
        write_docs(SOURCE / "docs", figures, chart)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
