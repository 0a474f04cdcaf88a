//! Kafka Connect schemas as the JSON converter embeds them, and what their semantic types mean.
//!
//! Types: “Debezium connector for PostgreSQL/MySQL/…, Data type mappings”; Kafka Connect's `Schema` and logical types.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::Fault;
use super::decoder::DeclaredTable;
use super::form::{Base64, Binary, Calendar, DecimalForm, Form, Handling};
use crate::record::Kind;

/// The parameter in which connectors tell a column's type (`column.propagate.source.type`). It alone tells that a
/// negative integer of MySQL is an unsigned one that wrapped.
const SOURCE_TYPE: &str = "__debezium.source.column.type";

/// A Connect schema.
#[derive(Debug, Default, Deserialize)]
pub struct Schema {
    /// `int64`, `struct`, …
    #[serde(rename = "type")]
    pub primitive: String,
    /// The semantic type, or the struct's name.
    #[serde(default)]
    pub name: Option<String>,
    /// What the semantic type needs: a scale, a length.
    #[serde(default)]
    pub parameters: Option<BTreeMap<String, String>>,
    /// Fields of a struct.
    #[serde(default)]
    pub fields: Vec<Schema>,
    /// Items of an array.
    #[serde(default)]
    pub items: Option<Box<Schema>>,
    /// Keys of a map.
    #[serde(default)]
    pub keys: Option<Box<Schema>>,
    /// Values of a map.
    #[serde(default)]
    pub values: Option<Box<Schema>>,
    /// The name, if this is a struct's field.
    #[serde(default)]
    pub field: Option<String>,
}

/// A column as a schema tells it.
pub struct Typed {
    /// Its name.
    pub name: Arc<str>,
    /// How its values look.
    pub form: Form,
    /// What they are.
    pub kind: Kind,
    /// Whether the schema gives a primitive type and no meaning.
    bare: bool,
}

impl Typed {
    /// The column with the type that the pipeline declares, where the schema itself gives no more than a primitive:
    /// decimals as text, JSON in text columns, unsigned integers.
    #[must_use]
    pub fn declared(self, table: Option<&DeclaredTable>, handling: Handling) -> Self {
        let declared = table.and_then(|table| table.columns.iter().find(|column| column.name == self.name));
        match declared {
            Some(column) if self.bare && column.kind != self.kind => {
                let decimals = if self.kind == Kind::Text { Base64::Never } else { Base64::Unless };
                let form = column.form(Handling { decimals, ..handling });
                Typed { form, kind: column.kind.clone(), ..self }
            }
            _ => self,
        }
    }
}

impl Schema {
    /// Reads a schema; `None` for `null`.
    pub fn parse(json: &str) -> Result<Option<Schema>, Fault> {
        serde_json::from_str(json)
            // The parser's own text may quote what it found.
            .map_err(|e| {
                let place = format!("byte {} of line {}", e.column(), e.line());
                let reason = format!("the embedded schema is not a Kafka Connect schema, at {place} of it");
                Fault::new("schema.syntax", reason)
            })
    }

    /// The field called `name`.
    pub fn field(&self, name: &str) -> Option<&Schema> {
        self.fields.iter().find(|f| f.field.as_deref() == Some(name))
    }

    /// The columns, if this is a struct.
    pub fn columns(&self) -> Vec<Typed> {
        let typed = |f: &Schema| {
            let (form, kind) = f.form();
            f.field.as_deref().map(|name| Typed { name: name.into(), form, kind, bare: f.name.is_none() })
        };
        self.fields.iter().filter_map(typed).collect()
    }

    /// Whether the schema is of an event of Debezium's own (heartbeat, transaction, …) and of no table.
    pub fn is_control(&self) -> bool {
        self.name
            .as_deref()
            .is_some_and(|name| name.starts_with("io.debezium.connector.") && self.primitive == "struct")
    }

    /// The table that the schema is named after: `bank.public.customer.Envelope` (or `.Value`, `.Key`).
    pub fn table(&self) -> Option<&str> {
        let (table, part) = self.name.as_deref()?.rsplit_once('.')?;
        matches!(part, "Envelope" | "Value" | "Key").then(|| table.rsplit('.').next()).flatten()
    }

    /// How values of this schema look in JSON, and what they are.
    pub fn form(&self) -> (Form, Kind) {
        let none = BTreeMap::new();
        let parameters = self.parameters.as_ref().unwrap_or(&none);
        if let Some(name) = &self.name
            && let Some(meaning) = semantic(name, parameters, self.primitive == "struct")
        {
            return meaning;
        }
        if self.primitive == "int64" && parameters.get(SOURCE_TYPE).is_some_and(|name| name.contains("UNSIGNED")) {
            return (Form::UInt, Kind::UInt64);
        }
        match self.primitive.as_str() {
            "int8" | "int16" | "int32" | "int64" => (Form::Int, Kind::Int64),
            "float" | "double" | "float32" | "float64" => (Form::Float, Kind::Float64),
            "boolean" => (Form::Bool, Kind::Bool),
            "string" => (Form::Text, Kind::Text),
            "bytes" => (Form::Bytes(Binary::Base64), Kind::Bytes),
            "array" => {
                let (form, kind) = self.items.as_ref().map_or((Form::Any, Kind::Any), |items| items.form());
                (Form::List(Box::new(form)), Kind::List(Box::new(kind)))
            }
            "map" => {
                let form = self.values.as_ref().map_or(Form::Any, |values| values.form().0);
                match self.keys.as_ref().filter(|keys| keys.primitive != "string") {
                    None => (Form::Map(Box::new(form)), Kind::Map),
                    Some(keys) => {
                        let pairs = Kind::List(Box::new(Kind::List(Box::new(Kind::Any))));
                        (Form::Pairs(Box::new((keys.form().0, form))), pairs)
                    }
                }
            }
            "struct" => {
                let fields: Vec<_> = self.columns().into_iter().map(|c| (c.name, c.form)).collect();
                (Form::Struct(fields.into()), Kind::Map)
            }
            _ => (Form::Any, Kind::Any),
        }
    }
}

/// What a semantic type means: how its values look, and what they are. `is_struct` tells the structured types of
/// Debezium 3 from others of their name.
pub fn semantic(name: &str, parameters: &BTreeMap<String, String>, is_struct: bool) -> Option<(Form, Kind)> {
    let (millis, micros, nanos) = (1_000, 1_000_000, 1_000_000_000);
    let time = |per_second, digits| (Form::Time { per_second }, Kind::Time(digits));
    let timestamp = |per_second, digits| (Form::Timestamp { per_second }, Kind::Timestamp(digits));
    Some(match name {
        "org.apache.kafka.connect.data.Decimal" => {
            let number = |name: &str| parameters.get(name).map(String::as_str);
            let scale = number("scale").and_then(|n| n.parse().ok());
            let precision = number("connect.decimal.precision").and_then(|n| n.parse().ok());
            // The precision is told, not enforced: some producers write it wrong.
            (
                Form::Decimal(DecimalForm { scale, precision: None, strings: Base64::Always }),
                Kind::Decimal { precision, scale },
            )
        }
        "io.debezium.data.VariableScaleDecimal" => (
            Form::Decimal(DecimalForm { scale: None, precision: None, strings: Base64::Always }),
            Kind::Decimal { precision: None, scale: None },
        ),
        "io.debezium.time.Date" | "org.apache.kafka.connect.data.Date" | "io.debezium.time.IsoDate" => {
            (Form::Date, Kind::Date)
        }
        "io.debezium.time.Time" | "org.apache.kafka.connect.data.Time" => time(millis, 3),
        "io.debezium.time.MicroTime" | "io.debezium.time.IsoTime" => time(micros, 6),
        "io.debezium.time.NanoTime" => time(nanos, 9),
        "io.debezium.time.MicroDuration" => time(micros, 6),
        "io.debezium.time.NanoDuration" => time(nanos, 9),
        "io.debezium.time.Timestamp" | "org.apache.kafka.connect.data.Timestamp" => timestamp(millis, 3),
        "io.debezium.time.MicroTimestamp" | "io.debezium.time.IsoTimestamp" => timestamp(micros, 6),
        "io.debezium.time.NanoTimestamp" => timestamp(nanos, 9),
        "io.debezium.time.ZonedTimestamp" => (Form::TimestampTz, Kind::TimestampTz(9)),
        "io.debezium.time.Interval" => (Form::Interval, Kind::Interval),
        "io.debezium.data.Json" => (Form::Json, Kind::Json),
        "io.debezium.data.Uuid" => (Form::Text, Kind::Uuid),
        "io.debezium.data.Bits" => (Form::Bits, Kind::Bits),
        _ => return structured(name, is_struct),
    })
}

fn structured(name: &str, is_struct: bool) -> Option<(Form, Kind)> {
    let name = name.strip_prefix("io.debezium.time.Structured").filter(|_| is_struct)?;
    let (calendar, kind) = match name {
        "Date" => (Calendar::Date, Kind::Date),
        "Time" => (Calendar::Time, Kind::Time(9)),
        "Timestamp" => (Calendar::Timestamp, Kind::Timestamp(9)),
        "ZonedTimestamp" => (Calendar::TimestampTz, Kind::TimestampTz(9)),
        _ => return None,
    };
    Some((Form::Structured(calendar), kind))
}
