//! JSON Schemas of a registry, as Confluent's JSON Schema converter writes Kafka Connect's types.
//!
//! `title` is the semantic type or the struct's name, `connect.type` the primitive, `connect.parameters` its parameters;
//! what may be null is `oneOf: [{type: null}, …]`. Only types are taken from them: validation is the producer's business.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::Fault;
use super::connect::Schema;
use super::schemas::JsonSchema;

/// Schemas may refer to themselves, also several times over; a table's columns neither nest deeper nor are more.
const MAX_DEPTH: u32 = 16;
const MAX_NODES: u32 = 20_000;

impl JsonSchema {
    /// Reads a schema.
    pub fn parse(text: &str) -> Result<JsonSchema, Fault> {
        let json: Json = serde_json::from_str(text)
            .map_err(|e| Fault::new("schema.syntax", format!("the registry's schema is not JSON: {e}")))?;
        Ok(JsonSchema(Reader { root: &json, left: MAX_NODES }.schema(&json, None, 0)))
    }
}

struct Reader<'j> {
    root: &'j Json,
    left: u32,
}

impl Reader<'_> {
    fn schema(&mut self, json: &Json, field: Option<&str>, depth: u32) -> Schema {
        self.left = self.left.saturating_sub(1);
        let json = if depth < MAX_DEPTH && self.left > 0 { meant(json, self.root) } else { &Json::Null };
        let text = |name: &str| json.get(name).and_then(Json::as_str);
        let mut made = Schema {
            primitive: primitive(text("connect.type").or_else(|| text("type")), json).to_string(),
            name: text("title").map(str::to_string),
            parameters: json.get("connect.parameters").and_then(Json::as_object).map(parameters),
            field: field.map(str::to_string),
            ..Schema::default()
        };
        let mut inner = |json: Option<&Json>| json.map(|json| Box::new(self.schema(json, None, depth + 1)));
        match made.primitive.as_str() {
            "array" => made.items = inner(json.get("items")),
            // With text as keys a map is an object; with others a list of entries, of which nothing more is said here.
            "map" if text("type") == Some("object") => made.values = inner(json.get("additionalProperties")),
            "struct" => {
                let fields = json.get("properties").and_then(Json::as_object).into_iter().flatten();
                made.fields = fields.map(|(name, field)| self.schema(field, Some(name), depth + 1)).collect();
            }
            _ => {}
        }
        made
    }
}

fn parameters(object: &serde_json::Map<String, Json>) -> BTreeMap<String, String> {
    let text = |value: &Json| value.as_str().map_or_else(|| value.to_string(), str::to_string);
    object.iter().map(|(name, value)| (name.clone(), text(value))).collect()
}

/// The schema itself, where it refers to another or may be null as well.
fn meant<'j>(json: &'j Json, root: &'j Json) -> &'j Json {
    let referred = json.get("$ref").and_then(Json::as_str).and_then(|reference| reference.strip_prefix('#'));
    if let Some(target) = referred.and_then(|pointer| root.pointer(pointer)) {
        return target;
    }
    let is_null = |json: &Json| json.get("type").and_then(Json::as_str) == Some("null");
    let branches = json.get("oneOf").or_else(|| json.get("anyOf")).and_then(Json::as_array);
    let mut others = branches.into_iter().flatten().filter(|branch| !is_null(branch));
    match (others.next(), others.next()) {
        (Some(one), None) => match one.get("$ref") {
            Some(_) => meant(one, root),
            None => one,
        },
        _ => json,
    }
}

fn primitive<'j>(name: Option<&'j str>, json: &Json) -> &'j str {
    match name {
        Some("integer") => "int64",
        Some("number") => "float64",
        Some("object") if json.get("properties").is_some() => "struct",
        Some(name) => name,
        None => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Kind;

    #[test]
    fn connect_types_come_through_json_schema() {
        let text = r##"{"type":"object","title":"bank.public.t.Envelope","properties":{
            "after":{"connect.index":1,"oneOf":[{"type":"null"},{"$ref":"#/definitions/Value"}]},"op":{"type":"string"}},
            "definitions":{"Value":{"type":"object","title":"bank.public.t.Value","properties":{
            "id":{"type":"integer","connect.index":0,"connect.type":"int64"},
            "amount":{"oneOf":[{"type":"null"},{"type":"number","title":"org.apache.kafka.connect.data.Decimal","connect.type":"bytes","connect.parameters":{"scale":"2"}}]},
            "day":{"type":"integer","title":"io.debezium.time.Date","connect.type":"int32"},
            "data":{"type":"string","connect.type":"bytes"},
            "tags":{"type":"array","items":{"oneOf":[{"type":"null"},{"type":"string"}]}},
            "map":{"type":"object","connect.type":"map","additionalProperties":{"type":"integer"}},
            "self":{"$ref":"#/definitions/Value"}}}}}"##;
        let schema = JsonSchema::parse(text).unwrap().0;
        let columns = schema.field("after").unwrap().columns();
        let kind = |name: &str| columns.iter().find(|c| *c.name == *name).unwrap().kind.clone();
        assert_eq!(schema.table(), Some("t"));
        assert_eq!(kind("amount"), Kind::Decimal { precision: None, scale: Some(2) });
        assert_eq!((kind("id"), kind("day"), kind("data")), (Kind::Int64, Kind::Date, Kind::Bytes));
        assert_eq!((kind("tags"), kind("map"), kind("self")), (Kind::List(Box::new(Kind::Text)), Kind::Map, Kind::Map));
        assert!(JsonSchema::parse("{").is_err());
        assert!(JsonSchema::parse("true").is_ok(), "a schema that says nothing");
    }
}
