# SPDX-License-Identifier: Apache-2.0
"""The progress topic, read from its very first record on while it is written: into a Log, and into a file for chaos_replay."""

import collections
import contextlib

import commits
from confluent_kafka import Consumer, KafkaException, TopicPartition
from log_reader import Log

LOOK_S = 10

# A K that was committed, and how far the log went when that was seen: a reader from K that has come so far holds all that is under way.
Checkpoint = collections.namedtuple("Checkpoint", "partition offset metadata until")


class Tail:
    def __init__(self, brokers, topic, group, recorded, partitions):
        self.log = Log()
        self.recorded = open(recorded, "w")
        self.brokers, self.topic, self.group = brokers, topic, group
        self.next = dict.fromkeys(range(partitions), 0)
        self.checkpoints = 0
        self.committed, self.waiting = {}, []
        self.consumer = Consumer({"bootstrap.servers": brokers, "group.id": "chaos", "enable.auto.commit": False,
                                  "auto.offset.reset": "error", "reconnect.backoff.max.ms": 500, "fetch.wait.max.ms": 50,
                                  "allow.auto.create.topics": False, "log_level": 0})
        self.consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])

    def read(self, timeout_s):
        """Take in what has come; at most so long. Answers with the number of records."""
        taken = [message for message in self.consumer.consume(1000, timeout_s) if not message.error()]
        for message in taken:
            self.take(message.partition(), message.offset(), message.timestamp()[1], message.key() or b"", message.value() or b"")
        return len(taken)

    def take(self, partition, offset, time_ms, key, value):
        self.log.apply(partition, offset, key, value)
        self.recorded.write(f"record {partition} {offset} {time_ms} {key.decode() or '-'} {value.hex()}\n")
        self.next[partition] = offset + 1
        self.record_checkpoints()

    def look_at_checkpoints(self):
        """What has been committed since; nothing while no broker answers."""
        found = commits.of_group(self.brokers, self.group, self.topic, len(self.next))
        for partition, (offset, metadata) in found.items():
            if self.committed.get(partition) != offset:
                with contextlib.suppress(KafkaException):
                    _, until = self.consumer.get_watermark_offsets(TopicPartition(self.topic, partition), timeout=LOOK_S)
                    self.waiting.append(Checkpoint(partition, offset, metadata, until))
                    self.committed[partition] = offset
        self.record_checkpoints()

    def record_checkpoints(self):
        for checkpoint in [checkpoint for checkpoint in self.waiting if self.next[checkpoint.partition] >= checkpoint.until]:
            self.waiting.remove(checkpoint)
            self.recorded.write(f"checkpoint {checkpoint.partition} {checkpoint.offset} {checkpoint.metadata}\n")
            self.checkpoints += 1

    def close(self):
        if not self.recorded.closed:
            self.consumer.close()
            self.recorded.close()
