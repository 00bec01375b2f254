#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A coordinator is killed among many short runs and one long one: its successor begins at the checkpoint, not at the start of the log."""

import re
import time

from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

from cluster import Cluster, check, main

RUNS = 40

QUICK = "cat >/dev/null; echo '{\"data\": {}}'\n"
HOLD = "cat >/dev/null; while [ ! -e \"$RELEASE\" ]; do sleep 0.05; done\n"
SHORT = """
name: short
steps:
  - {name: one, uses: quick, rollback: none}
  - {name: two, uses: quick, rollback: none}
"""
LONG = """
name: long
steps:
  - {name: first, uses: quick, rollback: none}
  - {name: hold, rollback: none}
"""


def begun_at(process):
    """Partition -> where the coordinator began to read, and the end of the log then."""
    return {int(p): (int(f), int(t)) for p, f, t in re.findall(r"event=recovering partition=(\d+) from=(\d+) to=(\d+)", process.said())}


def recovery():
    """A killed coordinator's successor reads a fraction of the log, goes on with what runs, and knows the ids of what has ended"""
    with Cluster() as cluster:
        import os
        release = cluster.directory / "release"
        os.environ["RELEASE"] = str(release)
        steps = cluster.steps(quick=QUICK, hold=HOLD)
        short, long = cluster.pipeline(SHORT, "short.yaml"), cluster.pipeline(LONG, "long.yaml")
        first = cluster.serve("--checkpoint-bytes", "600")
        cluster.worker(steps, "--concurrency", "4")
        held = cluster.start(long)
        cluster.wait_for(lambda: cluster.status(held)["steps"][1]["status"] == "running", "the long run to be at its second step")
        ids = [cluster.start(short) for _ in range(RUNS)]
        cluster.wait_for(lambda: sum(run["status"] == "succeeded" for run in cluster.list("--limit", "1000")) == RUNS, "the short runs to end")
        types = [line.split("type=")[1].split(",")[0] for line in cluster.records() if "type=" in line]
        check(types.count("Snapshot") > 0 and types.count("FinishedIds") > 0,
              f"{types.count('Snapshot')} snapshots and {types.count('FinishedIds')} lists of ended ids stand in the log")
        first.kill()
        began = time.monotonic()
        second = cluster.serve("--checkpoint-bytes", "600")
        print(f"note: ready {1000 * (time.monotonic() - began):.0f} ms after the start of the successor")
        places = begun_at(second)
        print(f"note: it began at {places}")
        check(any(begin > 0 for begin, _ in places.values()), "the successor begins at a checkpoint")
        read, all_of_it = sum(end - begin for begin, end in places.values()), sum(end for _, end in places.values())
        check(2 * read < all_of_it, f"it reads {read} of {all_of_it} records")
        refused = cluster.cli("start", short, "--id", ids[0], expect=None)
        check(refused.returncode == 8, "a second start of a run that ended is answered 'existing'")
        check("event=ticket_lost" not in second.said(), "what ran was left where it was")
        committed = cut_below_checkpoint(cluster, held)
        second.kill()
        third = cluster.serve("--checkpoint-bytes", "600")
        release.touch()
        cluster.wait_for(lambda: cluster.status(held)["status"] == "succeeded", "the long run to end")
        check("snapshot_differs" not in first.said() + second.said() + third.said(), "no snapshot differs from the replay")
        check(third.stop() == 0, "the coordinator ends")
        cut_above_checkpoint(cluster, committed)


def cut_below_checkpoint(cluster, held):
    """What an owner would delete, were it old enough: nobody needs it"""
    admin = AdminClient({"bootstrap.servers": cluster.brokers})
    group = cluster.topic("coordinators")
    committed = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group].result().topic_partitions
    wanted = [TopicPartition(place.topic, place.partition, place.offset) for place in committed]
    for done in admin.delete_records(wanted).values():
        done.result()
    status = cluster.status(held)
    check([step["status"] for step in status["steps"]] == ["succeeded", "running"], "a run whose start is deleted is shown as it stands")
    told = cluster.cli("history", held).stdout
    check("older than what the log keeps" in told and "first" in told, "its history says what is missing, and what that amounts to")
    never = cluster.cli("status", "never-was", expect=2).stderr
    check("is kept since" in never, "an id that nobody knows may have been one")
    return committed


def cut_above_checkpoint(cluster, committed):
    """What only a person, or a retention set by one, would delete"""
    admin = AdminClient({"bootstrap.servers": cluster.brokers})
    place = TopicPartition(committed[0].topic, committed[0].partition, -1)
    admin.delete_records([place])[place].result()
    refusing = cluster.serve(ready=False)
    check(refusing.wait() == 9, "a coordinator whose checkpoint is gone ends with 9")
    said = refusing.said().splitlines()[-1]
    check(f"partition {place.partition} of '{place.topic}' begins at offset" in said and "can only be recovered from offset" in said, said)


if __name__ == "__main__":
    main(recovery)
