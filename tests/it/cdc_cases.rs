//! Change events of the field, one JSON object a line, each with what it must decode to. Kept outside the repository
//! (`../shared/cdc`, or `HEADWATER_SHARED`); without them the test says so and passes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use headwater::cdc::{
    AvroSchema, Config, Control, DeclaredColumn, DeclaredKey, DeclaredTable, Decoder, Event, Fault, Format, JsonSchema,
    Known, Outbox, ProtobufSchema,
};
use headwater::record::{Epoch, Message, Op, Row, SourcePosition, Timestamp, Value};
use headwater::stores::Stores;

use crate::exact_json::Json;

/// Cases that are not decoded as stated, each with the reason. Empty is the aim.
const OPEN: &[(&str, &str)] = &[];

pub fn shared(file: &str) -> Option<String> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let root = std::env::var_os("HEADWATER_SHARED").map_or(beside, PathBuf::from);
    std::fs::read_to_string(root.join(file)).ok()
}

#[test]
fn events_of_the_field_decode_as_stated() {
    let Some(cases) = shared("cdc/cases.jsonl") else {
        println!("skipped: no cases beside the repository (HEADWATER_SHARED)");
        return;
    };
    let (mut failed, mut passed) = (Vec::new(), 0);
    for case in cases.lines().map(Json::parse) {
        let id = case["id"].text();
        let outcome = check(&case);
        match (outcome, OPEN.iter().find(|(open, _)| *open == id)) {
            (Ok(()), None) => passed += 1,
            (Ok(()), Some(_)) => failed.push(format!("{id}: decodes now; take it out of OPEN")),
            (Err(_), Some(_)) => {}
            (Err(_), None) if case["optional"].is_true() => {}
            (Err(why), None) => failed.push(format!("{id}: {why}")),
        }
    }
    println!("{passed} cases decode as stated");
    assert!(failed.is_empty(), "{} cases do not:\n{}", failed.len(), failed.join("\n"));
}

/// What a raw store has after the records of each sequence.
#[tokio::test]
async fn sequences_of_the_field_end_as_stated() {
    let Some(sequences) = shared("cdc/sequences.jsonl") else {
        println!("skipped: no sequences beside the repository (HEADWATER_SHARED)");
        return;
    };
    for case in sequences.lines().map(Json::parse) {
        let dir = tempfile::tempdir().unwrap();
        let store = Stores::new(dir.path()).get("copy").await.unwrap();
        let mut decoder = Decoder::new(config_of_all(&case));
        let id = case["id"].text();
        for record in case["records"].items() {
            let place = |name: &str| record[name].as_number().unwrap_or(0);
            let mut message = message(record);
            message.partition = i32::try_from(place("partition")).unwrap();
            message.offset = i64::try_from(place("offset")).unwrap();
            let event = decoder.decode(&message, 0).unwrap_or_else(|fault| panic!("{id}: {fault:?}"));
            let Event::Change(record) = event else { continue };
            let applied = store.apply(vec![record]).await.unwrap();
            assert!(applied.rejects.is_empty(), "{id}: {:?}", applied.rejects);
        }
        let mut snapshot = store.snapshot().await.unwrap();
        for (table, stated) in case["final"].fields() {
            let rows = snapshot.scan(table, None, usize::MAX).await.unwrap();
            let key = |key: &Row| match key.values() {
                [one] => one.as_str().map_or_else(|| one.to_json(), str::to_string),
                _ => key.to_json(),
            };
            let state: BTreeMap<String, Row> = rows.into_iter().map(|row| (key(&row.key), row.row)).collect();
            for (key, stated) in stated.fields() {
                let row = state.get(key);
                assert_eq!(row.is_none(), stated.is_null(), "{id}: {table} {key}");
                let expect = Json::Object(vec![("row".into(), stated.clone())]);
                same_row(table, &expect, "row", row).unwrap_or_else(|why| panic!("{id}: {why}"));
            }
            let other = state.keys().find(|key| stated[key.as_str()].is_absent());
            assert_eq!(other, None, "{id}: {table} has more rows than stated");
        }
    }
}

/// What a sequence's pipeline declares, said of each table that its events name.
fn config_of_all(case: &Json) -> Config {
    let mut all = config(case);
    let declared = std::mem::take(&mut all.tables).into_values().next();
    for name in case["records"].items().iter().map(table_name) {
        let table = declared.iter().map(|table| DeclaredTable { name: name.as_str().into(), ..(**table).clone() });
        all.tables.extend(table.map(|table| (name.clone(), Arc::new(table))));
    }
    all
}

fn check(case: &Json) -> Result<(), String> {
    let expect = &case["expect"];
    let mut decoder = Decoder::new(config(case));
    for (id, registered) in case["registry"].fields() {
        let text = registered["schema"].text();
        let schema = match registered["schemaType"].as_text().unwrap_or("AVRO") {
            "AVRO" => AvroSchema::parse(text, &[]).map(|schema| Known::Avro(Arc::new(schema))),
            "PROTOBUF" => ProtobufSchema::parse(text, &[]).map(|schema| Known::Protobuf(Arc::new(schema))),
            _ => JsonSchema::parse(text).map(|schema| Known::Json(Arc::new(schema))),
        };
        decoder.schemas().insert(id.parse().unwrap(), schema.map_err(|f| format!("{f:?}"))?);
    }
    let message = message(case);
    let outcome = decoder.decode(&message, 0);
    if let (true, Ok(Event::Change(record))) = (is_outbox(case), &outcome) {
        return same_outbox(expect, record.row.as_ref().unwrap());
    }
    let kind = kind(&outcome, &message);
    let accepted = expect["accept_also"].items().iter().any(|k| k.text() == kind);
    if kind != expect["kind"].text() && !accepted {
        return Err(format!("expected {}, decoded as {kind}: {outcome:?}", expect["kind"].text()));
    }
    match &outcome {
        Ok(Event::Change(record)) => {
            same_row("after", expect, "after_typed", record.row.as_ref())?;
            same_row("before", expect, "before_typed", record.before.as_ref())?;
            same_row("key", expect, "key_typed", Some(&record.key))?;
            same_position(&expect["position"], &record.position.source)
        }
        Ok(Event::Control(control)) => same_control(expect, control),
        Err(_) => Ok(()),
    }
}

fn kind(outcome: &Result<Event, Fault>, message: &Message) -> &'static str {
    match outcome {
        Err(_) => "reject",
        Ok(Event::Change(record)) => match record.op {
            Op::Read => "snapshot",
            Op::Create => "insert",
            Op::Update => "update",
            Op::Delete if message.value.as_ref().is_none_or(|v| v.len() < 40 || v.ends_with(b"\"payload\":null}")) => {
                "tombstone"
            }
            Op::Delete => "delete",
            Op::Truncate => "truncate",
        },
        Ok(Event::Control(control)) => match control {
            Control::Tombstone => "tombstone",
            Control::Heartbeat { .. } => "heartbeat",
            Control::Transaction { .. } => "tx",
            Control::SchemaChange => "schema-change",
            Control::Notification { .. } | Control::Message { .. } | Control::Signal | Control::Outbox => "message",
        },
    }
}

fn is_outbox(case: &Json) -> bool {
    case["config"]["outbox"].is_true()
        || case["topic"].as_text().is_some_and(|topic| topic.starts_with("outbox.event."))
}

/// An outbox's event under the names of the cases; its payload is JSON.
fn same_outbox(expect: &Json, row: &Row) -> Result<(), String> {
    assert_eq!(expect["kind"].text(), "message");
    for (name, stated) in expect["after_typed"].fields() {
        let value = row.get(if name == "event_id" { "id" } else { name });
        let same = match value {
            Some(Value::Json(text)) => Json::parse(text) == *stated,
            Some(value) => same(value, stated),
            None => false,
        };
        if !same {
            return Err(format!("{name}: expected {stated:?}, found {value:?}"));
        }
    }
    match &expect["key_typed"] {
        Json::Text(key) if row.get("aggregate_id") != Some(&Value::text(key.as_str())) => {
            Err(format!("expected the aggregate {key}, found {:?}", row.get("aggregate_id")))
        }
        _ => Ok(()),
    }
}

fn same_control(expect: &Json, control: &Control) -> Result<(), String> {
    match control {
        Control::Transaction { end, id, event_count, collections } => {
            let tx = &expect["tx"];
            let counts: Vec<_> = tx["data_collections"].fields().map(|(n, c)| (n.to_string(), c.number())).collect();
            let status = if *end { "END" } else { "BEGIN" };
            let stated = (tx["status"].text(), tx["id"].text(), tx["event_count"].as_number(), counts);
            let found = (status, id.as_str(), *event_count, collections.clone());
            (stated == found).then_some(()).ok_or_else(|| format!("expected {stated:?}, found {found:?}"))
        }
        Control::Message { prefix, content } => {
            let row = Row::of([("prefix", Value::text(prefix.as_str())), ("content", Value::Bytes(content.clone()))]);
            same_row("message", expect, "after_typed", Some(&row))
        }
        _ => Ok(()),
    }
}

fn same_row(part: &str, expect: &Json, name: &str, row: Option<&Row>) -> Result<(), String> {
    let stated = &expect[name];
    if stated.is_null() {
        return Ok(());
    }
    let Some(row) = row else { return Err(format!("{part}: expected a row, found none")) };
    for (name, stated) in stated.fields() {
        let Some(value) = row.get(name) else { return Err(format!("{part}.{name} is absent")) };
        if !same(value, stated) {
            return Err(format!("{part}.{name}: expected {stated:?}, found {value:?}"));
        }
    }
    match row.iter().find(|(name, _)| stated[name].is_absent()) {
        Some((name, _)) => Err(format!("{part}.{name} is not expected")),
        None => Ok(()),
    }
}

fn same_position(stated: &Json, position: &SourcePosition) -> Result<(), String> {
    let found: BTreeMap<&str, String> = match position {
        SourcePosition::Postgres { lsn, .. } => [("lsn", lsn.to_string())].into(),
        SourcePosition::MySql { file, pos, row, .. } => {
            [("file", format!("mysql-bin.{file:06}")), ("pos", pos.to_string()), ("row", row.to_string())].into()
        }
        _ => BTreeMap::new(),
    };
    for (name, value) in stated.fields() {
        if found.get(name).is_none_or(|found| *found != value.scalar()) {
            return Err(format!("position {name}: expected {value:?}, found {position:?}"));
        }
    }
    Ok(())
}

/// Whether a value is what the case states, in the notation of the cases.
fn same(value: &Value, stated: &Json) -> bool {
    if let Some(same) = same_extended(value, stated) {
        return same;
    }
    let special = |name: &str| stated.fields().len() == 1 && !stated[name].is_absent();
    match value {
        Value::Unchanged => special("$unavailable"),
        Value::Null => stated.is_null(),
        Value::Bool(flag) => *stated == Json::Bool(*flag),
        Value::Int(_) | Value::UInt(_) => same_number(&value.to_json(), stated),
        Value::Float(f) if f.is_finite() => same_number(&f.to_string(), stated),
        Value::Float(f) => special("$float") && stated["$float"].text().replace("inf", "Infinity") == special_float(*f),
        Value::Decimal(d) => match stated {
            Json::Number(n) => d.to_string() == *n || same_number(&d.to_string(), stated),
            Json::Text(text) => *text == d.to_string(),
            _ => special("$decimal") && stated["$decimal"].text() == d.to_string(),
        },
        Value::Text(text) => *stated == Json::Text(text.to_string()),
        Value::Bytes(bytes) => special("$bytes") && stated["$bytes"].text() == hex(bytes),
        Value::Date(date) => stated.is_text(&date.to_string()),
        Value::Time(time) => stated.is_text(&time.to_string()),
        Value::Timestamp(at) | Value::TimestampTz(at) if !at.is_finite() => {
            let sign = if *at == Timestamp::INFINITY { "+" } else { "-" };
            special("$infinity") && stated["$infinity"].text() == sign
        }
        Value::Timestamp(at) | Value::TimestampTz(at) => same_instant(*at, stated.text()),
        Value::Json(text) => special("$json") && Json::parse(text) == stated["$json"],
        Value::List(items) => {
            let stated = if special("$map") { &stated["$map"] } else { stated };
            items.len() == stated.items().len() && items.iter().zip(stated.items()).all(|(v, s)| same(v, s))
        }
        Value::Map(entries) => {
            entries.len() == stated.fields().len() && entries.iter().all(|(name, v)| same(v, &stated[name]))
        }
    }
}

/// Canonical extended JSON of MongoDB, where the product's values have types of their own.
fn same_extended(value: &Value, stated: &Json) -> Option<bool> {
    let (name, inside) = stated.fields().next().filter(|_| stated.fields().len() == 1)?;
    Some(match (name, value) {
        ("$numberInt" | "$numberLong", Value::Int(n)) => inside.is_text(&n.to_string()),
        ("$numberDouble", Value::Float(f)) if f.is_finite() => inside.text().parse() == Ok(*f),
        ("$numberDouble", Value::Float(f)) => inside.is_text(special_float(*f)),
        ("$numberDecimal", Value::Decimal(d)) => inside.is_text(&d.to_string()),
        ("$date", Value::TimestampTz(at)) => inside["$numberLong"].is_text(&at.as_millis().to_string()),
        ("$binary", Value::Bytes(bytes)) => {
            inside["base64"].is_text(&STANDARD.encode(bytes)) && inside["subType"].is_text("00")
        }
        _ => return None,
    })
}

fn special_float(f: f64) -> &'static str {
    if f.is_nan() {
        "NaN"
    } else if f > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}

/// By value: 1.0 is 1.
fn same_number(found: &str, stated: &Json) -> bool {
    let Json::Number(stated) = stated else { return false };
    let big = |text: &str| text.parse::<bigdecimal::BigDecimal>().ok();
    big(found).is_some() && big(found) == big(stated)
}

fn same_instant(at: Timestamp, stated: &str) -> bool {
    let (body, zone) = stated.strip_suffix('Z').map_or((stated, ""), |body| (body, "Z"));
    let body = if body.contains('.') { body.trim_end_matches('0').trim_end_matches('.') } else { body };
    zone == "Z" && at.to_string() == body
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn message(case: &Json) -> Message {
    let bytes = |text: &str, encoded: &str| match (&case[encoded], &case[text]) {
        (Json::Text(encoded), _) => Some(Bytes::from(STANDARD.decode(encoded).unwrap())),
        (_, Json::Text(text)) => Some(Bytes::copy_from_slice(text.as_bytes())),
        _ => None,
    };
    let header = |pair: &Json| {
        let (name, value) = (pair.items()[0].text(), pair.items()[1].text());
        (Arc::from(name), Some(Bytes::copy_from_slice(value.as_bytes())))
    };
    Message {
        topic: if case["topic"].is_absent() { "server.schema.table".into() } else { case["topic"].text().into() },
        epoch: Epoch::default(),
        partition: 0,
        offset: 7,
        timestamp_ms: None,
        key: bytes("key", "key_b64"),
        value: bytes("value", "value_b64"),
        headers: case["headers"].items().iter().map(header).collect(),
    }
}

/// What the case's pipeline declares, said of the table that its event names.
fn config(case: &Json) -> Config {
    let given = &case["config"];
    let format = match (given["format"].text(), case["id"].text().split_once('-')) {
        ("flattened", _) => Format::Flattened,
        (_, Some(("mgo", _))) => Format::Mongodb,
        _ if is_outbox(case) && !given["outbox"].is_true() => Format::Outbox,
        _ => Format::Debezium,
    };
    let registry_id_bytes = if case["registry"].is_absent() { 0 } else { 4 };
    let mut config = Config { format, keep_before: true, registry_id_bytes, ..Config::default() };
    if let Json::Text(placeholder) = &given["unavailable_placeholder"] {
        config.unavailable = headwater::cdc::Unavailable::new(placeholder);
    }
    let columns = given["types"].fields().map(|(name, kind)| column(name, kind.text())).collect();
    let primary_key = given["primary_key"].items().iter().map(|c| Arc::from(c.text())).collect::<Vec<_>>();
    let key = match &given["key"] {
        Json::Text(key) if key == "none" => DeclaredKey::None,
        _ if primary_key.is_empty() => DeclaredKey::FromMessage,
        _ => DeclaredKey::Columns(primary_key),
    };
    let name = table_name(case);
    config.outbox = given["outbox"].is_true().then(|| Outbox::new(&name));
    let table = DeclaredTable { name: name.as_str().into(), key, columns };
    config.tables.insert(name, Arc::new(table));
    config
}

fn table_name(case: &Json) -> String {
    let named = || {
        let event = Json::try_parse(case["value"].as_text()?)?;
        let source = if event["source"].is_absent() { &event["payload"]["source"] } else { &event["source"] };
        source["table"].as_text().map(str::to_string)
    };
    let topic = case["topic"].as_text().unwrap_or("server.schema.table");
    named().unwrap_or_else(|| topic.rsplit('.').next().unwrap_or(topic).to_string())
}

fn column(name: &str, kind: &str) -> DeclaredColumn {
    let kind = match kind {
        "time-millis" => "time(3)".to_string(),
        "time-micros" => "time(6)".to_string(),
        "time-nanos" => "time(9)".to_string(),
        "timestamp-millis" => "timestamp(3)".to_string(),
        "timestamp-micros" => "timestamp(6)".to_string(),
        "timestamp-nanos" => "timestamp(9)".to_string(),
        other => match other.strip_prefix("decimal(").filter(|args| !args.contains(',')) {
            Some(scale) => format!("decimal(,{scale}"),
            None => other.to_string(),
        },
    };
    DeclaredColumn::new(name, &kind).unwrap_or_else(|e| panic!("{kind}: {e}"))
}
