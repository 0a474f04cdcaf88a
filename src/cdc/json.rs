//! A cursor over JSON text: one pass, nothing copied, nothing recursive.
//!
//! CDC needs from JSON what general parsers do not give together: numbers with all their digits, text as slices of the
//! message, refusal of doubled names, and nesting that is bounded before it costs stack. (Lazy parsers that skip
//! strictly do so recursively: 100,000 brackets overflow the stack.)
//!
//! Invariants: the text is valid UTF-8 (checked once, by whoever makes the cursor); a method that fails leaves a
//! [`Fault`] with the byte where it stood; nesting beyond [`MAX_DEPTH`] is refused.
//! Deliberately absent: a tree, comments, any repair.

use std::borrow::Cow;

use super::Fault;

/// The deepest nesting that is read.
pub const MAX_DEPTH: u32 = 120;

/// A place in JSON text. Copying one is free: a copy reads the same part again.
#[derive(Debug, Clone, Copy)]
pub struct Cursor<'a> {
    text: &'a str,
    at: usize,
    /// How many bytes of the message stand before `text`.
    before: u32,
    lenient: bool,
}

/// A string as it stands between its quotes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Text<'a> {
    /// The bytes between the quotes, escapes unresolved.
    pub raw: &'a str,
    /// Whether there are escapes.
    pub escaped: bool,
}

impl<'a> Text<'a> {
    /// A text that is what it says: no escapes.
    pub fn plain(raw: &'a str) -> Self {
        Text { raw, escaped: false }
    }

    /// The text itself; borrowed unless it has escapes.
    pub fn resolve(self) -> Result<Cow<'a, str>, Fault> {
        if !self.escaped {
            return Ok(Cow::Borrowed(self.raw));
        }
        match unescape(self.raw) {
            Some(text) => Ok(Cow::Owned(text)),
            None => Err(Fault::new("json.syntax", "a string has an escape that is not valid JSON (a lone surrogate?)")),
        }
    }
}

/// A number as it is written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Number<'a> {
    /// All its characters.
    pub text: &'a str,
    /// Whether it has neither fraction nor exponent.
    pub integral: bool,
}

/// What the next value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// `null`
    Null,
    /// `true` or `false`
    Bool,
    /// a number
    Number,
    /// a string
    Text,
    /// `[`
    List,
    /// `{`
    Object,
}

impl Next {
    /// Its name for error texts.
    pub fn name(self) -> &'static str {
        match self {
            Next::Null => "null",
            Next::Bool => "a boolean",
            Next::Number => "a number",
            Next::Text => "a string",
            Next::List => "a list",
            Next::Object => "an object",
        }
    }
}

impl<'a> Cursor<'a> {
    /// Starts at the beginning of `text`.
    pub fn new(text: &'a str) -> Self {
        Cursor { text, at: 0, before: 0, lenient: false }
    }

    /// Starts at byte `at`, which must be where a character begins, of a text with `before` bytes of the message before it.
    pub fn starting(text: &'a str, at: usize, before: usize) -> Self {
        Cursor { text, at, before: u32::try_from(before).unwrap_or(u32::MAX), lenient: false }
    }

    /// The same place, where bare `NaN`, `Infinity` and `-Infinity` are numbers: MongoDB's extended JSON has them.
    #[must_use]
    pub fn lenient(self) -> Self {
        Cursor { lenient: true, ..self }
    }

    /// Bytes read so far.
    pub fn offset(&self) -> usize {
        self.at
    }

    /// What is left from the next value on.
    pub fn rest(&mut self) -> &'a str {
        self.peek();
        self.text.get(self.at..).unwrap_or_default()
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        loop {
            match self.byte() {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                other => return other,
            }
        }
    }

    fn eat(&mut self, expected: u8) -> bool {
        let found = self.peek() == Some(expected);
        self.at += usize::from(found);
        found
    }

    /// A fault at this place.
    #[cold]
    pub fn fault(&self, expected: &str) -> Fault {
        if self.at >= self.text.len() {
            return Fault::new("json.syntax", format!("the JSON ends early: expected {expected}"));
        }
        let at = self.at.saturating_add(self.before as usize);
        Fault::new("json.syntax", format!("not valid JSON at byte {at}: expected {expected}"))
    }

    /// What the next value is.
    pub fn next(&mut self) -> Result<Next, Fault> {
        match self.peek() {
            Some(b'"') => Ok(Next::Text),
            Some(b'-' | b'0'..=b'9') => Ok(Next::Number),
            Some(b'n') => Ok(Next::Null),
            Some(b't' | b'f') => Ok(Next::Bool),
            Some(b'{') => Ok(Next::Object),
            Some(b'[') => Ok(Next::List),
            Some(b'N' | b'I') if self.lenient => Ok(Next::Number),
            _ => Err(self.fault("a value")),
        }
    }

    fn literal(&mut self, word: &str) -> Result<(), Fault> {
        match self.text.as_bytes().get(self.at..self.at + word.len()) {
            Some(found) if found == word.as_bytes() => {
                self.at += word.len();
                Ok(())
            }
            _ => Err(self.fault(word)),
        }
    }

    /// Takes a `null`, if there is one.
    pub fn null(&mut self) -> Result<bool, Fault> {
        if self.peek() != Some(b'n') {
            return Ok(false);
        }
        self.literal("null").map(|()| true)
    }

    /// Takes `true` or `false`.
    pub fn bool(&mut self) -> Result<bool, Fault> {
        if self.peek() == Some(b't') {
            return self.literal("true").map(|()| true);
        }
        self.literal("false").map(|()| false)
    }

    /// Takes a string.
    pub fn string(&mut self) -> Result<Text<'a>, Fault> {
        if !self.eat(b'"') {
            return Err(self.fault("a string"));
        }
        let bytes = self.text.as_bytes();
        let start = self.at;
        let mut escaped = false;
        loop {
            self.at = special_byte(bytes, self.at);
            match self.byte() {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.at += 1;
                    if !matches!(self.byte(), Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' | b'u')) {
                        return Err(self.fault("an escape"));
                    }
                    self.at += 1;
                }
                _ => return Err(self.fault("the end of a string")),
            }
        }
        let raw = self.text.get(start..self.at).unwrap_or_default();
        self.at += 1;
        Ok(Text { raw, escaped })
    }

    /// Takes a number.
    pub fn number(&mut self) -> Result<Number<'a>, Fault> {
        self.peek();
        let start = self.at;
        if self.lenient
            && let Some(special) = self.special_number()
        {
            return Ok(special);
        }
        self.at += usize::from(self.byte() == Some(b'-'));
        match self.byte() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return Err(self.fault("a digit")),
        }
        let mut integral = true;
        if self.byte() == Some(b'.') {
            integral = false;
            self.at += 1;
            self.some_digits()?;
        }
        if let Some(b'e' | b'E') = self.byte() {
            integral = false;
            self.at += 1;
            self.at += usize::from(matches!(self.byte(), Some(b'+' | b'-')));
            self.some_digits()?;
        }
        Ok(Number { text: self.text.get(start..self.at).unwrap_or_default(), integral })
    }

    fn special_number(&mut self) -> Option<Number<'a>> {
        let rest = self.text.get(self.at..)?;
        let special = ["NaN", "Infinity", "-Infinity"].into_iter().find(|special| rest.starts_with(special))?;
        self.at += special.len();
        Some(Number { text: rest.get(..special.len())?, integral: false })
    }

    fn digits(&mut self) {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        self.at += rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
    }

    fn some_digits(&mut self) -> Result<(), Fault> {
        let start = self.at;
        self.digits();
        if self.at == start { Err(self.fault("a digit")) } else { Ok(()) }
    }

    /// Enters an object; `false` when it is empty (and then already left).
    pub fn open_object(&mut self) -> Result<bool, Fault> {
        if !self.eat(b'{') {
            return Err(self.fault("an object"));
        }
        Ok(!self.eat(b'}'))
    }

    /// Enters a list; `false` when it is empty (and then already left).
    pub fn open_list(&mut self) -> Result<bool, Fault> {
        if !self.eat(b'[') {
            return Err(self.fault("a list"));
        }
        Ok(!self.eat(b']'))
    }

    /// Takes a field's name and the colon.
    pub fn key(&mut self) -> Result<Text<'a>, Fault> {
        let key = self.string()?;
        if self.eat(b':') { Ok(key) } else { Err(self.fault("a colon")) }
    }

    /// Takes the field's name and the colon if the name is exactly `name`; else leaves everything as it is.
    pub fn try_key(&mut self, name: &str) -> bool {
        // As all writers of events have it: no white space.
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let behind_name = rest.strip_prefix(b"\"").and_then(|rest| rest.strip_prefix(name.as_bytes()));
        if let Some(behind) = behind_name.and_then(|rest| rest.strip_prefix(b"\":")) {
            self.at = self.text.len() - behind.len();
            return true;
        }
        let mut probe = *self;
        if !probe.eat(b'"') {
            return false;
        }
        let end = probe.at + name.len();
        let bytes = self.text.as_bytes();
        if bytes.get(probe.at..end) != Some(name.as_bytes()) || bytes.get(end) != Some(&b'"') {
            return false;
        }
        probe.at = end + 1;
        let found = probe.eat(b':');
        if found {
            *self = probe;
        }
        found
    }

    /// After a field: `true` when another one follows, `false` when the object ends here.
    pub fn more_fields(&mut self) -> Result<bool, Fault> {
        self.more(b'}', "a comma or the end of the object")
    }

    /// After an item: `true` when another one follows, `false` when the list ends here.
    pub fn more_items(&mut self) -> Result<bool, Fault> {
        self.more(b']', "a comma or the end of the list")
    }

    fn more(&mut self, end: u8, expected: &str) -> Result<bool, Fault> {
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            Some(b) if b == end => {
                self.at += 1;
                Ok(false)
            }
            _ => Err(self.fault(expected)),
        }
    }

    /// Makes sure that nothing but white space follows.
    pub fn end(&mut self) -> Result<(), Fault> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.fault("the end of the message (there is more than one JSON value)")),
        }
    }

    /// Takes any value and returns its text.
    pub fn skip(&mut self) -> Result<&'a str, Fault> {
        self.peek();
        let start = self.at;
        // One bit a level: set inside an object, clear inside a list.
        let (mut levels, mut depth) = (0u128, 0u32);
        loop {
            let entered = match self.next()? {
                Next::Object => self.open_object()?.then_some(1),
                Next::List => self.open_list()?.then_some(0),
                Next::Text => self.string().map(|_| None)?,
                Next::Number => self.number().map(|_| None)?,
                Next::Null => self.null().map(|_| None)?,
                Next::Bool => self.bool().map(|_| None)?,
            };
            if let Some(object) = entered {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(too_deep());
                }
                levels = levels << 1 | object;
            }
            let mut more = entered.is_some();
            while !more && depth > 0 {
                more = if levels & 1 == 1 { self.more_fields()? } else { self.more_items()? };
                if !more {
                    depth -= 1;
                    levels >>= 1;
                }
            }
            if depth == 0 {
                return Ok(self.text.get(start..self.at).unwrap_or_default());
            }
            if levels & 1 == 1 {
                self.key()?;
            }
        }
    }
}

/// Resolves escapes; `None` for those that JSON does not have and for halves of surrogate pairs.
fn unescape(raw: &str) -> Option<String> {
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((plain, escape)) = rest.split_once('\\') {
        text.push_str(plain);
        let mut chars = escape.chars();
        let resolved = match chars.next()? {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'u' => {
                let (resolved, length) = unicode(chars.as_str())?;
                chars = chars.as_str().get(length..)?.chars();
                resolved
            }
            plain @ ('"' | '\\' | '/') => plain,
            _ => return None,
        };
        text.push(resolved);
        rest = chars.as_str();
    }
    text.push_str(rest);
    Some(text)
}

/// The character of `XXXX`, or of `XXXX\uXXXX` where the first is half of a surrogate pair; and how many bytes it took.
fn unicode(digits: &str) -> Option<(char, usize)> {
    let hex = |at: usize| {
        let digits = digits.get(at..at + 4).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))?;
        u32::from_str_radix(digits, 16).ok()
    };
    let first = hex(0)?;
    if let Some(single) = char::from_u32(first) {
        return Some((single, 4));
    }
    let second = hex(6).filter(|_| digits.get(4..6) == Some("\\u"))?;
    let pair = (0xd800..0xdc00).contains(&first) && (0xdc00..0xe000).contains(&second);
    let combined = || char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00));
    pair.then(combined).flatten().map(|c| (c, 10))
}

/// The fault for nesting beyond [`MAX_DEPTH`].
#[cold]
pub fn too_deep() -> Fault {
    Fault::new("json.depth", format!("nested deeper than {MAX_DEPTH} levels"))
}

/// Index of the next quote, backslash or control character at or after `at`; the length when there is none.
///
/// Eight bytes at a time (“Determine if a word has a byte less than n / equal to n”, S. E. Anderson, Bit Twiddling
/// Hacks): a byte's high bit is set in the sum of tests when it is one of them; false hits lie above true ones only.
fn special_byte(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let below_space = |word: u64| word.wrapping_sub(ONES * 0x20) & !word;
    let zero = |word: u64| word.wrapping_sub(ONES) & !word;
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*chunk);
        let quote = zero(word ^ (ONES * u64::from(b'"')));
        let backslash = zero(word ^ (ONES * u64::from(b'\\')));
        let hits = (below_space(word) | quote | backslash) & HIGHS;
        if hits != 0 {
            return at + (hits.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().position(|b| matches!(b, b'"' | b'\\' | 0..0x20)).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn valid(text: &str) -> bool {
        let mut cursor = Cursor::new(text);
        cursor.skip().is_ok() && cursor.end().is_ok()
    }

    #[test]
    fn what_serde_json_reads_is_read_and_nothing_else() {
        for text in [
            "{}",
            "[]",
            "{\"a\":[1,{\"b\":null}],\"c\":-0.5e+3}",
            " [ 1 , \"x\\n\\u00e4\" , true ] ",
            "\"ä€𝄞\"",
            "0",
            "-0",
            "",
            "{",
            "[1,]",
            "{\"a\"}",
            "{\"a\":1,}",
            "01",
            "1.",
            ".5",
            "1e",
            "+1",
            "NaN",
            "Infinity",
            "nul",
            "tru",
            "\"\n\"",
            "\"\\x\"",
            "\"abc",
            "[1 2]",
            "{\"a\" 1}",
            "1 2",
            "{}}",
            "[[[]]",
            "'a'",
            "{a:1}",
            "[1]x",
            "\u{feff}{}",
        ] {
            assert_eq!(valid(text), serde_json::from_str::<serde_json::Value>(text).is_ok(), "{text:?}");
        }
    }

    #[test]
    fn every_special_byte_is_found_at_every_place() {
        for special in [b'"', b'\\', 0, 0x1f] {
            for place in 0..20 {
                let mut bytes = vec![0xe4u8; 24];
                bytes[place] = special;
                bytes[21] = b'"';
                assert_eq!(special_byte(&bytes, 0), place);
            }
        }
        assert_eq!(special_byte(b"no special \x20\x7f\x80\xff here", 0), 20);
    }

    #[test]
    fn depth_is_bounded() {
        assert!(valid(&("[".repeat(120) + &"]".repeat(120))));
        let deep = "[".repeat(100_000);
        assert_eq!(Cursor::new(&deep).skip().unwrap_err().code, "json.depth");
    }

    #[test]
    fn keys_are_tried_without_being_lost() {
        let mut cursor = Cursor::new("{ \"id\" : 7, \"idx\": 8}");
        assert!(cursor.open_object().unwrap());
        assert!(!cursor.try_key("i"));
        assert!(!cursor.try_key("idx"));
        assert!(cursor.try_key("id"));
        assert_eq!(cursor.number().unwrap().text, "7");
        assert!(cursor.more_fields().unwrap());
        assert!(cursor.key().unwrap().raw == "idx");
    }

    #[test]
    fn escapes_resolve_and_lone_surrogates_do_not() {
        let text = |json| Cursor::new(json).string().unwrap().resolve();
        assert_eq!(text("\"a\\u00e4\\n\"").unwrap(), "aä\n");
        assert_eq!(text("\"\\ud83d\\ude00\\/\\b\\f\\r\\t\\\\\"").unwrap(), "😀/\u{8}\u{c}\r\t\\");
        for wrong in ["\"\\ud83d\"", "\"\\ud83d\\u0041\"", "\"\\ude00\"", "\"\\u12\"", "\"\\u+123\""] {
            assert_eq!(text(wrong).unwrap_err().code, "json.syntax", "{wrong}");
        }
    }
}
