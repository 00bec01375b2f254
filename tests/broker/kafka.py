#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A real Apache Kafka broker for a test: one KRaft process, on loopback, in a directory of its own. For Python also a set of them.

    kafka start DIR [KEY=VALUE ...]   start one; DIR/data, DIR/server.properties, DIR/kafka.log, DIR/pid, DIR/address;
                                      prints HOST:PORT once the broker answers. KEY=VALUE are broker properties
    kafka stop DIR                    SIGTERM, and wait for its end; no broker is fine
    kafka kill DIR                    SIGKILL, and wait for its end
    kafka restart DIR                 stop if it runs, then start with the same ports and data
    kafka address DIR                 print HOST:PORT
    kafka version                     print the version
    kafka fetch                       only fill the cache

A set is for start_set(): brokers that replicate each other's topics, each in a directory of its own, in which the same may be asked of it.

Every process is known by its id, which the tests compare with its start time: a number that came round again is not
killed. The broker comes from Maven Central and is kept in ${XDG_CACHE_HOME:-~/.cache}/backstep. Standard library only.
"""

import concurrent.futures
import contextlib
import functools
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import uuid
from base64 import urlsafe_b64encode
from pathlib import Path

VERSION = "4.4.0"
LOGGER = ("org.slf4j", "slf4j-simple", "1.7.36")
# Each with what it costs a test on a busy machine; KAFKA_START_TIMEOUT_S is for slower ones.
START_TIMEOUT_S = float(os.environ.get("KAFKA_START_TIMEOUT_S", "90"))
STOP_TIMEOUT_S = 30
PORT_ATTEMPTS = 3
HEAP, HEAP_OF_MANY = "512m", "256m"
POLL_S = 0.05

POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>backstep.test</groupId> <artifactId>kafka</artifactId> <version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{kafka}</version></dependency>
    <dependency><groupId>{logger[0]}</groupId><artifactId>{logger[1]}</artifactId><version>{logger[2]}</version></dependency>
  </dependencies>
</project>
"""

PROPERTIES = """# Written by tests/broker/kafka.py.
process.roles=broker,controller
node.id={number}
controller.quorum.voters={voters}
listeners=CLIENT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=CLIENT://127.0.0.1:{port}
listener.security.protocol.map=CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=CLIENT
controller.listener.names=CONTROLLER
log.dirs={data}
offsets.topic.replication.factor={replicas}
offsets.topic.num.partitions=4
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={in_sync}
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.min.isr={in_sync}
default.replication.factor={replicas}
min.insync.replicas={in_sync}
group.initial.rebalance.delay.ms=0
# A takeover is not waited for longer than has to be: 6 s by default.
group.min.session.timeout.ms=2500
# Only what is asked for exists: a topic that appears by accident would hide a mistake.
auto.create.topics.enable=false
# After a SIGKILL the controller waits for the old session: 9 s by default.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
"""


class KafkaError(Exception):
    """What went wrong, in one line, and where to read more."""


# --- The program -----------------------------------------------------------------------------------------------------


def cache_dir():
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "backstep"


def library():
    """The directory of Kafka's jars, fetched where it is not there yet. It appears whole or not at all."""
    home = cache_dir() / f"kafka-{VERSION}"
    if home.is_dir():
        return home
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.parent, prefix=f".kafka-{VERSION}-") as scratch:
        (Path(scratch) / "pom.xml").write_text(POM.format(kafka=VERSION, logger=LOGGER))
        maven = ["mvn", "-B", "-q", "dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory=jars"]
        done = subprocess.run(maven, cwd=scratch, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            raise KafkaError(f"maven could not fetch Kafka {VERSION}:\n{done.stdout}")
        try:
            os.rename(Path(scratch) / "jars", home)
        except OSError:
            if not home.is_dir():  # else another test was faster
                raise
    return home


@functools.cache
def java_and_version():
    """A Java 17 or later: the first that says so."""
    found = [shutil.which("java"), *sorted(map(str, Path("/usr/lib/jvm").glob("*/bin/java")))]
    for program in filter(None, found):
        said = subprocess.run([program, "-version"], capture_output=True, text=True, check=False).stderr
        version = re.search(r'version "((\d+)[^"]*)', said)
        if version and int(version[2]) >= 17:
            return program, version[1]
    raise KafkaError("no Java 17 found; .ci/packages test installs one")


def prepared():
    """What make_prepared() makes: the classes of a broker as Java shares them, and the data of one that was never used. They take
    more than half of the processor time off each start. Not there: then it takes longer."""
    return cache_dir() / f"kafka-{VERSION}-java-{java_and_version()[1]}"


def java_command(main, *arguments, heap=HEAP, classes=None):
    program = java_and_version()[0]
    options = os.environ.get("KAFKA_JVM_OPTIONS", f"-Xms128m -Xmx{heap} -XX:+UseSerialGC -XX:TieredStopAtLevel=1").split()
    shared = prepared() / "classes.jsa"
    if classes is not None:
        options.append(f"-XX:ArchiveClassesAtExit={classes}")
    elif shared.exists():
        options += [f"-XX:SharedArchiveFile={shared}", "-Xlog:disable", "-Xlog:all=error:stderr"]  # it is no fault when they do not fit
    logging = "-Dorg.slf4j.simpleLogger."
    return [
        program, *options, "-Djava.awt.headless=true",
        logging + "showDateTime=true", logging + "dateTimeFormat=HH:mm:ss.SSS", logging + "logFile=System.out",
        "-cp", f"{library()}/*", main, *arguments,
    ]


# --- Its directory ---------------------------------------------------------------------------------------------------


def free_ports(count):
    """Ports below those the system gives to outgoing connections: while the broker is down nobody can take its place,
    and no client that reconnects can be connected to itself."""
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    first, last = (15000, low - 1) if low > 16000 else (61000, 65000)
    with contextlib.ExitStack() as stack:
        ports = []
        for port in random.SystemRandom().sample(range(first, last), 200):
            listener = stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                listener.bind(("127.0.0.1", port))
                ports.append(port)
            if len(ports) == count:
                return ports
    raise KafkaError(f"no {count} free ports between {first} and {last}")


def write_properties(directory, extra, ports, secured):
    port, controller_port, *_ = ports or free_ports(2)
    text = PROPERTIES.format(number=1, port=port, controller_port=controller_port, data=directory / "data",
                             voters=f"1@127.0.0.1:{controller_port}", replicas=1, in_sync=1)
    if secured is not None:
        (secure_port,) = free_ports(1)
        extra = [*secured.properties(port, controller_port, secure_port), *extra]
        (directory / "secure-address").write_text(f"127.0.0.1:{secure_port}\n")
    (directory / "server.properties").write_text(text + "".join(f"{line}\n" for line in extra))
    (directory / "address").write_text(f"127.0.0.1:{port}\n")


def format_storage(directory, secured=None):
    data = prepared() / "data"
    if secured is None and data.exists():
        shutil.copytree(data, directory / "data", dirs_exist_ok=True)
        return
    # One that begins with "-" would be taken for an option.
    cluster = "k" + urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")[1:]
    command = java_command("kafka.tools.StorageTool", "format", "-t", cluster, "-c",
                           str(directory / "server.properties"), *(secured.storage_options() if secured else ()))
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        raise KafkaError(f"kafka.tools.StorageTool failed:\n{done.stdout}")


def address_of(directory):
    try:
        return (directory / "address").read_text().strip()
    except FileNotFoundError:
        raise KafkaError(f"{directory}: no broker was started here") from None


# --- Its process -----------------------------------------------------------------------------------------------------


def heap_of(directory):
    return HEAP_OF_MANY if (directory.parent / "set").exists() else HEAP


def birth_of(pid):
    """The start time of a live process, which tells it from a later one of the same number; else None."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else fields[19]


def is_alive(pid):
    return birth_of(pid) is not None


def running_pid(directory):
    """The id of the broker that runs in this directory; None where none does."""
    try:
        pid, birth = (directory / "pid").read_text().split()
    except FileNotFoundError:
        return None
    return int(pid) if birth_of(pid) == birth else None


def spawn(directory, classes=None):
    """Fork Kafka in a session of its own, not as a child of the caller's shell; answers with the process id."""
    with open(directory / "kafka.log", "ab") as log:
        command = java_command("kafka.Kafka", str(directory / "server.properties"), heap=heap_of(directory), classes=classes)
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=directory, start_new_session=True)
    (directory / "pid").write_text(f"{process.pid}\n{birth_of(process.pid)}\n")
    return process


def end(directory, how, timeout_s):
    pid = running_pid(directory)
    if pid is None:
        return
    os.kill(pid, how)
    deadline = time.monotonic() + timeout_s
    while running_pid(directory) is not None:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)  # where it is our own child
        if time.monotonic() > deadline:
            if how == signal.SIGKILL:
                raise KafkaError(f"{directory}: broker {pid} does not die")
            return end(directory, signal.SIGKILL, timeout_s)
        time.sleep(POLL_S)


def ports_named(metadata):
    """The ports of the brokers in an answer to Metadata version 1."""
    (count,) = struct.unpack(">i", metadata.read(4))
    for _ in range(count):
        _number, length = struct.unpack(">ih", metadata.read(6))
        metadata.read(length)
        port, rack = struct.unpack(">ih", metadata.read(6))
        metadata.read(max(rack, 0))
        yield port


def answers(address):
    """Whether the broker names itself when asked for its metadata: then it is registered, and not only listening."""
    host, port = address.split(":")
    request = struct.pack(">hhih4si", 3, 1, 1, 4, b"test", 0)  # Metadata version 1, of no topic
    try:
        with socket.create_connection((host, int(port)), timeout=2) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            stream = connection.makefile("rb")
            stream.read(8)  # size and correlation
            return int(port) in ports_named(stream)
    except (OSError, struct.error):
        return False


def wait_until_ready(directory, process):
    """True when it answers; False when it ended because its port was taken; anything else is an error."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            log = (directory / "kafka.log").read_text(errors="replace")
            if "Address already in use" in log:
                return False
            raise KafkaError(f"Kafka ended at once; {directory}/kafka.log ends with:\n" + log[-3000:])
        if answers(address_of(directory)):
            return True
        time.sleep(POLL_S)
    end(directory, signal.SIGKILL, STOP_TIMEOUT_S)
    raise KafkaError(f"Kafka did not answer within {START_TIMEOUT_S:.0f} s; see {directory}/kafka.log")


# --- What one asks of it ---------------------------------------------------------------------------------------------


def start(directory, extra=(), ports=None, secured=None):
    """Start a broker with its own data in `directory`; answers with HOST:PORT. Who has a network of his own may choose
    the two ports, for clients and for the controller. `secured` (see security.py) adds a listener with TLS, users and ACLs;
    its address stands in DIR/secure-address."""
    directory = Path(directory).resolve()
    directory.mkdir(parents=True, exist_ok=True)
    if running_pid(directory) is not None:
        raise KafkaError(f"{directory}: a broker runs here already")
    for _ in range(PORT_ATTEMPTS):
        shutil.rmtree(directory / "data", ignore_errors=True)
        (directory / "kafka.log").unlink(missing_ok=True)
        write_properties(directory, extra, ports, secured)
        format_storage(directory, secured)
        if wait_until_ready(directory, spawn(directory)):
            return address_of(directory)
    raise KafkaError(f"{directory}: another process took the ports {PORT_ATTEMPTS} times")


def write_properties_of_set(directory, ports, extra, listeners):
    """Each broker's own file, in DIR/1, DIR/2, ...; answers with these directories."""
    count = len(ports)
    voters = ",".join(f"{number}@127.0.0.1:{controller_port}" for number, (_, controller_port) in enumerate(ports, 1))
    nodes = []
    for number, (port, controller_port) in enumerate(ports, 1):
        node = directory / str(number)
        node.mkdir(exist_ok=True)
        text = PROPERTIES.format(number=number, port=port, controller_port=controller_port, data=node / "data", voters=voters,
                                 replicas=count, in_sync=max(1, count - 1))
        lines = [*listener_properties(port, controller_port, listeners[number - 1]), *extra]
        (node / "server.properties").write_text(text + "".join(f"{line}\n" for line in lines))
        (node / "address").write_text(f"127.0.0.1:{port}\n")
        nodes.append(node)
    return nodes


def listener_properties(port, controller_port, listeners):
    """Further listeners of a broker: (name, the port where it listens, the one it tells clients)."""
    own = [("CLIENT", port, port), *listeners]
    listening = [f"{name}://127.0.0.1:{real}" for name, real, _ in own]
    return ["listeners=" + ",".join([*listening, f"CONTROLLER://127.0.0.1:{controller_port}"]),
            "advertised.listeners=" + ",".join(f"{name}://127.0.0.1:{told}" for name, _, told in own),
            "listener.security.protocol.map=" + ",".join(f"{name}:PLAINTEXT" for name in [*(name for name, _, _ in own), "CONTROLLER"])]


def format_set(nodes):
    """A program takes a second to begin: the others' data are a copy, with a number and an identity of their own."""
    format_storage(nodes[0])
    for number, node in enumerate(nodes[1:], 2):
        shutil.copytree(nodes[0] / "data", node / "data")
        path = node / "data" / "meta.properties"
        identity = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        text = re.sub(r"(?m)^node\.id=.*$", f"node.id={number}", path.read_text())
        path.write_text(re.sub(r"(?m)^directory\.id=.*$", f"directory.id=i{identity[1:]}", text))


def start_set(directory, count, extra=(), listeners=None):
    """Start `count` brokers that know each other, in DIR/1, DIR/2, ...: a topic is on all of them, and a write is acknowledged once
    all but one have it. `listeners`: of each broker, further ones (see listener_properties). Answers with the address of all."""
    directory = Path(directory).resolve()
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "set").touch()
    for _ in range(PORT_ATTEMPTS):
        free = free_ports(2 * count)
        nodes = write_properties_of_set(directory, list(zip(free[::2], free[1::2])), extra, listeners or [()] * count)
        for node in nodes:
            shutil.rmtree(node / "data", ignore_errors=True)
            (node / "kafka.log").unlink(missing_ok=True)
        format_set(nodes)
        processes = [spawn(node) for node in nodes]
        with concurrent.futures.ThreadPoolExecutor(count) as pool:
            if all(pool.map(wait_until_ready, nodes, processes)):
                return ",".join(map(address_of, nodes))
        for node in nodes:
            kill(node)
    raise KafkaError(f"{directory}: another process took the ports {PORT_ATTEMPTS} times")


def restart(directory):
    """Begin again with the same ports and data; answers with HOST:PORT."""
    directory = Path(directory).resolve()
    address = address_of(directory)
    stop(directory)
    if not wait_until_ready(directory, spawn(directory)):
        raise KafkaError(f"{address}: the port is in use; see {directory}/kafka.log")
    return address


def stop(directory):
    end(Path(directory).resolve(), signal.SIGTERM, STOP_TIMEOUT_S)


def kill(directory):
    end(Path(directory).resolve(), signal.SIGKILL, STOP_TIMEOUT_S)


def make_prepared():
    """See prepared(). It appears whole or not at all."""
    library()
    home = prepared()
    if home.is_dir():
        return
    with tempfile.TemporaryDirectory(dir=home.parent, prefix=f".{home.name}-") as scratch:
        made, used = Path(scratch) / "made", Path(scratch) / "used"
        made.mkdir()
        used.mkdir()
        write_properties(used, (), None, None)
        format_storage(used)
        shutil.copytree(used / "data", made / "data")
        if not wait_until_ready(used, spawn(used, classes=made / "classes.jsa")):
            raise KafkaError("another process took the ports")
        stop(used)
        with contextlib.suppress(OSError):  # another test was faster
            os.rename(made, home)


@contextlib.contextmanager
def broker(directory, extra=(), ports=None):
    """`with kafka.broker(DIR) as address:`"""
    address = start(directory, extra, ports)
    try:
        yield address
    finally:
        stop(directory)


COMMANDS = {
    "start": lambda directory, *extra: print(start(directory, extra)),
    "stop": stop,
    "kill": kill,
    "restart": lambda directory: print(restart(directory)),
    "address": lambda directory: print(address_of(Path(directory))),
    "version": lambda: print(VERSION),
    "fetch": make_prepared,
}


def main(arguments):
    if not arguments or arguments[0] not in COMMANDS:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        COMMANDS[arguments[0]](*arguments[1:])
    except TypeError as error:
        print(f"kafka {arguments[0]}: {error}", file=sys.stderr)
        return 2
    except KafkaError as error:
        print(f"kafka {arguments[0]}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
