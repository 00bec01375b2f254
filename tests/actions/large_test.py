#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A file of 1 GiB, and a million rows: little memory, and after a kill at half the next attempt sends what is missing. To S3 and to a directory."""

import os
import re
import subprocess
import time
from pathlib import Path

from checks import BIN, SOURCE, check, directory, equal, main
from cluster_of_two import Cluster
from stores import S3, Broken

PIPELINE = SOURCE / "examples/actions/upload.yaml"
BYTES = 1 << 30
MOST_KIB = 32 * 1024


def large_file(path):
    path.parent.mkdir(parents=True)
    block = b"".join(i.to_bytes(4, "big") for i in range(1 << 18))  # 1 MiB, no two words of it alike
    with path.open("wb") as file:
        for i in range(BYTES >> 20):
            file.write(i.to_bytes(8, "big") + block[8:])


def peak_kib(process):
    return int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())[1])


def half_is_not_sent_again(d, cluster, half_is_there, target, **params):
    first = cluster.worker()
    cluster.begin(PIPELINE, "large", source=d / "source", target=target, work=d / "work", **params)
    cluster.wait_for(half_is_there, "half of the file", 300)
    before = peak_kib(first)
    cluster.kill(first)
    second = cluster.worker()
    equal(cluster.end_of("large", 300)["status"], "succeeded")
    after = peak_kib(second)
    sent = next(step for step in cluster.status("large")["steps"] if step["name"] == "upload")["data"]["bytes_sent"]
    print(f"note: 1 GiB, killed at half: the next attempt sent {100 * sent / BYTES:.0f} %; {before} and {after} KiB resident at most")
    check(sent <= 0.6 * BYTES, sent)
    check(max(before, after) <= MOST_KIB, before, after)


def to_a_directory():
    with directory() as d, Cluster(d) as cluster:
        large_file(d / "source/large.bin")

        def half_is_there():
            return any(path.stat().st_size >= BYTES // 2 for path in d.glob("target/.backstep/*/0"))
        half_is_not_sent_again(d, cluster, half_is_there, d / "target")
        equal((d / "target/large.bin").stat().st_size, BYTES)


def to_s3():
    with directory() as d, S3(signed=False) as s3, Broken(behind=s3.url) as store, Cluster(d, s3.keys) as cluster:
        large_file(d / "source/large.bin")
        half_is_not_sent_again(d, cluster, lambda: store.bytes_received >= BYTES // 2, f"s3://{s3.bucket}", endpoint=store.url)
        check(store.bytes_received <= 1.1 * BYTES, store.bytes_received)
        equal(s3.client.head_object(Bucket=s3.bucket, Key="large.bin")["ContentLength"], BYTES)
        equal(s3.unfinished(), [])


def export(where, count, form):
    """The most it had in memory, in KiB."""
    begun = time.monotonic()
    process = subprocess.Popen([BIN / "backstep-export", "run", "-p", f"work={where}/work", "-p", f"source={where}/in.jsonl",
                                "-p", f"target={where}/{count}.{form}", "-p", "filter={id, name, value}"], stdout=subprocess.PIPE)
    output = process.stdout.read()
    process.stdout.close()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    equal(process.returncode, 0, output)
    print(f"note: {count} rows to {form}: {usage.ru_maxrss} KiB at most, {time.monotonic() - begun:.1f} s")
    return usage.ru_maxrss


def million_rows_take_no_more_memory_than_a_tenth_of_it():
    with directory() as d:
        peaks = {}
        forms = "csv", "db"
        for count in 100_000, 1_000_000:
            with (d / "in.jsonl").open("w") as file:
                file.writelines('{"id":%d,"name":"item number %d","value":%f}\n' % (i, i, i / 7) for i in range(count))
            for form in forms:
                peaks[form, count] = export(d, count, form)
        for form in forms:
            check(peaks[form, 1_000_000] <= peaks[form, 100_000] + 2048, form, peaks)
            check(peaks[form, 1_000_000] <= MOST_KIB, form, peaks)
        with (d / "1000000.csv").open() as rows:
            equal(sum(1 for _ in rows), 1_000_001)


# The rows come first: what a child had "at most" begins with what this process has when it forks, and the store of the others is in it.
main([million_rows_take_no_more_memory_than_a_tenth_of_it, to_a_directory, to_s3])
