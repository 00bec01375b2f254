#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What dies, and what comes of it: workers, their guard, coordinators, the broker; garbage on every topic."""

import os
import resource
import signal
import subprocess
import threading
import time

import kafka
from kafka import is_alive
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions
from cluster import PROGRESS_PARTITIONS, THREE, Cluster, Failed, check, main

JOURNAL = """
cat >/dev/null
printf '%s %s %s\\n' "$1" "$BACKSTEP_STEP" "$BACKSTEP_ATTEMPT" >>"$JOURNAL/$BACKSTEP_RUN_ID"
"""
SLOW = JOURNAL + """
[ "$1" = rollback ] || { echo $$ >"$JOURNAL/pid"; while ! [ -e "$JOURNAL/go" ]; do sleep 0.05; done; }
"""


class World(Cluster):
    def __enter__(self):
        super().__enter__()
        self.three = self.pipeline(THREE)
        return self

    def wait_until_running(self, step, run_id):
        def is_running():
            steps = {each["name"]: each["status"] for each in self.status(run_id).get("steps", [])}
            return steps.get(step) == "running" and self.did("pid")
        self.wait_for(is_running, f"step {step} to run")

    def wait_for_end(self, run_id, timeout_s=90):
        ends = ("succeeded", "rolled_back", "cancelled", "rollback_incomplete")
        return self.wait_for(lambda: (lambda run: run if run["status"] in ends else None)(self.status(run_id)), f"{run_id} to end", timeout_s)


def children_of(pid):
    return [int(child) for child in open(f"/proc/{pid}/task/{pid}/children").read().split()]


def worker_dies():
    """A worker dies (SIGKILL) in the middle of a step: its program dies with it, and the step is taken up again elsewhere"""
    with World() as world:
        steps = world.steps(first=JOURNAL, second=SLOW, third=JOURNAL)
        world.serve()
        victim = world.worker(steps)
        run_id = world.start(world.three)
        world.wait_until_running("second", run_id)
        program = int((world.journal / "pid").read_text())
        other = world.worker(steps)
        victim.kill()
        world.wait_for(lambda: not is_alive(program), "the guard to end the program")
        check(True, "the guard ended the program of the worker that died")
        (world.journal / "go").touch()
        run = world.wait_for_end(run_id)
        check(run["status"] == "succeeded", "the run finished on the other worker")
        check(world.did(run_id) == ["execute first 1", "execute second 1", "execute second 1", "execute third 1"],
              "the step ran again, with the same attempt: a lost worker is not the step's failure")
        check(other.stop() == 0, "the other worker drains and ends with exit 0")
        worker_freezes(world, steps)


def worker_freezes(world, steps):
    """And one that is frozen past its lease: its program and what that has started are ended by the guard, and nothing it says later counts."""
    for name in ("pid", "go"):
        (world.journal / name).unlink()
    family = world.steps(name="family", first=JOURNAL, third=JOURNAL, second=JOURNAL + """
case $1 in rollback) exit 0 ;; esac
setsid sleep 600 &
echo $! >"$JOURNAL/grandchild"
echo $$ >"$JOURNAL/pid"
while :; do sleep 0.05; done
""")
    frozen = world.worker(family)
    run_id = world.start(world.three)
    world.wait_until_running("second", run_id)
    programs = [int((world.journal / name).read_text()) for name in ("pid", "grandchild")]
    begun = time.monotonic()
    frozen.signal(signal.SIGSTOP)
    world.wait_for(lambda: not any(map(is_alive, programs)), "the guard to end the program and its child")
    check(time.monotonic() - begun < 3 + 2, "the guard ended the program of the frozen worker within its lease of 3 s, and what it had started elsewhere")
    (world.journal / "go").touch()
    world.worker(steps)
    check(world.wait_for_end(run_id)["status"] == "succeeded", "the run finished on another worker")
    frozen.signal(signal.SIGCONT)
    world.wait_for(lambda: frozen.said().count("event=serving") == 2, "the woken worker to begin anew")
    check("event=incarnation_ends" in frozen.said(), "the woken worker ended its incarnation, and began another")
    check(world.did(run_id) == ["execute first 1", "execute second 1", "execute second 1", "execute third 1"], "the step ran again once")
    run = world.status(run_id)
    check(run["status"] == "succeeded" and frozen.stop() == 0, "what it said late has changed nothing")


def topics_change():
    """Topics that someone deletes, makes smaller or gives more partitions: it is said what is wrong, and no run is lost"""
    with World() as world:
        wide = 'cat >/dev/null\n[ "$1" = rollback ] && exit 0\necho x >>"$JOURNAL/pid"; while ! [ -e "$JOURNAL/go" ]; do sleep 0.05; done\n' \
               'x=$(head -c 30000 /dev/zero | tr "\\0" x); echo "{\\"data\\": {\\"x\\": \\"$x\\"}}"\n'
        steps = world.steps(first=wide, second=JOURNAL, third=JOURNAL)
        coordinator = world.coordinator = world.serve()
        worker = world.worker(steps, lease="2s")
        admin = AdminClient({"bootstrap.servers": world.brokers})
        results_too_large(world, admin, worker)
        more_task_partitions(world, admin, worker)
        tasks_topic_deleted(world, admin)
        workers_topic_deleted(world, admin, worker, coordinator)
        progress_topic_deleted(world, admin)
        more_partitions(world, admin)


def done(futures):
    """Wait for what the broker was asked to do."""
    for future in futures.values():
        future.result(30)


def results_too_large(world, admin, worker):
    """A result that the topic does not take any more is kept by its worker until the topic is mended."""
    def limit(size):
        entry = ConfigEntry("max.message.bytes", str(size), incremental_operation=AlterConfigOpType.SET)
        done(admin.incremental_alter_configs([ConfigResource("topic", f"{world.prefix}.progress", incremental_configs=[entry])]))
    run_id = world.start(world.three)
    world.wait_until_running("first", run_id)
    limit(10000)
    (world.journal / "go").touch()
    world.wait_for(lambda: worker.said().count("Message size too large") >= 4, "the worker to say what the broker refuses")
    check(worker.said().count("event=serving") < 10, "the worker says what the broker refuses, and tries again, but not at once")
    refused = world.cli("start", world.three, expect=2).stderr
    check("max.message.bytes" in refused and "kafka-configs.sh" in refused, "who starts a run is told how to mend the topic")
    limit(4259840)
    check(world.wait_for_end(run_id)["status"] == "succeeded", "once it is mended the run goes on")
    check(world.wait_for_end(world.start(world.three))["status"] == "succeeded", "as others do")


def more_task_partitions(world, admin, worker):
    """A task topic may grow: a worker stays where it listens, one that comes takes a place among all."""
    done(admin.create_partitions([NewPartitions(f"{world.prefix}.tasks.default", 64)]))
    check(world.wait_for_end(world.start(world.three))["status"] == "succeeded", "the worker that was there goes on")
    world.other = world.worker(world.directory / "steps", "--id", "late", lease="2s")
    place = next(each["partition"] for each in world.workers() if each["worker"] == "late")
    check(place >= 8, f"a worker that comes listens to one of the new partitions, {place}")
    worker.signal(signal.SIGSTOP)
    run_id = world.start(world.three)
    check(world.wait_for_end(run_id)["status"] == "succeeded", "and gets its tasks there")
    worker.signal(signal.SIGCONT)


def tasks_topic_deleted(world, admin):
    """Somebody deletes a task topic: its workers notice, make it again and begin anew; what they ran or were to run runs then. A run whose
    tasks came just before the brokers let the topic go may end before anybody has noticed."""
    before, said = world.other.said().count("event=serving"), len(world.coordinator.said())
    done(admin.delete_topics([f"{world.prefix}.tasks.default"]))
    run_id = world.start(world.three)
    check(world.wait_for_end(run_id)["status"] == "succeeded", "a run that was started meanwhile succeeds")
    world.wait_for(lambda: world.other.said().count("event=serving") > before, "the worker to notice and to begin anew")
    check("it is not there any more" in world.other.said(), "the worker says which topic is gone")
    check(world.wait_for_end(world.start(world.three))["status"] == "succeeded", "and so does one that is started now")
    lines = [line for line in world.coordinator.said()[said:].splitlines() if "level=error" in line]
    check(len(lines) <= 2, f"the coordinator says so once, not with each heartbeat: {lines}")


def workers_topic_deleted(world, admin, worker, coordinator):
    """The coordinator ends and says why, and the next one begins where the log stands; or it begins anew itself, where the worker
    was the first to look for the topic and has made it again."""
    readies = coordinator.said().count("event=ready coordinator")
    done(admin.delete_topics([f"{world.prefix}.workers"]))
    world.wait_for(lambda: not coordinator.is_running() or coordinator.said().count("event=ready coordinator") > readies, "the coordinator to notice")
    check(f"{world.prefix}.workers" in coordinator.said(), "the coordinator says which topic is missing")
    if not coordinator.is_running():
        check(coordinator.wait() == 5 and f"{world.prefix}.workers" in coordinator.said().splitlines()[-1], coordinator.said().splitlines()[-1])
        world.coordinator = world.serve()
    check(world.wait_for_end(world.start(world.three))["status"] == "succeeded", "with the topic made anew runs succeed again")
    check(worker.is_running(), "on the same worker process")


def more_partitions(world, admin):
    """A progress topic that has grown is refused: the runs that are there would be looked for in other partitions."""
    done(admin.create_partitions([NewPartitions(f"{world.prefix}.progress", 8)]))
    refused = world.cli("start", world.three, "--id", "old", expect=7).stderr  # of 8 partitions it falls on the first
    check("its writer saw another number of progress partitions" in refused, refused.strip())
    grown = world.serve(ready=False)
    check(grown.wait() != 0 and "has 8 now" in grown.said(), grown.said().splitlines()[-1])


def progress_topic_deleted(world, admin):
    """Somebody deletes the log itself: the coordinator says so and ends. It makes no empty one, on which nobody would miss anything."""
    done(admin.delete_topics([f"{world.prefix}.progress"]))
    check(world.coordinator.wait() != 0, "the coordinator ends")
    last = world.coordinator.said().splitlines()[-1]
    check("cannot be read any more" in last or "the log that was there is not as it was" in last, last)
    check("there is no topic" in world.cli("list", expect=2).stderr, "and has made no other")
    world.cli("topics", "--progress-partitions", PROGRESS_PARTITIONS)
    world.serve()


def guard_dies():
    """The guard dies: the worker ends its programs, begins a new incarnation with a new guard, and the run goes on"""
    with World() as world:
        steps = world.steps(first=JOURNAL, second=SLOW, third=JOURNAL)
        world.serve()
        worker = world.worker(steps)
        run_id = world.start(world.three)
        world.wait_until_running("second", run_id)
        program = int((world.journal / "pid").read_text())
        guards = children_of(worker.pid)
        check(len(guards) == 1, "a worker has one child, its guard")
        os.kill(guards[0], signal.SIGKILL)
        world.wait_for(lambda: not is_alive(program), "the worker to end the program")
        check(True, "the worker ended the program when the guard died")
        (world.journal / "go").touch()
        check(world.wait_for_end(run_id)["status"] == "succeeded", "the run finished")
        check(worker.is_running(), "on the same worker process")


def coordinator_dies():
    """The coordinator dies (SIGKILL) in the middle of 50 runs and is started again: all finish, no step runs twice"""
    with World() as world:
        brief = JOURNAL + "sleep 0.1\n"
        steps = world.steps(first=brief, second=brief, third=brief)
        coordinator = world.serve()
        for _ in range(2):
            world.worker(steps, "--concurrency", "4")
        ids = [f"run-{number}" for number in range(50)]
        starter = threading.Thread(target=lambda: [world.cli("start", world.three, "--id", run_id, "--timeout", "60s") for run_id in ids])
        starter.start()
        for kills in range(3):
            world.wait_for(lambda: sum(len(world.did(run_id)) for run_id in ids) >= 30 * (kills + 1), "some steps to run")
            coordinator.kill()
            coordinator = world.serve()
        starter.join()
        world.wait_for(lambda: len(world.list("--status", "succeeded", "--limit", "1000")) == 50, "all runs to succeed", 90)
        check(True, "all 50 runs succeeded over 3 kills of the coordinator")
        wrong = {run_id: world.did(run_id) for run_id in ids if world.did(run_id) != ["execute first 1", "execute second 1", "execute third 1"]}
        check(not wrong, f"no step ran twice {wrong or ''}")


def takeover():
    """A second `serve` takes the partitions over; the first one ends with exit 5 and names it; the run goes on, its step runs once"""
    with World() as world:
        steps = world.steps(first=JOURNAL, second=SLOW, third=JOURNAL)
        first = world.serve()
        world.worker(steps)
        run_id = world.start(world.three)
        world.wait_until_running("second", run_id)
        second = world.serve()
        check(first.wait() == 5, "the first coordinator ends with exit 5")
        check(str(second.pid) in first.said(), "and names the one that has taken over")
        (world.journal / "go").touch()
        check(world.wait_for_end(run_id)["status"] == "succeeded", "the run finished under the second")
        check(world.did(run_id) == ["execute first 1", "execute second 1", "execute third 1"], "no step ran twice")
        check(second.stop() == 0, "the second ends with exit 0 when it is asked to")


def produce(world, topic, value, partition=0, key=None):
    command = ["kcat", "-P", "-b", world.brokers, "-t", topic, "-p", str(partition), *(["-k", key] if key else [])]
    subprocess.run(command, input=value, check=True, timeout=30)


def garbage():
    """Garbage bytes and a cut protobuf on every topic: nothing stops, and what stood where we read is found on the dead-letter topic"""
    with World() as world:
        steps = world.steps(first=JOURNAL, second=JOURNAL, third=JOURNAL)
        world.serve()
        worker = world.worker(steps)
        partition = next(each["partition"] for each in world.workers() if each["worker"] == worker.id)
        check(world.wait_for_end(world.start(world.three))["status"] == "succeeded", "a run before")
        cut = b"\x62\x7f\x12\x05\x08\x01"  # kcat sends a record a line: no byte of it is a newline
        for value in (b"\xff\xfe garbage", cut, b"{}"):
            for number in range(4):
                produce(world, world.topic("progress"), value, number, "run-x")
            produce(world, world.topic("workers"), value)
            produce(world, world.topic("tasks.default"), value, partition)
        check(world.wait_for_end(world.start(world.three))["status"] == "succeeded", "a run after")

        def letters():
            done = subprocess.run(["kcat", "-C", "-q", "-e", "-b", world.brokers, "-t", world.topic("dead-letter"), "-o", "beginning", "-f",
                                   "%h\\n"], capture_output=True, text=True, timeout=30, check=True)
            return done.stdout.splitlines()
        world.wait_for(lambda: len(letters()) >= 18, "all of it on the dead-letter topic")
        for topic, count in ((world.topic("progress"), 12), (world.topic("workers"), 3), (world.topic("tasks.default"), 3)):
            found = [letter for letter in letters() if f"__dlq.errors.topic={topic}" in letter]
            check(len(found) == count, f"{count} dead letters of {topic}, with where they stood and why")
        check(worker.is_running(), "the worker goes on")


def fill_disk(directory):
    """From here on nothing the broker writes is taken, as by a disk that is full: a limit on the size of its files, so that it needs no
    disk of its own. It is that of the process, and ends with it."""
    pid = kafka.running_pid(directory)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]))


def broker_dies():
    """The broker dies (SIGKILL), and again because its disk is full, and comes back: the runs go on, nothing acknowledged is lost"""
    with World() as world:
        brief = JOURNAL + "sleep 0.3\n"
        steps = world.steps(first=brief, second=brief, third=brief)
        coordinator = world.coordinator = world.serve("--session-timeout", "3s", group=True)
        worker = world.worker(steps, "--concurrency", "2", lease="120s")  # longer than any restart of a broker on a busy machine
        ids = [world.start(world.three) for _ in range(10)]
        world.wait_for(lambda: sum(len(world.did(run_id)) for run_id in ids) >= 6, "some steps to run")
        kafka.kill(world.broker.directory)
        kafka.restart(world.broker.directory)
        ids.append(disk_full(world))
        world.wait_for(lambda: len(world.list("--status", "succeeded")) == 11, "all runs to succeed", 120)
        check(True, "all 11 runs succeeded")
        check(coordinator.is_running() and worker.is_running(), "coordinator and worker are the same processes")
        check(all(world.did(run_id) == ["execute first 1", "execute second 1", "execute third 1"] for run_id in ids), "no step ran twice")


def disk_full(world):
    """A broker whose disk is full ends; with room again, and started again, it has all that it acknowledged. Who has lost his partitions
    meanwhile, since that took longer than his session, is given them again."""
    fill_disk(world.broker.directory)
    world.wait_for(lambda: kafka.running_pid(world.broker.directory) is None, "the broker to end")
    check(True, "a broker that can write nothing ends by itself")
    done = world.cli("start", world.three, "--timeout", "1s", expect=5)
    check("no broker answered" in done.stderr and done.stdout == "", "who starts a run is told that no broker answers, and no id")
    world.wait_for(lambda: "event=partition_lost" in world.coordinator.said(), "the coordinator's session to be over")
    kafka.restart(world.broker.directory)
    return world.start(world.three, "--timeout", "60s")


def nobody_serves():
    """A step that nobody serves: status says which handler and queue it waits for, and since when; with a worker it goes on"""
    with World() as world:
        steps = world.steps(first=JOURNAL, second=JOURNAL, third=JOURNAL)
        world.serve()
        run_id = world.start(world.three)
        waiting = world.wait_for(lambda: world.status(run_id)["steps"][0].get("waiting"), "status to say that a step waits")
        check((waiting["handler"], waiting["queue"]) == ("first", "default") and waiting["since"], "status names handler, queue and since when")
        check("waiting for a worker of queue 'default'" in world.cli("status", run_id).stdout, "and says it in words")
        world.worker(steps)
        check(world.wait_for_end(run_id)["status"] == "succeeded", "with a worker the run goes on")


def no_broker():
    """A broker that is not there: a clear message within the timeout, exit 5"""
    port = kafka.free_ports(1)[0]
    for command in (["list"], ["start", "examples/upload/upload.yaml", "-p", "source=/tmp", "-p", "target=/tmp/x"], ["serve"]):
        begun = time.monotonic()
        done = subprocess.run([str(kafka.Path(os.environ["BACKSTEP_BIN"]) / "backstep"), *command, "-b", f"127.0.0.1:{port}", "--timeout", "2s"],
                              capture_output=True, text=True, timeout=60, cwd=os.environ["BACKSTEP_SOURCE"])
        check(done.returncode == 5 and str(port) in done.stderr and time.monotonic() - begun < 8, f"backstep {command[0]}: {done.stderr.strip()}")


def no_coordinator():
    """No coordinator: `start` says so after its timeout and exits 5; the run is on the log and begins when one comes"""
    with World() as world:
        steps = world.steps(first=JOURNAL, second=JOURNAL, third=JOURNAL)
        world.cli("topics", "--progress-partitions", PROGRESS_PARTITIONS)
        done = world.cli("start", world.three, "--timeout", "2s", expect=5)
        check("no coordinator answered" in done.stderr and "backstep serve" in done.stderr, done.stderr.strip().splitlines()[0])
        run_id = done.stdout.strip()
        check(run_id.startswith("three-"), "the run id is printed")
        world.serve()
        world.worker(steps)
        check(world.wait_for_end(run_id)["status"] == "succeeded", "the run began when a coordinator came")
        check(world.cli("start", world.three, "--id", run_id, expect=8).returncode == 8, "the same id a second time is refused with exit 8")


if __name__ == "__main__":
    main(no_broker, no_coordinator, nobody_serves, worker_dies, topics_change, guard_dies, coordinator_dies, takeover, garbage, broker_dies)
