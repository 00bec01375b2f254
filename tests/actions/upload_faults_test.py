#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Uploads to stores that fail, hang, break off, and lie; and of files that change meanwhile. After a rollback the store holds what it held."""

import hashlib
import json
import os
import signal
import subprocess
import time

from checks import BIN, DEADLINE_S, check, directory, equal, main, run, side_by_side, write
from stores import S3, Broken


def upload(where, store, env=None, **params):
    return run("upload", where, env, source=str(where / "source"), target=store.url, **params)


def two_files(where):
    write(where / "source/a.txt", "a" * 5000)
    write(where / "source/b.txt", "b" * 5000)


def passing_faults_are_got_over():
    """Every fault on each request in turn, tried again within the step."""
    def got_over(fault, method, place):
        with directory() as d, Broken() as store:
            two_files(d)
            store.fail(method, *[None] * place, fault)
            ran = upload(d, store, parallel=1)
            equal(ran.status, "succeeded", (fault, method, place, ran.error))
            equal({path: len(body) for path, body in store.files.items() if "units" not in path},
                  {"/a.txt": 5000, "/b.txt": 5000}, (fault, method, place))
            equal(store.files["/a.txt"], b"a" * 5000, (fault, method, place))
    side_by_side(got_over, [(fault, method, place) for fault in (500, 503, 429, "close", "rot") for place in (0, 1, 3)
                            for method in (("PUT",) if fault == "rot" else ("PUT", "HEAD", "GET"))])


LASTING = [
    (500, "PUT", "HTTP 500: the server failed"),
    ("close", "PUT", "PUT: "),
    ("hang", "PUT", "the server did not answer, or nothing moved, for 1000 ms"),
    ("rot", "PUT", "what the server has differs from the file: its checksum is another"),
    (507, "PUT", "HTTP 507: the store has no room left"),
    (403, "PUT", "HTTP 403: the credentials do not allow it, or are wrong"),
    (405, "PUT", "HTTP 405: the server does not take this method here"),
    (301, "PUT", "HTTP 301: the store is somewhere else"),
]


def lasting_faults_end_in_a_store_as_it_was():
    def ends(fault, method, reason):
        with directory() as d, Broken() as store:
            two_files(d)
            store.files["/other"] = b"somebody's"
            store.fail(method, None, *[fault] * 20)
            ran = upload(d, store, parallel=1, tries=2, stall_timeout="1s")
            equal((ran.code, ran.status), (1, "rolled_back"), (fault, ran.error))
            check(reason in ran.error and "b.txt: " in ran.error, fault, ran.error)
            equal(store.files, {"/other": b"somebody's"}, fault)
    side_by_side(ends, LASTING)


def lie_about_a_checksum_is_noticed():
    with directory() as d, Broken() as store:
        two_files(d)
        store.fail("HEAD", None, *["lie"] * 20)  # the first one asks whether anything is there
        ran = upload(d, store, parallel=1, tries=1)
        check("what the server has differs from the file: its checksum is another" in ran.error, ran.error)
        equal((ran.status, store.files), ("rolled_back", {}))


def lie_of_an_s3_store_is_noticed():
    with directory() as d, S3(signed=False) as s3, Broken(behind=s3.url) as store:
        two_files(d)
        store.fail("PUT", *["lie"] * 20)
        ran = run("upload", d, s3.keys, source=str(d / "source"), target=f"s3://{s3.bucket}", endpoint=store.url, parallel=1, tries=2)
        check("what the store has differs from the file: its ETag is 00000000000000000000000000000000" in ran.error, ran.error)
        equal((ran.status, s3.objects()), ("rolled_back", {}))


def s3_store_that_breaks_off_is_got_over():
    with directory() as d, S3(signed=False) as s3, Broken(behind=s3.url) as store:
        write(d / "source/large", os.urandom(9_000_000))
        for fault in 500, 503, "close":
            store.fail("PUT", None, fault)  # the second part
            store.fail("POST", None, fault)  # its completion
            ran = run("upload", d, s3.keys, source=str(d / "source"), target=f"s3://{s3.bucket}/{fault}", endpoint=store.url)
            equal(ran.status, "succeeded", (fault, ran.error))
            equal(s3.objects()[f"{fault}/large"], hashlib.sha256((d / "source/large").read_bytes()).hexdigest())
            equal(s3.unfinished(), [])


def lost_answer_is_no_second_copy():
    """The store took the file, and nobody heard of it: the next try finds it there, and it is ours."""
    with directory() as d, S3(signed=False) as s3, Broken(behind=s3.url) as store:
        two_files(d)
        # The HEAD that confirms the first file fails once: whatever the PUT did, it did.
        store.fail("HEAD", None, "close")
        ran = run("upload", d, s3.keys, source=str(d / "source"), target=f"s3://{s3.bucket}", endpoint=store.url, parallel=1)
        equal(ran.status, "succeeded", ran.error)
        puts = [method for method in iter_queue(store.seen) if method == "PUT"]
        equal(len(puts), 3)  # two files and the units: none twice


def iter_queue(queue):
    while not queue.empty():
        yield queue.get()


def a_terminal_that_goes_away_takes_all_back():
    """Told of twice, by the kernel and by a shell: it is a wish for a cancel, and no second one."""
    with directory() as d, Broken() as store:
        two_files(d)

        def hang_up():
            process.send_signal(signal.SIGHUP)
            process.send_signal(signal.SIGHUP)
        store.fail("PUT", None, hang_up)
        process = subprocess.Popen([BIN / "backstep-upload", "run", "-p", f"source={d / 'source'}", "-p", f"target={store.url}",
                                    "-p", f"work={d / 'work'}", "-p", "parallel=1"], stdout=subprocess.PIPE, text=True)
        output = process.communicate(timeout=DEADLINE_S)[0]
        equal((process.returncode, json.loads(output)["status"]), (4, "cancelled"), output)
        equal(store.files, {})


def changing_source(change):
    """`change` is called when the first file has been put; b.txt comes next."""
    with directory() as d, Broken() as store:
        two_files(d)
        store.fail("PUT", lambda: change(d))
        ran = upload(d, store, parallel=1)
        equal((ran.status, store.files), ("rolled_back", {}), ran.error)
        return ran.error


def file_that_changes_is_not_uploaded():
    error = changing_source(lambda d: write(d / "source/b.txt", "c" * 5000) and None)
    check("b.txt: changed since it was listed" in error, error)
    error = changing_source(lambda d: write(d / "source/a.txt", "c" * 50) and None)  # while it is sent
    check("a.txt: " in error, error)


def file_that_vanishes_is_named():
    error = changing_source(lambda d: (d / "source/b.txt").unlink())
    check("b.txt: vanished since it was listed" in error, error)


def store_with_no_room_is_left_as_it_was():
    """A real disk that is full: a file system of 1 MiB in memory."""
    import subprocess
    with directory() as d:
        write(d / "source/a.txt", b"a" * 300_000)
        write(d / "source/b.txt", b"b" * 3_000_000)
        (d / "target").mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", d / "target"], capture_output=True, text=True)
        if mounted.returncode != 0:
            raise AssertionError(f"a file system cannot be mounted here: {mounted.stderr}")
        try:
            write(d / "target/other", "somebody's")
            ran = run("upload", d, source=str(d / "source"), target=str(d / "target"), tries=1)
            equal(ran.status, "rolled_back", ran.error)
            check("No space left on device" in ran.error, ran.error)
            equal(os.listdir(d / "target"), ["other"])
        finally:
            subprocess.run(["umount", d / "target"], check=True)


def hanging_server_costs_its_timeout_and_no_more():
    with directory() as d, Broken() as store:
        two_files(d)
        store.fail("HEAD", *["hang"] * 8)
        begun = time.monotonic()
        ran = upload(d, store, tries=1, stall_timeout="1s")
        check("HEAD: the server did not answer" in ran.error, ran.error)
        check(time.monotonic() - begun < 15, time.monotonic() - begun)


main([value for name, value in list(globals().items())
      if callable(value) and getattr(value, "__module__", "") == "__main__"
      and name not in ("upload", "two_files", "iter_queue", "changing_source")])
