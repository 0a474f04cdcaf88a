//! Avro's binary encoding.
//!
//! Specification: “Apache Avro 1.11 Specification, Binary Encoding”. Invariants: text and bytes are slices of the
//! message; counts are checked against what is left of the message before anything is allocated for them.

use bytes::Bytes;
use bytestring::ByteString;

use super::schema::{AvroSchema, Encoding, Node, Record};
use crate::cdc::budget::Budget;
use crate::cdc::column::{DEPTH, Names, binary_value, long_value, text_value};
use crate::cdc::form::Form;
use crate::cdc::json::too_deep;
use crate::cdc::{Fault, Unavailable, structured};
use crate::record::{Row, Value};

/// A place in a message.
pub struct Binary<'a> {
    message: &'a Bytes,
    at: usize,
    schema: &'a AvroSchema,
    unavailable: &'a Unavailable,
    budget: Budget,
}

impl<'a> Binary<'a> {
    /// Starts at byte `at`.
    pub fn new(message: &'a Bytes, at: usize, schema: &'a AvroSchema, unavailable: &'a Unavailable) -> Self {
        Binary { message, at, schema, unavailable, budget: Budget::new(message.len()) }
    }

    #[cold]
    fn ends_early(&self) -> Fault {
        Fault::new("avro.short", format!("the Avro value ends early at byte {}: is it of another schema?", self.at))
    }

    /// Makes sure that nothing follows.
    pub fn end(&self) -> Result<(), Fault> {
        if self.at == self.message.len() {
            return Ok(());
        }
        Err(Fault::new("avro.long", "bytes follow the Avro value: is it of another schema?"))
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        let byte = self.message.get(self.at).copied().ok_or_else(|| self.ends_early())?;
        self.at += 1;
        Ok(byte)
    }

    /// A zigzag varint.
    pub fn long(&mut self) -> Result<i64, Fault> {
        let (mut value, mut shift) = (0u64, 0u32);
        loop {
            let byte = self.byte()?;
            // Of the tenth byte one bit is left.
            if shift == 63 && byte > 1 {
                return Err(Fault::new("avro.varint", "a number is longer than 64 bits: is it of another schema?"));
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
            shift += 7;
        }
    }

    fn slice(&mut self, length: usize) -> Result<Bytes, Fault> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.message.len());
        let end = end.ok_or_else(|| self.ends_early())?;
        let slice = self.message.slice(self.at..end);
        self.at = end;
        Ok(slice)
    }

    fn boolean(&mut self) -> Result<bool, Fault> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Fault::new("avro.boolean", "a boolean is neither 0 nor 1: is it of another schema?")),
        }
    }

    fn sized(&mut self) -> Result<Bytes, Fault> {
        let length = self.long()?;
        let length = usize::try_from(length).map_err(|_| self.ends_early())?;
        self.slice(length)
    }

    /// A text.
    pub fn text(&mut self) -> Result<ByteString, Fault> {
        ByteString::try_from(self.sized()?).map_err(|_| Fault::new("text.utf8", "a string is not UTF-8"))
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let slice = self.slice(N)?;
        slice.as_ref().try_into().map_err(|_| self.ends_early())
    }

    fn node(&self, index: usize) -> Result<&'a Node, Fault> {
        self.schema.nodes.get(index).ok_or_else(|| Fault::new("schema.syntax", "the Avro schema refers to nothing"))
    }

    /// The branch of a union that is taken, or the node itself.
    pub fn branch(&mut self, index: usize) -> Result<usize, Fault> {
        match &self.node(index)?.encoding {
            Encoding::Union(branches) => {
                let branch = usize::try_from(self.long()?).ok().and_then(|at| branches.get(at)).copied();
                branch.ok_or_else(|| Fault::new("avro.union", "a union has no such branch: is it of another schema?"))
            }
            _ => Ok(index),
        }
    }

    /// A row of a record; `None` for null.
    pub fn row(&mut self, index: usize) -> Result<Option<Row>, Fault> {
        let branch = self.branch(index)?;
        match &self.node(branch)?.encoding {
            Encoding::Record(record) => {
                self.record(record, 0).map(|values| Some(Row::new(record.schema.clone(), values)))
            }
            Encoding::Null => Ok(None),
            _ => Err(Fault::new("avro.shape", "expected a record of columns")),
        }
    }

    fn record(&mut self, record: &Record, depth: u32) -> Result<Vec<Value>, Fault> {
        let mut values = Vec::with_capacity(record.fields.len());
        for (field, column) in record.fields.iter().zip(&record.schema.columns) {
            values.push(self.value(*field, depth).map_err(|fault| fault.in_column(&column.name))?);
        }
        Ok(values)
    }

    /// A value at nesting `depth`.
    pub fn value(&mut self, index: usize, depth: u32) -> Result<Value, Fault> {
        if depth > DEPTH {
            return Err(too_deep());
        }
        self.budget.take(1)?;
        // The branch's own form is what the value means; a union of one meaning shares it.
        let branch = self.branch(index)?;
        let node = self.node(branch)?;
        let form = &node.form;
        match &node.encoding {
            Encoding::Null => Ok(Value::Null),
            Encoding::Boolean => self.boolean().map(Value::Bool),
            Encoding::Long => long_value(self.long()?, form),
            // Widened through its shortest decimal text: 1.1 stays 1.1.
            Encoding::Float => {
                let single = f32::from_le_bytes(self.fixed()?);
                Ok(Value::Float(single.to_string().parse().unwrap_or(f64::from(single))))
            }
            Encoding::Double => Ok(Value::Float(f64::from_le_bytes(self.fixed()?))),
            Encoding::Bytes => binary_value(self.sized()?, form, self.unavailable, depth),
            Encoding::Fixed(16) if *form == Form::Text => Ok(Value::text(uuid(&self.fixed()?))),
            Encoding::Fixed(size) => binary_value(self.slice(*size)?, form, self.unavailable, depth),
            Encoding::Text => text_value(self.text()?, form, self.unavailable, depth),
            Encoding::Enum(symbols) => {
                let symbol = usize::try_from(self.long()?).ok().and_then(|at| symbols.get(at));
                symbol.map(|s| Value::text(&**s)).ok_or_else(|| Fault::new("avro.enum", "an enum has no such symbol"))
            }
            Encoding::Array(items) => self.array(*items, depth),
            Encoding::Map(values) => self.map(*values, depth),
            Encoding::Union(_) => Err(Fault::new("avro.union", "a union stands directly in a union")),
            Encoding::Record(record) => {
                let values = self.record(record, depth + 1)?;
                let names = record.schema.columns.iter().map(|column| ByteString::from(&*column.name));
                structured_or_map(form, names.zip(values).collect())
            }
        }
    }

    /// The next block's count; the size that may precede the block is passed over.
    fn block(&mut self) -> Result<usize, Fault> {
        let count = self.long()?;
        if count < 0 {
            self.long()?;
        }
        let count = usize::try_from(count.unsigned_abs()).map_err(|_| self.ends_early())?;
        // Nulls take no bytes; any other item takes one at least. More than there are bytes left is no array of a row.
        if count > self.message.len() {
            return Err(self.ends_early());
        }
        Ok(count)
    }

    fn array(&mut self, items: usize, depth: u32) -> Result<Value, Fault> {
        let mut list = Vec::new();
        loop {
            let count = self.block()?;
            if count == 0 {
                break;
            }
            if list.len() + count > self.message.len() {
                return Err(self.ends_early());
            }
            for _ in 0..count {
                list.push(self.value(items, depth + 1)?);
            }
        }
        let unchanged = depth == 0 && self.unavailable.is_list(&list);
        Ok(if unchanged { Value::Unchanged } else { Value::List(list) })
    }

    fn map(&mut self, values: usize, depth: u32) -> Result<Value, Fault> {
        let mut entries = Vec::new();
        let mut names = Names::default();
        loop {
            let count = self.block()?;
            if count == 0 {
                break;
            }
            for _ in 0..count {
                let name = self.text()?;
                names.take(&entries, &name)?;
                entries.push((name, self.value(values, depth + 1)?));
            }
        }
        let unchanged = depth == 0
            && matches!(entries.as_slice(), [(name, Value::Text(value))]
                if self.unavailable.is_text(name) && self.unavailable.is_text(value));
        Ok(if unchanged { Value::Unchanged } else { Value::Map(entries) })
    }
}

/// The text of a UUID's 16 bytes.
fn uuid(bytes: &[u8; 16]) -> String {
    let digits = format!("{:032x}", u128::from_be_bytes(*bytes));
    let part = |from, to| digits.get(from..to).unwrap_or_default();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

/// Structs that stand for one value: decimals that carry their scale, structured dates.
fn structured_or_map(form: &Form, entries: Vec<(ByteString, Value)>) -> Result<Value, Fault> {
    match form {
        Form::Decimal(_) => structured::variable_scale(&entries),
        Form::Structured(calendar) => structured::from_fields(&entries, *calendar),
        _ => Ok(Value::Map(entries)),
    }
}
