# SPDX-License-Identifier: Apache-2.0
"""The progress topic, read from its very first record on while it is written: into a Log, and into a file for chaos_replay."""

import collections
import contextlib

import commits
from confluent_kafka import KafkaException
from log_reader import Log
from reader import Reader

LOOK_S = 10

# A K that was committed, and how far the log went when that was seen: a reader from K that has come so far holds all that is under way.
Checkpoint = collections.namedtuple("Checkpoint", "partition offset metadata until")


class Tail:
    def __init__(self, brokers, topic, group, recorded, partitions):
        self.log = Log()
        self.recorded = open(recorded, "w")
        self.brokers, self.topic, self.group = brokers, topic, group
        self.checkpoints = 0
        self.committed, self.waiting = {}, []
        self.reader = Reader(brokers, topic, partitions)

    def read(self, timeout_s):
        """Take in what has come; at most so long. Answers with the number of records."""
        count = 0
        for count, message in enumerate(self.reader.read(timeout_s), 1):
            self.take(message.partition(), message.offset(), message.timestamp()[1], message.key() or b"", message.value() or b"")
        return count

    def take(self, partition, offset, time_ms, key, value):
        self.log.apply(partition, offset, key, value)
        self.recorded.write(f"record {partition} {offset} {time_ms} {key.decode() or '-'} {value.hex()}\n")
        self.record_checkpoints()

    def look_at_checkpoints(self):
        """What has been committed since; nothing while no broker answers."""
        found = commits.of_group(self.brokers, self.group, self.topic, len(self.reader.next))
        for partition, (offset, metadata) in found.items():
            if self.committed.get(partition) != offset:
                with contextlib.suppress(KafkaException):
                    until = self.reader.end_of(partition, LOOK_S)
                    self.waiting.append(Checkpoint(partition, offset, metadata, until))
                    self.committed[partition] = offset
        self.record_checkpoints()

    def record_checkpoints(self):
        for checkpoint in [checkpoint for checkpoint in self.waiting if self.reader.next[checkpoint.partition] >= checkpoint.until]:
            self.waiting.remove(checkpoint)
            self.recorded.write(f"checkpoint {checkpoint.partition} {checkpoint.offset} {checkpoint.metadata}\n")
            self.checkpoints += 1

    def close(self):
        if not self.recorded.closed:
            self.reader.close()
            self.recorded.close()
