"""The same as a Bytewax dataflow: its own Kafka source, and a sink on pymongo, since it has none for MongoDB.

Without a recovery store, so that it keeps no positions: it does less than the others. Addresses come from the environment,
since Bytewax imports the flow.
"""

import os

from bytewax import operators as op
from bytewax.connectors.kafka import KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from documents import writes
from pymongo import MongoClient


class Partition(StatelessSinkPartition):
    def __init__(self):
        client = MongoClient(os.environ["MONGODB_URI"], retryWrites=False)
        self.collection = client[os.environ["DATABASE"]]["transactions"]

    def write_batch(self, items):
        self.collection.bulk_write(writes((m.key, m.value) for m in items), ordered=False)


class MongoDb(DynamicSink):
    def build(self, _step, _worker, _workers):
        return Partition()


flow = Dataflow("compare")
source = KafkaSource([os.environ["KAFKA_BROKERS"]], [os.environ["TOPIC"]], tail=False, batch_size=2_000)
op.output("mongodb", op.input("kafka", flow, source), MongoDb())
