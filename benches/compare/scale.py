"""Measures whether the cost of an event depends on how much is there already, and on the number of partitions.

Rows: the full road (`pipelines/road.yaml`: embedded raw store, categories as a table of their own, a document joined of both,
MongoDB) first takes up a log of N events; then more events come into the same topic, and only those are measured, in a new
process over the filled stores: first W1's mix, then one of which half update rows anywhere among all that are there.
Partitions: W1 from an empty database, without a raw store, from topics with 1 to 64 partitions.

Costs are CPU-seconds a million events of the tool (start-up included, so the delta must not be small) and of mongod until it
has come to rest.
"""

import time
from datetime import datetime, timezone
from pathlib import Path

import bench
import fold
import machine
import tools
import workload
from bench import say


def parse():
    parser = bench.arguments(__doc__.splitlines()[0])
    numbers = lambda text: [int(float(n)) for n in text.split(",") if n]  # noqa: E731
    parser.add_argument("--rows", type=numbers, default="1e4,1e5,1e6", help="default 1e4,1e5,1e6; empty: not measured")
    parser.add_argument("--delta", type=int, default=100_000, help="events measured upon them (default 100,000)")
    parser.add_argument("--partitions", type=numbers, default="1,4,16,64", help="default 1,4,16,64; empty: not measured")
    parser.add_argument("--events", type=int, default=300_000, help="events of each partition count (default 300,000)")
    parser.add_argument("--results", type=Path, help="append the tables to this file, too")
    return parser.parse_args()


def job_for(services, options, topic, name):
    directory = options.work_dir / f"{name}-{time.time_ns()}"
    directory.mkdir()
    ends = fold.ends(services.brokers, topic)
    database = name.replace("-", "_")
    return tools.Job(
        services.brokers, services.mongodb, topic, ends, database, directory.name, directory, False, options,
    )


def measured(services, tool, job, events):
    """(events/s, tool, mongod), CPU-seconds a million events."""
    services.settle()
    before = machine.cpu(services.mongod)
    run = tool.run(job)
    machine.settle(services.mongod)
    return events / run.wall, run.cpu / events * 1e6, (machine.cpu(services.mongod) - before) / events * 1e6


def rows(services, options):
    tool = tools.Headwater(pipeline="road.yaml")
    for count in options.rows:
        topic, bank = f"rows-{count}-{time.time_ns()}", workload.Bank()
        workload.create_topic(services.brokers, topic, 4)
        workload.fill(services.brokers, topic, bank.events(count), 4)
        job = job_for(services, options, topic, f"scale_rows_{count}")
        say(f"{count:,} events: filling the stores")
        tool.run(job)
        for updates in (0.10, 0.50):
            workload.fill(services.brokers, topic, bank.events(options.delta, updates=updates), 4)
            job.ends = fold.ends(services.brokers, topic)
            yield updates, f"{count:,}", measured(services, tool, job, options.delta)
        check(services, job)
        services.client.drop_database(job.database)


def partitions(services, options):
    for count in options.partitions:
        topic, _ = services.topic(options.events, partitions=count)
        job = job_for(services, options, topic, f"scale_partitions_{count}")
        result = measured(services, tools.Headwater(), job, options.events)
        check(services, job)
        services.client.drop_database(job.database)
        yield f"{count}", result


def check(services, job):
    """A cost of a wrong result is none."""
    difference = fold.Difference(
        fold.fold(services.brokers, job.topic), services.client[job.database]["transactions"], True
    )
    if difference:
        raise SystemExit(f"{job.topic}: {difference}; {difference.example}")


def table(head, results):
    lines = [
        f"| {head} | events/s | tool, CPU-s/M | | mongod, CPU-s/M | |",
        "|--:|--:|--:|--:|--:|--:|",
    ]
    base = None
    for name, (rate, tool, mongod) in results:
        base = base or (tool, mongod)
        apart = [f"{(now / first - 1) * 100:+.0f} %" for now, first in zip((tool, mongod), base)]
        lines.append(f"| {name} | {rate:,.0f} | {tool:.2f} | {apart[0]} | {mongod:.2f} | {apart[1]} |")
        say(lines[-1])
    return "\n".join(lines)


def main():
    options = parse()
    services = bench.Services(options.services)
    when = f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC, {machine.facts()}; {services.versions()}."
    text = f"\n## Scale\n\n{when} Differences are to the first line.\n"
    if options.rows:
        results = list(rows(services, options))
        for updates in (0.10, 0.50):
            text += f"\n{options.delta:,} events, {updates:.0%} of them updates anywhere, upon so many:\n\n"
            text += table("events before", [(name, of) for mix, name, of in results if mix == updates]) + "\n"
    if options.partitions:
        text += f"\nW1 of {options.events:,} events from so many partitions, {options.lanes} lanes:\n\n"
        text += table("partitions", partitions(services, options)) + "\n"
    print(text)
    if options.results:
        with open(options.results, "a") as results:
            results.write(text)


main()
