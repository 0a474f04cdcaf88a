#!/usr/bin/env python3
"""Sums a profile by the parts of the program: each sample belongs to the first part below whose pattern its call stack has.

    perf record -F 999 --call-graph dwarf,4096 headwater run PIPELINE --until-end --quiet
    perf script --no-inline -F comm,ip,sym | benches/profile/parts.py

Prints a line a part: its share of all samples, and the functions on top of the stack that have the most of it. Functions of
the kernel are among them, under whoever called it.
"""

import collections
import re
import sys

PARTS = [
    ("sqlite: commit", "sqlite3VdbeHalt|Commit"),
    ("sqlite: checkpoint", "[cC]heckpoint"),
    ("sqlite: statements", "sqlite3|rusqlite"),
    ("raw store: newest rows", "sqlite::recent"),
    ("raw store: rest", "stores::|record::json"),
    ("document", "stages::document|expr::"),
    ("decode: envelope and row", "Envelope::read"),
    ("decode: key", "cdc::key"),
    ("decode: rest", "cdc::|DebeziumStage"),
    ("categorize", "[cC]ategorize|model::"),
    ("sink: documents' BSON", "write_document"),
    ("sink: rest", "sinks::mongodb"),
    ("driver: command copied", "conn::command::_::<impl serde"),
    ("driver: rest", r"(^| )mongodb::(client|cmap|operation|sdam|coll|db|bson)"),
    ("source: librdkafka's threads", "^rdk|rd_kafka_thread|rd_kafka_broker"),
    ("source: headers of messages", "rd_kafka_message_headers"),
    ("source: taking messages", "KafkaSource|Reader::"),
    ("lane: dropping batches and rest", "runner::"),
    ("runtime", "tokio::|mio::"),
]
LEAVES = 6


def samples(lines):
    """The call stack of each sample, the innermost function first, behind the thread's name."""
    stack = []
    for line in lines:
        if not line.strip():
            if stack:
                yield stack
            stack = []
        elif line[0].isspace():
            stack.append((line.split(None, 1) + ["?"])[1].strip())
        else:
            stack = [line.strip()]
    if stack:
        yield stack


def main():
    parts, leaves, count = collections.Counter(), collections.defaultdict(collections.Counter), 0
    for thread, *stack in samples(sys.stdin):
        text = " < ".join([thread, *stack])
        part = next((name for name, pattern in PARTS if re.search(pattern, text)), "rest")
        parts[part] += 1
        leaves[part][stack[0] if stack else "?"] += 1
        count += 1
    print(f"{count} samples")
    for part, samples_of in parts.most_common():
        print(f"{samples_of / count:6.1%}  {part}")
        for leaf, hits in leaves[part].most_common(LEAVES):
            if hits / count >= 0.003:
                print(f"        {hits / count:5.1%}  {leaf[:90]}")


main()
