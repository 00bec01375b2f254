# SPDX-License-Identifier: Apache-2.0
"""What goes wrong: programs and brokers die, freeze, are cut off, and come back."""

import collections
import os
import signal
import threading
import time

import kafka
from link import Link

OWNS = {"group": (("--session-timeout", "2s"),) * 3, "list": (("--own", "0-1"), ("--own", "2-3"))}  # each coordinator's options
BROKER = ("group.min.session.timeout.ms=1000",)
WORKERS = 4
LINKS = {"coordinator": (0,), "worker": (0, 1)}  # who reaches the brokers by a network that can be cut
WITHOUT_BROKER = 5
UNHEARD_S = 0.2  # a few steps
CHECKPOINT_BYTES = 2000  # of each partition: few runs are behind so little, and those that are have snapshots


class Nemesis:
    """`own`: how the coordinators come by their partitions; `weights` says how often each kind of trouble comes, by its method's name;
    `pause_s` is the longest time between two."""

    def __init__(self, cluster, own, random, weights, pause_s, programs, lease, prefix, environment, ahead):
        self.owns, self.shares = OWNS[own], own == "group"
        self.cluster, self.random, self.pause_s = cluster, random, pause_s
        self.weights, self.programs, self.lease, self.environment = weights, programs, lease, environment
        self.where, self.ahead = ("--prefix", prefix, "--log-level", "info"), ("--ahead", ahead)
        self.counts = collections.Counter()
        self.coordinators = [self.new_coordinator(number) for number in range(len(self.owns))]
        self.workers = [self.new_worker(number) for number in range(WORKERS)]
        self.wakes = []        # (when, process)
        self.mends = {}        # link -> when
        self.broker = None     # the thread that brings it back
        self.failure = None
        self.next_s = time.monotonic()

    # ---- programs

    def reached_by(self, link, number):
        return self.cluster.link(link).address if number in LINKS[link] else self.cluster.brokers

    def new_coordinator(self, number):
        return self.cluster.spawn("serve", self.programs / "backstep", "serve", "-b", self.reached_by("coordinator", number), *self.where,
                                  *self.owns[number], *self.ahead, "--checkpoint-bytes", CHECKPOINT_BYTES,
                                  environment=self.environment)

    def new_worker(self, number):
        return self.cluster.spawn(f"worker{number}", self.programs / "backstep-worker", "-b", self.reached_by("worker", number), *self.where,
                                  "--steps", self.cluster.steps_directory, "--lease", self.lease, "--concurrency", "4", "--id", f"w{number}",
                                  "--timeout", "60s", environment=self.environment)

    def frozen(self):
        return [process for _, process in self.wakes]

    def awake(self, processes):
        frozen = self.frozen()
        return [number for number, process in enumerate(processes) if process not in frozen]

    def kill(self, process):
        process.kill()
        self.wakes = [wake for wake in self.wakes if wake[1] is not process]
        self.counts["kills"] += 1

    def freeze(self, process, seconds):
        process.signal(signal.SIGSTOP)
        self.wakes.append((time.monotonic() + seconds, process))
        self.counts["freezes"] += 1

    # ---- trouble

    def kill_worker(self):
        number = self.random.randrange(WORKERS)
        self.kill(self.workers[number])
        self.workers[number] = self.new_worker(number)

    def kill_worker_unheard(self):
        """What it has said last is lost with it."""
        link, number = self.cluster.link("worker"), self.random.choice(LINKS["worker"])
        link.cut()
        time.sleep(UNHEARD_S)  # it goes on meanwhile
        self.kill(self.workers[number])
        link.mend()
        self.workers[number] = self.new_worker(number)

    def kill_coordinator(self):
        number = self.random.randrange(len(self.owns))
        self.kill(self.coordinators[number])
        self.coordinators[number] = self.new_coordinator(number)

    def blackout(self):
        """All programs at once, as when a machine loses its power."""
        for number, process in enumerate(self.workers):
            self.kill(process)
            self.workers[number] = self.new_worker(number)
        for number, process in enumerate(self.coordinators):
            self.kill(process)
            self.coordinators[number] = self.new_coordinator(number)
        self.counts["blackouts"] += 1

    def freeze_one(self, processes, least_s, most_s):
        awake = self.awake(processes)
        if awake:
            self.freeze(processes[self.random.choice(awake)], self.random.uniform(least_s, most_s))

    def freeze_worker(self):
        """Some shorter than a lease, some longer."""
        self.freeze_one(self.workers, 0.3, 6)

    def freeze_worker_long(self):
        """Two stay awake, to take what the frozen ones had while that still runs."""
        if len(self.awake(self.workers)) > 2:
            self.freeze_one(self.workers, 5, 7)

    def freeze_coordinator(self):
        self.freeze_one(self.coordinators, 0.3, 4)

    def freeze_coordinator_long(self):
        """Longer than its session, and than the lease of the workers, whom it does not hear meanwhile."""
        self.freeze_one(self.coordinators, 3, 5)

    def replace_coordinator(self):
        """One is frozen, another takes over, the first wakes and must do no harm."""
        awake = self.awake(self.coordinators)
        if self.shares:
            self.freeze_coordinator_long()  # the others take over
        elif awake:
            number = self.random.choice(awake)
            old = self.coordinators[number]
            self.coordinators[number] = self.new_coordinator(number)
            self.freeze(old, self.random.uniform(1, 3))
            self.counts["takeovers"] += 1

    def drain_worker(self):
        """Asked to leave, and another comes."""
        number = self.random.randrange(WORKERS)
        self.workers[number].signal(signal.SIGTERM)
        self.workers[number] = self.new_worker(number)
        self.counts["drains"] += 1

    def drain_coordinator(self):
        number = self.random.randrange(len(self.owns))
        self.coordinators[number].signal(signal.SIGTERM)
        self.coordinators[number] = self.new_coordinator(number)
        self.counts["drains"] += 1

    def kill_guard(self):
        worker = self.workers[self.random.randrange(WORKERS)]
        try:
            children = open(f"/proc/{worker.pid}/task/{worker.pid}/children").read().split()
        except FileNotFoundError:
            return
        for child in children[:1]:
            os.kill(int(child), signal.SIGKILL)
            self.counts["kills"] += 1
            self.counts["guards"] += 1

    def cut(self, name):
        """Nothing passes, or only one way, or connections are refused; some shorter than a lease, some longer."""
        link = self.cluster.link(name)
        self.random.choice((link.cut, link.refuse, lambda: link.cut(Link.ANSWERS), lambda: link.cut(Link.REQUESTS)))()
        self.mends[link] = time.monotonic() + self.random.uniform(0.3, 5)
        self.counts["cuts"] += 1

    def cut_coordinator(self):
        self.cut("coordinator")

    def cut_worker(self):
        self.cut("worker")

    def restart_broker(self):
        """Of several one at a time."""
        number = self.random.randrange(len(self.cluster.broker.nodes)) + 1
        end = self.random.choice((self.cluster.broker.kill, self.cluster.broker.stop))

        def restart():
            end(number)
            self.cluster.broker.restart(number)
        if self.in_the_background(restart):
            self.counts["broker restarts"] += 1

    def freeze_broker(self):
        node, seconds = self.random.choice(self.cluster.broker.nodes), self.random.uniform(0.3, 2)

        def freeze():
            pid = kafka.running_pid(node)
            os.kill(pid, signal.SIGSTOP)
            time.sleep(seconds)  # the freezing itself
            os.kill(pid, signal.SIGCONT)
        if self.in_the_background(freeze):
            self.counts["freezes"] += 1

    def broker_is_busy(self):
        return self.broker is not None and self.broker.is_alive()

    def in_the_background(self, trouble):
        if self.broker_is_busy():
            return False

        def run():
            try:
                trouble()
            except Exception as error:  # whatever it is, the main thread has to see it
                self.failure = error
        self.broker = threading.Thread(target=run)
        self.broker.start()
        return True

    # ---- the loop

    def step(self):
        """Do what is due."""
        if self.failure is not None:
            raise self.failure
        now_s = time.monotonic()
        for wake in [wake for wake in self.wakes if wake[0] <= now_s]:
            self.wakes.remove(wake)
            wake[1].signal(signal.SIGCONT)
        for link in [link for link, due_s in self.mends.items() if due_s <= now_s]:
            self.mend(link)
        self.bring_back()
        if now_s >= self.next_s:
            getattr(self, self.random.choices(list(self.weights), list(self.weights.values()))[0])()
            slower = WITHOUT_BROKER if self.broker_is_busy() else 1  # what has no broker anyway suffers little
            self.next_s = now_s + self.random.uniform(0, self.pause_s * slower)

    def mend(self, link):
        del self.mends[link]
        link.mend()

    def bring_back(self):
        """Who has ended by himself, for want of a broker or because another has claimed what was his, comes back."""
        for number, process in enumerate(self.coordinators):
            if not process.is_running():
                self.coordinators[number] = self.new_coordinator(number)
        for number, process in enumerate(self.workers):
            if not process.is_running():
                self.workers[number] = self.new_worker(number)

    def end(self):
        for process in (*self.frozen(), *self.coordinators, *self.workers):
            process.kill()

    def rest(self):
        """All wake, the network is whole, the broker is back."""
        for _, process in self.wakes:
            process.signal(signal.SIGCONT)
        self.wakes = []
        for link in list(self.mends):
            self.mend(link)
        if self.broker is not None:
            self.broker.join()
        if self.failure is not None:
            raise self.failure
