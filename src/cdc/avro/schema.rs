//! Avro schemas, as a registry gives them, and what Kafka Connect's annotations in them mean.
//!
//! Specification: “Apache Avro 1.11 Specification, Schema Declaration”; `connect.name` and `connect.parameters` are
//! Confluent's converter's way to carry Connect's semantic types.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use serde_json::Value as Json;

use crate::cdc::Fault;
use crate::cdc::connect::semantic;
use crate::cdc::form::{Base64, Binary, DecimalForm, Form};
use crate::record::{Column, Kind, TableSchema};

/// More nodes than this are no table's schema.
const MAX_NODES: usize = 20_000;

/// A schema: nodes that refer to each other by index, the root first.
#[derive(Debug)]
pub struct AvroSchema {
    /// All nodes; index 0 is the root.
    pub nodes: Vec<Node>,
}

/// One type.
#[derive(Debug, Clone)]
pub struct Node {
    /// How it is encoded.
    pub encoding: Encoding,
    /// What it means.
    pub form: Form,
    /// What its values are.
    pub kind: Kind,
}

/// How values are encoded.
#[derive(Debug, Clone)]
pub enum Encoding {
    /// Nothing.
    Null,
    /// One byte.
    Boolean,
    /// Zigzag varint of 32 or 64 bits.
    Long,
    /// Four bytes.
    Float,
    /// Eight bytes.
    Double,
    /// Length and bytes.
    Bytes,
    /// Length and UTF-8.
    Text,
    /// So many bytes.
    Fixed(usize),
    /// Index of a symbol.
    Enum(Arc<[Arc<str>]>),
    /// Blocks of items.
    Array(usize),
    /// Blocks of names and values.
    Map(usize),
    /// Index of a branch, its value.
    Union(Arc<[usize]>),
    /// The fields, one after the other.
    Record(Arc<Record>),
}

/// A record's fields.
#[derive(Debug)]
pub struct Record {
    /// Nodes of the fields.
    pub fields: Vec<usize>,
    /// Names and kinds of the fields.
    pub schema: Arc<TableSchema>,
}

impl AvroSchema {
    /// Reads a schema. `references` are schemas whose named types it may use.
    pub fn parse(text: &str, references: &[String]) -> Result<AvroSchema, Fault> {
        let mut parser = Parser::default();
        // The root comes first: reserve its place before the references take theirs.
        parser.nodes.push(Node { encoding: Encoding::Null, form: Form::Any, kind: Kind::Any });
        for reference in references {
            parser.node(&json(reference)?, "")?;
        }
        let root = parser.node(&json(text)?, "")?;
        let root = parser.nodes.get(root).cloned().ok_or_else(|| wrong("an empty schema"))?;
        if let Some(first) = parser.nodes.first_mut() {
            *first = root;
        }
        Ok(AvroSchema { nodes: parser.nodes })
    }

    /// The root.
    pub fn root(&self) -> Option<&Node> {
        self.nodes.first()
    }

    /// The record at `index`, also as the branch of a nullable union.
    pub fn record(&self, index: usize) -> Option<&Arc<Record>> {
        match &self.nodes.get(index)?.encoding {
            Encoding::Record(record) => Some(record),
            Encoding::Union(branches) => branches.iter().find_map(|branch| match &self.nodes.get(*branch)?.encoding {
                Encoding::Record(record) => Some(record),
                _ => None,
            }),
            _ => None,
        }
    }
}

impl Record {
    /// Position of the field called `name`.
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.schema.index_of(name)
    }
}

fn json(text: &str) -> Result<Json, Fault> {
    // A schema may be a bare name: `"string"` with or without its quotes.
    serde_json::from_str(text)
        .map_err(|e| Fault::new("schema.syntax", format!("the registry's schema is not JSON: {e}")))
}

#[cold]
fn wrong(what: &str) -> Fault {
    Fault::new("schema.syntax", format!("the registry's Avro schema has {what}"))
}

#[derive(Default)]
struct Parser {
    nodes: Vec<Node>,
    named: FxHashMap<String, usize>,
}

impl Parser {
    fn add(&mut self, encoding: Encoding, form: Form, kind: Kind) -> Result<usize, Fault> {
        if self.nodes.len() >= MAX_NODES {
            return Err(wrong("too many types"));
        }
        self.nodes.push(Node { encoding, form, kind });
        Ok(self.nodes.len() - 1)
    }

    fn node(&mut self, json: &Json, namespace: &str) -> Result<usize, Fault> {
        match json {
            Json::String(name) => self.by_name(name, namespace),
            Json::Array(branches) => self.union(branches, namespace),
            Json::Object(object) => match object.get("type") {
                Some(Json::String(name)) => self.declared(name, json, namespace),
                Some(inner) => self.node(inner, namespace),
                None => Err(wrong("a type without `type`")),
            },
            _ => Err(wrong("a type that is neither name, union nor object")),
        }
    }

    fn by_name(&mut self, name: &str, namespace: &str) -> Result<usize, Fault> {
        let (encoding, form, kind) = match name {
            "null" => (Encoding::Null, Form::Any, Kind::Any),
            "boolean" => (Encoding::Boolean, Form::Bool, Kind::Bool),
            "int" | "long" => (Encoding::Long, Form::Int, Kind::Int64),
            "float" => (Encoding::Float, Form::Float, Kind::Float64),
            "double" => (Encoding::Double, Form::Float, Kind::Float64),
            "bytes" => (Encoding::Bytes, Form::Bytes(Binary::Base64), Kind::Bytes),
            "string" => (Encoding::Text, Form::Text, Kind::Text),
            _ => {
                let known = self.named.get(&full_name(name, namespace)).or_else(|| self.named.get(name));
                return known.copied().ok_or_else(|| wrong("a name that it does not declare"));
            }
        };
        self.add(encoding, form, kind)
    }

    fn union(&mut self, branches: &[Json], namespace: &str) -> Result<usize, Fault> {
        let branches: Vec<usize> =
            branches.iter().map(|branch| self.node(branch, namespace)).collect::<Result<_, _>>()?;
        let meaning = branches.iter().filter_map(|branch| self.nodes.get(*branch));
        let meaning = meaning.filter(|node| !matches!(node.encoding, Encoding::Null)).cloned().collect::<Vec<_>>();
        let (form, kind) = match meaning.as_slice() {
            [one] => (one.form.clone(), one.kind.clone()),
            _ => (Form::Any, Kind::Any),
        };
        self.add(Encoding::Union(branches.into()), form, kind)
    }

    fn declared(&mut self, name: &str, json: &Json, namespace: &str) -> Result<usize, Fault> {
        let at = match name {
            "record" | "error" => self.record(json, namespace)?,
            "array" | "map" => {
                let inside = if name == "array" { "items" } else { "values" };
                let inside = self.node(json.get(inside).unwrap_or(&Json::Null), namespace)?;
                let (form, kind) = self.nodes.get(inside).map(|n| (n.form.clone(), n.kind.clone())).unwrap_or_default();
                match name {
                    "array" => self.add(Encoding::Array(inside), Form::List(form.into()), Kind::List(kind.into()))?,
                    _ => self.add(Encoding::Map(inside), Form::Map(form.into()), Kind::Map)?,
                }
            }
            "enum" | "fixed" => self.enum_or_fixed(name, json, namespace)?,
            primitive => self.by_name(primitive, namespace)?,
        };
        if let Some(node) = self.nodes.get_mut(at)
            && let Some((form, kind)) = meaning(json, &node.encoding)
        {
            (node.form, node.kind) = (form, kind);
        }
        Ok(at)
    }

    fn enum_or_fixed(&mut self, name: &str, json: &Json, namespace: &str) -> Result<usize, Fault> {
        let at = if name == "enum" {
            let symbols =
                json.get("symbols").and_then(Json::as_array).ok_or_else(|| wrong("an enum without symbols"))?;
            let symbols = symbols.iter().map(|symbol| symbol.as_str().map(Arc::from));
            let symbols: Option<Vec<Arc<str>>> = symbols.collect();
            let symbols = symbols.ok_or_else(|| wrong("a symbol that is no text"))?;
            self.add(Encoding::Enum(symbols.into()), Form::Text, Kind::Text)?
        } else {
            let size = json.get("size").and_then(Json::as_u64).and_then(|n| usize::try_from(n).ok());
            self.add(
                Encoding::Fixed(size.ok_or_else(|| wrong("a fixed without size"))?),
                Form::Bytes(Binary::Base64),
                Kind::Bytes,
            )?
        };
        self.name(json, namespace, at);
        Ok(at)
    }

    fn name(&mut self, json: &Json, namespace: &str, at: usize) -> String {
        let name = json.get("name").and_then(Json::as_str).unwrap_or_default();
        let namespace = json.get("namespace").and_then(Json::as_str).unwrap_or(namespace);
        let full = full_name(name, namespace);
        self.named.insert(full.clone(), at);
        full.rsplit_once('.').map(|(namespace, _)| namespace.to_string()).unwrap_or_default()
    }

    fn record(&mut self, json: &Json, namespace: &str) -> Result<usize, Fault> {
        // Its place is taken first: fields may refer to the record itself.
        let at = self.add(Encoding::Null, Form::Any, Kind::Map)?;
        let namespace = self.name(json, namespace, at);
        let declared = json.get("fields").and_then(Json::as_array).ok_or_else(|| wrong("a record without fields"))?;
        let (mut fields, mut columns, mut names) = (Vec::new(), Vec::new(), FxHashSet::default());
        for field in declared {
            let name = field.get("name").and_then(Json::as_str).ok_or_else(|| wrong("a field without name"))?;
            let node = self.node(field.get("type").unwrap_or(&Json::Null), &namespace)?;
            let kind = self.nodes.get(node).map(|node| node.kind.clone()).unwrap_or_default();
            // The converter may have made the name fit for Avro; the annotation keeps the original.
            let name = field.get("connect.field").and_then(Json::as_str).unwrap_or(name);
            if !names.insert(name) {
                return Err(wrong("two fields of one name in a record"));
            }
            columns.push(Column { name: name.into(), kind });
            fields.push(node);
        }
        let record = Arc::new(Record { fields, schema: Arc::new(TableSchema { columns }) });
        if let Some(node) = self.nodes.get_mut(at) {
            node.encoding = Encoding::Record(record);
        }
        Ok(at)
    }
}

fn full_name(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() { name.to_string() } else { format!("{namespace}.{name}") }
}

/// What a Connect annotation or one of Avro's logical types means. A logical type of an encoding that it does not have is to
/// be ignored (“Logical Types”).
fn meaning(json: &Json, encoding: &Encoding) -> Option<(Form, Kind)> {
    let text = |name: &str| json.get(name).and_then(Json::as_str);
    if let Some(name) = text("connect.name") {
        let parameters = json.get("connect.parameters").and_then(Json::as_object);
        let parameters: BTreeMap<String, String> = parameters
            .into_iter()
            .flatten()
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_string())))
            .collect();
        if let Some(meaning) = semantic(name, &parameters, text("type") == Some("record")) {
            return Some(meaning);
        }
    }
    let number = |name: &str| json.get(name).and_then(Json::as_i64);
    Some(match (text("logicalType")?, encoding) {
        ("decimal", Encoding::Bytes | Encoding::Fixed(_)) => {
            let scale = number("scale").unwrap_or(0).try_into().ok();
            let precision = number("precision").and_then(|p| u32::try_from(p).ok());
            let form = DecimalForm { scale, precision: None, strings: Base64::Always };
            (Form::Decimal(form), Kind::Decimal { precision, scale })
        }
        ("uuid", Encoding::Text | Encoding::Fixed(16)) => (Form::Text, Kind::Uuid),
        (name, Encoding::Long) => return counted(name),
        _ => return None,
    })
}

/// What the logical types of integers count.
fn counted(name: &str) -> Option<(Form, Kind)> {
    let (of, unit) = name.rsplit_once('-').unwrap_or((name, ""));
    let (per_second, digits) = match unit {
        "millis" => (1_000, 3),
        "micros" => (1_000_000, 6),
        "nanos" => (1_000_000_000, 9),
        _ => (0, 0),
    };
    Some(match of {
        "date" if unit.is_empty() => (Form::Date, Kind::Date),
        "time" if digits > 0 => (Form::Time { per_second }, Kind::Time(digits)),
        "timestamp" | "local-timestamp" if digits > 0 => (Form::Timestamp { per_second }, Kind::Timestamp(digits)),
        _ => return None,
    })
}
