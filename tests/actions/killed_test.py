#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Workers killed in the middle of actions, over Kafka: another one ends the run, and the store holds all of it, or what it held before."""

import contextlib
import os
import random
import subprocess

from checks import DEADLINE_S, SOURCE, check, directory, equal, files_of, main, tree, write
from cluster_of_two import Cluster
from stores import S3, Broken

UPLOAD = SOURCE / "examples/actions/upload.yaml"
TRAIN = SOURCE / "examples/actions/train.yaml"
SEED = int(os.environ.get("BACKSTEP_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 31)
ROUNDS = 2  # killed_steps_test.py has every step


def fill(path):
    for i in range(30):
        write(path / f"sub{i % 3}/file {i}.bin", os.urandom(1000 * i))


def killed_while_it_sends():
    """The first worker dies while the store holds a request of its; what it had sent is not sent again."""
    with directory() as d, Broken() as store, Cluster(d) as cluster:
        fill(d / "source")
        store.fail("PUT", *[None] * 20, "hang", "hang", "hang", "hang")
        first = cluster.worker()
        cluster.begin(UPLOAD, "r", source=d / "source", target=store.url, work=d / "work")
        cluster.wait_for(lambda: list(store.seen.queue).count("PUT") >= 24, "24 PUTs")
        cluster.kill(first)
        store.released.set()
        cluster.worker()
        equal(cluster.end_of("r")["status"], "succeeded")
        equal(len(store.files), 31)
        puts = list(store.seen.queue).count("PUT")
        equal(puts, 20 + 4 + 10 + 1)  # what was answered, what was held, what was left, the units
        check(all(store.files[f"/sub{i % 3}/file%20{i}.bin"] == (d / f"source/sub{i % 3}/file {i}.bin").read_bytes() for i in range(30)))


def killed_anywhere():
    """Killed at a moment drawn by chance, on a way that ends well and on one that cannot."""
    chance = random.Random(SEED)
    print(f"note: seed {SEED} (BACKSTEP_SEED)")
    with directory() as d, Cluster(d) as cluster:
        fill(d / "source")
        worker = cluster.worker()
        for i in range(ROUNDS):
            doomed = i % 2 == 1
            target = d / f"target{i}"
            write(target / "older.txt", "somebody's")
            if doomed:
                write(target / "data-units.jsonl", "somebody's")
            before = tree(target)
            cluster.begin(UPLOAD, f"r{i}", source=d / "source", target=target, work=d / "work")
            delay = chance.uniform(0, 0.25)
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.wait(delay)
            cluster.kill(worker)
            worker = cluster.worker()
            ended = cluster.end_of(f"r{i}")
            if doomed:
                equal(ended["status"], "rolled_back", ended)
                equal(tree(target), before, f"round {i}, killed after {delay:.3f} s")
            else:
                equal(ended["status"], "succeeded", ended)
                found = files_of(tree(target))
                del found[b"older.txt"], found[b"data-units.jsonl"]
                equal(found, files_of(tree(d / "source")), f"round {i}, killed after {delay:.3f} s")
                check(not (target / ".backstep").exists())


def training_goes_on_from_its_checkpoint():
    digits = subprocess.run([SOURCE / "tests/digits"], check=True, capture_output=True, text=True, timeout=DEADLINE_S).stdout.strip()
    with directory() as d, Cluster(d) as cluster:
        first = cluster.worker()
        cluster.begin(TRAIN, "killed", dataset=digits, target=d / "models", work=d / "work", epochs=100)
        checkpoint = d / "work/killed/train/checkpoint"
        cluster.wait_for(lambda: checkpoint.exists() and int(checkpoint.read_bytes().split(b" ", 3)[2]) >= 20, "20 epochs")
        cluster.kill(first)
        cluster.worker()
        cluster.begin(TRAIN, "whole", dataset=digits, target=d / "models", work=d / "work", epochs=100)
        for run_id in "killed", "whole":
            equal(cluster.end_of(run_id)["status"], "succeeded")
        resumed = next(step for step in cluster.status("killed")["steps"] if step["name"] == "train")["data"]["resumed_after"]
        check(resumed >= 20, resumed)
        equal((d / "models/killed.json").read_bytes(), (d / "models/whole.json").read_bytes())


def credentials_are_nowhere_to_be_read():
    with directory() as d, S3() as store, Cluster(d, store.keys) as cluster:
        fill(d / "source")
        cluster.worker()
        cluster.begin(UPLOAD, "good", source=d / "source", target=f"s3://{store.bucket}", endpoint=store.url, work=d / "work")
        cluster.begin(UPLOAD, "bad", source=d / "source", target="s3://no-such-bucket", endpoint=store.url, work=d / "work")
        equal((cluster.end_of("good")["status"], cluster.end_of("bad")["status"]), ("succeeded", "rolled_back"))
        topics = "progress", "tasks.default", "workers", "logs"
        records = b"".join(subprocess.run(["kcat", "-C", "-q", "-e", "-o", "beginning", "-b", cluster.brokers, "-t", f"backstep.{topic}"],
                                          capture_output=True, timeout=DEADLINE_S, check=topic != "logs").stdout for topic in topics)
        check(b"upload.files" in records and b"no-such-bucket" in records, "the records were read")
        said = cluster.logs() + cluster.backstep("status", "bad").stdout
        written = b"".join(path.read_bytes() for path in (d / "work").rglob("*") if path.is_file())
        for secret in store.keys.values():
            check(secret not in said, "a credential in logs or events")
            check(secret.encode() not in records, "a credential in a record")
            check(secret.encode() not in written, "a credential in the workspace")


main([killed_while_it_sends, killed_anywhere, training_goes_on_from_its_checkpoint, credentials_are_nowhere_to_be_read], at_once=4)
