#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A range of a topic exported over Kafka, on the embedded broker and on a real one, there also over TLS with a user; by the pipeline, with
a worker of the stock kind. And each action's example on the real one."""

import os
import subprocess

import kafka
from checks import DEADLINE_S, SOURCE, check, directory, equal, main, run, side_by_side, write
from cluster_of_two import Cluster
from stores import Authority

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


PASSWORD = "very-secret"


def with_tls(ports, certificate, key):
    """The broker's properties: a third listener, with TLS and a user."""
    keys = write(certificate.parent / "keys.pem", key.read_bytes() + certificate.read_bytes())
    listeners = ",".join(f"{name}://127.0.0.1:{port}" for name, port in zip(("CLIENT", "CONTROLLER", "SECURE"), ports))
    return [
        "auto.create.topics.enable=true", f"listeners={listeners}",
        f"advertised.listeners=CLIENT://127.0.0.1:{ports[0]},SECURE://127.0.0.1:{ports[2]}",
        "listener.security.protocol.map=CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL", "sasl.enabled.mechanisms=PLAIN",
        "listener.name.secure.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required "
        f'user_alice="{PASSWORD}";', "ssl.keystore.type=PEM", f"ssl.keystore.location={keys}",
    ]


def secured_topic_is_exported_by_a_connection(d, port, authority, stranger):
    def connection(name, **other):
        properties = {"bootstrap.servers": f"127.0.0.1:{port}", "security.protocol": "SASL_SSL", "ssl.ca.location": authority.path,
                      "sasl.mechanism": "PLAIN", "sasl.username": "alice", "sasl.password": PASSWORD,
                      **{name.replace("_", "."): value for name, value in other.items()}}
        write(d / f"connections/{name}.conf", "# by the operator\n" + "".join(f"{name} = {value}\n" for name, value in properties.items()))
        return run("export", d, {"BACKSTEP_KAFKA_CONNECTIONS": str(d / "connections")}, source="kafka:rows", connection=name, to="3",
                   target=str(d / "secured.jsonl"), stall_timeout="5s")

    def refused(name, other, reason):
        ran = connection(name, **other)
        equal((ran.status, (d / "secured.jsonl").exists()), ("rolled_back", False), ran.error)
        check(f"127.0.0.1:{port}" in ran.error and reason in ran.error, ran.error)
        check(PASSWORD not in ran.text and "wrong-secret" not in ran.text, ran.text)
    side_by_side(refused, [("password", dict(sasl_password="wrong-secret"), "it refused the user or the password"),
                           ("stranger", dict(ssl_ca_location=stranger.path), "whom ssl.ca.location names"),
                           ("open", dict(security_protocol="PLAINTEXT"), "security.protocol")])
    ran = connection("right")
    equal((ran.status, (d / "secured.jsonl").read_text()), ("succeeded", '{"n":0}\n{"n":1}\n{"n":2}\n'), ran.error)
    check(PASSWORD not in ran.text)
    written = b"".join(path.read_bytes() for path in (d / "work").rglob("*") if path.is_file())
    check(PASSWORD.encode() not in written, "a password in the workspace")


def examples_run(d, address):
    environment = {**os.environ, "BACKSTEP_EXAMPLE_OUT": str(d / "examples"), "TMPDIR": str(d)}
    for action in "upload", "export", "train":
        done = subprocess.run([SOURCE / "examples/actions/run", action, "-b", address], capture_output=True, text=True, timeout=DEADLINE_S,
                              env=environment)
        check(done.returncode == 0 and "succeeded" in done.stdout + done.stderr, action, done.stdout, done.stderr)


def on_a_real_broker():
    with directory() as d:
        authority, stranger, ports = Authority(d), Authority(d, "stranger"), kafka.free_ports(3)
        with kafka.broker(d / "broker", with_tls(ports, *authority.certificate("server")), ports[:2]) as address:
            with Cluster(d, brokers=address) as cluster:
                range_is_exported(cluster, d)
                examples_run(d, address)
            secured_topic_is_exported_by_a_connection(d, ports[2], authority, stranger)


main([on_the_embedded_broker, on_a_real_broker])
