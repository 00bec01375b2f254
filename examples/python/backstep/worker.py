# SPDX-License-Identifier: Apache-2.0
"""A Backstep worker in another language: written from docs/PROTOCOL.md and proto/ alone, to prove that they suffice.

The class Worker is the page's "A whole worker"; the words in its comments are the page's. Handlers run in processes of their own, which
watch the lease themselves: they end with it even while the worker is stuck.
"""

import multiprocessing
import os
import random
import signal
import sys
import threading
import time
from dataclasses import dataclass, field

import backstep_pb2 as wire
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from . import step

STARTED_S = 0.1
REPORT_S = 0.5
CANCEL_GRACE_S = 5
POLL_S = 0.02
TIMEOUT_S = 10
RECORD_BYTES = 4 << 20
PROMPT_BYTES, BATCH_BYTES = 256, 61 + 7  # what a coordinator hears of at once, and what stands around one record's key, value and headers
LOG_BYTES = 128 << 10
LOG_LINES = 4096
GONE = (KafkaError._AUTO_OFFSET_RESET, KafkaError._UNKNOWN_PARTITION, KafkaError.UNKNOWN_TOPIC_OR_PART)
NOT_YET = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE, KafkaError.UNKNOWN_TOPIC_OR_PART)
HOUR_OLD = {"cleanup.policy": "delete", "retention.ms": "3600000", "segment.ms": "600000", "message.timestamp.type": "LogAppendTime"}
WIDE = {"max.message.bytes": str(RECORD_BYTES + (64 << 10))}
LETTERS = {"retention.ms": "1209600000", "segment.ms": "201600000"}
WEEK_OLD = {"cleanup.policy": "delete", "retention.ms": "604800000", "segment.ms": "100800000", "message.timestamp.type": "LogAppendTime",
            "max.message.bytes": "1048576"}


def now():
    return time.clock_gettime(time.CLOCK_BOOTTIME)  # goes on while the machine sleeps


def know(producer, topic):
    """The client looks for the leaders of a topic it was not told of once a second; who asks for them is told at once."""
    producer.list_topics(topic, timeout=TIMEOUT_S)


# ---------------------------------------------------------------- the process that runs a task

def die_with_the_lease(lease_end):
    while now() < lease_end.value:
        time.sleep(POLL_S)
    os.killpg(0, signal.SIGKILL)


def stop(number, frame):
    raise step.Cancelled


def run_task(encoded, pipe, lease_end):
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, stop)
    pipe.send(("begun", now()))
    threading.Thread(target=die_with_the_lease, args=(lease_end,), daemon=True).start()
    task = wire.Task.FromString(encoded)
    fields = step.outcome_of(step.steps[task.handler], task, lambda kind, value: pipe.send((kind, value)))
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
    begun: float = 0  # of its step; the process takes a moment to get there
    said_started: bool = False
    stop_by: float = 0  # not 0: it is to stop
    told_to_stop: bool = False
    report: tuple = None  # not said yet
    metrics: bytes = b""  # likewise
    lines: list = field(default_factory=list)  # likewise, of its log
    dropped: int = 0  # lines
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
        self.log = Producer({"bootstrap.servers": options.brokers, "partitioner": "murmur2_random", "message.timeout.ms": 30000,
                             "queue.buffering.max.messages": 10000})
        self.events = {}
        self.broken = True
        self.draining = False

    def announced(self):
        return list(self.handlers)

    def window(self):
        return self.options.slots

    # ---- what it says

    def open_producer(self):
        """A delivery that failed: nobody knows what was published. A new producer says again how tasks ended."""
        self.producer = Producer({"bootstrap.servers": self.options.brokers, "acks": "all", "enable.idempotence": True, "linger.ms": 0,
                                  "message.timeout.ms": 0, "message.max.bytes": RECORD_BYTES + (64 << 10)})
        self.broken, self.known = False, set()
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
        if topic not in self.known:
            know(self.producer, f"{self.options.prefix}.{topic}")
            self.known.add(topic)
        value = record.SerializeToString()
        fill = PROMPT_BYTES - BATCH_BYTES - len(key or "") - len(value)
        headers = [("type", type.encode())] + ([("fill", b"." * fill)] if fill > 0 else [])
        self.producer.produce(f"{self.options.prefix}.{topic}", value, key, partition, on_delivery, headers=headers)

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
                                 handlers=self.announced(), slots=self.options.slots,
                                 window=0 if self.draining else self.window(),
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
        self.ensure(f"{self.options.prefix}.logs", 4, WEEK_OLD)
        know(self.log, f"{self.options.prefix}.logs")
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
                if failure.args[0].code() not in (KafkaError.TOPIC_ALREADY_EXISTS, KafkaError._UNSUPPORTED_FEATURE):
                    raise  # an embedded broker makes a topic when it is asked for it
            while topic not in topics or not topics[topic].partitions:
                topics = admin.list_topics(topic, timeout=TIMEOUT_S).topics
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
            self.log.poll(0)
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
        self.log.flush(TIMEOUT_S)
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
        held.process = self.processes.Process(target=run_task, args=(held.task.SerializeToString(), theirs, self.lease_end))
        held.state = "running"
        held.process.start()
        theirs.close()

    def read_pipe(self, held):
        try:
            while held.pipe.poll():
                kind, value = held.pipe.recv()
                if kind == "begun":
                    held.begun = value
                elif kind == "progress":
                    held.report = value
                elif kind == "metrics":
                    held.metrics = value
                elif kind == "log":
                    held.lines.append(wire.LogLine.FromString(value))
                else:
                    held.fields = value
        except (EOFError, OSError):
            pass

    def look_at(self, held):
        has_ended = not held.process.is_alive()  # asked first: what it said is all in the pipe then
        self.read_pipe(held)
        if held.stop_by and held.begun and not held.told_to_stop:  # not before it can hear that
            held.told_to_stop = True
            held.process.terminate()
        if held.stop_by and now() >= held.stop_by:
            held.process.kill()
        if held.fields is None and has_ended:
            if self.is_over():
                return  # its watch over the lease has ended it
            held.fields = {"outcome": wire.OUTCOME_CANCELLED_STARTED if held.stop_by else wire.OUTCOME_FAILED,
                           "error": f"the process ended with {held.process.exitcode}"}
        if not held.said_started and held.fields is None and held.begun and now() - held.begun >= STARTED_S:
            held.said_started = True
            self.say_about(held, started=wire.Started(ticket=held.task.ticket, worker=self.options.id, elapsed_ms=self.elapsed_ms(held)))
        self.say_lines(held)
        if (held.report or held.metrics) and (held.fields is not None or now() - held.reported >= REPORT_S):
            current, total = held.report or (0, 0)
            progressed = wire.Progressed(ticket=held.task.ticket, current=current, total=total, metrics=held.metrics)
            held.report, held.metrics, held.reported = None, b"", now()
            self.say_about(held, progressed=progressed)
        if held.fields is not None:
            held.process.join()
            held.fields["elapsed_ms"] = self.elapsed_ms(held)
            self.say_done(held)

    def say_lines(self, held):
        """Apart from everything else: what the log does not take is dropped, and counted."""
        while held.lines:
            record = wire.LogLines(worker=self.options.id, ticket=held.task.ticket, step=held.task.step, attempt=held.task.attempt,
                                   dropped_lines=held.dropped)
            size = 0
            while held.lines and len(record.lines) < LOG_LINES:
                size += held.lines[0].ByteSize()
                if size > LOG_BYTES and record.lines:
                    break
                record.lines.append(held.lines.pop(0))
            try:
                self.log.produce(f"{self.options.prefix}.logs", wire.LogRecord(lines=record).SerializeToString(), held.task.run_id,
                                 headers=[("type", b"LogLines")])
                held.dropped = 0
            except BufferError:
                held.dropped += len(record.lines)

    def elapsed_ms(self, held):
        return int((now() - (held.begun or now())) * 1000)

    def say_done(self, held):
        """The last thing that is said about a ticket."""
        self.held.pop(key_of(held.task.run_id, held.task.ticket))
        self.say_about(held, done=wire.Done(ticket=held.task.ticket, worker=self.options.id, **held.fields))
