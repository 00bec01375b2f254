# SPDX-License-Identifier: Apache-2.0
"""A topic, read from its very first record on while it is written and its broker comes and goes."""

import collections
import time

from confluent_kafka import Consumer, TopicPartition

SILENT_S = 10  # nothing has come for so long: the consumer may have given a partition up when its broker came back, and says so to nobody


class Reader:
    def __init__(self, brokers, topic, partitions):
        self.topic = topic
        self.next = dict.fromkeys(range(partitions), 0)
        self.troubles = collections.Counter()  # what the consumer said
        self.consumer = Consumer({"bootstrap.servers": brokers, "group.id": "chaos", "enable.auto.commit": False,
                                  "auto.offset.reset": "error", "reconnect.backoff.max.ms": 500, "fetch.wait.max.ms": 50,
                                  "allow.auto.create.topics": False, "log_level": 0})
        self.assign()

    def assign(self):
        """From where it has come to."""
        self.heard_s = time.monotonic()
        self.consumer.assign([TopicPartition(self.topic, partition, offset) for partition, offset in self.next.items()])

    def read(self, timeout_s):
        """What has come, one after another, in the order of each partition; waits for it at most so long."""
        came = self.consumer.consume(1000, timeout_s)
        self.troubles.update(f"{self.topic} [{message.partition()}] {message.error()}" for message in came if message.error())
        records = [message for message in came if not message.error()]
        if records:
            self.heard_s = time.monotonic()
        elif time.monotonic() - self.heard_s > SILENT_S:
            self.assign()
        for message in records:
            self.next[message.partition()] = message.offset() + 1
            yield message

    def end_of(self, partition, timeout_s):
        """Where the next record will stand."""
        return self.consumer.get_watermark_offsets(TopicPartition(self.topic, partition), timeout=timeout_s)[1]

    def close(self):
        self.consumer.close()
