//! Messages as rows: which columns a message type has, and what the well-known types mean.
//!
//! | Protobuf | value |
//! |---|---|
//! | integers, `uint64`, `float`/`double`, `bool`, `string`, `bytes` | themselves |
//! | enum | the symbol as text, or its number where it has none |
//! | `google.protobuf.*Value` | what they wrap; null when absent |
//! | `google.protobuf.Timestamp` | timestamp without a zone: the converter makes it of Connect's `Timestamp` |
//! | `google.type.Date`, `google.type.TimeOfDay` | date, time |
//! | `confluent.type.Decimal`, `VariableScaleDecimal` | decimal |
//! | `Structured…` of Debezium 3 | date, time, timestamp |
//! | repeated, `map`, entries of `key` and `value` | list, map |
//! | any other message | map |

use std::sync::Arc;

use bytestring::ByteString;
use prost_reflect::{
    DescriptorPool, DynamicMessage, EnumDescriptor, ExtensionDescriptor, FieldDescriptor, Kind as ProtoKind, MapKey,
    MessageDescriptor, ReflectMessage, Value as Proto,
};
use rustc_hash::FxHashMap;

use super::ProtobufSchema;
use crate::cdc::budget::Budget;
use crate::cdc::column::{DEPTH, Names, binary_value, long_value, text_value};
use crate::cdc::connect::semantic;
use crate::cdc::form::{Base64, Binary, DecimalForm, Form};
use crate::cdc::json::too_deep;
use crate::cdc::{Fault, Unavailable, structured};
use crate::record::{Column, Date, Decimal, Kind, Row, TableSchema, Time, Timestamp, Value};

/// The columns of a message type.
#[derive(Debug)]
pub struct Shape {
    schema: Arc<TableSchema>,
    fields: Vec<(FieldDescriptor, Form)>,
}

/// The shapes of all message types.
pub fn shapes(pool: &DescriptorPool) -> FxHashMap<String, Arc<Shape>> {
    let meta = pool.get_extension_by_name("confluent.field_meta");
    let shape = |message: MessageDescriptor| {
        let (mut columns, mut fields) = (Vec::new(), Vec::new());
        for field in message.fields() {
            let (form, kind) = meaning(&field, meta.as_ref());
            columns.push(Column { name: field.name().into(), kind });
            fields.push((field, form));
        }
        let schema = Arc::new(TableSchema { columns });
        (message.full_name().to_string(), Arc::new(Shape { schema, fields }))
    };
    pool.all_messages().map(shape).collect()
}

fn meaning(field: &FieldDescriptor, meta: Option<&ExtensionDescriptor>) -> (Form, Kind) {
    if field.is_map() || is_entries(field) {
        return (Form::Map(Box::new(Form::Any)), Kind::Map);
    }
    let (form, kind) = one(field, meta);
    if field.is_list() { (Form::List(Box::new(form)), Kind::List(Box::new(kind))) } else { (form, kind) }
}

fn one(field: &FieldDescriptor, meta: Option<&ExtensionDescriptor>) -> (Form, Kind) {
    let parameters = parameters(field, meta);
    if let Some(meaning) = parameters.get("connect.name").and_then(|name| semantic(name, &parameters, false)) {
        return meaning;
    }
    match field.kind() {
        ProtoKind::Bool => (Form::Bool, Kind::Bool),
        ProtoKind::Float | ProtoKind::Double => (Form::Float, Kind::Float64),
        ProtoKind::String | ProtoKind::Enum(_) => (Form::Text, Kind::Text),
        ProtoKind::Bytes => (Form::Bytes(Binary::Base64), Kind::Bytes),
        ProtoKind::Uint64 | ProtoKind::Fixed64 => (Form::Int, Kind::UInt64),
        ProtoKind::Message(message) => well_known(&message, &parameters),
        _ => (Form::Int, Kind::Int64),
    }
}

type Parameters = std::collections::BTreeMap<String, String>;

fn well_known(message: &MessageDescriptor, parameters: &Parameters) -> (Form, Kind) {
    let number = |name: &str| parameters.get(name).and_then(|text| text.parse().ok());
    let decimal = |scale: Option<i32>| {
        let precision = parameters.get("precision").and_then(|text| text.parse().ok());
        let form = DecimalForm { scale, precision: None, strings: Base64::Always };
        (Form::Decimal(form), Kind::Decimal { precision, scale })
    };
    match message.full_name() {
        "confluent.type.Decimal" => decimal(number("scale")),
        "google.type.Date" => (Form::Date, Kind::Date),
        "google.type.TimeOfDay" => (Form::Time { per_second: 1_000_000_000 }, Kind::Time(9)),
        "google.protobuf.Timestamp" => (Form::Timestamp { per_second: 1_000_000_000 }, Kind::Timestamp(9)),
        "google.protobuf.UInt64Value" => (Form::Int, Kind::UInt64),
        "google.protobuf.Int64Value" | "google.protobuf.Int32Value" | "google.protobuf.UInt32Value" => {
            (Form::Int, Kind::Int64)
        }
        "google.protobuf.DoubleValue" | "google.protobuf.FloatValue" => (Form::Float, Kind::Float64),
        "google.protobuf.BoolValue" => (Form::Bool, Kind::Bool),
        "google.protobuf.StringValue" => (Form::Text, Kind::Text),
        "google.protobuf.BytesValue" => (Form::Bytes(Binary::Base64), Kind::Bytes),
        _ if message.name() == "VariableScaleDecimal" => decimal(None),
        // Debezium's structured times keep their names when they are nested.
        _ => semantic(&format!("io.debezium.time.{}", message.name()), parameters, true)
            .filter(|(form, _)| matches!(form, Form::Structured(_)))
            .unwrap_or((Form::Any, Kind::Map)),
    }
}

/// `(confluent.field_meta).params` of a field.
fn parameters(field: &FieldDescriptor, meta: Option<&ExtensionDescriptor>) -> Parameters {
    let read = || {
        let options = field.options();
        let meta = meta.filter(|meta| options.has_extension(meta))?;
        let value = options.get_extension(meta);
        let params = value.as_message()?.get_field_by_name("params")?;
        let text = |(key, value): (&MapKey, &Proto)| match (key, value) {
            (MapKey::String(key), Proto::String(value)) => Some((key.clone(), value.clone())),
            _ => None,
        };
        Some(params.as_map()?.iter().filter_map(text).collect())
    };
    read().unwrap_or_default()
}

/// Connect's maps with keys of any type: repeated messages of `key` and `value`.
fn is_entries(field: &FieldDescriptor) -> bool {
    let ProtoKind::Message(message) = field.kind() else { return false };
    field.is_list()
        && message.name().ends_with("Entry")
        && message.fields().map(|field| field.name().to_string()).eq(["key", "value"])
}

/// Values of one message.
pub struct Reader<'a> {
    /// The schema.
    pub schema: &'a ProtobufSchema,
    /// What stands for values that the source did not send.
    pub unavailable: &'a Unavailable,
    /// How many more values there may be.
    pub budget: Budget,
}

impl Reader<'_> {
    /// The columns of a message.
    pub fn row(&self, mut message: DynamicMessage, depth: u32) -> Result<Row, Fault> {
        if depth > DEPTH {
            return Err(too_deep());
        }
        known(&message)?;
        let shape = self.schema.shapes.get(message.descriptor().full_name());
        let shape = shape.ok_or_else(|| Fault::new("schema.syntax", "the Protobuf schema refers to nothing"))?;
        self.budget.take(shape.fields.len())?;
        let mut values = Vec::with_capacity(shape.fields.len());
        for (field, form) in &shape.fields {
            let value = self.field(&mut message, field, form, depth).map_err(|fault| fault.in_column(field.name()))?;
            values.push(value);
        }
        Ok(Row::new(shape.schema.clone(), values))
    }

    fn field(
        &self,
        message: &mut DynamicMessage,
        field: &FieldDescriptor,
        form: &Form,
        depth: u32,
    ) -> Result<Value, Fault> {
        if field.supports_presence() && !message.has_field(field) {
            return Ok(Value::Null);
        }
        let value = message.take_field(field).unwrap_or_else(|| Proto::default_value_for_field(field));
        match field.kind() {
            ProtoKind::Enum(symbols) => self.value(with_symbols(value, &symbols), form, depth),
            _ => self.value(value, form, depth),
        }
    }

    /// A value at nesting `depth`.
    pub fn value(&self, value: Proto, form: &Form, depth: u32) -> Result<Value, Fault> {
        self.budget.take(1)?;
        match value {
            Proto::Bool(flag) => Ok(Value::Bool(flag)),
            Proto::I32(n) => long_value(n.into(), form),
            Proto::I64(n) => long_value(n, form),
            Proto::U32(n) => long_value(n.into(), form),
            Proto::U64(n) => Ok(Value::uint(n)),
            // Widened through its shortest decimal text: 1.1 stays 1.1.
            Proto::F32(n) => Ok(Value::Float(n.to_string().parse().unwrap_or(f64::from(n)))),
            Proto::F64(n) => Ok(Value::Float(n)),
            Proto::String(text) => text_value(text.into(), form, self.unavailable, depth),
            Proto::Bytes(bytes) => binary_value(bytes, form, self.unavailable, depth),
            Proto::EnumNumber(n) => Ok(Value::Int(n.into())),
            Proto::List(items) => self.list(items, form, depth),
            Proto::Map(entries) => {
                let entry = |(key, value)| Ok((map_key(key), self.value(value, &Form::Any, depth + 1)?));
                let mut entries: Vec<_> = entries.into_iter().map(entry).collect::<Result<_, Fault>>()?;
                // They come in an order of chance; the same message has to be the same row each time.
                entries.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
                Ok(self.unavailable_or(entries, depth))
            }
            Proto::Message(message) => self.message(message, form, depth),
        }
    }

    fn list(&self, items: Vec<Proto>, form: &Form, depth: u32) -> Result<Value, Fault> {
        let of = match form {
            Form::List(of) => of,
            Form::Map(_) => return self.entries(items, depth),
            _ => &Form::Any,
        };
        let items = items.into_iter().map(|item| self.value(item, of, depth + 1));
        let items: Vec<Value> = items.collect::<Result<_, _>>()?;
        let unchanged = depth == 0 && self.unavailable.is_list(&items);
        Ok(if unchanged { Value::Unchanged } else { Value::List(items) })
    }

    /// Entries of a map: with text keys they are a map, with others a list of pairs.
    fn entries(&self, items: Vec<Proto>, depth: u32) -> Result<Value, Fault> {
        let mut pairs = Vec::with_capacity(items.len());
        for item in items {
            let Proto::Message(message) = item else { continue };
            let values = self.row(message, depth + 1)?.into_values();
            if let Ok([key, value]) = <[Value; 2]>::try_from(values) {
                pairs.push((key, value));
            }
        }
        let text = |(key, value): &(Value, Value)| match key {
            Value::Text(key) => Some((key.clone(), value.clone())),
            _ => None,
        };
        match pairs.iter().map(text).collect::<Option<Vec<_>>>() {
            Some(entries) => {
                let mut names = Names::default();
                let known = |at| entries.get(..at).unwrap_or_default();
                entries.iter().enumerate().try_for_each(|(at, (name, _))| names.take(known(at), name))?;
                Ok(self.unavailable_or(entries, depth))
            }
            None => Ok(Value::List(pairs.into_iter().map(|(key, value)| Value::List(vec![key, value])).collect())),
        }
    }

    fn unavailable_or(&self, entries: Vec<(ByteString, Value)>, depth: u32) -> Value {
        let unchanged = depth == 0
            && matches!(entries.as_slice(), [(name, Value::Text(value))]
                if self.unavailable.is_text(name) && self.unavailable.is_text(value));
        if unchanged { Value::Unchanged } else { Value::Map(entries) }
    }

    fn message(&self, mut message: DynamicMessage, form: &Form, depth: u32) -> Result<Value, Fault> {
        let name = message.descriptor().full_name().to_string();
        if name.starts_with("google.protobuf.") && name.ends_with("Value") {
            let descriptor = message.descriptor();
            let Some(field) = descriptor.get_field_by_name("value") else { return Ok(Value::Null) };
            let value = message.take_field(&field).unwrap_or_else(|| Proto::default_value_for_field(&field));
            return self.value(value, form, depth);
        }
        let row = self.row(message, depth + 1)?;
        let number = |name: &str| match row.get(name) {
            Some(Value::Int(n)) => *n,
            _ => 0,
        };
        let known = match name.as_str() {
            "google.protobuf.Timestamp" => u32::try_from(number("nanos"))
                .ok()
                .filter(|nanos| *nanos < 1_000_000_000)
                .map(|nanos| Value::Timestamp(Timestamp { secs: number("seconds"), nanos })),
            "google.type.Date" => {
                let (month, day) = (u32::try_from(number("month")).ok(), u32::try_from(number("day")).ok());
                month.zip(day).and_then(|(month, day)| Date::from_ymd(number("year"), month, day)).map(Value::Date)
            }
            "google.type.TimeOfDay" => time_of_day(["hours", "minutes", "seconds", "nanos"].map(number)),
            "confluent.type.Decimal" => match row.get("value") {
                Some(Value::Bytes(digits)) => Decimal::from_be_bytes(digits, number("scale")).map(Value::Decimal),
                _ => None,
            },
            _ => return nested(row, form),
        };
        known.ok_or_else(|| {
            Fault::new("column.range", format!("expected {}, found parts that denote none", form.expectation()))
        })
    }
}

/// 24:00:00 is a time of day, too.
fn time_of_day([hours, minutes, secs, nanos]: [i64; 4]) -> Option<Value> {
    let valid = (0..=24).contains(&hours)
        && (0..60).contains(&minutes)
        && (0..60).contains(&secs)
        && (0..1_000_000_000).contains(&nanos);
    valid.then(|| Value::Time(Time { nanos: ((hours * 60 + minutes) * 60 + secs) * 1_000_000_000 + nanos }))
}

/// Symbols in place of their numbers, as far as there are any.
fn with_symbols(value: Proto, symbols: &EnumDescriptor) -> Proto {
    match value {
        Proto::EnumNumber(n) => symbols.get_value(n).map_or(value, |symbol| Proto::String(symbol.name().to_string())),
        Proto::List(items) => Proto::List(items.into_iter().map(|item| with_symbols(item, symbols)).collect()),
        other => other,
    }
}

/// Structs that stand for one value, and all others.
fn nested(row: Row, form: &Form) -> Result<Value, Fault> {
    let names: Vec<ByteString> = row.schema().columns.iter().map(|column| ByteString::from(&*column.name)).collect();
    let entries: Vec<_> = names.into_iter().zip(row.into_values()).collect();
    match form {
        Form::Decimal(_) => structured::variable_scale(&entries),
        Form::Structured(calendar) => structured::from_fields(&entries, *calendar),
        _ => Ok(Value::Map(entries)),
    }
}

/// Makes sure that nothing of a message would be dropped: its writer's schema knows all of its fields, none of which is an
/// extension, which no column is made of.
pub fn known(message: &DynamicMessage) -> Result<(), Fault> {
    if message.unknown_fields().next().is_none() && message.extensions().next().is_none() {
        return Ok(());
    }
    Err(Fault::new(
        "protobuf.unknown",
        "the Protobuf value has fields that its schema does not have: is it of another schema?",
    ))
}

fn map_key(key: MapKey) -> ByteString {
    match key {
        MapKey::String(text) => text.into(),
        MapKey::Bool(flag) => flag.to_string().into(),
        MapKey::I32(n) => n.to_string().into(),
        MapKey::I64(n) => n.to_string().into(),
        MapKey::U32(n) => n.to_string().into(),
        MapKey::U64(n) => n.to_string().into(),
    }
}
