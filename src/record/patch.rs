//! An update that tells only what changed inside a document: MongoDB's change streams without a look-up.
//!
//! A patch is no row: only a raw store, which has the row before, can make one of it. Applying it twice is the same as
//! once.

use bytestring::ByteString;

use super::{Column, Kind, Row, TableSchema, Value};

/// A longer list is in no document of 16 MB.
const MAX_ITEMS: usize = 4 << 20;

/// What changed, by dotted paths: names of fields and indexes of lists.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Patch {
    /// New lengths of lists, applied first.
    pub truncated: Vec<(ByteString, usize)>,
    /// New values.
    pub updated: Vec<(ByteString, Value)>,
    /// Fields that are gone.
    pub removed: Vec<ByteString>,
}

impl Patch {
    /// The row after the change, from the row before it; `None` when a path leads nowhere: then that was another row.
    pub fn apply(&self, before: &Row) -> Option<Row> {
        let columns = before.schema().columns.iter().zip(before.values());
        let mut fields: Vec<(ByteString, Value)> =
            columns.map(|(column, value)| (ByteString::from(&*column.name), value.clone())).collect();
        for (path, length) in &self.truncated {
            let Value::List(items) = find(&mut fields, path)? else { return None };
            resize(items, *length)?;
        }
        for (path, value) in &self.updated {
            set(&mut fields, path, value)?;
        }
        for path in &self.removed {
            remove(&mut fields, path);
        }
        let same = fields.iter().map(|(name, _)| &**name).eq(before.schema().columns.iter().map(|c| &*c.name));
        let values = |fields: Vec<(ByteString, Value)>| fields.into_iter().map(|(_, value)| value).collect();
        if same {
            return Some(Row::new(before.schema().clone(), values(fields)));
        }
        let kind = |name: &str| before.schema().column(name).map_or(Kind::Any, |column| column.kind.clone());
        let columns = fields.iter().map(|(name, _)| Column { name: (&**name).into(), kind: kind(name) }).collect();
        Some(Row::new(TableSchema { columns }.into(), values(fields)))
    }
}

type Fields = Vec<(ByteString, Value)>;

/// The first step of a path and the rest. A field whose own name is the whole path comes first: names may have dots.
fn step<'p>(fields: &Fields, path: &'p str) -> (&'p str, Option<&'p str>) {
    match path.split_once('.') {
        Some((name, rest)) if !fields.iter().any(|(known, _)| **known == *path) => (name, Some(rest)),
        _ => (path, None),
    }
}

fn find<'f>(fields: &'f mut Fields, path: &str) -> Option<&'f mut Value> {
    let (name, mut rest) = step(fields, path);
    let mut value = &mut fields.iter_mut().find(|(known, _)| **known == *name)?.1;
    while let Some(path) = rest {
        match value {
            Value::Map(fields) => return find(fields, path),
            Value::List(items) => {
                let (index, deeper) =
                    path.split_once('.').map_or((path, None), |(index, deeper)| (index, Some(deeper)));
                value = items.get_mut(index.parse::<usize>().ok()?)?;
                rest = deeper;
            }
            _ => return None,
        }
    }
    Some(value)
}

fn set(fields: &mut Fields, path: &str, value: &Value) -> Option<()> {
    if let Some(place) = find(fields, path) {
        *place = value.clone();
        return Some(());
    }
    let Some((parent, name)) = path.rsplit_once('.') else {
        fields.push((path.into(), value.clone()));
        return Some(());
    };
    match find(fields, parent)? {
        Value::Map(fields) => fields.push((name.into(), value.clone())),
        Value::List(items) => {
            let index = name.parse::<usize>().ok()?;
            resize(items, index.checked_add(1)?)?;
            *items.get_mut(index)? = value.clone();
        }
        _ => return None,
    }
    Some(())
}

/// MongoDB fills a list with nulls up to an index that is set beyond its end.
fn resize(items: &mut Vec<Value>, length: usize) -> Option<()> {
    (length <= MAX_ITEMS).then(|| items.resize(length, Value::Null))
}

/// What is not there is gone already.
fn remove(fields: &mut Fields, path: &str) {
    let (name, rest) = step(fields, path);
    let parent = rest.and_then(|_| path.rsplit_once('.'));
    let (fields, name) = match parent {
        None => (fields, name),
        Some((parent, name)) => match find(fields, parent) {
            Some(Value::Map(fields)) => (fields, name),
            Some(Value::List(items)) => {
                if let Some(item) = name.parse::<usize>().ok().and_then(|index| items.get_mut(index)) {
                    *item = Value::Null;
                }
                return;
            }
            _ => return,
        },
    };
    fields.retain(|(known, _)| **known != *name);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&str, Value)]) -> Value {
        Value::Map(fields.iter().map(|(name, value)| ((*name).into(), value.clone())).collect())
    }

    fn ints(items: &[i64]) -> Value {
        Value::List(items.iter().copied().map(Value::Int).collect())
    }

    fn row() -> Row {
        Row::of([
            ("_id", Value::Int(1)),
            ("name", "a".into()),
            ("address", map(&[("city", "B".into()), ("zip", "1".into())])),
            ("items", Value::List(vec![map(&[("n", Value::Int(1))]), Value::Int(2), Value::Int(3)])),
            ("x.y", Value::Int(5)),
        ])
    }

    fn apply(patch: Patch) -> Option<String> {
        let once = patch.apply(&row())?;
        assert_eq!(patch.apply(&once), Some(once.clone()), "twice is the same as once");
        Some(once.to_json())
    }

    #[test]
    fn paths_lead_into_documents_and_lists() {
        let patch = Patch {
            truncated: vec![("items".into(), 2)],
            updated: vec![
                ("name".into(), "b".into()),
                ("address.city".into(), "C".into()),
                ("address.geo".into(), ints(&[1, 2])),
                ("items.0.n".into(), Value::Int(7)),
                ("x.y".into(), Value::Int(6)),
                ("new".into(), Value::Null),
            ],
            removed: vec!["address.zip".into(), "absent.path".into()],
        };
        let expected =
            r#"{"_id":1,"name":"b","address":{"city":"C","geo":[1,2]},"items":[{"n":7},2],"x.y":6,"new":null}"#;
        assert_eq!(apply(patch).as_deref(), Some(expected));
    }

    #[test]
    fn a_removed_field_is_absent_and_not_null() {
        let patch = Patch { removed: vec!["name".into(), "items".into(), "address".into()], ..Patch::default() };
        assert_eq!(apply(patch).as_deref(), Some(r#"{"_id":1,"x.y":5}"#));
    }

    #[test]
    fn lists_grow_as_in_mongodb() {
        let patch = Patch { updated: vec![("items.4".into(), Value::Int(9))], ..Patch::default() };
        assert!(apply(patch).unwrap().contains(r#""items":[{"n":1},2,3,null,9]"#));
    }

    #[test]
    fn a_path_that_leads_nowhere_was_of_another_row() {
        for path in ["name.first", "absent.deep.er", "items.0.n.x", "items.one", "items.99999999999"] {
            let patch = Patch { updated: vec![(path.into(), Value::Null)], ..Patch::default() };
            assert_eq!(apply(patch), None, "{path}");
        }
        let patch = Patch { truncated: vec![("name".into(), 1)], ..Patch::default() };
        assert_eq!(apply(patch), None);
    }
}
