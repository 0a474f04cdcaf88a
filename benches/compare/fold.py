"""What must stand in the database at the end: the plain fold of the topic, and the comparison with what does stand there.

The fold knows nothing of batches, versions or tools: it reads the topic from its beginning, the last event of an id wins, a
delete or a tombstone removes it. Categories come from `rules/rules.tsv`, tried line by line.
"""

from pathlib import Path

import orjson
from confluent_kafka import Consumer, TopicPartition

RULES = Path(__file__).parent / "rules/rules.tsv"
COLUMNS = ("account_id", "booked_at", "amount", "currency", "counterparty", "description", "mcc")


def rules():
    """(pattern, category) in their order; the pattern `*` is the default."""
    lines = [line.split("\t") for line in RULES.read_text().splitlines()[1:] if line and not line.startswith("#")]
    return [(fields[0], fields[1]) for fields in lines]


def categorizer():
    """text → category."""
    *listed, (star, default) = rules()
    if star != "*":
        raise SystemExit(f"{RULES}: the last pattern must be `*`")

    def category(text):
        for pattern, name in listed:
            if pattern in text:
                return name
        return default

    return category


def consumer(brokers, **settings):
    """A consumer that belongs to no group."""
    return Consumer({"bootstrap.servers": brokers, "group.id": "fold", "enable.auto.commit": False, **settings})


def ends(brokers, topic):
    """Partition → offset behind its last message."""
    reader = consumer(brokers)
    partitions = reader.list_topics(topic, 30).topics[topic].partitions
    found = {p: reader.get_watermark_offsets(TopicPartition(topic, p), 30)[1] for p in partitions}
    reader.close()
    return found


def fold(brokers, topic):
    """id → (values of COLUMNS, category)."""
    category = categorizer()
    missing = {p: end for p, end in ends(brokers, topic).items() if end}
    reader = consumer(brokers)
    reader.assign([TopicPartition(topic, p, 0) for p in missing])
    rows = {}
    while missing:
        for message in reader.consume(10_000, 10):
            if message.error():
                raise SystemExit(f"{topic}: {message.error()}")
            key = orjson.loads(message.key())
            row_id = key.get("payload", key)["id"]
            after = None
            if message.value() is not None:
                value = orjson.loads(message.value())
                after = value.get("payload", value)["after"]
            if after is None:
                rows.pop(row_id, None)
            else:
                rows[row_id] = tuple(after[c] for c in COLUMNS), category(after["description"])
            # The log may end with a control record, which nobody is shown: the offset behind says it, not the message.
            if message.offset() + 1 >= missing.get(message.partition(), 0):
                missing.pop(message.partition(), None)
    reader.close()
    return rows


def same(name, stored, wanted):
    """Whether a stored value is the wanted one. Instants are compared as such: .12Z is .120000000Z."""
    if name == "booked_at" and isinstance(stored, str):
        return stored.rstrip("Z").rstrip("0") == wanted.rstrip("Z").rstrip("0")
    return stored == wanted


class Difference:
    """How a collection differs from the fold."""

    def __init__(self, rows, collection, with_category):
        self.missing, self.extra, self.different, self.example = len(rows), 0, 0, None
        seen = set()
        for document in collection.find({}, batch_size=10_000):
            row_id = document["_id"]
            if isinstance(row_id, dict):  # some tools keep the key as a document
                row_id = row_id.get("id")
            want = rows.get(row_id)
            if want is None or row_id in seen:
                self.extra += 1
                self.example = self.example or f"extra: {row_id}"
                continue
            seen.add(row_id)
            self.missing -= 1
            values, category = want
            right = all(same(name, document.get(name), value) for name, value in zip(COLUMNS, values))
            if not right or with_category and document.get("category") != category:
                self.different += 1
                self.example = self.example or f"different: {row_id}: {document}, expected {want}"
        if self.missing and not self.example:
            self.example = f"missing: {next(i for i in rows if i not in seen)}"

    def __bool__(self):
        return bool(self.missing or self.extra or self.different)

    def __str__(self):
        if not self:
            return "right"
        found = (("missing", self.missing), ("extra", self.extra), ("different", self.different))
        return "wrong: " + ", ".join(f"{count:,} {what}" for what, count in found if count)
