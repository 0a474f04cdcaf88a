//! JSON as a tree whose numbers are their texts, for comparing exactly; read with a parser that is not the product's.

use std::ops::Index;

use sonic_rs::{JsonType, JsonValueTrait, LazyValue};

/// A JSON value. `Absent` is what indexing yields when there is nothing.
#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    Absent,
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

static ABSENT: Json = Json::Absent;

impl Json {
    pub fn parse(text: &str) -> Json {
        Json::try_parse(text).unwrap_or_else(|| panic!("not JSON: {}", text.get(..80).unwrap_or(text)))
    }

    pub fn try_parse(text: &str) -> Option<Json> {
        sonic_rs::from_str::<LazyValue<'_>>(text).ok().map(|value| Json::of(&value))
    }

    fn of(value: &LazyValue<'_>) -> Json {
        match value.get_type() {
            JsonType::Null => Json::Null,
            JsonType::Boolean => Json::Bool(value.as_bool().unwrap()),
            JsonType::Number => Json::Number(value.as_raw_str().to_string()),
            JsonType::String => Json::Text(value.as_str().unwrap().to_string()),
            JsonType::Array => {
                Json::List(value.clone().into_array_iter().unwrap().map(|v| Json::of(&v.unwrap())).collect())
            }
            JsonType::Object => {
                let field = |entry: sonic_rs::Result<_>| {
                    let (name, value): (std::borrow::Cow<'_, str>, LazyValue<'_>) = entry.unwrap();
                    (name.into_owned(), Json::of(&value))
                };
                Json::Object(value.clone().into_object_iter().unwrap().map(field).collect())
            }
        }
    }

    pub fn is_absent(&self) -> bool {
        *self == Json::Absent
    }

    pub fn is_null(&self) -> bool {
        matches!(self, Json::Null | Json::Absent)
    }

    pub fn is_true(&self) -> bool {
        *self == Json::Bool(true)
    }

    pub fn is_text(&self, text: &str) -> bool {
        self.as_text() == Some(text)
    }

    pub fn as_text(&self) -> Option<&str> {
        match self {
            Json::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn text(&self) -> &str {
        self.as_text().unwrap_or_default()
    }

    /// Text or number as text.
    pub fn scalar(&self) -> &str {
        match self {
            Json::Text(text) | Json::Number(text) => text,
            _ => "",
        }
    }

    pub fn as_number(&self) -> Option<u64> {
        self.scalar().parse().ok()
    }

    pub fn number(&self) -> u64 {
        self.as_number().unwrap()
    }

    pub fn items(&self) -> &[Json] {
        match self {
            Json::List(items) => items,
            _ => &[],
        }
    }

    pub fn fields(&self) -> impl ExactSizeIterator<Item = (&str, &Json)> {
        let fields: &[(String, Json)] = match self {
            Json::Object(fields) => fields,
            _ => &[],
        };
        fields.iter().map(|(name, value)| (name.as_str(), value))
    }
}

impl Index<&str> for Json {
    type Output = Json;
    fn index(&self, name: &str) -> &Json {
        match self {
            Json::Object(fields) => fields.iter().find(|(n, _)| n == name).map_or(&ABSENT, |(_, value)| value),
            _ => &ABSENT,
        }
    }
}
