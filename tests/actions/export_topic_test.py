#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A range of a topic exported over Kafka, on the embedded broker and on a real one; by the pipeline, with a worker of the stock kind."""

import subprocess

import kafka
from checks import DEADLINE_S, SOURCE, check, directory, equal, main, run
from cluster_of_two import Cluster

PIPELINE = SOURCE / "examples/actions/export.yaml"
ROWS = 2000


def produce(brokers, partition=0):
    lines = "".join('{"n": %d}\n' % i for i in range(ROWS - 1)) + "not json\n"
    subprocess.run(["kcat", "-q", "-P", "-b", brokers, "-t", "rows", "-p", str(partition)], input=lines, text=True, check=True,
                   timeout=DEADLINE_S)


def range_is_exported(cluster, d):
    produce(cluster.brokers)
    cluster.worker()
    source = dict(source="kafka:rows", brokers=cluster.brokers, work=d / "work")
    cluster.begin(PIPELINE, "all", target=d / "all.csv", **source)
    cluster.begin(PIPELINE, "part", target=d / "part.jsonl", **{"from": 10, "to": 12}, **source)
    cluster.begin(PIPELINE, "beyond", target=d / "beyond.jsonl", to=ROWS + 1, **source)
    equal([cluster.end_of(run_id)["status"] for run_id in ("all", "part", "beyond")], ["succeeded", "succeeded", "rolled_back"])
    equal((d / "all.csv").read_text(), "n\n" + "".join(f"{i}\n" for i in range(ROWS - 1)))
    check("not json" in (d / "all.csv.failed.jsonl").read_text())
    equal((d / "part.jsonl").read_text(), '{"n":10}\n{"n":11}\n')
    check(f"topic 'rows' has the offsets 0 to {ROWS}, not all of 0 to {ROWS + 1}" in cluster.status("beyond")["error"])
    ran = run("export", d, source="kafka:nothing", target=str(d / "x.jsonl"), brokers=cluster.brokers, stall_timeout="5s")
    check("nothing" in ran.error, ran.error)


def on_the_embedded_broker():
    with directory() as d, Cluster(d) as cluster:
        range_is_exported(cluster, d)


def on_a_real_broker():
    with directory() as d, kafka.broker(d, ["auto.create.topics.enable=true"]) as address:
        with Cluster(d, brokers=address) as cluster:
            range_is_exported(cluster, d)


main([on_the_embedded_broker, on_a_real_broker])
