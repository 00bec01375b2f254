# SPDX-License-Identifier: Apache-2.0
"""What Backstep is to reach, and whether what was measured does."""


def ratio(one, which):
    return one["in_flight"]["1"]["run"][which] / one["floor"]["seven_hops"][which]


def share(one, window, raw):
    return one["in_flight"][window]["steps_per_s"] / one["floor"]["round_trips_per_s"][raw] * 100


def of_load(name):
    return lambda figures: max(load[name] for load in figures["in_flight"].values())


def of_most(value):
    """Of the largest number of unfinished runs."""
    return lambda figures: value(figures["unfinished"][max(figures["unfinished"], key=int)])


def of_programs(name):
    return lambda figures: figures["programs"][name] / figures["programs"]["xargs_per_s"] * 100


def of_idle(unit):
    return lambda figures: max(figures["idle"][f"{program}_{unit}"] for program in ("coordinator", "worker"))


# What, at least or at most, how much, its unit, its digits, and how it is read off the figures. Of what is measured in rounds the median
# counts, of each round against its own raw floor.
AT_MOST, AT_LEAST = "≤", "≥"
IN_ROUNDS = (
    ("run of 3 empty steps against 7 raw hops, p50", AT_MOST, 1.15, "×", 2, lambda one: ratio(one, "p50_us")),
    ("run of 3 empty steps against 7 raw hops, p99", AT_MOST, 2, "×", 2, lambda one: ratio(one, "p99_us")),
    ("steps/s against raw round trips, 64 in flight", AT_LEAST, 60, "%", 0, lambda one: share(one, "64", "64")),
    ("steps/s against raw round trips, 1,024 in flight", AT_LEAST, 35, "%", 0, lambda one: share(one, "1024", "1024")),
    ("steps/s against raw round trips, 10,000 in flight beside 4,096", AT_LEAST, 35, "%", 0, lambda one: share(one, "10000", "4096")),
)
ONCE = (
    ("records a step beside the run's own, the most", AT_MOST, 2.1, "", 2, of_load("records_per_step_beside_the_runs_own")),
    ("memory of an unfinished run, resident", AT_MOST, 700, "bytes", 0, of_most(lambda figure: figure["bytes_per_run"])),
    ("recovery of the most unfinished runs against a bare read", AT_MOST, 4, "×", 1,
     of_most(lambda figure: figure["recovery_s"] / figure["bare_read_s"])),
    ("idle: share of a core, the greater", AT_MOST, 1, "%", 1, of_idle("percent")),
    ("idle: resident memory, the greater", AT_MOST, 20, "MB", 1, of_idle("mb")),
    ("`backstep run` on the embedded broker", AT_MOST, 300, "ms", 0, lambda figures: figures["embedded_run_ms"]),
    ("a new worker's first task", AT_MOST, 50, "ms", 0, lambda figures: figures["first_task_ms"]),
    ("program steps over a list against `xargs -P 2`", AT_LEAST, 80, "%", 0, of_programs("list_steps_per_s")),
    ("program steps in runs of three against `xargs -P 2`", AT_LEAST, 80, "%", 0, of_programs("steps_per_s")),
    ("`status` of the first of a million runs", AT_MOST, 2, "s", 2, lambda figures: figures["finished"]["status_s"]),
    ("`list --limit 20` beside them", AT_MOST, 1, "s", 2, lambda figures: figures["finished"]["list_s"]),
)


def goal_rows(figures, median):
    """`median`: of what is read off each round."""
    for goals, read in ((IN_ROUNDS, median), (ONCE, lambda value: value(figures))):
        for what, side, goal, unit, digits, value in goals:
            measured = read(value)
            reached = measured <= goal if side == AT_MOST else measured >= goal
            yield what, f"{side} {goal:g} {unit}".strip(), f"{measured:,.{digits}f} {unit}".strip(), "reached" if reached else "not reached"
