#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Three brokers that replicate, and the network between them and one program: brokers die, leaders move, a cable is pulled out."""

import os
import re
import threading
import time

from confluent_kafka import ElectionType, KafkaException
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource
from cluster import PROGRESS_PARTITIONS as PARTITIONS
from cluster import THREE, Cluster, check, main
from kafka import is_alive
from link import Link

JOURNAL = """
cat >/dev/null
printf '%s %s %s\\n' "$1" "$BACKSTEP_STEP" "$BACKSTEP_ATTEMPT" >>"$JOURNAL/$BACKSTEP_RUN_ID"
[ "$1" = rollback ] || sleep 0.3
while [ -e "$JOURNAL/hold" ]; do sleep 0.05; done
"""
# Goes on when it is told to, and says where it ran: each worker has a place.
HELD = """
[ "$1" = rollback ] && exit 0
cat >/dev/null
echo $$ >"$JOURNAL/$BACKSTEP_RUN_ID.$PLACE.pid"
while ! [ -e "$JOURNAL/$BACKSTEP_RUN_ID.$PLACE.go" ]; do sleep 0.05; done
printf '{"data": {"place": "%s"}}\\n' "$PLACE"
"""
ONE = """
name: one
steps:
  - {name: held}
"""
ONCE_EACH = ["execute first 1", "execute second 1", "execute third 1"]
LEASE_S = 3
SESSION_S = 5
LONG_LEASE = "120s"  # longer than any restart of a broker on a busy machine


class World(Cluster):
    def __init__(self):
        super().__init__(brokers=3, links=("worker", "coordinator"))

    def __enter__(self):
        super().__enter__()
        self.three, self.one = self.pipeline(THREE, "three.yaml"), self.pipeline(ONE, "one.yaml")
        self.journaling = self.steps("journaling", first=JOURNAL, second=JOURNAL, third=JOURNAL)
        self.held = self.steps("held", held=HELD)
        self.admin = AdminClient({"bootstrap.servers": self.brokers})
        return self

    def leaders(self):
        """Of all partitions of ours; {-1}: nobody says."""
        try:
            topics = self.admin.list_topics(timeout=5).topics
        except KafkaException:
            return {-1}
        return {each.leader for name, topic in topics.items() if name.startswith(self.prefix) for each in topic.partitions.values()}

    def wait_for_leaders(self, without):
        self.wait_for(lambda: not self.leaders() & {-1, without}, f"broker {without} to lead nothing")

    def wait_for_end(self, run_id):
        self.wait_for(lambda: self.status(run_id)["status"] == "succeeded", f"{run_id} to succeed")

    def said(self):
        return self.journaling_worker.said() + self.coordinator.said()

    def begin_coordinator(self, **options):
        return self.serve("--session-timeout", f"{SESSION_S}s", group=True, **options)

    def worker_at(self, place, **options):
        os.environ["PLACE"] = place
        return self.worker(self.held, lease=f"{LEASE_S}s", **options)

    def pid_at(self, place, run_id):
        path = self.journal / f"{run_id}.{place}.pid"
        return self.wait_for(lambda: path.exists() and path.read_text().strip(), f"{run_id} to run at {place}")

    def go(self, place, run_id):
        (self.journal / f"{run_id}.{place}.go").touch()


def one_at_a_time(world, runs):
    """One broker is killed and comes back, then the next: leaders move, runs go on meanwhile"""
    for number in (1, 2):
        world.broker.kill(number)
        world.wait_for_leaders(without=number)
        runs.append(world.start(world.three))
        world.wait_for_end(runs[-1])
        check(not world.broker.is_running(number), f"with broker {number} dead a run begins and ends")
        if number == 1:
            world.broker.restart(number)
            world.wait_for(lambda: 1 in elected(world), "broker 1 to lead again")
            check(True, "leaders are moved back to the broker that has come back, while runs are under way")


def elected(world):
    """Who leads, once each partition's preferred leader was asked to, if it can."""
    try:
        world.admin.elect_leaders(ElectionType.PREFERRED).result(10)
    except KafkaException:
        pass  # it may not be in sync yet
    return world.leaders()


def too_few_in_sync(world, runs):
    """Fewer replicas are in sync than the topic asks for: what is written is refused, and it is said why; once it is taken all goes on"""
    def ask_for(replicas):
        entry = ConfigEntry("min.insync.replicas", str(replicas), incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource("topic", world.topic("progress"), incremental_configs=[entry])
        for done in world.admin.incremental_alter_configs([resource]).values():
            done.result(20)
    hold, said = world.journal / "hold", world.said().count("event=not_acknowledged")
    hold.touch()
    runs.append(world.start(world.three))
    world.wait_for(lambda: world.did(runs[-1]), "its first step to run")
    ask_for(3)
    hold.unlink()  # it ends now, and its worker has something to say
    refused = world.cli("start", world.three, "--id", "refused", "--timeout", "3s", expect=5)
    check("did not take the request within 3 s" in refused.stderr and "2 of 3 replicas in sync" in refused.stderr, refused.stderr.splitlines()[0])
    check("is not known: start it again with --id refused" in refused.stderr and refused.stdout == "", "and what that means for the run")
    world.wait_for(lambda: world.said().count("event=not_acknowledged") > said, "the worker or the coordinator to say that nothing is taken")
    ask_for(2)
    world.cli("start", world.three, "--id", "refused", "--if-exists", "return")
    runs.append("refused")


def two_gone(world, runs):
    """Two of three are gone: nothing is written; with them back all goes on"""
    runs.append(world.start(world.three))
    world.broker.stop(3)
    refused = world.cli("start", world.three, "--id", "late", "--timeout", "3s", expect=5)
    reasons = "1 of 3 replicas in sync", "has no leader: too few of its brokers are up", "no broker answer", "no answer from"
    check(any(reason in refused.stderr for reason in reasons) and refused.stdout == "", refused.stderr.splitlines()[0])
    back = [threading.Thread(target=world.broker.restart, args=(number,)) for number in (2, 3)]
    for thread in back:
        thread.start()
    for thread in back:
        thread.join()
    world.cli("start", world.three, "--id", "late", "--if-exists", "return")
    runs.append("late")


def brokers_die(world):
    """Runs are under way all the time; in the end each step of each has run once"""
    worker = world.journaling_worker = world.worker(world.journaling, "--concurrency", "4", lease=LONG_LEASE)
    runs = [world.start(world.three) for _ in range(4)]
    one_at_a_time(world, runs)
    too_few_in_sync(world, runs)
    two_gone(world, runs)
    for run_id in runs:
        world.wait_for_end(run_id)
    wrong = {run_id: world.did(run_id) for run_id in runs if world.did(run_id) != ONCE_EACH}
    check(not wrong, f"all {len(runs)} runs ended, and no step ran twice {wrong or ''}")
    check("event=acknowledged_again" in world.said(), "coordinator or worker said that nothing was taken, and when it was again")
    check(world.coordinator.is_running() and "event=incarnation_ends" not in worker.said(), "coordinator and worker never began anew")
    worker.stop()


def worker_cut_off(world):
    """A worker is cut off from the brokers beyond its lease: its program dies, its step runs elsewhere; mended, it comes back by itself"""
    far = world.worker_at("far", link="worker")
    run_id, other = world.start(world.one), world.start(world.one)
    world.pid_at("far", run_id)
    program = world.pid_at("far", other)
    near = world.worker_at("near")
    lives = far.said().count("event=serving")
    world.link("worker").cut()
    world.go("far", run_id)  # it ends well within the lease, and nobody hears of it
    world.wait_for(lambda: not is_alive(program), "the program to be ended")
    check(far.is_running(), "what still ran at the worker that was cut off is ended with its lease")
    for each in (run_id, other):
        world.pid_at("near", each)
        world.go("near", each)
        world.wait_for_end(each)
        check(world.status(each)["steps"][0]["data"] == {"place": "near"}, "the run goes on at another worker")
    world.link("worker").mend()
    world.wait_for(lambda: far.said().count("event=serving") > lives, "the worker to come back")
    world.wait_for(lambda: far.id in [each["worker"] for each in world.workers()], "it to be known again")
    ends = lambda: [line for line in world.records() if f" {run_id} " in line and "type=Done" in line]
    world.wait_for(lambda: len(ends()) == 2, "what the worker said when it was cut off to be on the log")
    check(world.status(run_id)["steps"][0]["data"] == {"place": "near"}, "the result that arrives late changes nothing")
    for worker in (far, near):
        worker.stop()


def coordinator_cut_off(world):
    """A coordinator is cut off: no worker is lost for that; when its session is over another goes on, and mended it comes back by itself"""
    worker = world.worker_at("near")
    world.link("coordinator").delay(0.1)
    run_id = world.start(world.one)
    world.pid_at("near", run_id)
    world.link("coordinator").mend()
    check(True, "a step is begun though each word takes the coordinator 100 ms more")
    over = world.coordinator.said().count("event=worker_over")
    world.link("coordinator").cut(Link.ANSWERS)
    time.sleep(LEASE_S * 1.3)  # the cut itself, not a wait for something: longer than the lease, shorter than the session
    world.link("coordinator").mend()
    other = world.begin_coordinator()
    world.wait_for(lambda: has(other) == has(world.coordinator) == PARTITIONS // 2, "each to have half of the partitions")
    world.link("coordinator").cut()
    world.wait_for(lambda: has(other) == PARTITIONS, "the other to take over")
    world.go("near", run_id)
    world.wait_for_end(run_id)
    check(True, "what runs goes on with the other coordinator")
    given = world.coordinator.said().count("event=partition_given")
    world.link("coordinator").refuse()
    world.link("coordinator").mend()
    world.wait_for(lambda: world.coordinator.said().count("event=partition_given") > given and has(world.coordinator) + has(other) == PARTITIONS,
                   "the one that was cut off to have its share again")
    lost = world.coordinator.said().count("event=worker_over") - over
    check(lost <= worker.said().count("event=incarnation_ends"),  # on a machine that is very busy a lease may really be over
          "no worker was believed dead, though the coordinator heard nothing of it for longer than its lease")
    check(world.coordinator.is_running(), "the coordinator that comes back is the same process")
    worker.stop()


def has(process):
    """How many partitions a coordinator has."""
    said = re.findall(r"event=(ready partitions=|partition_given|partition_revoked|partition_lost|claimed_by_another)(\d*)", process.said())
    return int(said[-1][1]) if said and said[-1][0].startswith("ready") else 0


def three_brokers():
    """Three brokers: killed one at a time, two at a time, and cut off from a worker and from a coordinator"""
    with World() as world:
        world.coordinator = world.begin_coordinator(link="coordinator")
        brokers_die(world)
        worker_cut_off(world)
        coordinator_cut_off(world)


if __name__ == "__main__":
    main(three_brokers)
