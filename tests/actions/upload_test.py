#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The upload action as a program, in process: against a directory, nginx with WebDAV, and moto's S3."""

import os

from checks import check, directory, equal, files_of, main, run, side_by_side, tree, write
from stores import S3, Authority, Broken, Nginx

ODD = [b"plain.txt", b"with blank.txt", b"100% & more?.txt", b"#hash.txt", b"a+b=c.txt", b"quote\"s'.txt", b"tab\there.txt",
       b"new\nline.txt", b"back\\slash.txt", "Zürich 虎.png".encode(), b"sub/dir/deep.txt", b"semi;colon,comma.txt", b"~tilde*.txt",
       b"\x01\x02control.txt", b"-dash.txt", b".hidden", b"{brace}[x].txt"]
FOR_MOTO = [name for name in ODD if b"\n" not in name]  # it answers 404 to Amazon's client, too
PLAIN = [b"plain.txt", b"with blank.txt", b"sub/dir/deep.txt", b"-dash.txt", b".hidden"]
NOT_UTF8 = b"\xff\xfe\x80.bin"


def fill(path, names=ODD):
    for i, name in enumerate(names):
        write(os.path.join(os.fsencode(path), name), b"%d " % i * (i + 1))
    write(os.path.join(os.fsencode(path), b"empty.dat"), b"")


def without_units(found, name=b"data-units.jsonl"):
    return {key: value for key, value in files_of(found).items() if key != name}


def directory_holds_what_the_source_holds():
    with directory() as d:
        fill(d / "source", [*ODD, NOT_UTF8])
        ran = run("upload", d, source=str(d / "source"), target=str(d / "a/b/target"))
        equal(ran.status, "succeeded", ran.error)
        equal(without_units(tree(d / "a/b/target")), files_of(tree(d / "source")))
        equal(ran.data("upload_files")["uploaded"], len(ODD) + 2)


def directory_is_as_before_after_a_rollback():
    with directory() as d:
        fill(d / "source")
        write(d / "target/data-units.jsonl", "somebody's")
        write(d / "target/sub/other.txt", "somebody's")
        before = tree(d / "target")
        ran = run("upload", d, source=str(d / "source"), target=str(d / "target"))
        equal((ran.code, ran.status), (1, "rolled_back"), ran.error)
        check("data-units.jsonl: is in the store already" in ran.error, ran.error)
        equal(tree(d / "target"), before)
        equal(tree(d / "work"), {})
        equal(ran.step("upload_files")["status"], "rolled_back")


def a_workspace_that_cannot_be_is_no_rollback_that_cannot():
    with directory() as d:
        fill(d / "source")
        write(d / "file", "no directory")
        ran = run("upload", d, source=str(d / "source"), target=str(d / "target"), work=str(d / "file"))
        equal((ran.code, ran.status), (1, "rolled_back"), ran.error)
        check("Not a directory" in ran.error, ran.error)


def target_that_was_not_there_is_gone_after_a_rollback():
    with directory() as d:
        fill(d / "source")
        ran = run("upload", d, source=str(d / "source"), target=str(d / "x/y"), units="sub")
        equal(ran.status, "rolled_back")
        check(not (d / "x").exists(), tree(d))


def what_somebody_changed_meanwhile_is_left_alone():
    """A file of the run that was written to since is not the run's any more. The units' name makes the run fail late."""
    with directory() as d, Broken() as store:
        fill(d / "source", [b"a.txt", b"b.txt"])

        def meddle():
            store.files["/a.txt"] = b"somebody's"
            return 507
        # HEAD of the file, HEAD after it (tag, content), three files; then the units are put.
        store.fail("PUT", None, None, None, meddle)
        ran = run("upload", d, source=str(d / "source"), target=store.url, parallel=1)
        equal(ran.status, "rolled_back", ran.error)
        equal(store.files, {"/a.txt": b"somebody's"})


def nginx_holds_what_the_source_holds():
    with directory() as d, Nginx() as store:
        fill(d / "source", [*ODD, NOT_UTF8])
        ran = run("upload", d, source=str(d / "source"), target=store.url + "/some/where")
        equal(ran.status, "succeeded", ran.error)
        equal(without_units(tree(store.root / "some/where")), files_of(tree(d / "source")))


def nginx_holds_what_it_held_before_after_a_rollback():
    with directory() as d, Nginx() as store:
        fill(d / "source")
        write(store.root / "data-units.jsonl", "somebody's")
        write(store.root / "sub/other.txt", "somebody's")
        before = files_of(tree(store.root))
        ran = run("upload", d, source=str(d / "source"), target=store.url + "/")
        equal(ran.status, "rolled_back", ran.error)
        check("data-units.jsonl: is in the store already" in ran.error, ran.error)
        equal(files_of(tree(store.root)), before)


def nginx_refuses_a_file_that_is_too_large():
    with directory() as d, Nginx(limit="10k") as store:
        write(d / "source/a", b"x")
        write(d / "source/z", b"x" * 20000)
        ran = run("upload", d, source=str(d / "source"), target=store.url)
        equal(ran.status, "rolled_back")
        check("z: PUT: HTTP 413: the file is larger than the server takes" in ran.error, ran.error)
        equal(files_of(tree(store.root)), {})


def nginx_wants_a_password_and_nobody_sees_it():
    with directory() as d:
        users = write(d / "users", "me:{PLAIN}very-secret\n")
        with Nginx(more=f'auth_basic "x"; auth_basic_user_file {users};') as store:
            write(d / "source/a", b"x")
            wrong = run("upload", d, {"BACKSTEP_HTTP_USER": "me", "BACKSTEP_HTTP_PASSWORD": "not-that-secret"},
                        source=str(d / "source"), target=store.url)
            equal(wrong.status, "rolled_back")
            check("HTTP 401: the credentials are wrong or missing" in wrong.error, wrong.error)
            check("not-that-secret" not in wrong.text)
            right = run("upload", d, {"BACKSTEP_HTTP_USER": "me", "BACKSTEP_HTTP_PASSWORD": "very-secret"},
                        source=str(d / "source"), target=store.url)
            equal(right.status, "succeeded", right.error)
            check("very-secret" not in right.text)
            inside = run("upload", d, source=str(d / "source"), target=store.url.replace("//", "//me:very-secret@"))
            check("credentials go into the worker's environment" in inside.error, inside.error)
            check("very-secret" not in inside.text)


def nobody_is_overwritten_between_our_look_and_our_put():
    """nginx knows no condition on a PUT: whoever was there first would be overwritten. A MOVE replaces nothing."""
    with directory() as d, Nginx() as nginx, Broken(behind=nginx.url) as store:
        fill(d / "source", [b"a.txt", b"b.txt"])
        store.fail("MOVE", None, None, lambda: write(nginx.root / "b.txt", "somebody's") and None)  # the first asks whether it is known
        ran = run("upload", d, source=str(d / "source"), target=store.url, parallel=1)
        equal(ran.status, "rolled_back", ran.error)
        check("b.txt: is in the store already" in ran.error, ran.error)
        equal({name: (nginx.root / os.fsdecode(name)).read_bytes() for name in files_of(tree(nginx.root))}, {b"b.txt": b"somebody's"})


def part_of_a_file_is_never_seen_under_its_name():
    """The server keeps half of what it was sent; at another try all goes well, or it never does."""
    for times, status in (1, "succeeded"), (20, "rolled_back"):
        with directory() as d, Nginx() as nginx, Broken(behind=nginx.url) as store:
            write(d / "source/a.txt", b"a" * 100_000)
            store.fail("PUT", *["part"] * times)
            store.fail("DELETE", *[500] * (times - 1 if times < 3 else 2))  # taking the half away is tried by the rollback, too
            ran = run("upload", d, source=str(d / "source"), target=store.url, parallel=1, tries=2)
            equal(ran.status, status, ran.error)
            equal(files_of(tree(nginx.root)).keys(), {b"a.txt", b"data-units.jsonl"} if times == 1 else set())


def server_without_move_is_put_to_at_once():
    with directory() as d, Nginx(methods="PUT DELETE") as store:
        fill(d / "source", PLAIN)
        ran = run("upload", d, source=str(d / "source"), target=store.url)
        equal(ran.status, "succeeded", ran.error)
        equal(without_units(tree(store.root)), files_of(tree(d / "source")))
        write(d / "more/c.txt", "c")
        ran = run("upload", d, source=str(d / "more"), target=store.url)  # fails at the list of units, which is there
        equal(ran.status, "rolled_back", ran.error)
        equal(without_units(tree(store.root)), files_of(tree(d / "source")))


def certificate_has_to_be_trusted_and_to_name_the_server():
    with directory() as d:
        ours, other = Authority(d), Authority(d, "stranger")
        write(d / "source/a.txt", "a")

        def upload(store, authority, **params):
            return run("upload", d, {"SSL_CERT_FILE": str(authority)}, source=str(d / "source"), target=store.url, **params)
        with Nginx(keys=ours.certificate("server")) as store:
            ran = upload(store, ours.path)
            equal((ran.status, sorted(files_of(tree(store.root)))), ("succeeded", [b"a.txt", b"data-units.jsonl"]), ran.error)
            before = tree(store.root)
            for authority, reason in (other.path, "unable to get local issuer certificate"), (d / "nothing.pem", "nothing.pem"):
                ran = upload(store, authority)
                equal((ran.status, tree(store.root)), ("rolled_back", before), ran.error)
                check("certificate" in ran.error and reason in ran.error, ran.error)
        with Nginx(keys=ours.certificate("elsewhere", "DNS:store.example")) as store:
            ran = upload(store, ours.path)
            equal((ran.status, tree(store.root)), ("rolled_back", {}), ran.error)
            check("no alternative certificate subject name matches target host name '127.0.0.1'" in ran.error, ran.error)


def s3_over_tls():
    with directory() as d, S3() as s3:
        authority = Authority(d)
        behind = f"proxy_pass {s3.url}; proxy_set_header Host $http_host; proxy_request_buffering off;"
        with Nginx(keys=authority.certificate("server"), more=behind) as store:
            fill(d / "source", PLAIN)
            write(d / "source/large.bin", os.urandom(1 << 16) * 140)  # 9.2 MB: two parts
            params = dict(source=str(d / "source"), target=f"s3://{s3.bucket}", endpoint=store.url)
            refused = run("upload", d, s3.keys, **params)
            equal((refused.status, s3.objects()), ("rolled_back", {}), refused.error)
            check("certificate" in refused.error, refused.error)
            ran = run("upload", d, {**s3.keys, "SSL_CERT_FILE": str(authority.path)}, **params)
            equal(ran.status, "succeeded", ran.error)
            equal(without_units({os.fsencode(key): digest for key, digest in s3.objects().items()}), files_of(tree(d / "source")))


def s3_takes_every_odd_name():
    with directory() as d, S3(signed=False) as store:
        fill(d / "source", FOR_MOTO)
        ran = run("upload", d, store.keys, source=str(d / "source"), target=f"s3://{store.bucket}", endpoint=store.url)
        equal(ran.status, "succeeded", ran.error)
        found = {os.fsencode(key): digest for key, digest in store.objects().items()}
        equal(without_units(found), files_of(tree(d / "source")))


def s3_holds_what_the_source_holds():
    with directory() as d, S3() as store:
        fill(d / "source", PLAIN)
        write(d / "source/large.bin", os.urandom(1 << 16) * 330)  # 21.6 MB: three parts
        ran = run("upload", d, store.keys, source=str(d / "source"), target=f"s3://{store.bucket}/pre/fix", endpoint=store.url)
        equal(ran.status, "succeeded", ran.error)
        found = {os.fsencode(key): digest for key, digest in store.objects().items()}
        del found[b"pre/fix/data-units.jsonl"]
        equal(found, {b"pre/fix/" + name: digest for name, digest in files_of(tree(d / "source")).items()})
        equal(store.unfinished(), [])


def s3_holds_what_it_held_before_after_a_rollback():
    with directory() as d, S3() as store:
        fill(d / "source", PLAIN)
        write(d / "source/large.bin", b"x" * 9_000_000)
        store.put("data-units.jsonl", b"somebody's")
        store.put("sub/other.txt", b"somebody's")
        before = store.objects()
        ran = run("upload", d, store.keys, source=str(d / "source"), target=f"s3://{store.bucket}", endpoint=store.url)
        equal(ran.status, "rolled_back", ran.error)
        check("data-units.jsonl: is in the store already" in ran.error, ran.error)
        equal(store.objects(), before)
        equal(store.unfinished(), [])


def s3_refuses_wrong_keys_and_nobody_sees_them():
    with directory() as d, S3() as store:
        write(d / "source/a", b"x")
        keys = {**store.keys, "AWS_SECRET_ACCESS_KEY": "wrong-but-secret"}
        ran = run("upload", d, keys, source=str(d / "source"), target=f"s3://{store.bucket}", endpoint=store.url)
        equal(ran.status, "rolled_back")
        check("HTTP 403: the credentials do not allow it, or are wrong" in ran.error, ran.error)
        check("wrong-but-secret" not in ran.text and keys["AWS_ACCESS_KEY_ID"] not in ran.text, ran.text)
        missing = run("upload", d, {"AWS_ACCESS_KEY_ID": "x"}, source=str(d / "source"), target="s3://b", endpoint=store.url)
        check("AWS_SECRET_ACCESS_KEY is not set in the worker's environment" in missing.error, missing.error)


def same_content_is_skipped_where_asked_and_stays_after_a_rollback():
    with directory() as d, Nginx() as store:
        fill(d / "source", [b"a.txt", b"b.txt"])
        write(store.root / "a.txt", (d / "source/a.txt").read_bytes())
        ran = run("upload", d, source=str(d / "source"), target=store.url)
        check("a.txt: is in the store already" in ran.error, ran.error)
        ran = run("upload", d, source=str(d / "source"), target=store.url, existing="same")
        equal(ran.status, "succeeded", ran.error)
        equal((ran.data("upload_files")["uploaded"], ran.data("upload_files")["skipped"]), (2, 1))
        (store.root / "b.txt").write_bytes(b"other")
        ran = run("upload", d, source=str(d / "source"), target=store.url, existing="same")
        check("b.txt: is in the store already" in ran.error, ran.error)
        equal(sorted(files_of(tree(store.root))), [b"a.txt", b"b.txt", b"data-units.jsonl", b"empty.dat"])


RULES = [
    ({"types": "png"}, "a.txt: files of type 'txt' are not allowed"),
    ({"types": ["PNG", ".Txt"], "max_file_size": 4}, "b.txt: has 5 bytes; 0 to 4 are allowed"),
    ({"min_file_size": "4"}, "a.txt: has 3 bytes; 4 to"),
    ({"min_files": 3}, "2 files; 3 to 100000 are allowed"),
    ({"max_files": 1}, "2 files; 1 to 1 are allowed"),
    ({"max_total_size": 7}, "8 bytes altogether; 7 are allowed"),
    ({"units": "a.txt"}, "a.txt: that name is the list of units'; set 'units' to another"),
    ({"units": ".backstep/x"}, "param 'units': the name .backstep is taken"),
    ({"max_file_size": "a lot"}, "param 'max_file_size': expected a size such as 500, 64K, 100M or 2G from 0 to"),
    ({"layout": "round"}, "param 'layout': expected tree|flat|type, found \"round\""),
    ({"stall_timeout": "2 parsecs"}, "param 'stall_timeout': expected a duration such as 500ms, 10s or 5m from 1000 to 3600000 ms"),
    ({"parallel": 0}, "param 'parallel': expected an integer from 1 to 32 files, found 0"),
    ({"source": ""}, "param 'source' is missing: the directory or file to upload"),
    ({"source": "/nowhere"}, "source '/nowhere': No such file or directory"),
    ({"target": "ftp://x"}, "target 'ftp://x': expected a directory, http://, https:// or s3://"),
    ({"target": "http://"}, "target 'http://': names no host"),
    ({"target": "https://:443/x"}, "target 'https://:443/x': names no host"),
    ({"target": "s3://b", "endpoint": "http://:9000"}, "param 'endpoint': expected http(s)://HOST[:PORT], found 'http://:9000'"),
    ({"target": "s3:///x"}, "target 's3:///x': names no bucket"),
    ({"job": "a b"}, "param 'job': 'a b' is no identifier"),
    ({"metadata": "/nowhere.csv"}, "/nowhere.csv: No such file or directory"),
]


def broken_rules_and_params_are_named():
    with directory() as d:
        write(d / "source/a.txt", "abc")
        write(d / "source/b.txt", "abcde")

        def refused(params, reason):
            given = {"source": str(d / "source"), "target": str(d / "target"), **params}
            ran = run("upload", d, {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"}, **given)
            check(ran.error and reason in ran.error, params, ran.error)
            equal(ran.status, "rolled_back")
            check(not (d / "target").exists(), params)
        side_by_side(refused, RULES)


def links_are_refused_or_left_out():
    with directory() as d:
        write(d / "source/a.txt", "abc")
        (d / "source/link").symlink_to("/etc/passwd")
        ran = run("upload", d, source=str(d / "source"), target=str(d / "target"))
        check("link: is a link; set special: skip" in ran.error, ran.error)
        ran = run("upload", d, source=str(d / "source"), target=str(d / "target"), special="skip")
        equal((ran.status, ran.data("analyze_collection")["left_out"]), ("succeeded", 1))
        equal(sorted(tree(d / "target")), [b"a.txt", b"data-units.jsonl"])


def names_an_s3_store_cannot_have_are_refused():
    with directory() as d:
        write(os.path.join(os.fsencode(d / "source"), NOT_UTF8), b"x")
        ran = run("upload", d, {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"}, source=str(d / "source"), target="s3://b",
                  endpoint="http://127.0.0.1:1")
        check("an S3 store takes UTF-8 only" in ran.error, ran.error)


def units_carry_their_metadata():
    import json
    with directory() as d:
        write(d / "source/a.png", "1")
        write(d / "source/a.json", "2")
        write(d / "source/b.png", "3")
        write(d / "meta.csv", 'file,who\r\na.png,"Ann, ""x"""\r\n')
        ran = run("upload", d, source=str(d / "source"), target=str(d / "target"), metadata=str(d / "meta.csv"))
        equal(ran.status, "succeeded", ran.error)
        units = [json.loads(line) for line in (d / "target/data-units.jsonl").read_text().splitlines()]
        equal([(unit["unit"], [file["file"] for file in unit["files"]]) for unit in units],
              [("a", ["a.json", "a.png"]), ("b", ["b.png"])])
        equal(units[0]["metadata"], {"a.png": {"file": "a.png", "who": 'Ann, "x"'}})
        write(d / "meta.jsonl", '{"file": "c.png"}\n')
        ran = run("upload", d, source=str(d / "source"), target=str(d / "t2"), metadata=str(d / "meta.jsonl"))
        check("record of 'c.png', which is not in the source" in ran.error, ran.error)


# Under ThreadSanitizer the sending, and no server in Python, which would be all that takes time.
THREADS = (directory_holds_what_the_source_holds, directory_is_as_before_after_a_rollback, nginx_holds_what_the_source_holds,
           nginx_holds_what_it_held_before_after_a_rollback)
main(THREADS if os.environ.get("BACKSTEP_PRESET") == "thread" else
     [value for name, value in list(globals().items())
      if callable(value) and getattr(value, "__module__", "") == "__main__" and name not in ("fill", "without_units")])
