"""The Python loop: confluent-kafka, orjson, pymongo.

usage: loop.py BROKERS MONGODB TOPIC DATABASE GROUP N/OF [--no-retry]

Written as someone would who knows the three libraries: messages by thousands, each batch folded by id (so that one
unordered bulk write cannot reorder anything), replacements as upserts, offsets committed after the write is acknowledged.
Process N of OF takes every OF-th partition. It ends at the end that the topic had when it started.
"""

import sys

from confluent_kafka import Consumer, TopicPartition
from documents import writes
from pymongo import MongoClient

BATCH = 2_000


def main(brokers, mongodb, topic, database, group, share, *flags):
    number, of = map(int, share.split("/"))
    collection = MongoClient(mongodb, retryWrites="--no-retry" not in flags)[database]["transactions"]
    consumer = Consumer({
        "bootstrap.servers": brokers,
        "group.id": group,
        "enable.auto.commit": False,
        "queued.max.messages.kbytes": 32_768,
    })
    partitions = [p for p in consumer.list_topics(topic, 30).topics[topic].partitions if p % of == number]
    left = {p: consumer.get_watermark_offsets(TopicPartition(topic, p), 30)[1] for p in partitions}
    left = {p: end for p, end in left.items() if end}
    consumer.assign([TopicPartition(topic, p, 0) for p in left])
    while left:
        messages = consumer.consume(BATCH, 0.5)
        failed = [message.error() for message in messages if message.error()]
        if failed:
            raise SystemExit(str(failed[0]))
        if not messages:
            continue
        collection.bulk_write(writes((m.key(), m.value()) for m in messages), ordered=False)
        reached = {m.partition(): m.offset() + 1 for m in messages}
        consumer.commit(offsets=[TopicPartition(topic, p, offset) for p, offset in reached.items()], asynchronous=False)
        left = {p: end for p, end in left.items() if reached.get(p, 0) < end}
    consumer.close()


main(*sys.argv[1:])
