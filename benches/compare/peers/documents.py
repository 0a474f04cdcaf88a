"""What the Python peers share: messages of a batch → one bulk of writes, and how it is written."""

import sys

import orjson
from pymongo import DeleteOne, ReplaceOne

sys.path.insert(0, __file__.rsplit("/", 2)[0])
from fold import COLUMNS, categorizer

category = categorizer()


def writes(pairs):
    """(key, value) in order → one write for each id: the last one, so that they may go in any order."""
    found = {}
    for key, value in pairs:
        key = orjson.loads(key)
        row_id = key.get("payload", key)["id"]
        after = None
        if value is not None:
            value = orjson.loads(value)
            after = value.get("payload", value)["after"]
        if after is None:
            found[row_id] = DeleteOne({"_id": row_id})
        else:
            document = {name: after[name] for name in COLUMNS}
            document["category"] = category(after["description"])
            found[row_id] = ReplaceOne({"_id": row_id}, document, upsert=True)
    return list(found.values())
