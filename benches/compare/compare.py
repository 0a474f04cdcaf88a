"""Runs the tools on the work, checks what each left in the database, and prints medians.

One run: an empty database, mongod at rest, the tool from its first instruction until everything is acknowledged, mongod at
rest again (its CPU time counts until then: a checkpoint belongs to those who caused it), then the check. Runs of different
tools alternate, so that a machine's bad minute hits all of them.
"""

import statistics
import time
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

import bench
import fold
import machine
import tools
from bench import say


@dataclass
class Work:
    """W1 or W2 in this size."""

    name: str
    topic: str
    ends: dict
    events: int
    rows: dict
    with_schema: bool


@dataclass
class Measured:
    """One run, per million events where it says so."""

    work: str
    tool: str
    seconds: float
    events: int
    tool_cpu: float
    startup_cpu: float
    mongod_cpu: float
    broker_cpu: float
    rss: float
    verdict: str
    load: float

    def line(self):
        return (
            f"{self.work} {self.tool:<16} {self.events / self.seconds:>9,.0f} events/s  CPU-s/M: tool {self.tool_cpu:6.2f}"
            f"  mongod {self.mongod_cpu:6.2f}  broker {self.broker_cpu:5.2f}  {self.rss:5.0f} MB  {self.verdict}"
            f"  (load before {self.load:.1f})"
        )


def parse():
    parser = bench.arguments(__doc__.splitlines()[0])
    names = ",".join(tool.name for tool in tools.TOOLS if tool.name != "mq-bridge")
    parser.add_argument("--work", default="w1,w2", help="default w1,w2")
    parser.add_argument("--events", type=int, default=1_000_000, help="events of W1 (default 1,000,000)")
    parser.add_argument("--events-w2", type=int, default=300_000, help="events of W2 (default 300,000)")
    parser.add_argument("--tools", default=names, help=f"NAME or NAME:RUNS, …; default {names}; mq-bridge is compiled, once, when it is asked for")
    parser.add_argument("--runs", type=int, default=3, help="runs of each tool (default 3)")
    parser.add_argument("--processes", type=int, default=2, help="processes of the Python loop (default 2)")
    parser.add_argument("--results", type=Path, help="write the table to this file, too")
    parser.add_argument("--prepare", action="store_true", help="only fill the topics (of services that stay)")
    options = parser.parse_args()
    known = {tool.name: tool for tool in tools.TOOLS}
    options.plan = []
    for wanted in options.tools.split(","):
        name, _, runs = wanted.partition(":")
        if name not in known:
            parser.error(f"no tool is called {name}; there are {names}")
        options.plan.append((known[name], int(runs or options.runs)))
    return options


def prepare(services, name, events):
    with_schema = name == "w2"
    topic, ends = services.topic(events, with_schema)
    return Work(name, topic, ends, events, fold.fold(services.brokers, topic), with_schema)


def measure(services, options, work, tool, number):
    database = f"compare_{work.name}_{tool.name}_{number}".replace("-", "_")
    directory = options.work_dir / f"{database}-{time.time_ns()}"
    directory.mkdir()
    drop(services, database)
    services.settle()
    job = tools.Job(
        services.brokers, services.mongodb, work.topic, work.ends, database, directory.name, directory,
        work.with_schema, options,
    )
    load, mongod, broker = machine.load(), machine.cpu(services.mongod), machine.cpu(services.broker)
    run = tool.run(job)
    broker = machine.cpu(services.broker) - broker
    machine.settle(services.mongod)
    mongod = machine.cpu(services.mongod) - mongod
    verdict = fold.Difference(work.rows, services.client[database]["transactions"], tool.categorizes)
    if verdict:
        say(f"{tool.name}: {verdict.example}")
    drop(services, database)
    million = work.events / 1e6
    return Measured(
        work.name, tool.name, run.wall, work.events, run.cpu / million, run.startup / million, mongod / million,
        broker / million, run.rss, str(verdict), load,
    )


def drop(services, database):
    """With the raw store that may be beside it."""
    for name in (database, f"{database}_raw"):
        services.client.drop_database(name)


def median(runs):
    """Of each figure by itself; a verdict is right only if it was in all runs."""
    figures = ("seconds", "tool_cpu", "startup_cpu", "mongod_cpu", "broker_cpu", "rss", "load")
    wrong = [run.verdict for run in runs if run.verdict != "right"]
    medians = {name: statistics.median(getattr(run, name) for run in runs) for name in figures}
    return replace(runs[0], **medians, verdict=wrong[0] if wrong else "right")


def table(work, options, measured):
    """Markdown."""
    lines = [
        "| tool | version | n | events/s | tool | mongod | broker | peak RSS | final state |",
        "|---|---|--:|--:|--:|--:|--:|--:|---|",
    ]
    for tool, _ in options.plan:
        runs = [m for m in measured if m.work == work and m.tool == tool.name]
        if not runs:
            continue
        middle = median(runs)
        cpu = f"{middle.tool_cpu:.1f}"
        if len(runs) > 1:
            cpu += f" ({min(r.tool_cpu for r in runs):.1f}–{max(r.tool_cpu for r in runs):.1f})"
        if middle.startup_cpu:
            cpu += f", {middle.startup_cpu:.1f} of it start-up"
        lines.append(
            f"| {tool.name}: {tool.note} | {tool.version(options)} | {len(runs)} | {middle.events / middle.seconds:,.0f} "
            f"| {cpu} | {middle.mongod_cpu:.1f} | {middle.broker_cpu:.1f} | {middle.rss:.0f} MB | {middle.verdict} |"
        )
    return "\n".join(lines)


def report(services, options, works, measured):
    loads = [m.load for m in measured]
    parts = [
        f"Measured {datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC by `benches/compare/run`, on {machine.facts()};"
        f" {services.versions()}; all on this one machine over loopback, no TLS. Load average (1 min) before the runs:"
        f" {min(loads):.1f}–{max(loads):.1f}, what the run before left included.",
        "CPU columns are CPU-seconds a million events (user + system), the tool's with its start-up; medians of n, the range in"
        " parentheses. Every tool waits for w: majority and the journal. *Final state*: compared, document by document, with"
        " the fold of the topic.",
    ]
    for work in works:
        shape = "with" if work.with_schema else "without"
        parts.append(f"## {work.name.upper()}: {work.events:,} events {shape} embedded schema → {len(work.rows):,} documents")
        parts.append(table(work.name, options, measured))
    return "\n\n".join(parts) + "\n"


def main():
    options = parse()
    services = bench.Services(options.services)
    sizes = {"w1": options.events, "w2": options.events_w2}
    works = [prepare(services, name, sizes[name]) for name in options.work.split(",")]
    if options.prepare:
        return
    measured = []
    for number in range(max(runs for _, runs in options.plan)):
        for work in works:
            for tool in (tool for tool, runs in options.plan if number < runs):
                try:
                    measured.append(measure(services, options, work, tool, number))
                    say(measured[-1].line())
                except machine.Failed as failure:
                    say(f"{work.name} {tool.name}: {failure}")
    if not measured:
        raise SystemExit("no tool did its work")
    text = report(services, options, works, measured)
    print(text)
    if options.results:
        options.results.write_text(f"# Comparison\n\n{text}")


main()
