"""The work that every tool gets: seeded change events of a bank's `transaction` table, as Debezium's JSON converter writes them.

W1: events without a schema, about 0.7 KB each. W2: the same events with Connect's schema embedded, about 3.5 KB each. Of a
hundred events 89 create, 10 update an earlier row that still lives, and one deletes such a row (a tombstone follows it, and
is not counted as an event). Amounts are text (`decimal.handling.mode=string`), before images are what PostgreSQL gives with
its default replica identity. All changes of one id lie in one partition, in order; partition = id modulo partitions.

Invariant: the same seed, count, partitions and shape give the same bytes.
Not here: what the right result is (`fold.py`); any reading.
"""

import json
import random
import time
from pathlib import Path

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

MERCHANTS = Path(__file__).parents[2] / "examples/bank/merchants.tsv"
CITIES = (
    "AACHEN AMSTERDAM ANTWERPEN BARCELONA BOLOGNA BORDEAUX BREMEN BRUXELLES DRESDEN FIRENZE GENT GRAZ HAMBURG INNSBRUCK "
    "KÖLN LEIPZIG LIEGE LILLE LINZ LYON MADRID MILANO MÜNCHEN NANTES NAPOLI PARIS ROMA ROTTERDAM SALZBURG SEVILLA STUTTGART "
    "TORINO TOULOUSE UTRECHT VALENCIA WIEN"
).split()
SURNAMES = "BAKKER DUBOIS GARCIA GRUBER HUBER JANSEN LEFEVRE MAYER MÜLLER PEETERS ROSSI RUIZ SCHÄFER WEBER".split()
LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ0123456789"

ACCOUNTS = 50_000
FIRST_BOOKING = 1_767_225_600  # 2026-01-01, seconds since 1970
FIRST_CHANGE_MS = 1_795_000_000_000
FIRST_LSN = 68_133_464


def _merchants():
    """(name, text with placeholders, code or `null`) of the example bank's merchants, and how often each is visited."""
    lines = [line.split("\t") for line in MERCHANTS.read_text().splitlines() if not line.startswith("#")]
    return [(f[0], f[1], str(int(f[2]))) for f in lines], [int(f[6]) for f in lines]


def _filler(text):
    """A function that draws a text from a template such as `SHELL {d4} {CITY}`."""
    parts = text.replace("}", "{").split("{")
    literals, names = parts[::2], parts[1::2]

    def piece(name, draw):
        if name == "CITY":
            return CITIES[int(draw() * len(CITIES))]
        if name == "SURNAME":
            return SURNAMES[int(draw() * len(SURNAMES))]
        if name == "CC":
            return "DE"
        width = int(name[1:])
        if name[0] == "d":
            return str(int(draw() * 10**width)).zfill(width)
        return "".join(LETTERS[int(draw() * len(LETTERS))] for _ in range(width))

    def fill(draw):
        text = literals[0]
        for name, literal in zip(names, literals[1:]):
            text += piece(name, draw) + literal
        return text

    return fill


def _schemas():
    """What stands before key and value payloads when the schema is embedded."""

    def field(kind, name, optional, meaning=None):
        told = {"type": kind, "optional": optional}
        if meaning:
            told.update(name=meaning, version=1)
        return told | {"field": name}

    row = [
        field("int64", "id", False),
        field("int64", "account_id", True),
        field("string", "booked_at", False, "io.debezium.time.ZonedTimestamp"),
        field("string", "amount", False),
        field("string", "currency", False),
        field("string", "counterparty", True),
        field("string", "description", True),
        field("int32", "mcc", True),
    ]
    snapshot = field("string", "snapshot", True, "io.debezium.data.Enum")
    snapshot |= {"parameters": {"allowed": "true,first,first_in_data_collection,last_in_data_collection,last,false,incremental"}}
    source = [field("string", name, False) for name in ("version", "connector", "name")]
    source += [field("int64", "ts_ms", False), snapshot, field("string", "db", False), field("string", "sequence", True)]
    source += [field("int64", "ts_us", True), field("int64", "ts_ns", True)]
    source += [field("string", "schema", False), field("string", "table", False)]
    source += [field("int64", name, True) for name in ("txId", "lsn", "xmin")]
    source += [field("string", "origin", True), field("int64", "origin_lsn", True)]
    block = [field("string", "id", False), field("int64", "total_order", False)]
    block += [field("int64", "data_collection_order", False)]

    def struct(fields, name, optional, place=None):
        told = {"type": "struct", "fields": fields, "optional": optional, "name": name, "version": 1}
        return told | ({"field": place} if place else {})

    image = "bank.public.transaction.Value"
    fields = [struct(row, image, True, "before"), struct(row, image, True, "after")]
    fields += [struct(source, "io.debezium.connector.postgresql.Source", False, "source")]
    fields += [struct(block, "event.block", True, "transaction"), field("string", "op", False)]
    fields += [field("int64", name, True) for name in ("ts_ms", "ts_us", "ts_ns")]
    value = struct(fields, "bank.public.transaction.Envelope", False)
    key = struct([field("int64", "id", False)], "bank.public.transaction.Key", False)
    return tuple('{"schema":%s,"payload":' % json.dumps(s, separators=(",", ":")) for s in (key, value))


class Bank:
    """Gives events one after the other; a later call goes on where an earlier one ended."""

    def __init__(self, with_schema=False, seed=42):
        self.draw = random.Random(seed).random
        merchants, weights = _merchants()
        self.merchants = [(name, _filler(text), code) for name, text, code in merchants]
        self.visited = [number for number, weight in enumerate(weights) for _ in range(weight)]
        self.key_head, self.value_head = _schemas() if with_schema else ("", "")
        self.tail = "}" if with_schema else ""
        self.live, self.last_id, self.number, self.lsn = [], 0, 0, FIRST_LSN

    def events(self, count, updates=0.10, deletes=0.01):
        """Yields (id, key, value); a value of None is a tombstone."""
        draw, live = self.draw, self.live
        for _ in range(count):
            self.number += 1
            dice, before, after = draw(), "null", "null"
            if dice < updates and live:
                op, row_id = "u", live[int(draw() * len(live))]
            elif dice < updates + deletes and live:
                at = int(draw() * len(live))
                op, row_id, live[at] = "d", live[at], live[-1]
                live.pop()
                before = (
                    f'{{"id":{row_id},"account_id":null,"booked_at":"1970-01-01T00:00:00Z","amount":"0","currency":"",'
                    '"counterparty":null,"description":null,"mcc":null}'
                )
            else:
                self.last_id += 1
                op, row_id = "c", self.last_id
                live.append(row_id)
            if op != "d":
                after = self._row(row_id)
            key = f'{self.key_head}{{"id":{row_id}}}{self.tail}'.encode()
            yield row_id, key, self._envelope(op, before, after).encode()
            if op == "d":
                yield row_id, key, None

    def _row(self, row_id):
        draw = self.draw
        name, fill, code = self.merchants[self.visited[int(draw() * len(self.visited))]]
        booked = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(FIRST_BOOKING + self.number // 40))
        cents = 50 + int(draw() * 500_000)
        return (
            f'{{"id":{row_id},"account_id":{row_id * 7_919 % ACCOUNTS + 1},"booked_at":"{booked}.{int(draw() * 1e6):06d}Z",'
            f'"amount":"-{cents // 100}.{cents % 100:02d}","currency":"EUR","counterparty":"{name}",'
            f'"description":"{fill(draw)}","mcc":{code}}}'
        )

    def _envelope(self, op, before, after):
        self.lsn += 80 + int(self.draw() * 320)
        lsn, ms = self.lsn, FIRST_CHANGE_MS + self.number
        return (
            f'{self.value_head}{{"before":{before},"after":{after},"source":{{"version":"3.6.0.Final","connector":"postgresql",'
            f'"name":"bank","ts_ms":{ms},"snapshot":"false","db":"bank","sequence":"[\\"{lsn - 56}\\",\\"{lsn}\\"]",'
            f'"ts_us":{ms}417,"ts_ns":{ms}417000,"schema":"public","table":"transaction","txId":{700 + self.number},"lsn":{lsn},'
            f'"xmin":null,"origin":null,"origin_lsn":null}},"transaction":null,"op":"{op}","ts_ms":{ms + 210},'
            f'"ts_us":{ms + 210}052,"ts_ns":{ms + 210}052000}}{self.tail}'
        )


def create_topic(brokers, topic, partitions):
    """An empty topic that keeps everything. Its name must be new."""
    admin = AdminClient({"bootstrap.servers": brokers, "log_level": 4})
    admin.create_topics([NewTopic(topic, partitions, 1, config={"retention.ms": "-1"})])[topic].result(30)


def fill(brokers, topic, events, partitions):
    """Writes the events, uncompressed, as Kafka Connect does by default."""
    producer = Producer({
        "bootstrap.servers": brokers,
        "enable.idempotence": True,
        "linger.ms": 50,
        "batch.size": 262_144,
        "queue.buffering.max.messages": 200_000,
        "queue.buffering.max.kbytes": 262_144,
    })
    refused = []

    def delivered(error, _message):
        if error:
            refused.append(error)

    for row_id, key, value in events:
        while True:
            try:
                producer.produce(topic, value, key, row_id % partitions, on_delivery=delivered)
                break
            except BufferError:
                producer.poll(0.05)
        producer.poll(0)
    producer.flush()
    if refused:
        raise SystemExit(f"{topic}: {len(refused)} events were not accepted, the first because of {refused[0]}")
