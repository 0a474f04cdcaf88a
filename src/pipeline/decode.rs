//! Bytes to the text of a pipeline file: UTF-8 within the size limit, without byte order mark or control characters.
//!
//! Control characters are refused here because YAML forbids them and a NUL would end the parse without a word.

use super::{Problem, Span, Spanned};

/// The largest pipeline file.
pub const MAX_FILE_BYTES: usize = 1 << 20;

/// The text of a pipeline file: UTF-8 within the size limit, without a byte order mark.
pub fn decode(bytes: &[u8]) -> Result<&str, Problem> {
    let start = Spanned { value: (), span: Span { line: 1, column: 1, ..Span::default() }, path: "/".to_string() };
    if bytes.len() > MAX_FILE_BYTES {
        return Err(start.problem("yaml.too_large", "the file is larger than 1 MB"));
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(start.problem("yaml.encoding", "the file is UTF-16").help("save it as UTF-8"));
    }
    let text = std::str::from_utf8(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)).map_err(|e| {
        let line = 1 + bytes.iter().take(e.valid_up_to()).filter(|b| **b == b'\n').count();
        let message = format!("line {line} is not UTF-8 (byte {} of the file)", e.valid_up_to());
        start.problem("yaml.encoding", message).help("save the file as UTF-8")
    })?;
    match text.find(|c: char| (c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}')) || c == '\u{feff}') {
        None => Ok(text),
        Some(at) => {
            let line = 1 + text.bytes().take(at).filter(|b| *b == b'\n').count();
            Err(start.problem("yaml.control", format!("line {line} has a control character (byte {at} of the file)")))
        }
    }
}
