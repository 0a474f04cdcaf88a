"""The tools that are compared: how each is started, and how one sees that it is done.

A tool gets a `Job` and returns when everything that was in the topic is in the database, acknowledged by a majority's
journal. It starts anew for each run, in a consumer group that nobody has used, and what it costs counts from its first
instruction; what of that is start-up (a JVM's, an interpreter's) is told apart where it can be seen.

A tool more: a class here with `name`, `version`, `note`, `categorizes` and `run`, and one line in `TOOLS`.
"""

import json
import re
import socket
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

from machine import Failed, Processes

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
LIMIT = 3_600


@dataclass
class Job:
    """One run of one tool."""

    brokers: str
    mongodb: str
    """With `w=majority` and `journal=true`."""
    topic: str
    ends: dict
    """Partition → offset behind its last message."""
    database: str
    """Empty, and of this run alone; its collection is `transactions`."""
    group: str
    directory: Path
    with_schema: bool
    options: object


@dataclass
class Run:
    """What a run took."""

    wall: float
    cpu: float
    startup: float
    rss: float


class Headwater:
    """The release binary and one pipeline file."""

    categorizes = True

    def __init__(self, name="headwater", pipeline="rules.yaml", note="rules", categorizes=True, raw_on_mongodb=False):
        self.name, self.pipeline, self.note, self.categorizes = name, pipeline, note, categorizes
        self.raw_on_mongodb = raw_on_mongodb

    def version(self, options):
        told = subprocess.run([options.binary, "--version"], capture_output=True, text=True, check=True).stdout
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT).stdout
        return f"{told.split()[-1]} ({commit.strip()})"

    def start(self, processes, job, *flags):
        environment = {
            "KAFKA_BROKERS": job.brokers,
            "MONGODB_URI": job.mongodb,
            "TOPIC": job.topic,
            "GROUP": job.group,
            "DATABASE": job.database,
            "LANES": str(job.options.lanes),
        }
        if self.raw_on_mongodb:
            environment["HEADWATER_STORES__BANK"] = job.mongodb.replace("/?", f"/{job.database}_raw?")
        command = [job.options.binary, "--data-dir", job.directory / "data"]
        command += ["run", f"benches/compare/pipelines/{self.pipeline}", "--quiet", *flags]
        processes.start(command, environment, ROOT)

    def run(self, job):
        with Processes(job.directory / "log") as processes:
            begun = time.monotonic()
            self.start(processes, job, "--until-end")
            processes.wait(LIMIT)
            wall = time.monotonic() - begun
            return Run(wall, processes.ended.cpu, 0.0, processes.ended.rss)


class PythonLoop:
    """`peers/loop.py`: what one writes by hand in an afternoon, and well."""

    categorizes = True

    def __init__(self, name, note, *settings):
        self.name, self.note, self.settings = name, note, settings

    def version(self, _options):
        names = ("confluent-kafka", "orjson", "pymongo")
        return ", ".join(f"{name} {metadata.version(name)}" for name in names)

    def run(self, job):
        with Processes(job.directory / "log") as processes:
            begun = time.monotonic()
            for number in range(job.options.processes):
                command = [job.options.python, HERE / "peers/loop.py", job.brokers, job.mongodb, job.topic]
                command += [job.database, job.group, f"{number}/{job.options.processes}", *self.settings]
                processes.start(command)
            processes.wait(LIMIT)
            wall = time.monotonic() - begun
            return Run(wall, processes.ended.cpu, 0.0, processes.ended.rss)


class Bytewax:
    """`peers/bytewax_flow.py`, as many workers as the Python loop has processes, each a process, too."""

    name, note, categorizes = "bytewax", "retryWrites=false, keeps no positions", True

    def version(self, _options):
        return metadata.version("bytewax")

    def run(self, job):
        environment = {
            "KAFKA_BROKERS": job.brokers,
            "MONGODB_URI": job.mongodb,
            "TOPIC": job.topic,
            "DATABASE": job.database,
        }
        workers = job.options.processes
        addresses = ";".join(f"127.0.0.1:{free_port()}" for _ in range(workers))
        with Processes(job.directory / "log") as processes:
            begun = time.monotonic()
            for number in range(workers):
                command = [job.options.python, "-m", "bytewax.run", "bytewax_flow:flow"]
                if workers > 1:
                    command += ["-i", number, "-a", addresses]
                processes.start(command, environment, HERE / "peers")
            processes.wait(LIMIT)
            wall = time.monotonic() - begun
            return Run(wall, processes.ended.cpu, 0.0, processes.ended.rss)


class MqBridge:
    """`peers/mq-bridge.yaml`: it inserts only, so it is fast and ends wrong. Compiled only when it is asked for."""

    name, note, categorizes = "mq-bridge", "inserts only, no category", False

    def version(self, options):
        return subprocess.run([options.mq_bridge, "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]

    def run(self, job):
        route = (HERE / "peers/mq-bridge.yaml").read_text()
        values = {
            "PROCESSES": job.options.processes, "BROKERS": job.brokers, "TOPIC": job.topic, "GROUP": job.group,
            "MONGODB": job.mongodb, "DATABASE": job.database, "PREFIX": "payload." if job.with_schema else "",
        }
        for name, value in values.items():
            route = re.sub(rf"\b{name}", str(value), route)
        config = job.directory / "mq-bridge.yaml"
        config.write_text(route)
        with Processes(job.directory / "log") as processes:
            begun = time.monotonic()
            processes.start([job.options.mq_bridge, "--config", config], {"HOME": str(job.directory)}, job.directory)
            admin = AdminClient({"bootstrap.servers": job.brokers, "log_level": 4})
            until(lambda: all_read(admin, job, job.group), LIMIT, "mq-bridge")
            wall, used = time.monotonic() - begun, processes.usage()
            return Run(wall, used.cpu, 0.0, used.rss)


class MongoSink:
    """MongoDB's Kafka Connect sink with its handler for Debezium's PostgreSQL events, in a worker of its own.

    It cannot categorize and keeps the key as a document. The wall clock starts with the connector, not with the worker.
    """

    name, note, categorizes = "mongodb-sink", "Debezium handler, no category", False

    def version(self, options):
        jar = next(options.sink_jars.glob("mongo-kafka-connect-*.jar"))
        return re.search(r"connect-([\d.]+)", jar.name)[1].rstrip(".")

    def run(self, job):
        port = free_port()
        worker = job.directory / "worker.properties"
        worker.write_text(self.worker(job, port))
        url = f"http://127.0.0.1:{port}"
        java = ["java", "-Xmx1g", "-XX:-UsePerfData", "-Djava.net.preferIPv4Stack=true"]
        java += [f"-Dlog4j2.configurationFile={ROOT}/tests/services/log4j2.properties"]
        java += ["org.apache.kafka.connect.cli.ConnectDistributed", worker]
        with Processes(job.directory / "log") as processes:
            processes.start(java, {"CLASSPATH": f"{job.options.kafka_jars}/*"})
            until(lambda: isinstance(answer(f"{url}/connectors"), list), 120, "the Connect worker")
            startup, begun = processes.usage().cpu, time.monotonic()
            answer(f"{url}/connectors", {"name": job.group, "config": self.connector(job)})
            admin = AdminClient({"bootstrap.servers": job.brokers, "log_level": 4})
            until(lambda: all_read(admin, job, f"connect-{job.group}"), LIMIT, "the connector")
            wall, used = time.monotonic() - begun, processes.usage()
            return Run(wall, used.cpu, startup, used.rss)

    def worker(self, job, port):
        settings = {
            "bootstrap.servers": job.brokers,
            "group.id": f"worker-{job.group}",
            "listeners": f"http://127.0.0.1:{port}",
            "plugin.path": job.options.sink_jars.parent,
            "offset.flush.interval.ms": 500,
        }
        for side in ("key", "value"):
            settings[f"{side}.converter"] = "org.apache.kafka.connect.json.JsonConverter"
            settings[f"{side}.converter.schemas.enable"] = str(job.with_schema).lower()
        for kind in ("config", "offset", "status"):
            settings[f"{kind}.storage.topic"] = f"_{job.group}-{kind}"
            settings[f"{kind}.storage.replication.factor"] = 1
        settings |= {"offset.storage.partitions": 1, "status.storage.partitions": 1}
        return "".join(f"{name}={value}\n" for name, value in settings.items())

    def connector(self, job):
        handler = "com.mongodb.kafka.connect.sink.cdc.debezium.rdbms.postgres.PostgresHandler"
        return {
            "connector.class": "com.mongodb.kafka.connect.MongoSinkConnector",
            "tasks.max": str(job.options.lanes),
            "topics": job.topic,
            "connection.uri": job.mongodb,
            "database": job.database,
            "collection": "transactions",
            "change.data.capture.handler": handler,
            "consumer.override.auto.offset.reset": "earliest",
            "consumer.override.max.poll.records": "2000",
        }


def free_port():
    """A port that nobody listens on."""
    with socket.socket() as candidate:
        candidate.bind(("127.0.0.1", 0))
        return candidate.getsockname()[1]


def answer(url, body=None):
    """What a worker answers, None while it does not."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=20) as told:
            return json.load(told)
    except urllib.error.HTTPError as refusal:
        if body is None:
            return None
        raise Failed(f"{url}: {refusal.read().decode()}") from refusal
    except (OSError, ValueError):
        return None


def until(done, limit, what):
    """Asks ten times a second."""
    deadline = time.monotonic() + limit
    while not done():
        if time.monotonic() > deadline:
            raise Failed(f"{what} was not ready after {limit} s")
        time.sleep(0.1)


def all_read(admin, job, group):
    """Whether the group has committed the ends of all partitions."""
    asked = [ConsumerGroupTopicPartitions(group, [TopicPartition(job.topic, p) for p in job.ends])]
    found = admin.list_consumer_group_offsets(asked)[group].result(30)
    return all(p.offset >= job.ends[p.partition] for p in found.topic_partitions)


TOOLS = [
    Headwater(),
    Headwater("headwater-model", "model.yaml", "trained model", False),
    Headwater("headwater-road", "road.yaml", "raw store (embedded), results, document"),
    Headwater("headwater-road-mongodb", "road.yaml", "the same, raw store on MongoDB", raw_on_mongodb=True),
    PythonLoop("python", "retryable writes (pymongo's default)"),
    PythonLoop("python-noretry", "retryWrites=false", "--no-retry"),
    Bytewax(),
    MongoSink(),
    MqBridge(),
]
