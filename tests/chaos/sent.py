# SPDX-License-Identifier: Apache-2.0
"""The task topic, read from its very first record on while it is written: what was sent, and what of it ahead."""

import wire
from reader import Reader

PARTITIONS = 8  # TOPICS_TASK_PARTITIONS


class Sent:
    def __init__(self, brokers, topic):
        self.tickets = set()  # (epoch, partition, run, step, direction, instance, number): an epoch is one owner
        self.ahead = set()    # (run, step name, number)
        self.twice = []
        self.reader = Reader(brokers, topic, PARTITIONS)

    def read(self, timeout_s):
        """Take in what has come; at most so long. Answers with the number of records."""
        count = 0
        for count, message in enumerate(self.reader.read(timeout_s), 1):
            record = wire.TaskRecord()
            record.ParseFromString(message.value() or b"")
            if record.WhichOneof("body") == "task":
                self.take(record.epoch, record.progress_partition, record.task)
        return count

    def take(self, epoch, partition, task):
        ticket = (epoch, partition, task.run_id, task.ticket.step, task.ticket.direction, task.ticket.instance, task.ticket.ticket)
        if ticket in self.tickets:
            self.twice.append(f"{task.run_id} {task.step}: its ticket {task.ticket.ticket} was sent twice by one owner")
        self.tickets.add(ticket)
        if task.HasField("after"):
            self.ahead.add((task.run_id, task.step, task.ticket.ticket))

    def begun_ahead(self, log):
        """How many that were sent ahead have begun there, as far as their ends say."""
        return sum((run_id, step, end.number) in self.ahead and end.outcome in ("ok", "failed", "cancelled_started")
                   for run_id, run in log.runs.items() for (step, direction), ends in run.ends.items() if direction == "execute" for end in ends)

    def close(self):
        self.reader.close()
