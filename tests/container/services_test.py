# SPDX-License-Identifier: Apache-2.0
"""docker-compose.yml for real: each service of it but the broker's runs from the image, beside a broker of the tests.

The network is this test's own, so that the services find the broker where their own environment says; the broker of the
tests has the settings of the broker's service. Then the upload
example: once as docker-compose.yml starts it, and once with a worker killed in the middle of a step.
"""

import contextlib
import filecmp
import os
import signal
import socket
import tempfile
import urllib.parse
import urllib.request
from pathlib import Path

import compose
import engine
import kafka

WORKERS = ("worker-1", "worker-2")
LONG_RUNNING = ("coordinator", *WORKERS)
PHOTOS = engine.SOURCE / "examples/upload/photos"
RUN_TIMEOUT_S = 120


def once(service, *more, expect=0):
    """Run a service that ends, to its end; answers with what it printed."""
    done = engine.podman("run", "--rm", *compose.arguments(service), *more, check=False, timeout_s=RUN_TIMEOUT_S)
    print(done.stdout, end="", flush=True)
    if done.returncode != expect:
        engine.fail(f"{' '.join(service['command'])}: exit status {done.returncode} instead of {expect}")
    return done.stdout


def begin(name, service, *more):
    engine.podman("run", "--detach", "--name", name, *compose.arguments(service), *more)


def is_confined(name):
    """Not root, process 1 of its container, and unable to write to its image."""
    pid = engine.process_of(name)
    if pid is None:
        engine.fail(f"{name} does not run")
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    if "0" in status["Uid"].split() or status["NSpid"].split()[-1] != "1":
        engine.fail(f"{name}: Uid {status['Uid']}, NSpid {status['NSpid']}")
    if int(status["CapEff"], 16) != 0:
        engine.fail(f"{name} has capabilities: {status['CapEff']}")
    for place in "/usr/local/bin/x", "/steps/x", "/x":
        if engine.podman("exec", name, "touch", place, check=False).returncode == 0:
            engine.fail(f"{name} can write to {place}")


def data():
    """The directory that the volume of the workers is."""
    return Path(engine.podman("volume", "inspect", "--format", "{{.Mountpoint}}", "data").stdout.strip())


def files_in(directory):
    return sorted(path.relative_to(directory) for path in directory.rglob("*")
                  if path.is_file() and ".backstep" not in path.parts)


def check_arrived(store):
    if files_in(store) != files_in(PHOTOS):
        engine.fail(f"{store} holds {files_in(store)}")
    _, different, odd = filecmp.cmpfiles(PHOTOS, store, files_in(PHOTOS), shallow=False)
    if different or odd:
        engine.fail(f"not what was sent: {different + odd}")


def who_uploads():
    """The worker in whose container the step `upload` runs now."""
    for name in WORKERS:
        pid = engine.process_of(name)
        if pid and any("/steps/upload execute" in command for command in engine.commands_below(pid)):
            return name
    return None


def kill_a_worker_in_the_middle(service):
    begin("start", service, "-p", "pause=1", "-p", "target=/data/killed")
    engine.wait_until("the first file arrives", lambda: files_in(data() / "killed"), RUN_TIMEOUT_S)
    victim = engine.wait_until("a worker uploads", who_uploads, 10)
    os.kill(engine.process_of(victim), signal.SIGKILL)
    arrived = len(files_in(data() / "killed"))
    status = engine.wait_until("the run ends", lambda: str(engine.exit_status_of("start") or "0")
                               if engine.process_of("start") is None else None, RUN_TIMEOUT_S)
    print(engine.podman("logs", "start").stdout)
    if status != "0":
        engine.fail(f"the run whose worker was killed: exit status {status}")
    check_arrived(data() / "killed")
    print(f"note: {victim} was killed after {arrived} of {len(files_in(PHOTOS))} files; the run succeeded all the same")
    return victim


def stop(name):
    engine.podman("stop", "--time", "40", name)
    if engine.exit_status_of(name) != 0:
        engine.fail(f"{name}: exit status {engine.exit_status_of(name)} after SIGTERM")


def store_answers():
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", 8080), 1):
        return True
    return False


def check_stored():
    """What nginx gives out is what the photos are."""
    for path in PHOTOS.rglob("*"):
        if path.is_file():
            name = urllib.parse.quote(str(path.relative_to(PHOTOS)))
            with urllib.request.urlopen(f"http://127.0.0.1:8080/photos/{name}", timeout=20) as answer:
                if answer.read() != path.read_bytes():
                    engine.fail(f"the store has another {path}")


def test(services):
    once(services["topics"])
    once(services["topics"])  # a second time changes nothing
    for name in LONG_RUNNING:
        begin(name, services[name])
    once(services["start"])
    check_arrived(data() / "store")
    begin("store", compose.everything()["store"])
    engine.wait_until("the store's answer", store_answers, 20)
    once(services["store-upload"])
    check_stored()
    for name in (*LONG_RUNNING, "store"):
        is_confined(name)
    stop("store")
    victim = kill_a_worker_in_the_middle(services["start"])
    for name in LONG_RUNNING:
        if name != victim:
            stop(name)


def show_logs():
    for name in LONG_RUNNING:
        print(f"--- {name}\n{engine.podman('logs', '--tail', '60', name, check=False).stdout}")


with engine.opened(), tempfile.TemporaryDirectory(prefix="backstep-container-") as scratch:
    engine.build_image()
    engine.build_store()
    services = compose.services()
    if set(services) != {"topics", "start", "store-upload", *LONG_RUNNING}:
        engine.fail(f"docker-compose.yml has services this test does not start: {sorted(services)}")
    host, port = compose.broker_address()
    engine.enter_network(host)
    with kafka.broker(scratch, compose.broker_properties(), ports=(port, 9093)):
        try:
            test(services)
        except SystemExit:
            show_logs()
            raise
