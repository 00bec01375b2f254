#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A Backstep worker in another language: written from docs/PROTOCOL.md and proto/ alone, to prove that they suffice.

    python_worker.py --brokers HOST:PORT --id ID --queue QUEUE --journal DIRECTORY [--lease S] [--slots N] ...

The class Worker is the page's "A whole worker"; the words in its comments are the page's. Handlers run in processes of their own, which
watch the lease themselves: they end with it even while the worker is stuck. At the end of the file are the handlers that the test uses.
"""

import argparse
import json
import multiprocessing
import os
import random
import signal
import sys
import threading
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path

import backstep_pb2 as wire
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

STARTED_S = 0.1
REPORT_S = 0.5
CANCEL_GRACE_S = 5
POLL_S = 0.02
TIMEOUT_S = 10
RECORD_BYTES = 4 << 20
RESULT_BYTES = 64 << 10
ERROR_BYTES = 4 << 10
GONE = (KafkaError._AUTO_OFFSET_RESET, KafkaError._UNKNOWN_PARTITION, KafkaError.UNKNOWN_TOPIC_OR_PART)
NOT_YET = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE, KafkaError.UNKNOWN_TOPIC_OR_PART)
HOUR_OLD = {"cleanup.policy": "delete", "retention.ms": "3600000", "segment.ms": "600000", "message.timestamp.type": "LogAppendTime"}
WIDE = {"max.message.bytes": str(RECORD_BYTES + (64 << 10))}
LETTERS = {"retention.ms": "1209600000", "segment.ms": "201600000"}


def now():
    return time.clock_gettime(time.CLOCK_BOOTTIME)  # goes on while the machine sleeps


# ---------------------------------------------------------------- what a handler sees, in the process that runs it

class Skip(Exception):
    """There is nothing to do, and nothing was done."""


class Permanent(Exception):
    """It failed, and another attempt would fail as well."""


class Stopped(BaseException):
    """The worker was told to stop this task."""


class Context:
    def __init__(self, task, pipe, journal):
        self.task, self.pipe, self.journal = task, pipe, journal
        self.rolls_back = task.ticket.direction == wire.DIRECTION_ROLLBACK
        self.input = json.loads(task.input or b"{}")
        self.params = json.loads(task.params or b"{}")
        self.steps = {each.step: json.loads(each.data or b"null") for each in task.results}
        self.shared = {name: value for values in task.sets for name, value in json.loads(values).items()}
        self.undo = json.loads(task.result.rollback_data or b"null")
        self.set, self.rollback_data = {}, None

    def report(self, current, total):
        self.pipe.send(("progress", (current, total)))


def die_with_the_lease(lease_end):
    while now() < lease_end.value:
        time.sleep(POLL_S)
    os.killpg(0, signal.SIGKILL)


def stop(number, frame):
    raise Stopped


def outcome_of(handler, context):
    try:
        data = handler(context)
        fields = {"data": data, "rollback_data": context.rollback_data, "set": context.set or None}
        fields = {name: json.dumps(value).encode() for name, value in fields.items() if value is not None}
        if sum(map(len, fields.values())) > RESULT_BYTES:
            raise Permanent(f"the result is larger than {RESULT_BYTES} bytes")
        return {"outcome": wire.OUTCOME_OK, **fields}
    except Stopped:
        return {"outcome": wire.OUTCOME_CANCELLED_STARTED}
    except Skip:
        return {"outcome": wire.OUTCOME_SKIPPED}
    except Exception as failure:
        traceback.print_exc()
        text = (str(failure) or type(failure).__name__).encode()[:ERROR_BYTES].decode(errors="ignore")
        return {"outcome": wire.OUTCOME_FAILED, "error": text, "permanent": isinstance(failure, Permanent)}


def run_task(encoded, pipe, lease_end, journal):
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, stop)
    threading.Thread(target=die_with_the_lease, args=(lease_end,), daemon=True).start()
    task = wire.Task.FromString(encoded)
    fields = outcome_of(HANDLERS[task.handler], Context(task, pipe, journal))
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it has ended: too late to be stopped
    pipe.send(("done", fields))


# ---------------------------------------------------------------- the worker

@dataclass
class Held:
    """A task from its arrival until its Done."""

    task: wire.Task
    where: int  # the progress partition to answer on
    state: str = "queued"  # confirming, running
    process: object = None
    pipe: object = None
    begun: float = 0
    said_started: bool = False
    stop_by: float = 0  # not 0: it was told to stop
    report: tuple = None  # not said yet
    reported: float = 0
    fields: dict = None  # of its Done


@dataclass
class Event:
    """A record on the progress topic that the broker has not acknowledged."""

    sent: float
    where: int
    key: str
    record: object
    acknowledged: object = field(default=None)


def key_of(run_id, ticket):
    return run_id, ticket.step, ticket.instance, ticket.direction


class Worker:
    def __init__(self, options, handlers):
        self.options, self.handlers, self.lease = options, handlers, options.lease
        self.topic = f"{options.prefix}.tasks.{options.queue}"
        self.processes = multiprocessing.get_context("forkserver")  # begun before any Kafka client has threads
        self.events = {}
        self.broken = True
        self.draining = False

    # ---- what it says

    def open_producer(self):
        """A delivery that failed: nobody knows what was published. A new producer says again how tasks ended."""
        self.producer = Producer({"bootstrap.servers": self.options.brokers, "acks": "all", "enable.idempotence": True, "linger.ms": 0,
                                  "message.timeout.ms": 0, "message.max.bytes": RECORD_BYTES + (64 << 10)})
        self.broken = False
        unsaid, self.events = self.events.values(), {}
        for event in unsaid:
            if event.record.WhichOneof("body") == "done":
                self.say(event.where, event.key, event.record)

    def produce(self, topic, partition, key, record, type, on_acknowledged):
        def on_delivery(error, message):
            if error is not None:
                self.broken = True
            else:
                on_acknowledged()
        self.producer.produce(f"{self.options.prefix}.{topic}", record.SerializeToString(), key, partition, on_delivery,
                              headers=[("type", type.encode())])

    def say(self, where, key, record, acknowledged=None):
        """On the progress topic. All by one idempotent producer, so that a Done stands before any later Holding."""
        number = object()
        self.events[number] = event = Event(now(), where, key, record, acknowledged)

        def on_acknowledged():
            self.events.pop(number, None)
            if event.acknowledged is not None and not self.is_over():
                event.acknowledged()
        body = record.WhichOneof("body")
        self.produce("progress", where, key, record, body.capitalize(), on_acknowledged)

    def say_about(self, held, acknowledged=None, **body):
        self.say(held.where, held.task.run_id, wire.ProgressRecord(**body), acknowledged)

    def say_presence(self, kind):
        self.sequence += 1
        sent = self.said_presence = now()
        self.said_draining = self.draining
        incarnation = self.incarnation
        presence = wire.Presence(worker=self.options.id, incarnation=incarnation, queue=self.options.queue, partition=self.partition,
                                 handlers=self.options.announce or list(self.handlers), slots=self.options.slots,
                                 window=0 if self.draining else self.options.window or self.options.slots,
                                 lease_ms=int(self.lease * 1000), load=len(self.held), sequence=self.sequence, draining=self.draining,
                                 version="python", host=os.uname().nodename, process_id=os.getpid())

        def on_acknowledged():
            if self.incarnation == incarnation and not self.is_over():
                self.lease_end.value = max(self.lease_end.value, sent + self.lease)
        self.produce("workers", 0, self.options.id, wire.WorkerRecord(**{kind: presence}), kind.capitalize(), on_acknowledged)

    # ---- an incarnation

    def take_partition(self):
        """Its position stands before Hello: no task is sent earlier."""
        self.ensure(f"{self.options.prefix}.workers", 1, HOUR_OLD)
        self.ensure(f"{self.options.prefix}.dead-letter", 1, {**LETTERS, **WIDE})
        count = self.ensure(self.topic, 8, {**HOUR_OLD, **WIDE})
        self.partition = random.randrange(count)
        self.consumer = Consumer({"bootstrap.servers": self.options.brokers, "group.id": self.options.id, "enable.auto.commit": False,
                                  "enable.auto.offset.store": False, "auto.offset.reset": "error", "allow.auto.create.topics": False,
                                  "fetch.wait.max.ms": 100, "fetch.message.max.bytes": RECORD_BYTES + (64 << 10)})
        self.consumer.assign([TopicPartition(self.topic, self.partition, self.end_of_partition())])

    def ensure(self, topic, partitions, settings):
        """Make it where it is missing; how many partitions it has."""
        admin = AdminClient({"bootstrap.servers": self.options.brokers})
        topics = admin.list_topics(timeout=TIMEOUT_S).topics
        if topic not in topics:
            try:
                admin.create_topics([NewTopic(topic, num_partitions=partitions, config=settings)])[topic].result(TIMEOUT_S)
            except KafkaException as failure:
                if failure.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise
            while topic not in topics or not topics[topic].partitions:
                topics = admin.list_topics(timeout=TIMEOUT_S).topics
        return len(topics[topic].partitions)

    def end_of_partition(self):
        """A topic just made has no leader for a moment."""
        give_up = now() + TIMEOUT_S
        while True:
            try:
                return self.consumer.get_watermark_offsets(TopicPartition(self.topic, self.partition), timeout=TIMEOUT_S)[1]
            except KafkaException as failure:
                if failure.args[0].code() not in NOT_YET or now() > give_up:
                    raise
                time.sleep(POLL_S)

    def begin(self):
        self.incarnation = os.urandom(16)
        self.over = False
        self.epochs, self.held, self.sequence = {}, {}, 0
        if self.broken:
            self.open_producer()
        self.take_partition()
        self.lease_end = self.processes.Value("d", now() + self.lease, lock=False)
        self.say_presence("hello")

    def is_over(self):
        """The lease is a promise to stop; once it is over, nothing brings it back."""
        oldest = min((event.sent for event in self.events.values()), default=now())
        self.over = self.over or self.broken or now() >= self.lease_end.value or now() - oldest >= self.lease
        return self.over

    def end(self):
        """What had ended is still delivered; everything else ends here, unsaid."""
        self.events = {number: event for number, event in self.events.items() if event.record.WhichOneof("body") == "done"}
        for held in list(self.held.values()):
            if held.process is not None:
                held.process.kill()
                held.process.join()
                self.read_pipe(held)
                if held.fields is not None:
                    self.say_done(held)
        for event in self.events.values():
            event.sent = now()  # the next incarnation has a lease of its own for them
        self.consumer.close()

    def live(self):
        self.begin()
        print(f"event=incarnation id={self.incarnation.hex()}", file=sys.stderr, flush=True)
        while not self.is_over():
            if now() - self.said_presence >= self.lease / 4 or self.draining != self.said_draining:
                self.say_presence("heartbeat")
            for message in self.consumer.consume(100, POLL_S):
                self.on_message(message)
            self.producer.poll(0)
            if not self.is_over():
                self.look_at_held()
            if self.draining and self.drain():
                return False
        self.end()
        return True

    def drain(self):
        """Queued tasks are handed back, running ones may finish; then Bye."""
        for held in [each for each in self.held.values() if each.state == "queued"]:
            self.hand_back(held)
        if self.held or self.events:
            return False
        bye = wire.WorkerRecord(bye=wire.Bye(worker=self.options.id, incarnation=self.incarnation))
        self.produce("workers", 0, self.options.id, bye, "Bye", lambda: None)
        return self.producer.flush(TIMEOUT_S) == 0

    # ---- what it owes: of each record the first row that fits decides

    def on_message(self, message):
        if message.error() is not None:
            self.over = self.over or message.error().fatal() or message.error().code() in GONE
            return
        try:
            record = wire.TaskRecord.FromString(message.value() or b"")
            body = record.WhichOneof("body")
            if len(record.incarnation) != 16 or body is None:
                raise ValueError("no incarnation, or nothing said")
        except Exception as failure:
            self.bury(message, f"no TaskRecord: {failure}")
            return
        if record.incarnation != self.incarnation:
            return
        if body == "welcome":
            self.on_welcome(record.progress_partition, record.epoch)
        elif self.epochs.get(record.progress_partition) != record.epoch:
            return
        elif body == "task":
            self.on_task(Held(record.task, record.progress_partition))
        else:
            self.on_cancel(record.cancel)

    def on_welcome(self, where, epoch):
        if epoch < self.epochs.get(where, 0):
            return
        self.epochs[where] = epoch
        tickets = [wire.HeldTicket(run_id=held.task.run_id, ticket=held.task.ticket) for held in self.held.values() if held.where == where]
        self.say(where, None, wire.ProgressRecord(holding=wire.Holding(worker=self.options.id, incarnation=self.incarnation, epoch=epoch,
                                                                       tickets=tickets)))

    def on_task(self, held):
        key = key_of(held.task.run_id, held.task.ticket)
        if self.is_over():
            return  # and begins a new incarnation
        if held.task.handler not in self.handlers:
            self.refuse(held, wire.REFUSED_REASON_UNKNOWN)
        elif self.draining or len(self.held) >= self.options.slots:
            self.refuse(held, wire.REFUSED_REASON_BUSY)
        elif key not in self.held:
            self.held[key] = held

    def refuse(self, held, reason):
        self.say_about(held, refused=wire.Refused(ticket=held.task.ticket, reason=reason, worker=self.options.id))

    def on_cancel(self, cancel):
        held = self.held.get(key_of(cancel.run_id, cancel.ticket))
        if held is None or held.task.ticket.ticket != cancel.ticket.ticket:
            return
        if held.state != "running":
            self.hand_back(held)
        elif not held.stop_by:
            held.stop_by = now() + CANCEL_GRACE_S
            held.process.terminate()

    def hand_back(self, held):
        held.fields = {"outcome": wire.OUTCOME_CANCELLED_NOT_STARTED}
        self.say_done(held)

    def bury(self, message, why):
        headers = {"topic": message.topic(), "partition": message.partition(), "offset": message.offset(), "message": why}
        self.producer.produce(f"{self.options.prefix}.dead-letter", message.value(), message.key(),
                              headers=[(f"__dlq.errors.{name}", str(value).encode()) for name, value in headers.items()])

    # ---- what it holds

    def look_at_held(self):
        for held in list(self.held.values()):
            if held.state == "queued":
                self.take_up(held)
            elif held.state == "running":
                self.look_at(held)

    def take_up(self, held):
        """A task waits only for a slot, and with `confirm` for the acknowledgement of its Started."""
        if sum(each.state != "queued" for each in self.held.values()) >= self.options.slots:
            return
        if held.task.confirm:
            held.state, held.said_started = "confirming", True
            self.say_about(held, lambda: self.run(held), started=wire.Started(ticket=held.task.ticket, worker=self.options.id))
        else:
            self.run(held)

    def run(self, held):
        if self.held.get(key_of(held.task.run_id, held.task.ticket)) is not held:
            return  # handed back meanwhile
        held.pipe, theirs = self.processes.Pipe(duplex=False)
        held.process = self.processes.Process(target=run_task, args=(held.task.SerializeToString(), theirs, self.lease_end, self.options.journal))
        held.state, held.begun = "running", now()
        held.process.start()
        theirs.close()

    def read_pipe(self, held):
        try:
            while held.pipe.poll():
                kind, value = held.pipe.recv()
                if kind == "progress":
                    held.report = value
                else:
                    held.fields = value
        except (EOFError, OSError):
            pass

    def look_at(self, held):
        has_ended = not held.process.is_alive()  # asked first: what it said is all in the pipe then
        self.read_pipe(held)
        if held.stop_by and now() >= held.stop_by:
            held.process.kill()
        if held.fields is None and has_ended:
            if self.is_over():
                return  # its watch over the lease has ended it
            held.fields = {"outcome": wire.OUTCOME_CANCELLED_STARTED if held.stop_by else wire.OUTCOME_FAILED,
                           "error": f"the process ended with {held.process.exitcode}"}
        if not held.said_started and held.fields is None and now() - held.begun >= STARTED_S:
            held.said_started = True
            self.say_about(held, started=wire.Started(ticket=held.task.ticket, worker=self.options.id, elapsed_ms=self.elapsed_ms(held)))
        if held.report is not None and (held.fields is not None or now() - held.reported >= REPORT_S):
            current, total = held.report
            held.report, held.reported = None, now()
            self.say_about(held, progressed=wire.Progressed(ticket=held.task.ticket, current=current, total=total))
        if held.fields is not None:
            held.process.join()
            held.fields["elapsed_ms"] = self.elapsed_ms(held)
            self.say_done(held)

    def elapsed_ms(self, held):
        return int((now() - held.begun) * 1000)

    def say_done(self, held):
        """The last thing that is said about a ticket."""
        self.held.pop(key_of(held.task.run_id, held.task.ticket))
        self.say_about(held, done=wire.Done(ticket=held.task.ticket, worker=self.options.id, **held.fields))


# ---------------------------------------------------------------- what the test asks of it

def note(context):
    with open(context.journal / context.task.run_id, "a") as journal:
        print("rollback" if context.rolls_back else "execute", context.task.step, context.task.attempt, file=journal)


def add_up(context):
    """Adds what a step in C has counted; undoing needs what executing has left."""
    note(context)
    if context.rolls_back:
        (context.journal / "undone").write_text(json.dumps(context.undo))
        return None
    numbers = context.steps["prepare"]["numbers"]
    for done, _ in enumerate(numbers, 1):
        context.report(done, len(numbers))
    context.set["unit"] = context.params["unit"]
    context.rollback_data = {"added": numbers}
    return {"sum": sum(numbers)}


def tell(context):
    """Gives back all it was given."""
    note(context)
    return {"steps": context.steps, "shared": context.shared, "input": context.input}


def hold(context):
    """Takes until there is a file named `go`; its data says who it was."""
    note(context)
    while not context.rolls_back and not (context.journal / "go").exists():
        context.report(1, 2)
        time.sleep(POLL_S)
    return {"by": os.environ.get("WORKER", "")}


def last(context):
    note(context)
    return {}


HANDLERS = {"add_up": add_up, "tell": tell, "hold": hold, "last": last}


def main():
    parser = argparse.ArgumentParser()
    for name in ("brokers", "id", "queue"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--journal", required=True, type=Path)
    parser.add_argument("--prefix", default="backstep")
    parser.add_argument("--lease", type=float, default=3)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--handlers", nargs="*", default=list(HANDLERS), help="which ones to serve")
    parser.add_argument("--announce", nargs="*", help="say that these are served: the first step towards a refusal")
    parser.add_argument("--window", type=int, help="say this window, and take no more than the slots: the second")
    options = parser.parse_args()
    worker = Worker(options, {name: HANDLERS[name] for name in options.handlers})
    signal.signal(signal.SIGTERM, lambda number, frame: setattr(worker, "draining", True))
    while worker.live():
        print("event=incarnation_over", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
