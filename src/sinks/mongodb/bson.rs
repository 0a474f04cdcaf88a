//! BSON written straight into a command's bytes (bsonspec.org, version 1.1): no tree of values in between.
//!
//! Invariant: whoever opens a document closes it; names hold no NUL byte ([`is_name`]).
//! Deliberately absent: reading; the few replies that are read go through the `bson` crate.

/// Whether `name` can be a field name at all.
pub(super) fn is_name(name: &str) -> bool {
    !name.as_bytes().contains(&0)
}

/// Element types that are written.
pub(super) mod kind {
    pub const DOUBLE: u8 = 0x01;
    pub const TEXT: u8 = 0x02;
    pub const DOCUMENT: u8 = 0x03;
    pub const ARRAY: u8 = 0x04;
    pub const BINARY: u8 = 0x05;
    pub const BOOL: u8 = 0x08;
    pub const DATE: u8 = 0x09;
    pub const NULL: u8 = 0x0a;
    pub const INT32: u8 = 0x10;
    pub const INT64: u8 = 0x12;
    pub const DECIMAL128: u8 = 0x13;
}

/// A place where a length is still missing.
#[derive(Clone, Copy)]
#[must_use]
pub(super) struct Open(usize);

/// Appends BSON to bytes.
#[derive(Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Makes room for `bytes` more.
    pub fn reserve(&mut self, bytes: usize) {
        self.bytes.reserve(bytes);
    }

    /// Forgets everything after `len`.
    pub fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
    }

    /// Bytes that are BSON already.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// An element's type and name; its value must follow.
    pub fn name(&mut self, kind: u8, name: &str) {
        self.bytes.push(kind);
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
    }

    /// An element of an array: type and index; its value must follow.
    pub fn index(&mut self, kind: u8, index: usize) {
        self.bytes.push(kind);
        self.digits(index as u64, 1);
        self.bytes.push(0);
    }

    /// An element from its type and value in one slice, as keys are kept.
    pub fn element(&mut self, name: &str, typed: &[u8]) {
        if let Some((kind, value)) = typed.split_first() {
            self.name(*kind, name);
            self.bytes.extend_from_slice(value);
        }
    }

    /// Starts a document's or array's value.
    pub fn open(&mut self) -> Open {
        let at = Open(self.bytes.len());
        self.bytes.extend_from_slice(&[0; 4]);
        at
    }

    /// Ends a document's or array's value.
    pub fn close(&mut self, open: Open) {
        self.bytes.push(0);
        self.fill(open.0, self.bytes.len() - open.0);
    }

    pub fn open_document(&mut self, name: &str) -> Open {
        self.name(kind::DOCUMENT, name);
        self.open()
    }

    pub fn open_array(&mut self, name: &str) -> Open {
        self.name(kind::ARRAY, name);
        self.open()
    }

    pub fn int32(&mut self, name: &str, n: i32) {
        self.name(kind::INT32, name);
        self.bytes.extend_from_slice(&n.to_le_bytes());
    }

    pub fn int64(&mut self, name: &str, n: i64) {
        self.name(kind::INT64, name);
        self.bytes.extend_from_slice(&n.to_le_bytes());
    }

    pub fn bool(&mut self, name: &str, flag: bool) {
        self.name(kind::BOOL, name);
        self.bytes.push(u8::from(flag));
    }

    pub fn text(&mut self, name: &str, text: &str) {
        self.name(kind::TEXT, name);
        self.text_value(text);
    }

    /// A text element's value.
    pub fn text_value(&mut self, text: &str) {
        self.bytes.extend_from_slice(&(text.len() as u32 + 1).to_le_bytes());
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(0);
    }

    /// A text element's value, written piece by piece.
    pub fn text_value_by(&mut self, write: impl FnOnce(&mut Self)) {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        write(self);
        self.bytes.push(0);
        self.fill(at, self.bytes.len() - at - 4);
    }

    /// A binary element's value, generic subtype.
    pub fn binary_value(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        self.bytes.push(0);
        self.bytes.extend_from_slice(bytes);
    }

    /// `n` in decimal, at least `width` digits.
    pub fn digits(&mut self, mut n: u64, width: usize) {
        let mut digits = [b'0'; 20];
        let mut used = 0;
        for digit in digits.iter_mut().rev() {
            if n == 0 && used >= width {
                break;
            }
            *digit = b'0' + (n % 10) as u8;
            n /= 10;
            used += 1;
        }
        self.bytes.extend_from_slice(digits.get(20 - used..).unwrap_or_default());
    }

    fn fill(&mut self, at: usize, len: usize) {
        if let Some(place) = self.bytes.get_mut(at..at + 4) {
            place.copy_from_slice(&(len as u32).to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_what_the_bson_crate_reads() {
        let mut w = Writer::default();
        let doc = w.open();
        w.int32("a", -1);
        w.int64("b", i64::MIN);
        w.bool("c", true);
        w.text("d", "ü");
        let list = w.open_array("e");
        for i in 0..12 {
            w.index(kind::NULL, i);
        }
        w.close(list);
        w.name(kind::BINARY, "f");
        w.binary_value(&[1, 2]);
        w.name(kind::TEXT, "g");
        w.text_value_by(|w| w.digits(7, 3));
        w.close(doc);
        let read = bson::Document::try_from(bson::RawDocumentBuf::from_bytes(w.into_bytes()).unwrap()).unwrap();
        let nulls = vec![bson::Bson::Null; 12];
        let binary = bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: vec![1, 2] };
        let expected = bson::doc! { "a": -1, "b": i64::MIN, "c": true, "d": "ü", "e": nulls, "f": binary, "g": "007" };
        assert_eq!(read, expected);
    }

    #[test]
    fn digits_are_padded_and_complete() {
        let text = |n, width| {
            let mut w = Writer::default();
            w.digits(n, width);
            String::from_utf8(w.into_bytes()).unwrap()
        };
        assert_eq!(text(0, 1), "0");
        assert_eq!(text(42, 6), "000042");
        assert_eq!(text(u64::MAX, 1), u64::MAX.to_string());
    }
}
