//! `${VAR}`, `${VAR:-default}`, `${VAR:?text}` and `${file:/path}` in the scalars of a parsed file; `$${` is a plain `${`.
//!
//! Resolved after parsing, so that a value can never change the structure of the file. All missing ones become problems
//! at once. Invariant: what came from outside is remembered in [`Secrets`], and no problem text leaves this room with it.
//! Deliberately absent: variables within defaults, variables in keys.

use std::path::Path;

use super::{Node, NodeKind, Problem};

/// The largest file that `${file:…}` reads.
const MAX_SECRET_BYTES: u64 = 64 << 10;
/// Shorter values are not hidden in problem texts: they are no secrets, and hiding them would garble numbers.
const MIN_HIDDEN_BYTES: usize = 4;

/// Where variables come from.
pub trait Variables {
    /// The value of the variable called `name`.
    fn get(&self, name: &str) -> Option<String>;
}

impl<F: Fn(&str) -> Option<String>> Variables for F {
    fn get(&self, name: &str) -> Option<String> {
        self(name)
    }
}

/// The variables of this process.
pub struct ProcessVariables;

impl Variables for ProcessVariables {
    fn get(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}

/// Values that came from outside the file.
#[derive(Default, Clone)]
pub struct Secrets {
    values: Vec<(String, String)>,
}

impl Secrets {
    /// `text` with every secret value replaced by the reference that it came from.
    pub fn hide(&self, text: &str) -> String {
        self.values.iter().fold(text.to_string(), |text, (value, reference)| text.replace(value, reference))
    }

    fn add(&mut self, value: &str, reference: &str) {
        // Also the lines of a value of several lines, and its form inside a quoted text.
        let escaped = value.escape_debug().to_string();
        for part in std::iter::once(value).chain([escaped.as_str()]).chain(value.lines()) {
            if part.len() >= MIN_HIDDEN_BYTES && !self.values.iter().any(|(v, _)| v == part) {
                self.values.push((part.to_string(), reference.to_string()));
            }
        }
        // Longer values first: one secret may contain another.
        self.values.sort_by_key(|(value, _)| std::cmp::Reverse(value.len()));
    }
}

/// Resolves every variable under `node`.
pub fn resolve(node: &mut Node, variables: &dyn Variables, secrets: &mut Secrets, problems: &mut Vec<Problem>) {
    let place = node.spanned(());
    match &mut node.kind {
        NodeKind::List(items) => items.iter_mut().for_each(|item| resolve(item, variables, secrets, problems)),
        NodeKind::Map(entries) => {
            entries.iter_mut().for_each(|(_, value)| resolve(value, variables, secrets, problems));
        }
        NodeKind::Scalar { text, secret, .. } if text.contains("${") => {
            let mut resolved = String::with_capacity(text.len());
            for piece in Pieces(text) {
                match piece {
                    Piece::Text(text) => resolved.push_str(text),
                    Piece::Unclosed => {
                        let problem = place.problem("variable.syntax", "`${` without `}`");
                        problems.push(problem.help("write `$${` for a plain `${`"));
                    }
                    Piece::Reference(reference) => {
                        *secret = true;
                        match look_up(reference, variables) {
                            Ok(Found::Inside(value)) => resolved.push_str(&value),
                            Ok(Found::Outside(value)) => {
                                secrets.add(&value, &format!("${{{}}}", name_of(reference)));
                                resolved.push_str(&value);
                            }
                            Err((code, message, help)) => {
                                // Something must stand here, or readers would find the key missing as well.
                                resolved.push_str(reference);
                                problems.push(place.problem(code, message).help(help));
                            }
                        }
                    }
                }
            }
            // Places within the text are no longer those of the file.
            node.span.literal = false;
            *text = resolved;
        }
        NodeKind::Scalar { .. } => {}
    }
}

enum Piece<'t> {
    Text(&'t str),
    Reference(&'t str),
    Unclosed,
}

/// Cuts a scalar into plain text and references.
struct Pieces<'t>(&'t str);

impl<'t> Iterator for Pieces<'t> {
    type Item = Piece<'t>;

    fn next(&mut self) -> Option<Piece<'t>> {
        if self.0.is_empty() {
            return None;
        }
        let Some((before, after)) = self.0.split_once("${") else {
            return Some(Piece::Text(std::mem::take(&mut self.0)));
        };
        if let Some(plain) = before.strip_suffix('$') {
            // `$${`: the text up to here, then `${` without its meaning.
            if plain.is_empty() {
                self.0 = after;
                return Some(Piece::Text("${"));
            }
            self.0 = self.0.get(plain.len()..).unwrap_or_default();
            return Some(Piece::Text(plain));
        }
        if !before.is_empty() {
            self.0 = self.0.get(before.len()..).unwrap_or_default();
            return Some(Piece::Text(before));
        }
        match after.split_once('}') {
            Some((reference, rest)) => {
                self.0 = rest;
                Some(Piece::Reference(reference))
            }
            None => {
                self.0 = "";
                Some(Piece::Unclosed)
            }
        }
    }
}

enum Found {
    /// The default, which stands in the file itself.
    Inside(String),
    /// A value of the environment or a file.
    Outside(String),
}

/// Code, message and help.
type Trouble = (&'static str, String, String);

fn look_up(reference: &str, variables: &dyn Variables) -> Result<Found, Trouble> {
    if let Some(path) = reference.strip_prefix("file:") {
        return read_file(Path::new(path)).map(Found::Outside);
    }
    let name = name_of(reference);
    let rest = reference.get(name.len()..).unwrap_or_default();
    let valid = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if reference.contains("${") {
        let message = "a default cannot hold another variable".to_string();
        return Err(("variable.syntax", message, "write `$${` for a plain `${`".to_string()));
    }
    if !valid || !(rest.is_empty() || rest.starts_with(":-") || rest.starts_with(":?")) {
        let message = "expected ${VAR}, ${VAR:-default}, ${VAR:?text} or ${file:/path}".to_string();
        return Err(("variable.syntax", message, "write `$${` for a plain `${`".to_string()));
    }
    // As in a shell, the forms with a colon take an empty value for a missing one.
    let value = variables.get(name).filter(|value| rest.is_empty() || !value.is_empty());
    match (value, rest.split_at_checked(2)) {
        (Some(value), _) => Ok(Found::Outside(value)),
        (None, Some((":-", default))) => Ok(Found::Inside(default.to_string())),
        (None, Some((_, text))) => Err(missing(name, text.trim().to_string())),
        (None, None) => Err(missing(name, format!("set it, or give a default: ${{{name}:-…}}"))),
    }
}

fn missing(name: &str, help: String) -> Trouble {
    ("variable.missing", format!("the variable `{name}` is not set"), help)
}

fn name_of(reference: &str) -> &str {
    if reference.starts_with("file:") {
        return reference;
    }
    let end = reference.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(reference.len());
    reference.get(..end).unwrap_or(reference)
}

/// The file's text without the line break that editors put at its end.
fn read_file(path: &Path) -> Result<String, Trouble> {
    let trouble = |what: &str| {
        let message = format!("the file {} {what}", path.display());
        ("variable.file", message, "give a readable text file of at most 64 KB".to_string())
    };
    // Asked first: opening a named pipe would wait for its writer.
    let meta = std::fs::metadata(path).map_err(|e| trouble(&format!("cannot be read: {}", e.kind())))?;
    if !meta.is_file() {
        return Err(trouble("is not a regular file"));
    }
    if meta.len() > MAX_SECRET_BYTES {
        return Err(trouble("is larger than 64 KB"));
    }
    let text = std::fs::read_to_string(path).map_err(|e| trouble(&format!("cannot be read: {}", e.kind())))?;
    Ok(text.strip_suffix('\n').map(|t| t.strip_suffix('\r').unwrap_or(t)).unwrap_or(&text).to_string())
}
