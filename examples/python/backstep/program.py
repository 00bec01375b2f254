# SPDX-License-Identifier: Apache-2.0
"""A file of steps as a program: `python FILE -b BROKERS --queue QUEUE`."""

import argparse
import os
import re
import signal
import socket
import sys

from . import step
from .worker import Worker


def number(least, most, kind=int):
    def read(text):
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not least <= value <= most:
            raise argparse.ArgumentTypeError(f"'{text}' is not between {least} and {most}")
        return value
    return read


def name(text):
    if not step.NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(f"'{text}' is no name: up to 100 letters, digits, '.', '_' and '-', a letter or digit first")
    return text


def own_id():
    return re.sub(r"[^A-Za-z0-9._-]", "-", f"python-{socket.gethostname()}")[:80] + f"-{os.getpid()}"


def default(option, otherwise):
    """As in the other programs, an option may also be given as BACKSTEP_<OPTION>."""
    return os.environ.get(f"BACKSTEP_{option.upper()}", otherwise)


def options_parser():
    parser = argparse.ArgumentParser(description="Serves the steps of this file to the coordinators on Kafka.")
    parser.add_argument("-b", "--brokers", default=default("brokers", None), required="BACKSTEP_BROKERS" not in os.environ, metavar="HOST:PORT,...")
    parser.add_argument("--queue", default=default("queue", "default"), type=name, help="the queue whose steps are served (default)")
    parser.add_argument("--id", default=default("id", own_id()), type=name, help="who this is, for people")
    parser.add_argument("--prefix", default=default("prefix", "backstep"), type=name, help="of the topics (backstep)")
    parser.add_argument("--slots", default=default("slots", os.cpu_count() or 1), type=number(1, 1024), help="how many steps run at once (one a processor)")
    parser.add_argument("--lease", default=default("lease", "30"), type=number(2, 600, float), help="seconds after which a silent worker is lost (30)")
    return parser


def main(arguments=None, parser=None, worker_class=Worker):
    """Until SIGTERM or an interrupt: then running steps finish, and it ends."""
    parser = parser or options_parser()
    options = parser.parse_args(arguments)
    if not step.steps:
        parser.error("there is no step: put @backstep.step before a function")
    worker = worker_class(options, step.steps)
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, lambda number, frame: setattr(worker, "draining", True))
    while worker.live():
        print("event=incarnation_over", file=sys.stderr, flush=True)
