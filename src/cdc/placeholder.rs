//! The text that Debezium puts where the source did not send a value (PostgreSQL's unchanged TOAST, Oracle's LOB), in
//! all the disguises that a column's type forces on it. It means: keep what is stored.
//!
//! Text, JSON, XML and enums carry the text itself; `bytea` its base64 or hexadecimal digits; arrays of text a list of
//! it; arrays of numbers or dates its character codes; `hstore` a map from it to itself; `uuid[]` a list with its
//! name-based UUID. Builds before 1.0 wrote the Java object's address instead.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};

use super::json::Text;
use crate::record::Value;

/// Debezium's default.
const DEFAULT_TEXT: &str = "__debezium_unavailable_value";

/// The placeholder (`unavailable.value.placeholder` of the connector) and its disguises.
#[derive(Debug, Clone, PartialEq)]
pub struct Unavailable {
    text: String,
    base64: String,
    hex: String,
    uuid: String,
    codes: String,
    /// The shortest and the longest of them: most strings are neither.
    lengths: (usize, usize),
    /// Whether JSON has to escape it.
    escaped: bool,
}

impl Default for Unavailable {
    fn default() -> Self {
        Unavailable::new(DEFAULT_TEXT)
    }
}

impl Unavailable {
    /// A placeholder as the connector is told it: text, or `hex:` and bytes.
    pub fn new(setting: &str) -> Self {
        let bytes = setting.strip_prefix("hex:").and_then(from_hex).unwrap_or_else(|| setting.as_bytes().to_vec());
        let codes: Vec<_> = bytes.iter().map(u8::to_string).collect();
        let (base64, hex, uuid) = (STANDARD.encode(&bytes), to_hex(&bytes), name_uuid(&bytes));
        let text = String::from_utf8(bytes).unwrap_or_default();
        let lengths = [text.len(), base64.len(), hex.len(), uuid.len(), JAVA_OBJECT.len() + 1, JAVA_OBJECT.len() + 8];
        let lengths = lengths.into_iter().fold((usize::MAX, 0), |(min, max), n| (min.min(n), max.max(n)));
        let escaped = text.contains(['"', '\\']) || text.contains(char::is_control);
        Unavailable { text, base64, hex, uuid, codes: format!("[{}]", codes.join(",")), lengths, escaped }
    }

    /// Whether a string is the placeholder, as text, base64, hexadecimal digits or name-based UUID.
    pub fn is_text(&self, raw: &str) -> bool {
        if raw.len() < self.lengths.0 || raw.len() > self.lengths.1 || raw.is_empty() {
            return false;
        }
        raw == self.text || raw == self.base64 || raw == self.hex || raw == self.uuid || is_java_object(raw)
    }

    /// The same of a string as it stands in JSON.
    pub fn is_json(&self, string: Text<'_>) -> bool {
        self.is_text(string.raw) || (self.escaped && string.resolve().is_ok_and(|text| self.is_text(&text)))
    }

    /// Whether the text of a JSON list is the placeholder's character codes.
    pub fn is_codes(&self, list: &str) -> bool {
        let mut codes = self.codes.bytes();
        list.bytes().filter(|b| !b.is_ascii_whitespace()).all(|b| codes.next() == Some(b)) && codes.next().is_none()
    }

    /// Whether the items of a list, already decoded, are one of its disguises.
    pub fn is_list(&self, items: &[Value]) -> bool {
        match items {
            [Value::Text(text)] => self.is_text(text),
            [Value::Bytes(bytes)] => **bytes == *self.text.as_bytes() && !bytes.is_empty(),
            _ => {
                let code = |item: &Value| match item {
                    Value::Int(code) => Some(*code),
                    Value::Date(date) => Some(i64::from(date.days)),
                    _ => None,
                };
                !items.is_empty() && items.iter().map(code).eq(self.text.bytes().map(|b| Some(i64::from(b))))
            }
        }
    }

    /// Whether a JSON list may be the placeholder's codes: it begins like them. Cheap.
    pub fn may_be_codes(&self, list: &str) -> bool {
        list.as_bytes().get(..3) == self.codes.as_bytes().get(..3)
    }
}

const JAVA_OBJECT: &str = "java.lang.Object@";

/// `java.lang.Object@2c5e36a7`
fn is_java_object(raw: &str) -> bool {
    let hex = |h: &str| (1..=8).contains(&h.len()) && h.bytes().all(|b| b.is_ascii_hexdigit());
    raw.strip_prefix(JAVA_OBJECT).is_some_and(hex)
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// RFC 4122's UUID of version 3 without a namespace, as Java's `UUID.nameUUIDFromBytes` makes it.
fn name_uuid(bytes: &[u8]) -> String {
    let mut uuid = u128::from_be_bytes(Md5::digest(bytes).into());
    uuid = uuid & !(0xf << 76) | 0x3 << 76;
    uuid = uuid & !(0x3 << 62) | 0x2 << 62;
    let hex = format!("{uuid:032x}");
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

/// Bytes of hexadecimal digits.
pub fn from_hex(hex: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = hex.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect();
    let digits = digits.filter(|d| d.len().is_multiple_of(2))?;
    Some(digits.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_disguise_is_seen() {
        let unavailable = Unavailable::default();
        for raw in [
            "__debezium_unavailable_value",
            "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==",
            "b68a35a7-17ad-35b3-af2a-ae46edb4545a",
            "5f5f646562657a69756d5f756e617661696c61626c655f76616c7565",
            "java.lang.Object@2c5e36a7",
        ] {
            assert!(unavailable.is_text(raw), "{raw}");
        }
        let codes =
            "[95, 95,100,101,98,101,122,105,117,109,95,117,110,97,118,97,105,108,97,98,108,101,95,118,97,108,117,101]";
        assert!(unavailable.may_be_codes(codes) && unavailable.is_codes(codes));
        assert!(!unavailable.is_codes("[95,95,100]"));
        assert!(!unavailable.is_text("__debezium_unavailable_values"));
        assert!(!unavailable.is_text(""));
        assert!(Unavailable::new("hex:6e2f61").is_text("n/a"));
        assert!(Unavailable::new("n/a").is_text("bi9h") && Unavailable::new("n/a").is_text("6e2f61"));
        assert!(!Unavailable::new("n/a").is_text("__debezium_unavailable_value"));
    }
}
