# SPDX-License-Identifier: Apache-2.0
"""A broker with TLS, users and ACLs, beside its open listener: what security_test.py runs against, and whoever else needs one.

    secured = security.Secured(directory / "keys", users=("alice", "bob"))
    address = kafka.start(directory / "broker", secured=secured)      # open, on loopback: the administrator of the test
    address = security.address(directory / "broker")                  # TLS, SCRAM-SHA-256 or PLAIN, ACLs
    secured.allow(address, ["User:alice", "Read", "topic", "backstep.", "prefix"])
    path = secured.config("alice")                                     # a file for --kafka-config, and for kcat -F

The librdkafka of Debian 12 (2.0.2) cannot do SCRAM with Kafka 4: `newer_library()` is that of the Python client, for our programs too.
The keys are made by openssl, for this run: an authority, the broker's certificate, and a second authority that signed nothing.
"""

import re
import secrets
import shutil
import subprocess
from pathlib import Path

import confluent_kafka
from confluent_kafka.admin import AclBinding, AclBindingFilter, AclOperation, AclPermissionType, AdminClient, ResourcePatternType, ResourceType

SCRAM, PLAIN = "SCRAM-SHA-256", "PLAIN"


def remove(directory):
    """Keys, with the directory they are in."""
    shutil.rmtree(directory, ignore_errors=True)


def openssl(*arguments):
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise RuntimeError(f"openssl {arguments[0]}: {done.stderr}")


def newer_library(directory):
    """The environment in which a program finds the librdkafka that confluent-kafka brings instead of the system's."""
    (library,) = Path(confluent_kafka.__file__).parent.parent.glob("confluent_kafka.libs/librdkafka-*.so.1")
    directory = Path(directory)
    directory.mkdir()
    (directory / "librdkafka.so.1").symlink_to(library)
    return {"LD_LIBRARY_PATH": f"{directory}:{library.parent}"}


def acl(kind_of_row, principal, operation, kind, name, pattern):
    operation = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operation).upper()  # as Kafka's own tools write it: DescribeConfigs
    pattern = ResourcePatternType.PREFIXED if pattern == "prefix" else ResourcePatternType.LITERAL
    return kind_of_row(ResourceType[kind.upper()], name, pattern, principal, "*", AclOperation[operation], AclPermissionType.ALLOW)


def address(directory):
    """HOST:PORT of the listener with TLS of the broker that runs there."""
    return (Path(directory) / "secure-address").read_text().strip()


class Secured:
    def __init__(self, directory, users=()):
        self.directory = Path(directory)
        self.directory.mkdir(mode=0o700)
        self.passwords = {user: secrets.token_urlsafe(18) for user in users}
        for authority in ("authority", "stranger"):
            self.make_authority(authority)
        self.make_broker_key()

    # ---- keys

    def make_authority(self, name):
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", 2, "-subj", f"/CN={name} of a test",
                "-keyout", self.directory / f"{name}.key", "-out", self.directory / f"{name}.pem")

    def make_broker_key(self):
        """The broker wants its key, its certificate and that of the authority in one file."""
        key, request, certificate = (self.directory / f"broker.{end}" for end in ("key", "csr", "pem"))
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=127.0.0.1", "-keyout", key,
                "-out", request)
        names = self.directory / "names"
        names.write_text("subjectAltName=IP:127.0.0.1\n")
        openssl("x509", "-req", "-days", 2, "-in", request, "-CA", self.directory / "authority.pem", "-CAkey", self.directory / "authority.key",
                "-CAcreateserial", "-extfile", names, "-out", certificate)
        chain = [key, certificate, self.directory / "authority.pem"]
        (self.directory / "keystore.pem").write_text("".join(path.read_text() for path in chain))

    # ---- the broker

    def properties(self, port, controller_port, secure_port):
        host = "127.0.0.1"
        users = " ".join(f'user_{user}="{password}"' for user, password in self.passwords.items())
        return [
            f"listeners=CLIENT://{host}:{port},SECURE://{host}:{secure_port},CONTROLLER://{host}:{controller_port}",
            f"advertised.listeners=CLIENT://{host}:{port},SECURE://{host}:{secure_port}",
            "listener.security.protocol.map=CLIENT:PLAINTEXT,SECURE:SASL_SSL,CONTROLLER:PLAINTEXT",
            f"sasl.enabled.mechanisms={SCRAM},{PLAIN}",
            f"listener.name.secure.{SCRAM.lower()}.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;",
            f"listener.name.secure.{PLAIN.lower()}.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required {users};",
            "ssl.keystore.type=PEM",
            f"ssl.keystore.location={self.directory / 'keystore.pem'}",
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found=false",
            "super.users=User:ANONYMOUS",  # the open listeners: the broker itself, and who makes the ACLs
        ]

    def storage_options(self):
        for user, password in self.passwords.items():
            yield "--add-scram"
            yield f"{SCRAM}=[name={user},password={password}]"

    # ---- clients

    def config(self, user, password=None, authority="authority", mechanism=PLAIN, name=None):
        """A file of librdkafka properties for that user."""
        path = self.directory / f"{name or user}.conf"
        path.touch(mode=0o600)
        path.write_text(f"security.protocol=SASL_SSL\nssl.ca.location={self.directory / authority}.pem\nsasl.mechanism={mechanism}\n"
                        f"sasl.username={user}\nsasl.password={password or self.passwords[user]}\n")
        return path

    def allow(self, administrator, rows):
        """rows of (principal, operation, resource type, name, "literal" or "prefix"); `administrator`: the open listener."""
        client = AdminClient({"bootstrap.servers": administrator})
        for made in client.create_acls([acl(AclBinding, *row) for row in rows]).values():
            made.result(timeout=20)

    def forbid(self, administrator, row):
        client = AdminClient({"bootstrap.servers": administrator})
        for gone in client.delete_acls([acl(AclBindingFilter, *row)]).values():
            gone.result(timeout=20)
