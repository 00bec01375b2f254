#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""TLS, users and ACLs: with exactly the rights that docs/OPERATIONS.md lists everything works, and each refusal is clear."""

import re
import subprocess
import tempfile
from pathlib import Path

import security
from cluster import BIN, PROGRESS_PARTITIONS, SOURCE, Cluster, check, main

STEP = 'cat >/dev/null; echo "$1 $BACKSTEP_STEP, level=info" >&2\n[ "$1" = rollback ] || env | grep -c -E "sasl|kafka.config" >"$SEEN" || :\necho "{}"\n'
PIPELINE = "name: two\nsteps:\n  - {name: first}\n  - {name: second}\n"
ACL_HINT = "this user may not do that: 'What each program may do' in OPERATIONS.md"


def documented_acls():
    """The rows of the table in docs/OPERATIONS.md: (principal, operation, resource type, name, pattern)."""
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| (topic|group|cluster) \| `([\w.-]+)` \| (literal|prefix) \|", (SOURCE / "docs/OPERATIONS.md").read_text(), re.M)
    return [(f"User:{user}", *rest) for user, *rest in rows]


class World(Cluster):
    """A cluster whose programs each come as the user of their name."""

    def __init__(self):
        self.keys = Path(tempfile.mkdtemp(prefix="backstep-keys-"))
        self.acls = documented_acls()
        users = sorted({row[0].removeprefix("User:") for row in self.acls}) + ["nobody"]
        super().__init__(secured=security.Secured(self.keys / "keys", users))
        self.environment = {}

    def __enter__(self):
        super().__enter__()
        self.administrator = self.brokers
        self.brokers = security.address(self.broker.directory)
        self.secured.allow(self.administrator, self.acls)
        self.files = {user: self.secured.config(user) for user in self.secured.passwords}
        self.two = self.pipeline(PIPELINE)
        return self

    def __exit__(self, *trace):
        super().__exit__(*trace)
        security.remove(self.keys)

    def as_user(self, user, *arguments, expect=0, program="backstep", timeout="10s", file=None, input=None):
        """One command to its end."""
        command = [BIN / program, *arguments, "-b", self.brokers, "--timeout", timeout, "--kafka-config", file or self.files[user]]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, cwd=self.directory,
                              env={"PATH": "/usr/bin:/bin", **self.environment})
        if expect is not None:
            check(done.returncode == expect, f"{user}: {program} {' '.join(map(str, arguments))} ends with {expect}{'' if done.returncode == expect else done.stderr}")
        return done

    def daemon(self, user, program, *arguments):
        """One that stays; its settings come by the environment."""
        environment = {"BACKSTEP_KAFKA_CONFIG": str(self.files[user]), "BACKSTEP_BROKERS": self.brokers, "SEEN": str(self.directory / "seen"), **self.environment}
        return self.spawn(user, BIN / program, *arguments, "--log-level", "info", environment=environment)

    def begin(self, steps, worker_id):
        serve = self.daemon("coordinator", "backstep", "serve")
        worker = self.daemon("worker", "backstep-worker", "--steps", steps, "--no-actions", "--lease", "3s", "--id", worker_id)
        self.wait_for(lambda: "event=ready" in serve.said(), "a coordinator to be ready")
        self.wait_for(lambda: f'"{worker_id}"' in self.as_user("monitor", "workers", "-o", "json", expect=None).stdout, "the worker to be known")
        return serve, worker


def everything_works(world, steps, run_id):
    serve, worker = world.begin(steps, run_id)
    world.as_user("client", "start", world.two, "--id", run_id, "--wait")
    shown = {command: world.as_user("monitor", command, *([run_id] if command != "list" else [])).stdout
             for command in ("status", "list", "history", "watch")}
    check(all(run_id in text for text in shown.values()), "a monitor that may write nowhere sees the run")
    world.wait_for(lambda: "execute second" in world.as_user("monitor", "logs", run_id, expect=None).stdout, "what the steps log to be there")
    check("handlers=2 " in worker.said(), "--no-actions: the worker serves its two programs and nothing else")
    check((world.directory / "seen").read_text() == "0\n", "a step program sees neither password nor its file")
    return serve, worker


def denied(world, steps):
    """Each program with rights that are not its own"""
    refusals = [
        ("nobody", 2, "backstep", "topics"), ("nobody", 2, "backstep", "serve"), ("nobody", 2, "backstep", "list"),
        ("nobody", 2, "backstep", "start", world.two), ("nobody", 2, "backstep-worker", "--steps", steps),
        ("client", 2, "backstep", "serve"), ("client", 2, "backstep", "workers"), ("worker", 2, "backstep", "serve"),
        ("monitor", 5, "backstep", "start", world.two),
    ]
    for user, code, program, *arguments in refusals:
        done = world.as_user(user, *arguments, program=program, expect=code)
        check(ACL_HINT in done.stderr, "and says which rights it needs: " + done.stderr.splitlines()[-1][:120])
    group = next(row for row in world.acls if row[0] == "User:coordinator" and row[2] == "group")
    world.secured.forbid(world.administrator, group)
    done = world.as_user("coordinator", "serve", expect=2)
    check(ACL_HINT in done.stderr and "group" in done.stderr, "a coordinator that may not use the group says so")
    world.secured.allow(world.administrator, [group])
    stranger = world.daemon("coordinator", "backstep-worker", "--steps", steps)
    world.wait_for(lambda: ACL_HINT in stranger.said(), "a worker that may not read its tasks to say what it lacks")
    stranger.kill()


def wrong_password(world):
    """A password that is not theirs"""
    for user, program, *arguments in (("coordinator", "backstep", "serve"), ("worker", "backstep-worker"), ("client", "backstep", "list")):
        file = world.secured.config(user, password="hunter2", name=f"{user}-wrong")
        done = world.as_user(user, *arguments, program=program, file=file, expect=5)
        check("it refused the user or the password; look at sasl.mechanism, sasl.username and sasl.password" in done.stderr, "it says what to look at")
        check("hunter2" not in done.stderr, "and not the password")
    done = world.as_user("client", "list", "-X", "sasl.password=hunter2", expect=2)
    check("is a secret, and everybody sees the command line" in done.stderr and "hunter2" not in done.stderr, "none is taken from a command line")


def wrong_certificate(world):
    """A broker whose certificate nobody vouches for"""
    for user, program, *arguments in (("coordinator", "backstep", "serve"), ("worker", "backstep-worker"), ("client", "backstep", "list")):
        file = world.secured.config(user, authority="stranger", name=f"{user}-stranger")
        done = world.as_user(user, *arguments, program=program, file=file, expect=5)
        check("its certificate was signed by nobody whom ssl.ca.location names" in done.stderr, "it says so")


def no_tls(world):
    """A program that does not speak TLS"""
    file = world.keys / "nothing.conf"
    file.write_text("")
    done = world.as_user("client", "list", file=file, timeout="4s", expect=5)
    check("look at security.protocol" in done.stderr, "it says so")


def taken_away(world, worker):
    """A right is taken away under a worker, and given back"""
    row = ("User:worker", "Write", "topic", "backstep.progress", "literal")
    check(row in world.acls, "the table has that row")
    world.secured.forbid(world.administrator, row)
    world.as_user("client", "start", world.two, "--id", "denied")
    world.wait_for(lambda: ACL_HINT in worker.said(), "the worker to say what it lacks")
    world.secured.allow(world.administrator, [row])
    world.wait_for(lambda: '"succeeded"' in world.as_user("monitor", "status", "denied", "-o", "json", expect=None).stdout, "the run to succeed")
    check(worker.is_running(), "it says so, begins anew until it may, and the run succeeds")


def with_scram(world, steps):
    """The same programs as users by SCRAM, with a library that can do it, and without"""
    world.files = {user: world.secured.config(user, mechanism=security.SCRAM) for user in world.secured.passwords}
    said = world.as_user("client", "list", expect=None)
    check(said.returncode == 0 or "SCRAM with Kafka 4 needs librdkafka 2.6.1 or later" in said.stderr, "the system's library can, or it is named as what cannot")
    world.environment = security.newer_library(world.directory / "library")
    everything_works(world, steps, "scram")


def tls_users_and_acls():
    """TLS, users, ACLs: what the documented rights allow, and what each refusal says"""
    with World() as world:
        steps = world.steps(first=STEP, second=STEP)
        world.as_user("operator", "topics", "--progress-partitions", PROGRESS_PARTITIONS)
        wrong_password(world)
        wrong_certificate(world)
        no_tls(world)
        denied(world, steps)
        serve, worker = everything_works(world, steps, "plain")
        taken_away(world, worker)
        worker.stop()
        with_scram(world, steps)
        check("event=partition_revoked" in serve.said() and serve.is_running(), "and a second coordinator was given its share by the first one's group")
        secrets = list(world.secured.passwords.values())
        shown = [process.said() + " ".join(map(str, process.process.args)) for process in world.processes]
        check(not any(secret in text for text in shown for secret in secrets), "no password stands in a log or on a command line")


if __name__ == "__main__":
    main(tls_users_and_acls)
