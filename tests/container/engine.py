# SPDX-License-Identifier: Apache-2.0
"""Build and run containers where no engine runs: buildah and podman as root, in namespaces of this process's own.

Mounts made here vanish with the process. The images are kept in the cache, so that a second build costs what changed.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import kafka

SOURCE = Path(__file__).resolve().parents[2]
STORE = kafka.cache_dir() / "containers"
STORE_LIMIT_BYTES = 3 << 30  # of layers nobody will ask for again
BASE = "localhost/backstep-base:1"
IMAGE = "localhost/backstep:test"
STORE_IMAGE = "localhost/backstep-store:test"

CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000

# No cgroup can be made here, and no limit raised.
CONTAINERS_CONF = """[containers]
cgroups = "disabled"
default_ulimits = ["nofile=1024:4096", "nproc=4096:4096"]
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
runtime = "crun"
tmp_dir = "{store}/tmp"
"""

STORAGE_CONF = """[storage]
driver = "overlay"
graphroot = "{store}/graph"
runroot = "{store}/run"
"""


def fail(message):
    print(f"FAILED: {message}", flush=True)
    sys.exit(1)


def run(*command, check=True, timeout_s=300, **options):
    """Run to the end; answers with what subprocess.run does. With `check`, its output is shown when it failed."""
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace", stdin=subprocess.DEVNULL, timeout=timeout_s, check=False, **options)
    if check and done.returncode != 0:
        print(done.stdout)
        fail(f"exit status {done.returncode}: {' '.join(map(str, command))}")
    return done


def podman(*arguments, **options):
    return run("podman", *arguments, **options)


def wait_until(what, is_so, timeout_s):
    deadline = time.monotonic() + timeout_s
    while not (value := is_so()):
        if time.monotonic() > deadline:
            fail(f"not within {timeout_s} s: {what}")
        time.sleep(0.1)
    return value


# --- Namespaces ------------------------------------------------------------------------------------------------------


def become_root():
    """Begin this program anew under sudo, with the environment it has."""
    if os.geteuid() != 0:
        os.execvp("sudo", ["sudo", "env", *(f"{name}={value}" for name, value in os.environ.items()), sys.executable,
                           *sys.argv])


def unshare(flags):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(flags) != 0:
        fail(f"unshare: {os.strerror(ctypes.get_errno())}")


def enter_network(*names):
    """A network of our own, with a loopback and nothing else: every port is free, and nobody outside is reached.
    These names are its host's."""
    unshare(CLONE_NEWNET)
    run("ip", "link", "set", "lo", "up")
    (STORE / "hosts").write_text(f"127.0.0.1 localhost {' '.join(names)}\n")
    run("mount", "--bind", STORE / "hosts", "/etc/hosts")


@contextlib.contextmanager
def opened():
    """Podman and buildah may be called inside; what they leave running or mounted is gone at the end."""
    become_root()
    STORE.mkdir(parents=True, exist_ok=True)
    with open(STORE / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        forget_old()
        unshare(CLONE_NEWNS)
        run("mount", "--make-rprivate", "/")
        run("mount", "-t", "cgroup2", "cgroup2", "/sys/fs/cgroup")
        for name, text in ("containers.conf", CONTAINERS_CONF), ("storage.conf", STORAGE_CONF):
            (STORE / name).write_text(text.format(store=STORE))
        os.environ.update(CONTAINERS_CONF=str(STORE / "containers.conf"),
                          CONTAINERS_STORAGE_CONF=str(STORE / "storage.conf"))
        clean_up()
        try:
            yield
        finally:
            clean_up()


def forget_old():
    """What an earlier process knew of running containers is void; layers are kept up to a limit."""
    size = sum(entry.lstat().st_blocks * 512 for entry in (STORE / "graph").rglob("*") if not entry.is_symlink())
    for name in ("run", "tmp", *(["graph"] if size > STORE_LIMIT_BYTES else [])):
        shutil.rmtree(STORE / name, ignore_errors=True)


def clean_up():
    podman("rm", "--all", "--force", "--time", "0")
    podman("volume", "rm", "--all", "--force")


# --- Images ----------------------------------------------------------------------------------------------------------


def build_image():
    """Build the Dockerfile for real, on a base made by debootstrap."""
    if podman("image", "exists", BASE, check=False).returncode != 0:
        archive = run(SOURCE / "tests/container/base", timeout_s=600).stdout.strip()
        podman("import", archive, BASE)
    run("buildah", "bud", "--layers", "--isolation", "chroot", "--build-arg", f"BASE={BASE}", "--tag", IMAGE, SOURCE,
        timeout_s=900)
    return json.loads(podman("image", "inspect", IMAGE).stdout)[0]


def build_store():
    run("buildah", "bud", "--layers", "--isolation", "chroot", "--build-arg", f"BASE={BASE}", "--target", "store",
        "--tag", STORE_IMAGE, SOURCE, timeout_s=900)


# --- Containers ------------------------------------------------------------------------------------------------------


def process_of(container):
    """The process id, here, of a running container's process 1; None where it does not run."""
    done = podman("inspect", "--format", "{{.State.Running}} {{.State.Pid}}", container, check=False)
    running, _, pid = done.stdout.strip().partition(" ")
    return int(pid) if done.returncode == 0 and running == "true" else None


def exit_status_of(container):
    """None while it runs."""
    running, status = podman("inspect", "--format", "{{.State.Running}} {{.State.ExitCode}}",
                             container).stdout.split()
    return None if running == "true" else int(status)


def commands_below(pid):
    """The command lines of all descendants of a process."""
    children = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                children.setdefault(parent, []).append((int(entry.name), command))
    found, waiting = [], [pid]
    while waiting:
        for child, command in children.get(waiting.pop(), []):
            found.append(command)
            waiting.append(child)
    return found
