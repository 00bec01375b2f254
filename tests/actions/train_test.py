#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The train action as a program, on the UCI digits as packaged by scikit-learn."""

import gzip
import hashlib
import json
import math
import os
import subprocess

from checks import DEADLINE_S, SOURCE, check, directory, equal, main, run, side_by_side, tree, write
from stores import Broken, Nginx

DIGITS = subprocess.run([SOURCE / "tests/digits"], check=True, capture_output=True, text=True, timeout=DEADLINE_S).stdout.strip()


def train(where, env=None, **params):
    return run("train", where, env, **{"dataset": DIGITS, "target": str(where / "models"), "model_name": "m", **params})


def accuracy(ran):
    equal(ran.status, "succeeded", ran.error)
    return ran.data("train")["accuracy"]


def digits_are_learned_on_a_held_out_third():
    with directory() as d:
        logistic, hidden = train(d), train(d, model="hidden", model_name="h")
        check(accuracy(logistic) >= 0.93, accuracy(logistic))
        check(accuracy(hidden) >= 0.95, accuracy(hidden))
        equal((logistic.data("dataset")["train_rows"], logistic.data("dataset")["test_rows"]), (1258, 539))
        print(f"note: held-out accuracy on the digits: logistic {accuracy(logistic):.3f}, hidden layer {accuracy(hidden):.3f}")


def shuffled_labels_teach_nothing():
    with directory() as d:
        for model in "logistic", "hidden":
            found = accuracy(train(d, model=model, model_name=model, shuffle_labels=True))
            check(0.03 <= found <= 0.17, model, found)  # ten classes: chance is 0.1
            print(f"note: held-out accuracy with shuffled labels, {model}: {found:.3f}")


def same_seed_gives_the_same_bytes():
    with directory() as d:
        for name, seed in ("a", 7), ("b", 7), ("c", 8):
            accuracy(train(d, model="hidden", model_name=name, seed=seed, epochs=3))
        models = {name: (d / f"models/{name}.json").read_bytes() for name in "abc"}
        equal(models["a"], models["b"])
        check(models["a"] != models["c"])


def model_says_what_it_is_said_to_say():
    """The model's file is enough: computed here from its numbers, the accuracy is the one that was told."""
    with directory() as d:
        ran = train(d, model="hidden", epochs=5, format="jsonl")
        equal(ran.status, "succeeded", ran.error)
        model = json.loads((d / "models/m.json").read_bytes())
        digest = (d / "models/m.json.sha256").read_text().split()[0]
        equal(hashlib.sha256((d / "models/m.json").read_bytes()).hexdigest(), digest)
        test = next((d / "work").glob("*/train/test.jsonl"))
        right = total = 0
        for line in test.read_text().splitlines():
            row = json.loads(line)
            values = [(value - mean) * scale for value, mean, scale in zip(row["features"], model["mean"], model["scale"])]
            for i, layer in enumerate(model["layers"]):
                inputs, weights = layer["inputs"], layer["weights"]
                values = [layer["bias"][j] + math.fsum(w * v for w, v in zip(weights[j * inputs:(j + 1) * inputs], values))
                          for j in range(layer["outputs"])]
                values = [math.tanh(value) for value in values] if i == 0 else values
            right += model["classes"][values.index(max(values))] == row["label"]
            total += 1
        equal(total, 539)
        check(abs(right / total - model["accuracy"]) < 1e-6, right / total, model["accuracy"])


BAD = [
    ("a,b\n1,2\nx,3\n", {}, "line 3: column 0: expected a number, found 'x'"),
    ("a,b\n1,2\n1\n", {}, "line 3: 1 columns; the first row has 2"),
    ("1,2\n3,2\n", {}, "1 classes; 2 to 1000 are allowed"),
    ("1\n2\n", {}, "one column only"),
    ("", {}, "has no rows"),
    ("a,b\n", {}, "has no rows"),
    ("1,2\n3,2\n", {"label": 1}, "1 classes"),
    ("1,2\n3,2\n", {"label": 2}, "has no column '2'"),
    ("1,2\n3,4\n", {"label": "c"}, "has no column 'c': 2 columns without names"),
    ("1,2\n3,4\n", {"test_share": 0.01}, "a share of 0.01 held out leaves a part empty"),
    ("1,2\n3,4\n", {"dataset_sha256": "00"}, "its SHA-256 is "),
    ("1,2\n3,4\n", {"max_dataset_size": 3}, "more than 3 bytes; see max_dataset_size"),
    ("1,2\n3,4\n", {"epochs": 0}, "param 'epochs': expected an integer from 1 to 100000 epochs, found 0"),
    ("1,2\n3,4\n", {"learning_rate": "fast"}, "param 'learning_rate': expected a number from 1e-09 to 100, found \"fast\""),
    ("1,2\n3,4\n", {"trainer": "../../bin/sh"}, "param 'trainer': "),
    ("1,2\n3,4\n", {"trainer": "sh"}, "the worker has no trainers"),
    ("1,2\n3,4\n", {"dataset": "/nowhere"}, "/nowhere: No such file or directory"),
]


def bad_datasets_and_params_are_named():
    def refused(content, params, reason):
        with directory() as d:
            write(d / "data.csv", content)
            ran = train(d, **{"dataset": str(d / "data.csv"), **params})
            check(ran.error and reason in ran.error, params or content, ran.error)
            equal((ran.status, tree(d / "work"), (d / "models").exists()), ("rolled_back", {}, False))
    side_by_side(refused, BAD)


def archive_that_swells_is_refused():
    with directory() as d:
        write(d / "data.csv.gz", gzip.compress(b"1,2\n" * 1_000_000))
        ran = train(d, dataset=str(d / "data.csv.gz"), max_dataset_size="64K")
        check("unpacks to more than 65536 bytes" in ran.error, ran.error)


def dataset_is_downloaded_and_the_model_uploaded():
    with directory() as d, Nginx() as store:
        write(store.root / "digits.csv.gz", open(DIGITS, "rb").read())
        digest = hashlib.sha256(open(DIGITS, "rb").read()).hexdigest()
        ran = train(d, dataset=store.url + "/digits.csv.gz", dataset_sha256=digest, target=store.url + "/models", epochs=2)
        equal(ran.status, "succeeded", ran.error)
        equal(sorted(path.name for path in (store.root / "models").iterdir()), ["m.json", "m.json.sha256"])
        gone = train(d, dataset=store.url + "/nothing.csv")
        check("GET: HTTP 404: not found" in gone.error, gone.error)


def failed_upload_leaves_nothing():
    with directory() as d, Broken() as store:
        store.fail("PUT", None, 507)
        ran = train(d, target=store.url, epochs=2, parallel=1)
        check("HTTP 507: the store has no room left" in ran.error, ran.error)
        equal((ran.status, store.files, tree(d / "work")), ("rolled_back", {}, {}))


TRAINER = """#!/bin/sh
# Counts the rows of each class, and calls that a model.
echo '{"progress":[1,2]}'
echo "training in $BACKSTEP_WORKSPACE" >&2
cut -d, -f3 "$BACKSTEP_WORKSPACE/train.csv" | sort | uniq -c >"$BACKSTEP_WORKSPACE/model.json"
echo '{"data":{"accuracy":0.5}}'
"""


def trainer_of_ones_own_is_run():
    with directory() as d:
        write(d / "data.csv", "1,2,a\n3,4,b\n5,6,a\n")
        (write(d / "trainers/count", TRAINER)).chmod(0o755)
        (write(d / "trainers/fails", "#!/bin/sh\necho 'out of ideas' >&2\nexit 1\n")).chmod(0o755)
        (write(d / "trainers/idle", "#!/bin/sh\n")).chmod(0o755)
        env = {"BACKSTEP_TRAINERS": str(d / "trainers")}
        ran = train(d, env, dataset=str(d / "data.csv"), trainer="count", format="csv")
        equal((ran.status, ran.data("train")), ("succeeded", {"accuracy": 0.5}), ran.error)
        check("label" in (d / "models/m.json").read_text())
        for name, reason in ("fails", "out of ideas"), ("idle", "left no model.json"), ("gone", "No such file"):
            ran = train(d, env, dataset=str(d / "data.csv"), trainer=name, model_name="n")
            check(reason in ran.error, name, ran.error)


main([value for name, value in list(globals().items())
      if callable(value) and getattr(value, "__module__", "") == "__main__" and name not in ("train", "accuracy")])
