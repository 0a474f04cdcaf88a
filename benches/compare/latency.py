"""Measures how long a change takes from its record's Kafka timestamp until it can be read in MongoDB by a majority.

A producer sends changes evenly (W1's mix, 500 a second unless told otherwise), each with the moment of sending as its
timestamp; `headwater run` is at work; this process follows the collection's change stream, which shows what a majority has
journaled, and notes when each change arrives. A first part warms up and does not count. Producer and observer are processes
of their own, so that neither waits for the other's interpreter; the clock is the machine's.

A change that another one overtook within one batch is never visible by itself and is not counted; their number is told.
"""

import statistics
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

import bench
import machine
import tools
import workload

WARM_UP = 5


def parse():
    parser = bench.arguments(__doc__.splitlines()[0])
    parser.add_argument("--rate", type=int, default=500, help="changes a second (default 500)")
    parser.add_argument("--seconds", type=int, default=60, help="that count (default 60)")
    parser.add_argument("--results", type=Path, help="append the result to this file, too")
    return parser.parse_args()


def produce(brokers, topic, rate, seconds):
    """Sends, and prints what was sent: `id booked_at timestamp`. Runs in a process of its own."""
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": brokers, "linger.ms": 0, "enable.idempotence": True})
    begun = time.time()
    sent = []
    for number, (row_id, key, value) in enumerate(workload.Bank(seed=7).events(rate * seconds)):
        due = begun + number / rate
        time.sleep(max(0.0, due - time.time()))
        now = int(time.time() * 1_000)
        producer.produce(topic, value, key, row_id % 4, timestamp=now)
        producer.poll(0)
        if value is not None:
            sent.append((row_id, booked_at(value), now))
    producer.flush()
    for row_id, booked, now in sent:
        print(row_id, booked, now)


def booked_at(value):
    """Tells an image of a row from its others; `-` for a delete."""
    _, found, rest = value.partition(b'"after":{')
    return rest.split(b'"booked_at":"', 1)[1].split(b'"', 1)[0].decode() if found else "-"


def observe(changes, seen, until):
    """Notes when each image appeared first, until `until` says that nothing more comes."""
    while not until():
        change = changes.try_next()
        if change is None:
            continue
        now, document = time.time() * 1_000, change.get("fullDocument")
        if document is None and "updateDescription" in change:
            document = change["updateDescription"]["updatedFields"]
        place = (change["documentKey"]["_id"], document["booked_at"] if document and "booked_at" in document else "-")
        seen.setdefault(place, now)


def percentile(sorted_values, share):
    return sorted_values[min(len(sorted_values) - 1, int(len(sorted_values) * share))]


def main():
    options = parse()
    services = bench.Services(options.services)
    topic = f"latency-{time.time_ns()}"
    workload.create_topic(services.brokers, topic, 4)
    database = topic.replace("-", "_")
    job = tools.Job(
        services.brokers, services.mongodb, topic, {}, database, topic, options.work_dir, False, options,
    )
    services.client[database].create_collection("transactions")
    seen, seconds = {}, options.seconds + WARM_UP
    with tools.Processes(options.work_dir / "log") as processes:
        tools.Headwater().start(processes, job)
        time.sleep(3)  # the group forms
        with services.client[database]["transactions"].watch(max_await_time_ms=50) as changes:
            command = [sys.executable, __file__, "--produce", services.brokers, topic, str(options.rate), str(seconds)]
            producer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            deadline = time.monotonic() + seconds + 5
            observe(changes, seen, lambda: time.monotonic() > deadline)
        sent = [line.split() for line in producer.stdout]
        producer.wait()
        usage = processes.usage()
    services.client.drop_database(database)
    print(text := report(options, sent, seen, usage, services))
    if options.results:
        with open(options.results, "a") as results:
            results.write(text)


def report(options, sent, seen, usage, services):
    first = int(sent[0][2]) + WARM_UP * 1_000
    counted = [(int(row_id), booked, int(at)) for row_id, booked, at in sent if int(at) >= first]
    waits = sorted(seen[row_id, booked] - at for row_id, booked, at in counted if (row_id, booked) in seen)
    if not waits:
        raise SystemExit("no change arrived: see the pipeline's log")
    p50, p99 = percentile(waits, 0.50), percentile(waits, 0.99)
    verdict = "met" if p50 <= 20 and p99 <= 100 else "missed"
    return (
        f"\n## Latency: {options.rate} changes a second for {options.seconds} s\n\n"
        f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC, {machine.facts()}; {services.versions()}."
        f" From the record's Kafka timestamp to the majority's change stream; the observer's own time is part of it.\n\n"
        "| changes | p50 | p90 | p99 | max | mean | not seen alone | tool CPU | goal p50 ≤ 20 ms, p99 ≤ 100 ms |\n"
        "|--:|--:|--:|--:|--:|--:|--:|--:|---|\n"
        f"| {len(waits):,} | {p50:.1f} ms | {percentile(waits, 0.90):.1f} ms | {p99:.1f} ms | {waits[-1]:.1f} ms"
        f" | {statistics.mean(waits):.1f} ms | {len(counted) - len(waits):,}"
        f" | {usage.cpu / (options.seconds + WARM_UP) * 100:.1f} % of a core | {verdict} |\n"
    )


if sys.argv[1:2] == ["--produce"]:
    produce(*sys.argv[2:4], *map(int, sys.argv[4:6]))
else:
    main()
