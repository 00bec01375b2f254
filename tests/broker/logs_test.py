#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What steps log, and what became of a run, on a real broker: found by time, found far back, and in nobody's way."""

import json
import subprocess

from confluent_kafka.admin import AdminClient, NewTopic

from cluster import BIN, Cluster, check, main

CHAT = """
[ "$1" = rollback ] && exit 0  # nothing to undo
echo "level=warn nearly full" >&2
seq 1 100
"""
PIPELINE = "name: chat\nsteps: [{name: talk}]\n"

# A RunProgressed of epoch 0, status running: a record that is sound, and changes nothing.
NOISE = b"noise-1\t\xca\x01\x02\x10\x02\n"


def add_noise(cluster, count):
    subprocess.run(["kcat", "-P", "-b", cluster.brokers, "-t", cluster.topic("progress"), "-p", "0", "-K", "\t", "-H",
                    "type=RunProgressed"], input=NOISE * count, check=True, timeout=120)


def lines_of(cluster, run_id, *options):
    return [json.loads(line) for line in cluster.cli("logs", run_id, "-o", "json", *options).lines]


def logs_are_read():
    """A step's lines are on a topic of their own with its settings, and `logs` reads them, by level and until the end"""
    with Cluster() as cluster:
        pipeline = cluster.pipeline(PIPELINE)
        cluster.serve()
        run_id = cluster.start(pipeline)
        check("no step has logged anything" in cluster.cli("logs", run_id).stderr, "before the first line of all, it is said that there is none")
        follower = subprocess.Popen([BIN / "backstep", "logs", run_id, "-b", cluster.brokers, "-f", "-o", "json"], stdout=subprocess.PIPE)
        try:
            cluster.worker(cluster.steps(talk=CHAT))
            followed = follower.communicate(timeout=60)[0].splitlines()
        finally:
            follower.kill()
            follower.wait()
        check(len(followed) == 101, "-f shows every line, and ends with the run")
        lines = lines_of(cluster, run_id)
        check([line["text"] for line in lines if line["source"] == "stdout"] == [str(n) for n in range(1, 101)], "each line once, in order")
        check([line["text"] for line in lines_of(cluster, run_id, "--level", "warn")] == ["level=warn nearly full"], "--level leaves out the rest")
        shown = cluster.cli("topics", "-o", "json").lines
        check(any(json.loads(line)["topic"] == cluster.topic("logs") for line in shown), "`topics` makes, verifies and shows it")


def topic_is_in_nobodys_way():
    """A logs topic that is not as it must be: the worker says so, and the run succeeds; who mends it gets the lines"""
    with Cluster() as cluster:
        admin = AdminClient({"bootstrap.servers": cluster.brokers})
        wrong = NewTopic(cluster.topic("logs"), num_partitions=2, replication_factor=1, config={"message.timestamp.type": "CreateTime"})
        admin.create_topics([wrong])[cluster.topic("logs")].result()
        cluster.serve()
        worker = cluster.worker(cluster.steps(talk=CHAT))
        run_id = cluster.start(cluster.pipeline(PIPELINE))
        cluster.wait_for(lambda: cluster.status(run_id)["status"] == "succeeded", "the run to succeed")
        cluster.wait_for(lambda: "event=logs_not_sent" in worker.said(), "the worker to say that it cannot send")
        check("message.timestamp.type" in worker.said(), "it names the setting")
        check(lines_of(cluster, run_id) == [], "and nothing is there")
        admin.delete_topics([cluster.topic("logs")])[cluster.topic("logs")].result()
        cluster.wait_for(lambda: len(lines_of_any(cluster, run_id)) == 101, "the lines, once the topic is gone and made anew", 90)


def lines_of_any(cluster, run_id):
    done = cluster.cli("logs", run_id, "-o", "json", expect=None)
    return done.lines if done.returncode == 0 else []


def far_back():
    """A run between 100,000 and 70,000 other records is found by its second, and, named by hand, from the end backwards"""
    with Cluster() as cluster:
        cluster.cli("topics", "--progress-partitions", "1")
        coordinator = cluster.serve()
        cluster.worker(cluster.steps(talk=CHAT))
        pipeline = cluster.pipeline(PIPELINE)
        cluster.cli("start", pipeline, "--wait", "--id", "at-first")
        check(coordinator.stop() == 0, "the coordinator ends")
        add_noise(cluster, 100000)
        coordinator = cluster.serve()
        ids = {"by its second": cluster.start(pipeline), "backwards": cluster.start(pipeline, "--id", "by-hand")}
        for run_id in ids.values():
            cluster.wait_for(lambda: cluster.status(run_id)["status"] == "succeeded", "a run to succeed")
        check(coordinator.stop() == 0, "the coordinator ends")
        add_noise(cluster, 70000)
        for how, run_id in ids.items():
            told = cluster.cli("history", run_id).lines
            check(" succeeded " in told[0] and told[0].startswith(run_id), f"history of {run_id} says how it ended ({how})")
            check([line.split()[4] for line in told[1:] if " running " not in line] == ["started", "done", "succeeded"], "... and every event, once")
            check(len(lines_of(cluster, run_id)) == 101, "... and logs finds its lines")
        check(cluster.status("at-first")["status"] == "succeeded", "status finds one at the log's very beginning")
        listed = [run["run_id"] for run in cluster.list("--limit", "2")]
        check(listed == [ids["backwards"], ids["by its second"]], "list finds the newest, newest first")
        check(len(cluster.list("--limit", "3")) == 3, "and one more where one more is asked for")
        check(len(cluster.cli("history", "at-first").lines) >= 4, "one at the log's very beginning, too")
        check(cluster.cli("history", "nobody", expect=2).stderr.find("no such run") >= 0, "and one that never was is said to be none")


if __name__ == "__main__":
    main(logs_are_read, topic_is_in_nobodys_way, far_back)
