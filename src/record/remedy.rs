//! What a person can do about a parked message, by the class of its reason.
//!
//! Invariant: every class under which a message can be parked is here once (`tests/it/parked.rs` looks for them in the
//! sources, parks a message under each, and reads what is said about it). The reason itself says what was expected where;
//! this says how to go on, in general.

/// Every class and its remedy, in the order of the classes.
pub const REMEDIES: &[(&str, &str)] = &[
    ("aggregate.type", "sum numbers only: change the field's expression or the column's declared type"),
    ("avro.boolean", OTHER_SCHEMA),
    ("avro.enum", OTHER_SCHEMA),
    ("avro.long", OTHER_SCHEMA),
    ("avro.shape", "the topic's Avro is no change event: set `format:` as its producer writes, or leave the topic out"),
    ("avro.short", OTHER_SCHEMA),
    ("avro.union", OTHER_SCHEMA),
    ("avro.varint", OTHER_SCHEMA),
    ("categorize.text", "have the columns under `text:` hold text, or name others"),
    ("cloudevents.data", "set the converter's `data.serializer.type` to json, or give `registry:`"),
    ("collection.name", "give the target a name of its own (`collection:`, `collections:`), then retry"),
    ("column.range", VALUE_AT_SOURCE),
    (
        "column.type",
        "declare the column's type under `debezium: tables:` as the source has it, or mend the producer; then retry",
    ),
    ("correction.category", "mend the row of the corrections' table at its source: its next change is read"),
    ("document.invalid", "mend the collection's validator or the pipeline's fields, then retry"),
    ("document.refused", "mend the collection's indexes or the pipeline's field names, then retry"),
    ("document.too_deep", "flatten the value with `map` or in the document's fields, then retry"),
    ("document.too_large", "leave large columns out (`map`, `document: fields:`) or shorten its lists, then retry"),
    (
        "envelope.after",
        "have the connector send whole rows (MongoDB: capture.mode change_streams_update_full), or load the row again",
    ),
    ("envelope.cells", "leave Cassandra's topics out of the pipeline: its connector is not read"),
    ("envelope.message", PRODUCER),
    ("envelope.op", PRODUCER),
    (
        "envelope.shape",
        "set `format:` as the topic's producer writes, or leave the topic out of the pipeline; then retry",
    ),
    ("envelope.source", "have the transformation keep `source`, or set `format: flattened`; then retry"),
    ("envelope.update", PRODUCER),
    ("expression.failed", "let the expression handle this value (`??`, `to_int`, …), then retry"),
    ("extjson.shape", "is the topic of MongoDB's connector? set `format:` as the producer writes, then retry"),
    ("extjson.value", PRODUCER),
    ("field.name", "rename the column with `map` or in the document's fields, then retry"),
    ("flattened.envelope", "set `format: debezium` for this topic, then retry"),
    ("flattened.shape", "set `format:` as the topic's producer writes, then retry"),
    ("json.depth", "shorten the value's nesting at its source"),
    ("json.double_encoded", "have the producer convert once (JsonConverter behind a string of JSON converts twice)"),
    ("json.duplicate", "let no two columns or fields have one name (after transformations, too)"),
    (
        "json.syntax",
        "is it JSON at all? set `format:`, `key_format:` or `registry:` as the producer writes, or mend the producer",
    ),
    ("key.differs", "declare the table's `key:` columns, or find out which transformation changes the key; then retry"),
    ("key.integer", "set `key_format:` as the key's converter writes, then retry"),
    (
        "key.missing",
        "declare the table's `key:` columns, or `key: none`; for deletes without a key set replica identity full",
    ),
    ("key.null", "declare `key:` columns that are never null, then retry"),
    ("key.shape", "declare the table's `key:` columns, then retry"),
    ("key.text", "set `key_format:` as the key's converter writes, then retry"),
    ("key.unsupported", "let another column be the key (`key:` under `debezium: tables:`), then retry"),
    ("keyless.no_match", "set replica identity full, and load the table again with an incremental snapshot"),
    (
        "op.truncate",
        "empty the target by hand if that is meant, then drop the message; behind `raw` it happens by itself",
    ),
    ("outbox.column", "declare how the outbox's columns are called (`outbox:`), then retry"),
    ("outbox.id", "let the outbox router write the header `id`, or set another `format:`"),
    ("outbox.update", "let the service write events once; drop the message when it is understood"),
    ("protobuf.index", OTHER_SCHEMA),
    ("protobuf.shape", OTHER_SCHEMA),
    ("protobuf.unknown", OTHER_SCHEMA),
    ("registry.missing", "give `registry:` under `debezium`, then retry"),
    (
        "registry.short",
        "set `registry: id_bytes:` as the producer's serializer writes, or mend the producer; then retry",
    ),
    ("registry.type", "register the schema as Avro, Protobuf or JSON, then retry"),
    ("registry.unknown", "is it the registry that the producer uses? set `registry: url:`, then retry"),
    ("row.column_name", "rename the column at its source, or use an embedded store for this table"),
    ("row.missing", PRODUCER),
    ("row.patch_without_base", LOAD_AGAIN),
    ("row.too_deep", "shorten the value's nesting at its source"),
    ("row.too_large", "use an embedded store for this table, then retry"),
    (
        "row.unchanged_without_base",
        "if the row's key was changed, retry: the old row may be there by now; else load the row again (an incremental \
         snapshot of it), then drop the message",
    ),
    ("schema.decimal", "have the schema tell the decimal's scale, or declare the column under `debezium: tables:`"),
    (
        "schema.missing",
        "set the converter's `schemas.enable`, or declare the columns and leave `schemas: required` out",
    ),
    ("schema.syntax", "have the producer register or embed a valid schema, then retry"),
    ("table.name", "give the target a name of its own (`table:`), then retry"),
    ("text.utf8", "is it JSON at all? set `registry:` or `key_format:` as the producer writes, or mend the encoding"),
    (
        "tombstone.table",
        "let topic routing write the table into the keys, or give each table a topic; drop what a delete precedes",
    ),
    ("unique.violated", "mend the collection's unique index or the rows at their source, then retry"),
    ("value.count", OTHER_SCHEMA),
    ("value.decimal_too_wide", "say `decimals: text` in the target, then retry"),
    ("value.not_a_date", "say `timestamps: text` in the target, then retry"),
    ("value.unchanged", "put a `raw` stage before the target, then read the topic again"),
    ("version.too_large", "the topic's offsets are not of this world: read a copy of the topic"),
];

const LOAD_AGAIN: &str = "load the row again (an incremental snapshot of it); then drop the message";
const OTHER_SCHEMA: &str =
    "is it the registry that the producer uses? set `registry:`, or have the producer register its schema; then retry";
const PRODUCER: &str =
    "mend the producer or the transformation before it, and load the row again; then drop the message";
const VALUE_AT_SOURCE: &str =
    "mend the value at its source, whose next change is read, or declare another type; then retry or drop";

/// What a person can do about messages that were parked under `code`.
pub fn remedy(code: &str) -> &'static str {
    let known = REMEDIES.binary_search_by_key(&code, |(code, _)| code);
    known.ok().and_then(|at| REMEDIES.get(at)).map_or("see the reason", |(_, remedy)| remedy)
}
