"""What the three measurements share: the services, the topics, the options that `run` gives."""

import argparse
import re
import sys
from pathlib import Path

from pymongo import MongoClient

import fold
import machine
import workload


def arguments(description):
    """A parser that knows what `run` gives."""
    parser = argparse.ArgumentParser(prog="benches/compare/run", description=description)
    for name in ("binary", "services", "work-dir", "kafka-jars", "sink-jars", "mq-bridge"):
        parser.add_argument(f"--{name}", type=lambda text: Path(text).resolve(), required=True, help=argparse.SUPPRESS)
    parser.add_argument("--lanes", type=int, default=2, help="lanes of Headwater, tasks of the sink (default 2)")
    parser.set_defaults(python=sys.executable)
    return parser


class Services:
    """The Kafka and the MongoDB that tests/services/start started."""

    def __init__(self, directory):
        env = dict(re.findall(r"export (\w+)='(.*)'", (directory / "env").read_text()))
        self.brokers = env["HEADWATER_TEST_KAFKA"]
        # Every tool waits for a majority's journal.
        self.mongodb = f"{env['HEADWATER_TEST_MONGODB']}&w=majority&journal=true"
        self.client = MongoClient(self.mongodb)
        self.mongod = int((directory / "mongodb.pid").read_text())
        self.broker = int((directory / "kafka.pid").read_text())

    def settle(self):
        """Until what earlier runs left to be done (checkpoints, dropped files) is done."""
        machine.settle(self.mongod)
        machine.settle(self.broker, 5)

    def versions(self):
        build = self.client.admin.command("buildInfo")
        return f"MongoDB {build['version']} (one node, 1 GB cache), Kafka 4.3.0 (one node)"

    def topic(self, events, with_schema=False, partitions=4):
        """The name of a topic with this work, and its ends; filled unless it is there already."""
        name = f"{'w2' if with_schema else 'w1'}-{events}-{partitions}"
        reader = fold.consumer(self.brokers)
        known = name in reader.list_topics(timeout=30).topics
        reader.close()
        if not known:
            say(f"{name}: writing {events:,} events")
            workload.create_topic(self.brokers, name, partitions)
            workload.fill(self.brokers, name, workload.Bank(with_schema).events(events), partitions)
        return name, fold.ends(self.brokers, name)


def say(text):
    """For whoever waits; results go to standard output."""
    print(text, file=sys.stderr)
