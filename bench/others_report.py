# SPDX-License-Identifier: Apache-2.0
"""What bench/others measured as tables, what was measured elsewhere, and their place in docs/."""

import json
from pathlib import Path

from pages import lines_of, with_part
from rounds import spread_of

TABLE, ELSEWHERE = "bench/others --write", "bench/others --write, elsewhere"
DOCS = Path(__file__).resolve().parent.parent / "docs"
FILE = "performance-others.json"
OWN_LOAD = 3  # a processor: what is measured makes 2 by itself
# In the order of the tables.
KEPT = {"backstep": "on Kafka, in the run's log", "stock": "the same", "shared": "the same", "script": "in memory: gone with the process",
        "dtm": "in Redis, whose log goes to disk once a second", "dtm_disk": "in a file, each change on disk",
        "celery": "in Redis, whose log goes to disk once a second"}
OURS = ("backstep", "stock", "shared")

# The same work on another machine, where four raw round trips took so long. What; p50 and p99 one at a time, in ms; steps/s, 64 at once.
RAW_MS = (2.2, 2.7)
MEASURED_ELSEWHERE = (
    ("DTM 1.19, default store (fsync)", "3.0", "5.7", "1,385"),
    ("DTM 1.19 on Redis, whose log goes to disk once a second", "1.74", "3.9", "5,101"),
    ("Celery 5.7 on Redis", "7.1", "11.4", "540"),
    ("Restate 1.7", "17 to 18", "22 to 29", "411 to 673"),
    ("Temporal 1.29, development server", "340 (63 without a limit on polling)", "350 (2,069)", "45"),
    ("a script in Python on Kafka, state in memory", "2.3", "8.2", "14,197"),
)


def name_of(contender, versions):
    names = {"backstep": "Backstep",
             "stock": "Backstep on a broker as Kafka's own scripts set it up",
             "shared": "Backstep with four progress partitions",
             "script": "a script in Python on Kafka (confluent-kafka {confluent-kafka}), state in memory",
             "dtm": "DTM {dtm} on Redis {redis}",
             "dtm_disk": "DTM {dtm}, its default store",
             "celery": "Celery {celery} on Redis {redis}"}
    return names[contender].format(**versions)


def measured(figures):
    return [contender for contender in KEPT if contender in figures]


def spread(figures, value, text, unit=""):
    low, middle, high = spread_of(figures["rounds"], value)
    return f"{text(middle)}{unit} ({text(low)} to {text(high)})"


def raw_us(one):
    return one["floor"]["four_round_trips"]["p50_us"]


def contender_row(figures, contender):
    of = lambda window, which: lambda one: one[contender][window][which]  # noqa: E731
    milliseconds = lambda us: f"{us / 1000:.2f}"  # noqa: E731
    return (name_of(contender, figures["versions"]), spread(figures, of("1", "p50_us"), milliseconds, " ms"),
            spread(figures, lambda one: one[contender]["1"]["p50_us"] / raw_us(one), lambda times: f"{times:.2f}", " ×"),
            spread(figures, of("1", "p99_us"), milliseconds, " ms"), spread(figures, of("64", "steps_per_s"), lambda rate: f"{rate:,.0f}"))


def raw_row(figures):
    times = figures["floor"]["four_round_trips"]
    return ("4 raw round trips", spread(figures, raw_us, lambda us: f"{us / 1000:.2f}", " ms"), "1", f"{times['p99_us'] / 1000:.2f} ms", "")


def caution(figures):
    machine = figures["machine"]
    return " Much else ran while ours was measured: its p99 and its rates say little." if machine["load_after"] > OWN_LOAD * machine["cores"] else ""


def about(figures):
    machine = figures["machine"]
    return (f"{machine['date']}, {machine['cores']} cores ({machine['processor']}), {machine['memory_gb']} GB, Apache Kafka {machine['kafka']} on the"
            f" same cores ({machine['broker']}); load average {machine['load_before']} before, {machine['load_after']} after. Medians of {len(figures['rounds'])} rounds, in"
            f" brackets the lowest and the highest.{caution(figures)}\n\n")


def table(figures):
    head = ("3 empty steps in order", "one at a time, p50", "against 4 raw round trips", "p99", "steps/s, 64 at once", "where the state of a pipeline is")
    rows = [(*raw_row(figures), ""), *((*contender_row(figures, contender), KEPT[contender]) for contender in measured(figures))]
    return about(figures) + lines_of(head, rows) + "\n" + standing(figures)


def better(whom, quicker, shorter_tail, more):
    """A sentence of who does better, each a list of names."""
    said = lambda names: "; ".join(names) or "none of them"  # noqa: E731
    return f"Quicker one at a time than {whom}: {said(quicker)}; by the p99: {said(shorter_tail)}. More steps/s with 64 at once: {said(more)}."


def standing_of(ours, figures):
    """Who of the others, measured here, does better than one of ours, by the medians."""
    mine, others = figures[ours], [contender for contender in measured(figures) if contender not in OURS]
    who = lambda is_better: [name_of(other, figures["versions"]) for other in others if is_better(figures[other])]  # noqa: E731
    return better(name_of(ours, figures["versions"]), who(lambda its: its["1"]["p50_us"] <= mine["1"]["p50_us"]),
                  who(lambda its: its["1"]["p99_us"] <= mine["1"]["p99_us"]), who(lambda its: its["64"]["steps_per_s"] >= mine["64"]["steps_per_s"]))


def standing(figures):
    return "\n".join(standing_of(ours, figures) for ours in ("backstep", "stock")) + caution(figures) + "\n"


def scaled_row(figures, contender):
    """What was measured here, as if raw round trips took as long as there: the times in proportion, the rate against it."""
    low, high = (ms * 1000 / raw_us(figures) for ms in RAW_MS)
    times = [figures[contender]["1"][which] / 1000 for which in ("p50_us", "p99_us")]
    rate = figures[contender]["64"]["steps_per_s"]
    return (f"measured here and scaled: {name_of(contender, figures['versions'])}", *(f"{ms * low:.1f} to {ms * high:.1f}" for ms in times),
            f"{rate / high:,.0f} to {rate / low:,.0f}")


def number(text):
    """The first in it, which is its lowest."""
    return float(text.split()[0].replace(",", ""))


def standing_elsewhere(figures):
    """Who would do better there than we would, as far as scaling can tell: at the least that it says for us, and for them."""
    ours = scaled_row(figures, "backstep")
    who = lambda column, is_better: [row[0] for row in MEASURED_ELSEWHERE if is_better(number(row[column]), number(ours[column]))]  # noqa: E731
    return better("Backstep", who(1, float.__lt__), who(2, float.__lt__), who(3, float.__gt__)) + caution(figures) + "\n"


def elsewhere(figures):
    head = ("3 empty steps in order", "one at a time, p50 in ms", "p99 in ms", "steps/s, 64 at once")
    rows = [*MEASURED_ELSEWHERE, *(scaled_row(figures, contender) for contender in measured(figures))]
    return lines_of(head, rows) + "\n" + standing_elsewhere(figures)


def with_report(page, figures):
    """docs/PERFORMANCE.md with these figures."""
    return with_part(with_part(page, TABLE, table(figures)), ELSEWHERE, elsewhere(figures))


def with_short_report(page, figures):
    """README.md with these figures."""
    return with_part(page, TABLE, table(figures))


def write_docs(figures):
    (DOCS / FILE).write_text(json.dumps(figures, indent=1) + "\n")
    for path, made in ((DOCS / "PERFORMANCE.md", with_report), (DOCS.parent / "README.md", with_short_report)):
        path.write_text(made(path.read_text(), figures))
