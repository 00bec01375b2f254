# SPDX-License-Identifier: Apache-2.0
"""What the author of a step sees, and how a call of it becomes an outcome. Knows nothing of Kafka."""

import json
import re
import time
import traceback

import backstep_pb2 as wire

RESULT_BYTES = 64 << 10
METRICS_BYTES = 4 << 10
ERROR_BYTES = 4 << 10
TEXT_BYTES = 64 << 10
EVENT_BYTES = 100
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
LEVELS = {"debug": wire.LOG_LEVEL_DEBUG, "info": wire.LOG_LEVEL_INFO, "warn": wire.LOG_LEVEL_WARN, "error": wire.LOG_LEVEL_ERROR}

steps = {}  # by name: all that @step has seen


class Skip(Exception):
    """There is nothing to do, and nothing was done."""


class Permanent(Exception):
    """It failed, and another attempt would fail as well."""


class Cancelled(BaseException):
    """The step is to end now. Clean up in `finally`; five seconds later the process is killed. Raised again with a text, it says so in the history."""


class Step:
    def __init__(self, name, execute):
        self.name, self.execute, self.undo = name, execute, None

    def __call__(self, context):
        return self.execute(context)

    def rollback(self, function):
        """@its_name.rollback: the function that undoes the step. It must bear that the step did nothing, or only half."""
        if self.undo is not None:
            raise ValueError(f"step '{self.name}' has a rollback already")
        self.undo = function
        return function


def step(name):
    """@step, or @step("another-name"): serve this function as a handler."""
    if callable(name):
        return add(name.__name__, name)
    return lambda function: add(name, function)


def add(name, function):
    if not NAME.fullmatch(name):
        raise ValueError(f"'{name}' is no name of a step: up to 100 letters, digits, '.', '_' and '-', a letter or digit first")
    if name in steps:
        raise ValueError(f"there is a step '{name}' already")
    steps[name] = Step(name, function)
    return steps[name]


def json_bytes(value, what, limit):
    try:
        encoded = json.dumps(value, allow_nan=False).encode()
    except (TypeError, ValueError) as failure:
        raise Permanent(f"{what} is no JSON: {failure}") from None
    if len(encoded) > limit:
        raise Permanent(f"{what} is larger than {limit} bytes: {len(encoded)}")
    return encoded


def cut(text, limit):
    return text.encode(errors="replace")[:limit].decode(errors="ignore")


class Context:
    """One execution or rollback of one step.

    params         of the run
    steps          what the steps before it have returned, by name; None where one was skipped
    shared         values that steps have set
    input          the step's own `with`
    result         rollback only: what the execution returned
    rollback_data  execute: set it to what undoing will need; rollback: what was set
    """

    def __init__(self, task, say):
        self.say = say
        self.rolls_back = task.ticket.direction == wire.DIRECTION_ROLLBACK
        self.run_id, self.name, self.attempt = task.run_id, task.step, task.attempt
        direction = "rollback" if self.rolls_back else "execute"
        self.idempotency_key = f"{task.run_id}/{task.ticket.step}/{task.ticket.instance}/{direction}"
        self.input = json.loads(task.input or b"{}")
        self.params = json.loads(task.params or b"{}")
        self.steps = {each.step: json.loads(each.data or b"null") for each in task.results}
        self.shared = {name: value for values in task.sets for name, value in json.loads(values).items()}
        self.result = json.loads(task.result.data or b"null")
        self.rollback_data = json.loads(task.result.rollback_data or b"null") if self.rolls_back else None
        self.changes, self.measured = {}, {}

    def progress(self, current, total):
        """So much of the step is done. Call it as often as you like: at most two a second are sent, and the last one."""
        if total <= 0:
            raise ValueError(f"total must be > 0, got {total}")
        if not 0 <= current <= total:
            raise ValueError(f"current must be between 0 and {total}, got {current}")
        self.say("progress", (current, total))

    def metrics(self, **values):
        """Merged into those said before; `unit` names what is counted."""
        merged = {**self.measured, **values}
        self.say("metrics", json_bytes(merged, "metrics", METRICS_BYTES))
        self.measured = merged

    def log(self, text="", level="info", event="", **data):
        """A line for `backstep logs`."""
        if level not in LEVELS:
            raise ValueError(f"there is no level '{level}'; {', '.join(LEVELS)} are known")
        encoded = json_bytes(data, "data of a log line", TEXT_BYTES) if data else b""
        line = wire.LogLine(time_ms=time.time_ns() // 1000000, level=LEVELS[level], source=wire.LOG_SOURCE_HANDLER,
                            event=cut(event, EVENT_BYTES), text=cut(text, TEXT_BYTES), data=encoded)
        self.say("log", line.SerializeToString())

    def set(self, name, value):
        """Shared with the steps after this one, when it has succeeded."""
        self.changes[name] = self.shared[name] = value


def not_served(task):
    """What needs jq: a worker without it may not guess."""
    for name in ("when", "each", "templated", "assert", "wrap", "scope"):
        if getattr(task, name):
            return name
    return None


def call(step, task, context):
    if not context.rolls_back and not_served(task):
        raise Permanent(f"a worker in Python does not serve '{not_served(task)}'; give this step to a queue of backstep-worker")
    function = step.undo if context.rolls_back else step.execute
    if function is None:
        raise Skip
    return function(context)


def fields_of(data, context):
    fields = {"data": data, "rollback_data": None if context.rolls_back else context.rollback_data, "set": context.changes or None}
    fields = {name: json_bytes(value, name, RESULT_BYTES) for name, value in fields.items() if value is not None}
    size = sum(map(len, fields.values()))
    if size > RESULT_BYTES:
        raise Permanent(f"data, rollback_data and set together are larger than {RESULT_BYTES} bytes: {size}")
    return fields


def outcome_of(step, task, say):
    """The fields of Done."""
    context = None
    try:
        context = Context(task, say)
        fields = {"outcome": wire.OUTCOME_OK, **fields_of(call(step, task, context), context)}
    except Cancelled as cancelled:
        fields = {"outcome": wire.OUTCOME_CANCELLED_STARTED, "error": cut(str(cancelled), ERROR_BYTES)}
    except Skip:
        fields = {"outcome": wire.OUTCOME_SKIPPED}
    except Exception as failure:
        if not isinstance(failure, Permanent):
            traceback.print_exc()
        text = cut(str(failure) or type(failure).__name__, ERROR_BYTES)
        fields = {"outcome": wire.OUTCOME_FAILED, "error": text, "permanent": isinstance(failure, Permanent)}
    if context is not None and context.measured:
        fields["metrics"] = json_bytes(context.measured, "metrics", METRICS_BYTES)
    return fields
