# SPDX-License-Identifier: Apache-2.0
"""What was measured as a table, and its place in docs/. The table is a function of the file: a test makes it again and compares."""

import json
from pathlib import Path

from goals import goal_rows
from pages import lines_of, with_part
from rounds import spread_of

TABLE, GOALS = "bench/run --write", "bench/run --write, goals"
HEAD = ("what", "measured", "beside")
HOPS = 7
PROGRAMS = ("coordinator", "worker", "broker", "client")
# In flight → the window of raw round trips it is held against.
WINDOWS = {"1": "1", "16": "16", "64": "64", "1024": "1024", "10000": "4096"}


def milliseconds(times, which):
    return f"{times[which + '_us'] / 1000:.2f} ms"


def both(times):
    return f"{milliseconds(times, 'p50')} · {milliseconds(times, 'p99')}"


def floor_rows(floor):
    yield "raw: one hop, p50 · p99", both(floor["hop"]), ""
    yield "raw: round trip through two topics, p50 · p99", both(floor["round_trip"]), ""
    yield f"raw: {HOPS} hops one after another, p50 · p99", both(floor["seven_hops"]), ""
    for window, rate in floor["round_trips_per_s"].items():
        yield f"raw: round trips/s, {int(window):,} in flight", f"{rate:,.0f}", ""
    yield "raw: one producer, messages/s", f"{floor['produced_per_s']:,.0f}", ""
    yield "raw: one consumer, messages/s", f"{floor['consumed_per_s']:,.0f}", ""


def rounds_of(figures):
    return figures.get("rounds", [figures])


def spread(figures, value, text, unit=""):
    """The median of the rounds, and the lowest and the highest of them."""
    low, middle, high = spread_of(rounds_of(figures), value)
    return text(middle) + unit + (f" ({text(low)} to {text(high)})" if low != high else "")


def latency_rows(figures):
    for which, raw in (("p50", f"{HOPS} raw hops"), ("p99", "the raw p99")):
        ours = lambda one: one["in_flight"]["1"]["run"][which + "_us"]  # noqa: E731, B023
        ratio = lambda one: ours(one) / one["floor"]["seven_hops"][which + "_us"]  # noqa: E731, B023
        yield (f"run of 3 empty steps, one at a time, {which}", spread(figures, ours, lambda us: f"{us / 1000:.2f}", " ms"),
               spread(figures, ratio, lambda times: f"{times:.2f}", " ×") + f" {raw}")


def rate_row(figures, window):
    raw = WINDOWS[window]
    ours = lambda one: one["in_flight"][window]["steps_per_s"]  # noqa: E731
    share = lambda one: ours(one) / one["floor"]["round_trips_per_s"][raw] * 100  # noqa: E731
    return (f"steps/s, {int(window):,} {'run' if window == '1' else 'runs'} in flight", spread(figures, ours, lambda rate: f"{rate:,.0f}"),
            spread(figures, share, lambda percent: f"{percent:.0f}", " %") + f" of {int(raw):,} raw")


def load_rows(figures):
    for window in figures["in_flight"]:
        yield rate_row(figures, window)
    for window, load in figures["in_flight"].items():
        programs = [name for name in PROGRAMS if f"{name}_cpu_s_per_1000_steps" in load]
        yield (f"CPU s per 1,000 steps, {int(window):,} in flight: {' · '.join(programs)}",
               " · ".join(f"{load[f'{name}_cpu_s_per_1000_steps']:.3f}" for name in programs), "")
        yield (f"a step, {int(window):,} in flight: records · produce requests · bytes in the log",
               f"{load['records_per_step']:.2f} · {load['batches_per_step']:.2f} · {load['bytes_per_step']:,.0f}",
               f"{load['records_per_step_beside_the_runs_own']:.2f} records beside the run's own")


def other_rows(figures):
    yield "rollback of 3 steps, p50 · p99", both(figures["rollback"]["rollback"]), ""
    yield "cancel of a running step to the run's end, p50 · p99", both(figures["cancel"]["cancel"]), ""
    yield "a new worker's first task, from its fork to the step's end", f"{figures['first_task_ms']:.0f} ms", ""
    programs = figures["programs"]
    for rate, what in (("list_steps_per_s", "one step over a list"), ("steps_per_s", f"runs of {programs.get('steps_a_run', 1)}, 64 in flight")):
        if rate in programs:
            yield (f"program steps/s (fork + exec of `true`), 2 at once, {what}", f"{programs[rate]:,.0f}",
                   f"{programs[rate] / programs['xargs_per_s'] * 100:.0f} % of `xargs -P 2`: {programs['xargs_per_s']:,.0f}")
    idle = figures["idle"]
    yield "idle: share of a core, coordinator · worker", f"{idle['coordinator_percent']:.1f} % · {idle['worker_percent']:.1f} %", ""
    yield "idle: resident memory, coordinator · worker", f"{idle['coordinator_mb']:.1f} MB · {idle['worker_mb']:.1f} MB", ""
    yield "`backstep run` of an empty step on the embedded broker", f"{figures['embedded_run_ms']:.0f} ms", ""
    readers = figures["readers"]
    yield f"`status` · `list --limit 20` beside {readers['records']:,} records", f"{readers['status_s']:.2f} s · {readers['list_s']:.2f} s", ""
    finished = figures.get("finished")
    if finished is not None:
        yield (f"`status` of the first of {finished['runs']:,} finished runs · `list --limit 20` beside them",
               f"{finished['status_s']:.2f} s · {finished['list_s']:.2f} s", f"a bare read: {finished['bare_read_s']:.2f} s")
    for count, figure in figures["unfinished"].items():
        yield f"coordinator memory per unfinished run, {int(count):,} runs", f"{figure['bytes_per_run']:,.0f} bytes", ""
        yield (f"recovery of {int(count):,} unfinished runs (SIGKILL, restart, a new run ended)", f"{figure['recovery_s']:.2f} s",
               f"{figure['recovery_s'] / figure['bare_read_s']:.1f} × a bare read")


def rows(figures):
    yield from floor_rows(figures["floor"])
    yield from latency_rows(figures)
    yield from load_rows(figures)
    yield from other_rows(figures)


def about_rounds(figures):
    """How raw and ours were measured."""
    rounds = rounds_of(figures)
    if len(rounds) == 1:
        return " Measured once, on a broker as the tests start it."
    return (f" The raw floor and runs in flight: medians of {len(rounds)} rounds, in brackets the lowest and the highest; the broker's compiler"
            f" took {figures['broker_compiler_share'] * 100:.0f} % of a core meanwhile.")


def about(figures):
    machine = figures["machine"]
    return (f"{machine['date']}, {machine['cores']} cores ({machine['processor']}), {machine['memory_gb']} GB, Linux {machine['kernel']}, "
            f"Apache Kafka {machine['kafka']} on the same cores ({machine['broker']}); load average {machine['load_before']} before, {machine['load_after']} after." +
            about_rounds(figures))


def table(figures):
    return about(figures) + "\n\n" + lines_of(HEAD, rows(figures))


def short_rows(figures):
    """What the README says."""
    yield from list(latency_rows(figures))[:2]
    yield from (row for row in load_rows(figures) if row[0].startswith("steps/s"))
    yield from (row for row in other_rows(figures) if row[0].startswith(("a new worker", "program steps", "`backstep run`")))


def short_table(figures):
    return about(figures) + "\n\n" + lines_of(HEAD, short_rows(figures))


def goals(figures):
    median = lambda value: spread_of(rounds_of(figures), value)[1]  # noqa: E731
    return lines_of(("what", "to reach", "measured", ""), goal_rows(figures, median))


def with_report(page, figures):
    """docs/PERFORMANCE.md with these figures."""
    curves = "".join(f"![{arguments[1]}]({name})\n" for name, arguments in charts(figures).items())
    return with_part(with_part(page, TABLE, table(figures) + "\n" + curves), GOALS, goals(figures))


def with_short_report(page, figures):
    """README.md with these figures."""
    return with_part(page, TABLE, short_table(figures))


def charts(figures):
    """File name → (title, name of the sizes, lines)."""
    loads = {window: load["steps_per_s"] for window, load in figures["in_flight"].items()}
    raw = figures["floor"]["round_trips_per_s"]
    found = {"performance-in-flight.svg": ("steps/s, and raw round trips/s", "in flight", {"raw librdkafka": raw, "Backstep": loads})}
    for name, line in figures.get("curves", {}).items():
        found[f"performance-{name.replace(' ', '-')}.svg"] = ("steps/s, 64 runs in flight", name, {"Backstep": line})
    return found


def write_docs(docs, figures, chart):
    docs = Path(docs)
    (docs / "performance.json").write_text(json.dumps(figures, indent=1) + "\n")
    page = docs / "PERFORMANCE.md"
    page.write_text(with_report(page.read_text(), figures))
    readme = docs.parent / "README.md"
    readme.write_text(with_short_report(readme.read_text(), figures))
    for name, arguments in charts(figures).items():
        (docs / name).write_text(chart(*arguments))
