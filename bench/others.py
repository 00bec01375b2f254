#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What one would take instead, measured beside Backstep: the same work, on the same machine, in the same minute.

    bench/others [--dtm PROGRAM] [--write]    a table, and as the last line one JSON object; --write puts both into docs/

A pipeline is three empty steps in order, each on a worker in another process: one at a time, then 64 at once. Beside Backstep: a script on
Kafka that keeps its state in memory, and Celery on a Redis that writes its log to disk once a second; with --dtm also PROGRAM, the server of
DTM, on such a Redis and on its default store. Not for CI; bench/others installs what it needs and calls this, which calls itself for the
processes of the script and of Celery."""

import argparse
import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

STEPS = 3
SECONDS = 3  # of each of them, in each round
ROUNDS = 7  # one at a time the quickest differ by less than their rounds do
SHARED = "shared"  # the prefix of ours whose progress topic several coordinators could share
WARM_SECONDS = 0.5
CHANNEL = "celery-task-meta-"
BEGIN_S = 30  # for a server to begin


def measured(window, seconds, start, ended):
    drive(1, WARM_SECONDS, start, ended)  # a first message makes connections
    return json.dumps(drive(int(window), float(seconds), start, ended))


def drive(window, seconds, start, ended):
    """As bench_client does: `window` pipelines at once, each one that ends replaced by another; what counts is from a quarter of the time on.
    start() → its key; ended() → the keys of those that have."""
    begun, begins, times, counted = time.monotonic(), {}, [], 0
    for _ in range(window):
        at = time.monotonic()
        begins[start()] = at
    while begins:
        for key in ended():
            now = time.monotonic()
            times.append(now - begins.pop(key))
            counted += seconds / 4 <= now - begun < seconds
            if now - begun < seconds:
                begins[start()] = now
    times.sort()
    return {"count": len(times), "p50_us": times[len(times) // 2] * 1e6, "p99_us": times[len(times) * 99 // 100] * 1e6,
            "steps_per_s": counted * STEPS / (seconds * 3 / 4)}


# --- A script on Kafka -----------------------------------------------------------------------------------------------


class Line:
    """A topic to read and one to write, with the settings of bench/floor.c."""

    def __init__(self, brokers, to, source):
        from confluent_kafka import Consumer, Producer, TopicPartition
        both = {"bootstrap.servers": brokers, "socket.nagle.disable": True}
        self.to = to
        self.producer = Producer({**both, "enable.idempotence": True, "acks": "all", "linger.ms": 0})
        self.consumer = Consumer({**both, "group.id": source, "enable.auto.commit": False, "fetch.wait.max.ms": 100})
        here = TopicPartition(source, 0)
        _, here.offset = self.consumer.get_watermark_offsets(here, timeout=30)
        self.consumer.assign([here])

    def send(self, run, step):
        self.producer.produce(self.to, json.dumps({"run": run, "step": step}).encode(), partition=0)
        self.producer.poll(0)

    def receive(self):
        """Wait for one, then drain: to ask for many at once would wait for all of them."""
        first = self.consumer.poll(0.1)
        for message in [] if first is None else [first, *self.consumer.consume(1000, 0)]:
            assert message.error() is None, message.error()
            yield json.loads(message.value())


def make_topics(brokers):
    from confluent_kafka.admin import AdminClient, NewTopic
    admin = AdminClient({"bootstrap.servers": brokers})
    for made in admin.create_topics([NewTopic("script.steps", 1, 1), NewTopic("script.ends", 1, 1)]).values():
        made.result(30)


def script_worker(brokers):
    line = Line(brokers, "script.ends", "script.steps")
    print("ready", flush=True)
    while True:
        for task in line.receive():
            line.send(task["run"], task["step"])  # the step itself does nothing


def script_driver(brokers, window, seconds):
    line, steps_done = Line(brokers, "script.steps", "script.ends"), {}  # of each run: all that is known of it

    def start():
        run = f"{time.monotonic_ns()}-{len(steps_done)}"
        steps_done[run] = 0
        line.send(run, 0)
        return run

    def ended():
        for end in line.receive():
            steps_done[end["run"]] += 1
            if steps_done[end["run"]] == STEPS:
                yield end["run"]
            else:
                line.send(end["run"], steps_done[end["run"]])

    print(measured(window, seconds, start, ended))
    line.producer.flush(30)


# --- Celery ----------------------------------------------------------------------------------------------------------


def nothing():
    """A step for Celery, which takes no lambda."""


def celery_app(url, **settings):
    from celery import Celery
    app = Celery("others", broker=url, **settings)
    return app, app.task(name="nothing")(nothing)


def celery_worker(url):
    app, _ = celery_app(url, backend=url)
    app.worker_main(["worker", "--loglevel", "WARNING", "--concurrency", "2"])


def celery_driver(url, window, seconds):
    """Hears of ends as get() does, but of all of them on one connection; so what it sends with has no backend, which would listen too."""
    import redis
    from celery import chain
    _, step = celery_app(url)
    heard = redis.Redis.from_url(url).pubsub()
    heard.psubscribe(CHANNEL + "*")
    last_steps = set()

    def start():
        key = chain(*[step.si() for _ in range(STEPS)]).apply_async().id
        last_steps.add(key)
        return key

    def ended():
        message = heard.get_message(timeout=1)
        key = message["channel"].decode().removeprefix(CHANNEL) if message else None
        return [key] if key in last_steps else []

    print(measured(window, seconds, start, ended))


# --- DTM -------------------------------------------------------------------------------------------------------------


class Dtm:
    """Its server, with a store of its own, asked for sagas of which each action is an answer of bench_dtm's; see bench/dtm.c."""

    def __init__(self, bench, program, port_of, store):
        from measure import BIN
        self.bin, name = BIN / "bench_dtm", f"dtm-{store['Driver']}"
        home = bench.directory / name
        home.mkdir()
        http, grpc, json_rpc = port_of(), port_of(), port_of()
        settings = {"HttpPort": http, "GrpcPort": grpc, "JsonRpcPort": json_rpc, "LogLevel": "error"}
        (home / "conf.yml").write_text("Store:\n" + "".join(f"  {key}: {value}\n" for key, value in store.items()) +
                                       "".join(f"{key}: {value}\n" for key, value in settings.items()))
        actions = bench.spawn(self.bin, "actions")
        self.action = f"http://127.0.0.1:{int(said_by(actions))}/nothing"
        self.submit = f"http://127.0.0.1:{http}/api/dtmsvr/submit"
        await_begin(bench.spawn("env", "-C", home, program, "-c", home / "conf.yml"), lambda: answers(http))

    def drive(self, window):
        self.drive_for(window, WARM_SECONDS)
        return self.drive_for(window, SECONDS)

    def drive_for(self, window, seconds):
        done = subprocess.run([self.bin, "drive", self.submit, self.action, str(window), str(seconds)], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL,
                              check=True, timeout=120)
        return json.loads(done.stdout)


def dtm_version(program):
    """None: it does not say one."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run([program, "-v"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, text=True, check=False, timeout=BEGIN_S)
        said = re.search(r"^dtm version: v?(\S+)", done.stdout, re.MULTILINE)
        return said and said[1]


# --- All of them -----------------------------------------------------------------------------------------------------


def await_begin(process, has_begun):
    deadline = time.monotonic() + BEGIN_S
    while not has_begun():
        assert process.poll() is None and time.monotonic() < deadline, f"{process.args[0]} did not begin: {process.log.read_text()}"
        time.sleep(0.05)


def said_by(process):
    """What it says first."""
    await_begin(process, lambda: "\n" in process.log.read_text())
    return process.log.read_text().split("\n")[0]


def answers(port):
    with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


def asked(role, *arguments):
    done = subprocess.run([sys.executable, __file__, role, *map(str, arguments)], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, check=True, timeout=120)
    return json.loads(done.stdout)


def redis_at(bench, port):
    home = bench.directory / "redis"
    home.mkdir()
    server = bench.spawn("redis-server", "--port", port, "--bind", "127.0.0.1", "--dir", home, "--appendonly", "yes", "--appendfsync", "everysec", "--save", "")
    await_begin(server, lambda: answers(port))
    return port


def begin_workers(bench, url):
    """Of the script and of Celery, which has the round that is thrown away to begin."""
    make_topics(bench.brokers)
    worker = bench.spawn(sys.executable, __file__, "script-worker", bench.brokers)
    bench.spawn(sys.executable, __file__, "celery-worker", url)
    assert said_by(worker) == "ready", worker.log.read_text()


def ours(bench, prefix="backstep"):
    def drive(window):
        load = bench.client("three", prefix, window=window, runs=10**6, seconds=SECONDS)
        return {**load["run"], "steps_per_s": load["steps_per_s"]}
    return drive


def contenders_of(bench, stock, program):
    """Name → what measures it with so many in flight. They stay until the bench ends."""
    import kafka  # only here: the processes of the script and of Celery are not to wait for it
    ports = iter(kafka.free_ports(7))
    redis_port = redis_at(bench, next(ports))
    url = f"redis://127.0.0.1:{redis_port}/0"
    begin_workers(bench, url)
    found = {"backstep": ours(bench), "stock": ours(stock), "shared": ours(bench, SHARED),
             "script": lambda window: asked("script-driver", bench.brokers, window, SECONDS)}
    if program is not None:
        stores = {"dtm": {"Driver": "redis", "Host": "127.0.0.1", "Port": redis_port}, "dtm_disk": {"Driver": "boltdb"}}
        found.update({name: Dtm(bench, program, lambda: next(ports), store).drive for name, store in stores.items()})
    found["celery"] = lambda window: asked("celery-driver", url, window, SECONDS)
    return found


def round_of(bench, contenders, name):
    """Each with 1 and with 64 in flight, beside the raw round trips of the same minute."""
    figures = {"floor": {"four_round_trips": bench.floor(name)["four_round_trips"]}}
    for contender, measure in contenders.items():
        figures[contender] = {str(window): measure(window) for window in (1, 64)}
        bench.say(f"  {name}: {contender}: {figures[contender]}")
    return figures


def versions(dtm):
    from importlib import metadata
    redis = subprocess.run(["redis-server", "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout.split("v=")[1].split()[0]
    found = {"celery": metadata.version("celery"), "confluent-kafka": metadata.version("confluent-kafka"), "redis": redis}
    return found if dtm is None else {**found, "dtm": dtm}


def measure(program, version):
    """Of DTM: its server, and the version that says of itself; or None."""
    from measure import SHARED_PARTITIONS, STOCK, Bench, load_now, machine
    from rounds import median_of
    bench, stock = Bench(quick=False), Bench(quick=False, broker=STOCK)
    about = machine(bench)
    with bench, stock:
        for one in (bench, stock):
            one.write_pipelines()
            one.warm_up()
        contenders = contenders_of(bench, stock, program)
        with bench.cluster(SHARED, partitions=SHARED_PARTITIONS):
            round_of(bench, contenders, "warm")
            rounds = [round_of(bench, contenders, f"others{number}") for number in range(ROUNDS)]
    about["load_after"] = load_now()
    return {"machine": about, "versions": versions(version), "rounds": rounds, **median_of(rounds)}


ROLES = {"script-worker": script_worker, "script-driver": script_driver, "celery-worker": celery_worker, "celery-driver": celery_driver}


def main():
    if len(sys.argv) > 1 and sys.argv[1] in ROLES:
        return ROLES[sys.argv[1]](*sys.argv[2:])
    import others_report
    parser = argparse.ArgumentParser(prog="bench/others")
    parser.add_argument("--dtm", metavar="PROGRAM", type=Path, help="the server of DTM, dtmsvr")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    if options.write and options.dtm is None:
        parser.error("--write needs --dtm PROGRAM: the tables have rows for it")
    program = options.dtm and Path(os.environ.get("BACKSTEP_ASKED_FROM", "."), options.dtm).absolute()
    version = program and dtm_version(program)
    if program is not None and version is None:
        parser.error(f"--dtm {program}: expected the server of DTM, a program that says its version when it is called with -v")
    figures = measure(program, version)
    print(others_report.table(figures))
    if options.write:
        others_report.write_docs(figures)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
