#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A worker killed in each step of each action: at its begin, in its middle, and when all is done and nobody has heard of it; going forward
and taking back. Another worker ends every run, and after a rollback the store holds what it held before, file by file.

All runs are killed by one death: each stands at its own place when the worker dies, which takes one lease instead of one for each."""

import os
import random
import signal
from concurrent.futures import ThreadPoolExecutor

from checks import BIN, check, directory, equal, files_of, main, tree, write
from cluster_of_two import LEASE, Cluster

SEED = int(os.environ.get("BACKSTEP_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 31)
MORTAL = BIN.parent / "tests/mortal_worker"

# The steps of each action that take something back have a second column.
STEPS = {
    "upload": [("initialize", 1), ("metadata", 0), ("analyze", 0), ("organize", 0), ("validate", 0), ("files", 1), ("units", 1), ("cleanup", 0)],
    "export": [("initialize", 1), ("fetch", 0), ("prepare", 0), ("convert", 0), ("save", 1), ("finalize", 0)],
    "train": [("dataset", 1), ("convert", 0), ("train", 1), ("upload", 1)],
}
PARAMS = {
    "upload": ("source", "target", "metadata", "work"),
    "export": ("source", "target", "work"),
    "train": ("dataset", "target", "work", "epochs", "format"),
}
POINTS = "begin", "middle", "end"


def deaths():
    """(action, step, direction, point, doomed): every place of every step. A run that is to be taken back fails after its last step."""
    for action, steps in STEPS.items():
        for i, (step, undoes) in enumerate(steps):
            for j, point in enumerate(POINTS):
                yield action, step, "execute", point, (i + j) % 2 == 0  # each way of ending after each kind of death
                if undoes:
                    yield action, step, "rollback", point, True


def pipeline(where, action, doomed):
    steps = "".join(f"  - {{name: {step}, uses: {action}.{step}}}\n" for step, _ in STEPS[action])
    params = "".join(f"  {name}: {{required: true}}\n" for name in (*PARAMS[action], "death"))
    last = "  - {name: doom, validate: {assert: false, message: doomed}}\n" if doomed else ""
    return write(where / f"{action}-{doomed}.yaml", f"name: {action}\nparams:\n{params}steps:\n{steps}{last}")


def fill(where):
    for i in range(8):
        write(where / f"source/sub{i % 2}/file {i}.bin", os.urandom(20_000 * i))
    write(where / "meta.csv", "file,who\nsub0/file 0.bin,Ann\n")
    write(where / "in.jsonl", "".join('{"n": %d, "text": "number %d"}\n' % (i, i) for i in range(500)) + "not json\n")
    write(where / "data.csv", "".join(f"{i % 7},{i % 5},{i % 3},{'ab'[i % 2]}\n" for i in range(400)))


def target_of(where, action, run_id):
    return where / run_id / "out.db" if action == "export" else where / run_id


def params_of(where, action, run_id):
    target = target_of(where, action, run_id)
    return {"upload": dict(source=where / "source", target=target, metadata=where / "meta.csv"),
            "export": dict(source=where / "in.jsonl", target=target),
            "train": dict(dataset=where / "data.csv", target=target, epochs=20, format="csv")}[action]


def check_success(where, action, run_id):
    found = files_of(tree(where / run_id))
    equal(found.pop(b"older.txt"), files_of(tree(where / "older"))[b"older.txt"])
    if action == "upload":
        del found[b"data-units.jsonl"]
        equal(found, files_of(tree(where / "source")), run_id)
    elif action == "export":
        equal(sorted(found), [b"out.db", b"out.db.failed.jsonl", b"out.db.sha256"], run_id)
    else:
        equal(sorted(found), [run_id.encode() + b".json", run_id.encode() + b".json.sha256"], run_id)
    for name, digest in found.items():
        if name + b".sha256" in found:
            equal((where / run_id / f"{os.fsdecode(name)}.sha256").read_text().split()[0], digest, run_id)


def every_step_of_every_action():
    chance = random.Random(SEED)
    delay_us = int(200 * 50 ** chance.random())  # 0.2 to 10 ms: most steps take about one
    print(f"note: seed {SEED} (BACKSTEP_SEED), the middle is after {delay_us} us")
    rows = list(deaths())
    runs = {f"{action}-{step}-{direction}-{point}": (action, doomed) for action, step, direction, point, doomed in rows}
    equal(len(runs), len(rows))
    env = {"BACKSTEP_DEATHS": str(len(runs)), "BACKSTEP_DEATH_US": str(delay_us)}
    with directory() as d, Cluster(d, env) as cluster:
        fill(d)
        write(d / "older/older.txt", "somebody's")
        mortal = cluster.start(MORTAL, "worker", "-b", cluster.brokers, "--lease", LEASE, "--concurrency", len(runs))
        pipelines = {(action, doomed): pipeline(d, action, doomed) for action in STEPS for doomed in (True, False)}
        starts = []
        for action, step, direction, point, doomed in rows:
            run_id = f"{action}-{step}-{direction}-{point}"
            write(d / run_id / "older.txt", "somebody's")
            params = {**params_of(d, action, run_id), "work": d / "work", "death": f"{action}.{step} {direction} {point}"}
            starts.append(lambda run_id=run_id, params=params, key=(action, doomed): cluster.begin(pipelines[key], run_id, **params))
        with ThreadPoolExecutor(8) as pool:
            for started in [pool.submit(start) for start in starts]:
                started.result()
        cluster.wait_for(lambda: mortal.poll() is not None, "the death of the worker")
        equal(mortal.returncode, -signal.SIGKILL)
        cluster.worker()
        ended = cluster.ends_of(runs)
        for run_id, (action, doomed) in runs.items():
            equal(ended[run_id], "rolled_back" if doomed else "succeeded", run_id)
            if doomed:
                equal(tree(d / run_id), tree(d / "older"), run_id)
                check(not (d / "work" / run_id).exists(), run_id, "left its workspace")
            else:
                check_success(d, action, run_id)
                check(not (d / run_id / ".backstep").exists(), run_id)
        print(f"note: {len(runs)} runs, {sum(doomed for _, doomed in runs.values())} of them taken back")


main([every_step_of_every_action])
