#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The export action as a program: from files and standard input, through jq, to CSV, JSON lines and SQLite."""

import csv
import hashlib
import json
import resource
import sqlite3
import subprocess

from checks import BIN, DEADLINE_S, check, directory, equal, main, run, side_by_side, tree, write
from stores import Broken, Nginx

LINES = '{"a":1,"b":"x,y"}\nnot json\n{"a":2,"b":"line\\nbreak"}\n\n{"a":null,"b":[1]}\n'


def export(where, env=None, **params):
    return run("export", where, env, **{"source": str(where / "in.jsonl"), **params})


def succeeded(ran, **counts):
    equal(ran.status, "succeeded", ran.error)
    found = ran.data("convert_data")
    equal({name: found[name] for name in counts}, counts)


def json_lines_are_filtered_and_saved_with_their_checksum():
    with directory() as d:
        write(d / "in.jsonl", LINES)
        succeeded(export(d, target=str(d / "out/o.jsonl"), filter="select(.a != 2) | {a}, {c: .b}"), records=4, items=4, failed=1)
        equal((d / "out/o.jsonl").read_text(), '{"a":1}\n{"c":"x,y"}\n{"a":null}\n{"c":[1]}\n')
        digest = hashlib.sha256((d / "out/o.jsonl").read_bytes()).hexdigest()
        equal((d / "out/o.jsonl.sha256").read_text(), f"{digest}  o.jsonl\n")
        aside = json.loads((d / "out/o.jsonl.failed.jsonl").read_text())
        equal((aside["line"], aside["record"]), (2, "not json"))
        equal(sorted(tree(d / "out")), [b"o.jsonl", b"o.jsonl.failed.jsonl", b"o.jsonl.sha256"])


def csv_goes_in_and_comes_out():
    with directory() as d:
        write(d / "in.csv", 'name,size\r\n"a ""b"", c",1\r\nshort\r\n"two\nlines",x\r\nd,4\r\n')
        ran = export(d, source=str(d / "in.csv"), target=str(d / "o.csv"), filter="{size: (.size|tonumber), name}")
        succeeded(ran, records=4, items=2, failed=2)
        rows = list(csv.reader((d / "o.csv").open(newline="")))
        equal(rows, [["size", "name"], ["1", 'a "b", c'], ["4", "d"]])
        equal([json.loads(line)["line"] for line in (d / "o.csv.failed.jsonl").read_text().splitlines()], [3, 4])


def sqlite_keeps_the_types():
    with directory() as d:
        write(d / "in.jsonl", '{"i":1,"f":1.5,"t":"x\\u0000y","n":null,"b":true,"l":[1,{"a":2}]}\n{"i":9007199254740991}\n')
        succeeded(export(d, target=str(d / "o.db"), table='odd "name"', columns="i,f,t,n,b,l"), items=2, failed=0)
        with sqlite3.connect(d / "o.db") as base:
            rows = base.execute('select * from "odd ""name"""').fetchall()
        base.close()
        equal(rows, [(1, 1.5, "x\0y", None, 1, '[1,{"a":2}]'), (9007199254740991, None, None, None, None, None)])


def item_with_a_field_that_is_no_column_is_kept_aside_or_cut():
    with directory() as d:
        write(d / "in.jsonl", '{"a":1}\n{"a":2,"b":3}\n5\n')
        succeeded(export(d, target=str(d / "o.csv")), items=1, failed=2)
        equal((d / "o.csv").read_text(), "a\n1\n")
        check("has a field 'b' that the first item has not" in (d / "o.csv.failed.jsonl").read_text())
        succeeded(export(d, target=str(d / "p.csv"), columns=["a"]), items=2, failed=1)
        equal((d / "p.csv").read_text(), "a\n1\n2\n")


def standard_input_is_a_source():
    with directory() as d:
        done = subprocess.run([BIN / "backstep-export", "run", "-p", "source=-", "-p", f"target={d}/o.jsonl", "-p", f"work={d}/work"],
                              input=b'{"a":1}\n', capture_output=True, timeout=DEADLINE_S)
        equal((done.returncode, (d / "o.jsonl").read_text()), (0, '{"a":1}\n'), done.stdout)


def environment_is_not_to_be_had_by_a_filter():
    with directory() as d:
        write(d / "in.jsonl", "{}\n")
        env = {"AWS_SECRET_ACCESS_KEY": "very-secret"}
        succeeded(export(d, env, target=str(d / "o.jsonl"), filter="[$ENV, env, $ENV.AWS_SECRET_ACCESS_KEY]"), items=1)
        equal((d / "o.jsonl").read_text(), "[{},{},null]\n")


BAD = [
    ({"filter": ".a |"}, "param 'filter': '.a |' is not jq: line 1: syntax error"),
    ({"filter": "error(\"x\")", "max_failed": 2}, "more than 2 records failed; see max_failed"),
    ({"filter": "def f: f | f; f"}, "jq"),
    ({"filter": "[range(1e9)]"}, "jq needs more than 256 MiB for a record after the first 0"),
    ({"source": "/nowhere"}, "source '/nowhere': No such file or directory"),
    ({"source": "/tmp"}, "source '/tmp': is no file"),
    ({"target": "TARGET/in.jsonl"}, "in.jsonl: is there already"),
    ({"target": "TARGET/"}, "param 'target': names a directory, not a file"),
    ({"target": "TARGET/o.csv", "filter": "1"}, "there are no columns: the first item is no object"),
    ({"format": "xml"}, "param 'format': expected auto|jsonl|csv|sqlite, found \"xml\""),
    ({"source": "kafka:t", "brokers": "127.0.0.1:1", "stall_timeout": "1s"}, "no broker answered on 127.0.0.1:1"),
]


def bad_params_and_filters_are_named_and_leave_nothing():
    with directory() as d:
        write(d / "in.jsonl", LINES)
        before = tree(d)

        def refused(params, reason):
            params = {name: value.replace("TARGET", str(d)) if isinstance(value, str) else value for name, value in params.items()}
            ran = export(d, **{"target": str(d / "new/o.jsonl"), **params})
            check(ran.error and reason in ran.error, params, ran.error)
            equal(ran.status, "rolled_back")
        side_by_side(refused, BAD)
        after = tree(d)
        after.pop(b"work/", None)
        equal(after, before)


CONNECTIONS = [
    ("bootstrap.servers = 127.0.0.1:1\n# a comment\n\nsasl.pasword = very-secret\n", "property sasl.pasword: "),
    ("bootstrap.servers = 127.0.0.1:1\nsecurity.protocol = sometimes\n", "property security.protocol: Invalid value \"sometimes\""),
    ("bootstrap.servers = 127.0.0.1:1\nvery-secret\n", "c.conf: line 2: expected NAME = VALUE"),
    ("sasl.password = very-secret\n", "c.conf: has no bootstrap.servers"),
    ("bootstrap.servers = 127.0.0.1:1\n" + "client.rack = x\n" * 65, "c.conf: line 66: more than 64 properties"),
    ("#" * 70000, "c.conf: is larger than 64 KiB"),
    ("bootstrap.servers = 127.0.0.1:1\nsecurity.protocol = SSL\nssl.ca.location = /nowhere/ca.pem\n", "ssl.ca.location"),
    ("bootstrap.servers = 127.0.0.1:1\n", "no broker answered on 127.0.0.1:1"),
    (None, "c.conf: No such file or directory"),
]


def connections_that_are_wrong_are_named_and_no_secret_is_shown():
    def refused(content, reason):
        with directory() as d:
            if content is not None:
                write(d / "connections/c.conf", content)
            ran = export(d, {"BACKSTEP_KAFKA_CONNECTIONS": str(d / "connections")}, source="kafka:t", connection="c",
                         target=str(d / "o.jsonl"), stall_timeout="1s")
            check(ran.error and reason in ran.error, reason, ran.error)
            check("very-secret" not in ran.text, ran.text)
            equal((ran.status, (d / "o.jsonl").exists()), ("rolled_back", False))
    side_by_side(refused, CONNECTIONS)
    with directory() as d:
        for name, reason in ("../c", "param 'connection': "), ("c", "BACKSTEP_KAFKA_CONNECTIONS names no directory"):
            ran = export(d, source="kafka:t", connection=name, target=str(d / "o.jsonl"))
            check(reason in ran.error, ran.error)


def rollback_removes_what_was_saved():
    with directory() as d, Broken() as store:
        write(d / "in.jsonl", LINES)
        store.fail("PUT", None, None, 507)
        ran = export(d, target=store.url + "/o.jsonl", parallel=1)
        check("o.jsonl.failed.jsonl: PUT: HTTP 507: the store has no room left" in ran.error, ran.error)
        equal((ran.status, store.files, tree(d / "work")), ("rolled_back", {}, {}))


def target_may_be_a_server():
    with directory() as d, Nginx() as store:
        write(d / "in.jsonl", '{"a":1}\n')
        succeeded(export(d, target=store.url + "/x/o.csv"), items=1)
        equal((store.root / "x/o.csv").read_text(), "a\n1\n")


resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
main([value for name, value in list(globals().items())
      if callable(value) and getattr(value, "__module__", "") == "__main__" and name not in ("export", "succeeded")])
