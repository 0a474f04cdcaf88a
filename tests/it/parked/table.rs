//! The table: one line for each class, sorted by the pipeline that meets it.

use mongodb::bson::doc;

use super::{SECRET, registry};

/// A pipeline that messages go through.
pub struct Target {
    pub name: &'static str,
    pub stages: String,
}

/// A message, and what is said about it.
#[derive(Debug)]
pub struct Case {
    /// Under which it is parked; `None` for one that goes through.
    pub code: Option<&'static str>,
    pub target: &'static str,
    pub topic: String,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: &'static [(&'static str, &'static str)],
    /// The table, where it is known.
    pub table: Option<String>,
    /// What the reason has to say: the column, what was expected.
    pub says: &'static [&'static str],
}

/// Classes that no message gets, and why.
pub const NOT_BY_A_MESSAGE: &[(&str, &str)] = &[
    (
        "document.too_deep",
        "the readers refuse such values before (json.depth): only a stage of one's own could make them",
    ),
    ("row.too_deep", "the same, for raw stores"),
    ("version.too_large", "versions of messages are below 2^63: only a stage of one's own could make others"),
];

/// What the declared table says.
const TYPES: &str = "{ id: int64, amount: \"decimal(18,2)\", day: date }";

/// The databases of the run; none without a server.
pub struct Mongo {
    database: mongodb::Database,
    uri: String,
}

impl Mongo {
    /// Collections whose owner is strict.
    pub async fn start() -> Option<Mongo> {
        let Ok(server) = std::env::var("HEADWATER_TEST_MONGODB") else {
            println!("skipped: what MongoDB refuses, HEADWATER_TEST_MONGODB is not set");
            return None;
        };
        let name = format!("headwater_parked_{}", std::process::id());
        let database = mongodb::Client::with_uri_str(&server).await.unwrap().database(&name);
        database.run_command(doc! { "create": "strict", "validator": { "n": { "$type": "string" } } }).await.unwrap();
        let index = |keys, unique: bool| doc! { "key": keys, "name": "i", "unique": unique };
        let unique = doc! { "createIndexes": "unique", "indexes": [index(doc! { "n": 1 }, true)] };
        let geo = doc! { "createIndexes": "geo", "indexes": [index(doc! { "n": "2dsphere" }, false)] };
        database.run_command(unique).await.unwrap();
        database.run_command(geo).await.unwrap();
        let (hosts, options) = server.split_once("/?").unwrap_or((server.trim_end_matches('/'), ""));
        Some(Mongo { database, uri: format!("{hosts}/{name}?{options}") })
    }

    pub async fn remove(self) {
        self.database.drop().await.unwrap();
    }
}

/// All pipelines.
pub fn targets(mongo: Option<&Mongo>) -> Vec<Target> {
    let sqlite = "  - sqlite: { path: out.sqlite }\n";
    let target = |name, debezium: &str, rest: &str| Target {
        name,
        stages: format!("stages:\n  - debezium: {debezium}\n{rest}"),
    };
    let tables = |more: &str| format!("{{ {more}tables: {{ t: {{ columns: {TYPES} }} }} }}");
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/golden/corrected/rules");
    let corrections = "corrections: { table: c, on: { id: id }, category: category }";
    let categorize = format!("  - categorize: {{ table: t, model: \"{rules}\", text: [n], into: r, {corrections} }}\n");
    let document = "  - document: { root: t, with: { all: { table: t, on: { g: g }, many: true } }, fields: { sum: { sum: all.n } } }\n";
    let registry = format!("{{ registry: {{ url: \"{}\" }} }}", registry::start());
    let mut targets = vec![
        target("declared", &tables(""), sqlite),
        target("integer-keys", "{ key_format: integer, tables: { t: { key: [id] } } }", sqlite),
        target("text-keys", "{ key_format: text, tables: { t: { key: [id] } } }", sqlite),
        target("with-schemas", "{ schemas: required }", sqlite),
        target("flattened", "{ format: flattened }", sqlite),
        target("documents", "{ format: mongodb }", sqlite),
        target("patches", "{ format: mongodb }", "  - raw: { store: bank }\n"),
        target("outbox", "{ format: outbox }", sqlite),
        target("outbox-table", "{ outbox: { table: t } }", sqlite),
        target("registered", &registry, sqlite),
        target("raw", "{ tables: { k: { key: none } } }", "  - raw: { store: bank }\n"),
        target("expressions", "{}", "  - filter: { table: t, where: 'to_int!(.n) > 0' }\n"),
        target("categories", "{}", &format!("  - raw: {{ store: bank }}\n{categorize}")),
        target("sums", "{}", &format!("  - raw: {{ store: bank }}\n{document}")),
    ];
    if let Some(Mongo { uri, database }) = mongo {
        let sink = format!("  - mongodb: {{ uri: \"{uri}\", database: {}, timestamps: date }}\n", database.name());
        let types =
            "{ tables: { t: { columns: { id: any, d: decimal, at: timestamptz, n: any, \"_headwater\": any } } } }";
        targets.push(target("mongodb", types, &sink));
        targets.push(target("mongodb-raw", "{}", &format!("  - raw: {{ store: \"{uri}\" }}\n")));
    }
    targets
}

impl Case {
    /// A message with a key and a value of JSON.
    fn new(target: &'static str, code: &'static str, value: impl Into<Vec<u8>>, says: &'static [&'static str]) -> Case {
        Case {
            code: Some(code),
            target,
            topic: format!("{code}.public.t"),
            key: Some(br#"{"id":1}"#.to_vec()),
            value: Some(value.into()),
            headers: &[("from", "headwater")],
            table: None,
            says,
        }
    }

    fn fine(self) -> Case {
        Case { code: None, ..self }
    }

    fn table(self, table: &str) -> Case {
        Case { table: Some(table.to_string()), ..self }
    }

    fn key(self, key: &[u8]) -> Case {
        Case { key: Some(key.to_vec()), ..self }
    }

    fn no_key(self) -> Case {
        Case { key: None, ..self }
    }

    /// In the topic of another class.
    fn topic(self, topic: &str) -> Case {
        Case { topic: format!("{topic}.public.t"), ..self }
    }
}

/// An event of PostgreSQL's connector about `table`.
fn event(table: &str, op: &str, before: &str, after: &str) -> String {
    let source = format!(
        r#"{{"connector":"postgresql","name":"bank","snapshot":"false","db":"core","schema":"public","table":"{table}","lsn":5}}"#
    );
    format!(r#"{{"before":{before},"after":{after},"source":{source},"op":"{op}"}}"#)
}

fn created(row: &str) -> String {
    event("t", "c", "null", &row.replace("SECRET", SECRET))
}

/// An event of MongoDB's connector.
fn document(op: &str, fields: &str) -> String {
    let source = r#"{"connector":"mongodb","db":"d","collection":"t","ts_ms":1739321992000,"ord":28}"#;
    format!(r#"{{{},"source":{source},"op":"{op}"}}"#, fields.replace("SECRET", SECRET))
}

/// A value behind the frame of a registry's schema.
fn framed(id: u8, value: &[u8]) -> Vec<u8> {
    [&[0, 0, 0, 0, id], value].concat()
}

/// All messages.
pub fn cases() -> Vec<Case> {
    [readers(), formats(), documents(), outbox(), binary(), stages(), targets_refuse()].into_iter().flatten().collect()
}

/// What the reader of Debezium's JSON refuses, and what a target without a raw store does.
fn readers() -> Vec<Case> {
    let new = |code, value: String, says| Case::new("declared", code, value, says);
    let row = || created(r#"{"id":1,"note":"SECRET"}"#);
    let deep = format!(r#"{{"id":1,"note":"SECRET","x":{}}}"#, "[".repeat(200) + &"]".repeat(200));
    let double = serde_json::to_string(&row()).unwrap();
    let mut not_text = created(r#"{"id":1,"note":"SECRET!"}"#).into_bytes();
    let at = not_text.iter().position(|byte| *byte == b'!').unwrap();
    not_text[at] = 0xff;
    let cloud = format!(r#"{{"specversion":"1.0","id":"{SECRET}","iodebeziumop":"c","iodebeziumtable":"t"}}"#);
    let two = |table| Case::new("declared", "tombstone.table", event(table, "c", "null", r#"{"id":1}"#), &[]).fine();
    vec![
        new("json.syntax", row().replace(r#""op":"c"}"#, ""), &["ends early", "expected a string"]),
        new("json.depth", created(&deep), &["nested deeper than 120 levels"]),
        new("json.double_encoded", double, &["expected an envelope, found a string", "twice?"]),
        new("json.duplicate", created(r#"{"id":1,"note":"SECRET","note":"SECRET"}"#), &["`after`", "occurs twice"])
            .table("t"),
        new("column.type", created(r#"{"id":"SECRET"}"#), &["`after`", "column `id`", "expected an integer", "found"])
            .table("t"),
        new("column.range", created(r#"{"id":1,"day":99999999999}"#), &["column `day`", "expected days since 1970"])
            .table("t"),
        new(
            "envelope.after",
            event("t", "u", &format!(r#"{{"note":"{SECRET}"}}"#), "null"),
            &["`after` is null", "expected the row"],
        )
        .table("t"),
        new("envelope.cells", row().replace("postgresql", "cassandra"), &["Cassandra", "expected rows"]),
        new("envelope.message", event("t", "m", "null", "null"), &["`message`"]),
        new(
            "envelope.op",
            row().replace(r#""op":"c""#, r#""op":"SECRET""#).replace("SECRET", SECRET),
            &["`op`", "expected one of c, u, d, r, t, m"],
        ),
        new("envelope.shape", format!(r#"{{"hello":"{SECRET}"}}"#), &["expected a Debezium envelope", "`format:`"]),
        new("envelope.source", format!(r#"{{"after":{{"note":"{SECRET}"}},"op":"c"}}"#), &["no `source`"]),
        Case::new("declared", "text.utf8", not_text, &["not UTF-8", "expected JSON"]),
        Case::new("declared", "registry.missing", framed(1, SECRET.as_bytes()), &["zero byte", "`registry:`"]),
        new("cloudevents.data", cloud, &["no `data`"]),
        new("key.differs", created(r#"{"id":2,"note":"SECRET"}"#), &["key column `id`", "its row"]).table("t"),
        new("key.missing", row(), &["the message has no key", "declare", "`key:`"]).no_key().table("t"),
        new("key.null", row(), &["key column `id` has no value"]).key(br#"{"id":null}"#).table("t"),
        new("key.shape", row(), &["one value without a name", "`key:`"]).key(b"7").table("t"),
        new("op.truncate", event("t", "t", "null", "null"), &["truncate", "by hand"]).no_key().table("t"),
        new(
            "value.unchanged",
            created(r#"{"id":1,"note":"__debezium_unavailable_value"}"#),
            &["column `note`", "put a `raw` stage"],
        )
        .table("t"),
        new("table.name", event("sqlite_t", "c", "null", r#"{"id":1}"#), &["expected a table name"]).table("sqlite_t"),
        two("t"),
        two("u"),
        Case { value: None, ..new("tombstone.table", String::new(), &["several tables", "key.enforce.uniqueness"]) },
        new("key.missing", row(), &[]).topic("fine").fine(),
    ]
}

/// What the readers of other formats, keys and schemas refuse.
fn formats() -> Vec<Case> {
    let row = || created(r#"{"id":1,"note":"SECRET"}"#);
    let schema = |fields: &str| format!(r#"{{"schema":{{"type":"struct","fields":[{fields}]}},"payload":{}}}"#, row());
    let decimal = r#"{"type":"struct","field":"after","fields":[{"type":"int64","field":"id"},{"type":"bytes","name":"org.apache.kafka.connect.data.Decimal","field":"note"}]}"#;
    vec![
        Case::new(
            "integer-keys",
            "key.integer",
            event("t", "d", "null", "null"),
            &["message key", "1, 2, 4 or 8 bytes", "`key_format: integer`"],
        )
        .key(b"abc")
        .table("t"),
        Case::new(
            "text-keys",
            "key.text",
            event("t", "d", "null", "null"),
            &["message key", "not UTF-8", "key_format"],
        )
        .key(b"\xff")
        .table("t"),
        Case::new("with-schemas", "schema.missing", row(), &["expected the message's schema", "`schemas.enable`"]),
        Case::new(
            "with-schemas",
            "schema.syntax",
            format!(r#"{{"schema":{{"type":"struct","fields":"{SECRET}"}},"payload":{{}}}}"#),
            &["not a Kafka Connect schema"],
        ),
        Case::new("with-schemas", "schema.decimal", schema(decimal), &["column `note`", "Decimal without a scale"])
            .table("t"),
        Case::new("flattened", "flattened.shape", format!(r#"["{SECRET}"]"#), &["expected a row, found a list"]),
        Case::new("flattened", "flattened.envelope", row(), &["expected a row alone", "`format: debezium`"]).table("t"),
    ]
}

/// What the reader of MongoDB's events refuses.
fn documents() -> Vec<Case> {
    let update = |removed: &str, updated: &str| {
        let description = format!(r#"{{"removedFields":{removed},"updatedFields":"{updated}"}}"#);
        document("u", &format!(r#""after":null,"updateDescription":{description}"#))
    };
    let id = |case: Case| case.key(br#"{"id":"1"}"#);
    vec![
        id(Case::new(
            "documents",
            "extjson.shape",
            document("c", r#""after":{"note":"SECRET"}"#),
            &["`after`", "string of extended JSON"],
        ))
        .table("t"),
        id(Case::new(
            "documents",
            "extjson.value",
            document("c", r#""after":"{\"_id\":1,\"n\":{\"$numberLong\":\"SECRET\"}}""#),
            &["`after`", "column `n`", "expected MongoDB extended JSON"],
        ))
        .table("t"),
        id(Case::new(
            "documents",
            "envelope.update",
            update("5", r#"{\"n\":\"SECRET\"}"#),
            &["`updateDescription.removedFields`"],
        ))
        .table("t"),
        id(Case::new(
            "documents",
            "row.missing",
            update("[]", r#"{\"n\":\"SECRET\"}"#),
            &["expected the row after the change"],
        ))
        .table("t"),
        id(Case::new(
            "patches",
            "row.patch_without_base",
            update("[]", r#"{\"n\":\"SECRET\"}"#),
            &["only what changed", "no earlier version", "incremental snapshot"],
        ))
        .table("t"),
    ]
}

/// What the reader of outbox events refuses.
fn outbox() -> Vec<Case> {
    vec![
        Case::new("outbox", "outbox.id", format!(r#"{{"note":"{SECRET}"}}"#), &["expected a header `id`"]),
        Case::new(
            "outbox-table",
            "outbox.update",
            event("t", "u", "null", &format!(r#"{{"id":"a","payload":"{SECRET}"}}"#)),
            &["updated", "written once"],
        )
        .table("t"),
        Case::new(
            "outbox-table",
            "outbox.column",
            created(r#"{"id":"a","payload":"SECRET"}"#),
            &["column `aggregatetype`", "expected a value"],
        )
        .table("t"),
    ]
}

/// What the readers behind a registry refuse: `registry.rs` has the schemas.
fn binary() -> Vec<Case> {
    let new = |code, value: Vec<u8>, says| Case::new("registered", code, value, says);
    let avro = |rest: &[u8]| framed(1, &[b"\x02c\x02t", rest].concat());
    let protobuf = |rest: &[u8]| framed(3, &[b"\0\x12\x02\x08\x07\x1a\x03\x12\x01t\x22\x01c", rest].concat());
    vec![
        new("avro.boolean", framed(6, &[2]), &["column `b`", "neither 0 nor 1", "another schema?"]),
        new("avro.enum", avro(b"\x02\x02\x0a"), &["`after`", "column `e`", "no such symbol"]),
        new("avro.long", [avro(b"\x02\x02\0"), SECRET.into()].concat(), &["bytes follow", "another schema?"]),
        new("avro.short", avro(b"\x02"), &["`after`", "column `id`", "ends early", "another schema?"]),
        new("avro.union", avro(b"\x06"), &["`after`", "no such branch", "another schema?"]),
        new(
            "avro.varint",
            avro(&[2, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 0]),
            &["column `id`", "64 bits"],
        ),
        new("avro.shape", framed(2, &[&[22], SECRET.as_bytes()].concat()), &["expected a record"]),
        new("protobuf.index", framed(3, b"\x02\x12"), &["indexes of a message type"]),
        new("protobuf.shape", framed(3, b"\0\x12\x7f"), &["cannot be read by its schema", "another schema?"]),
        new("protobuf.unknown", protobuf(b"\x4a\x0bgeheim-4711"), &["fields that its schema does not have"]),
        new("registry.short", vec![0, 0, 1], &["4 bytes of a schema's id", "found fewer"]),
        new("registry.type", framed(4, SECRET.as_bytes()), &["schema 4", "THRIFT", "expected AVRO, PROTOBUF or JSON"]),
        new("registry.unknown", framed(99, SECRET.as_bytes()), &["99"]),
        new("schema.syntax", framed(5, SECRET.as_bytes()), &["the registry's schema is not JSON"]),
        // 3,000 lists, each of which says that it has 4,000 nulls.
        new(
            "value.count",
            framed(7, &[b"\xf0\x2e", &b"\xc0\x3e\0".repeat(3_000)[..], b"\0"].concat()),
            &["column `n`", "more values than bytes"],
        ),
    ]
}

/// What raw stores and stages behind them refuse.
fn stages() -> Vec<Case> {
    let unchanged = r#"{"id":1,"note":"__debezium_unavailable_value"}"#;
    let gone = format!(r#"{{"note":"{SECRET}"}}"#);
    let correction = event("c", "c", "null", r#"{"id":1,"category":""}"#);
    vec![
        Case::new(
            "raw",
            "row.unchanged_without_base",
            event("t", "u", "null", unchanged),
            &["did not change", "replica identity full"],
        )
        .table("t"),
        Case::new(
            "raw",
            "keyless.no_match",
            event("k", "d", &gone, "null"),
            &["no stored row equals", "replica identity full"],
        )
        .no_key()
        .table("k"),
        Case::new("expressions", "expression.failed", created(r#"{"id":1,"n":"SECRET"}"#), &["filter:"]).table("t"),
        Case::new("categories", "correction.category", correction, &["expected a category"]).table("c"),
        Case::new("categories", "categorize.text", created(r#"{"id":1,"n":4711}"#), &["column `n`", "expected text"])
            .table("t"),
        Case::new(
            "sums",
            "aggregate.type",
            created(r#"{"id":1,"g":1,"n":"SECRET"}"#),
            &["field `sum`", "expected numbers"],
        )
        .table("t"),
    ]
}

/// What MongoDB, or a document in it, cannot hold.
fn targets_refuse() -> Vec<Case> {
    let new = |code, row: &str, says| Case::new("mongodb", code, created(row), says).table("t");
    let into = |table: &str, case: Case, row: &str| Case {
        value: Some(event(table, "c", "null", &row.replace("SECRET", SECRET)).into()),
        table: Some(table.to_string()),
        ..case
    };
    let large = format!(r#"{{"id":1,"note":"{}"}}"#, SECRET.repeat(1_600_000));
    let twice = |key: &'static [u8], row: &str, case: Case| into("unique", case, row).key(key);
    vec![
        into("strict", new("document.invalid", "{}", &["validator"]), r#"{"id":1,"n":4711}"#),
        into("geo", new("document.refused", "{}", &["code 167", "index"]), r#"{"id":1,"n":"SECRET"}"#),
        new("document.too_large", &large, &["bytes", "MongoDB stores up to"]),
        new("field.name", r#"{"id":1,"_headwater":"SECRET"}"#, &["column \"_headwater\"", "rename"]),
        into("a$b", new("collection.name", "{}", &["the table's name", "collection"]), r#"{"id":1,"n":"SECRET"}"#),
        new("key.unsupported", r#"{"id":["SECRET"]}"#, &["key column `id`", "a list cannot be"])
            .key(format!(r#"{{"id":["{SECRET}"]}}"#).as_bytes()),
        twice(br#"{"id":1}"#, r#"{"id":1,"n":"SECRET"}"#, new("unique.violated", "{}", &[]).fine()),
        twice(br#"{"id":2}"#, r#"{"id":2,"n":"SECRET"}"#, new("unique.violated", "{}", &["unique index"])),
        new(
            "value.decimal_too_wide",
            r#"{"id":3,"d":12345678901234567890123456789012345678901}"#,
            &["column `d`", "34 digits", "`decimals: text`"],
        )
        .key(br#"{"id":3}"#),
        new(
            "value.not_a_date",
            r#"{"id":4,"at":"infinity"}"#,
            &["column `at`", "a BSON date holds", "`timestamps: text`"],
        )
        .key(br#"{"id":4}"#),
        Case { target: "mongodb-raw", ..new("row.too_large", &large, &["16 MB", "embedded store"]) },
        Case { target: "mongodb-raw", ..new("row.column_name", r#"{"id":1,"a\u0000b":"SECRET"}"#, &["column", "NUL"]) },
    ]
}
