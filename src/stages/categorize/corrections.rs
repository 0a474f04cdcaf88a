//! Human corrections: rows of a stored table that name a row by its key, or all rows of a merchant by its text.
//!
//! A row is found from its correction by key, and the correction from its row by an index on the correction's column;
//! both stand in the raw copies themselves, so that whichever is stored later finds the other. Texts meet in their normal
//! form, which no raw copy has: results keep the normal text of their row (`merchant`), and a derived table keeps that of
//! each correction. Those are written after the raw copies; [`Corrections::changed`] closes the gap between.
//!
//! Invariants: which correction wins is a function of the snapshot alone: one by key before one by text, and of several
//! the one with the highest key. A correction that was changed or deleted finds the rows that it has left, too.

use std::sync::Arc;

use bytestring::ByteString;
use rustc_hash::FxHashMap;

use super::super::due::Due;
use super::result::MERCHANT;
use crate::error::Result;
use crate::pipeline::{Flow, Problem, Section, Spanned, TableFlow};
use crate::record::{Column, Kind, Op, Position, Record, Row, TableSchema, Value};
use crate::stores::{Index, SharedStore, Snapshot, identity};

/// Column of the derived table: a correction's text in its normal form.
const TEXT: &str = "text";
/// Column of the derived table.
const CATEGORY: &str = "category";

/// The corrections of one table.
pub struct Corrections {
    /// The table of corrections.
    pub table: Spanned<String>,
    /// (key column of the categorized table, column of the correction); empty when there are none by key.
    on: Vec<(Spanned<String>, Spanned<String>)>,
    /// The correction's column with a merchant's text.
    text: Option<Spanned<String>>,
    category: Spanned<String>,
    /// The derived table of normal texts.
    texts: Arc<str>,
}

/// What was decided about one normal text, and for whom.
#[derive(Default)]
pub struct Decided {
    texts: FxHashMap<ByteString, (Option<ByteString>, Vec<Due>)>,
}

impl Corrections {
    /// Reads `{ table, on: { id: transaction_id }, text: merchant, category: category }`.
    pub fn read(section: &mut Section<'_>, into: &str) -> Self {
        let table = section.required_text("table");
        let mut on = Vec::new();
        for (ours, node) in section.entries("on") {
            match node.as_text() {
                Some(theirs) => on.push((ours, node.spanned(theirs.to_string()))),
                None => section.problem(node.problem("type.wrong", "expected a column of the corrections")),
            }
        }
        let text = section.text("text");
        if on.is_empty() && text.is_none() {
            let message = "corrections name rows by key (`on: { id: transaction_id }`), by a merchant's text (`text: merchant`), or both";
            section.problem(section.here().problem("key.missing", message));
        }
        let category = section.text("category").unwrap_or_else(|| section.here().with(CATEGORY.to_string()));
        Corrections { table, on, text, category, texts: format!("{into}_texts").into() }
    }

    /// Checks tables and columns.
    pub fn check(&self, input: &Flow, categorized: &TableFlow) -> Result<(), Vec<Problem>> {
        let mut problems = Vec::new();
        let flow = match input.check_table(&self.table).and_then(|_| input.check_stored(&self.table)) {
            Ok(flow) => flow,
            Err(problem) => return Err(vec![problem]),
        };
        let columns = self.on.iter().map(|(_, theirs)| (theirs, false));
        let texts = self.text.iter().chain([&self.category]).map(|column| (column, true));
        for (column, is_text) in columns.chain(texts) {
            match flow.map_or(Ok(None), |flow| flow.check_field(column)) {
                Ok(Some(field)) if is_text && !matches!(field.kind, Kind::Text | Kind::Any) => {
                    let message = format!("`{}` is {}, expected text", column.value, field.kind);
                    problems.push(column.problem("type.wrong", message));
                }
                Ok(_) => {}
                Err(problem) => problems.push(problem),
            }
        }
        let key = &categorized.key;
        let is_key = self.on.len() == key.len() && self.on.iter().all(|(ours, _)| key.contains(&ours.value));
        if let Some((ours, _)) = self.on.first().filter(|_| !key.is_empty() && !is_key) {
            let message = format!("`on` has to name the key of the categorized table: {}", key.join(", "));
            problems.push(ours.problem("key.wrong", message));
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// Whether rows are corrected by their texts.
    pub fn by_text(&self) -> bool {
        self.text.is_some()
    }

    /// What has to be indexed, for results in `into` of rows of `table`.
    pub fn indexes(&self, table: &str, into: &str) -> Vec<Index> {
        let index = |table: &str, column: &str| Index { table: table.to_string(), column: column.to_string() };
        let mut indexes = Vec::new();
        if let Some((ours, theirs)) = self.on.first() {
            indexes.push(index(&self.table, theirs));
            if self.on.len() > 1 {
                indexes.push(index(table, ours));
            }
        }
        if self.by_text() {
            indexes.extend([index(&self.texts, TEXT), index(into, MERCHANT)]);
        }
        indexes
    }

    /// Which of `records` are corrections.
    pub fn among(&self, records: &[Record]) -> Vec<usize> {
        let ours = |(_, record): &(usize, &Record)| *record.table == *self.table.value;
        records.iter().enumerate().filter(ours).map(|(at, _)| at).collect()
    }

    /// The corrections among `records` that say no category.
    pub fn without_category<'r>(&self, records: &'r [Record], at: &'r [usize]) -> impl Iterator<Item = usize> {
        let says = |record: &Record| record.row.as_ref().is_none_or(|row| self.category_of(row).is_some());
        at.iter().copied().filter(move |at| records.get(*at).is_some_and(|record| !says(record)))
    }

    fn category_of(&self, correction: &Row) -> Option<ByteString> {
        text_of(correction, &self.category)
    }

    /// Brings the derived table up to date with the corrections `at` among `records`.
    pub async fn keep_texts(&self, store: &SharedStore, records: &[Record], at: &[usize]) -> Result<()> {
        let Some(column) = &self.text else { return Ok(()) };
        let changed: Vec<&Record> = at.iter().filter_map(|at| records.get(*at)).collect();
        let keys: Vec<Row> = changed.iter().map(|record| record.key.clone()).collect();
        let mut view = store.snapshot().await?;
        let rows = view.get(&self.table, &keys).await?;
        let (version, position) = (view.version(), Position::derived(view.version()));
        let derive = |(of, row): (&&Record, Option<Row>)| {
            let said = row.and_then(|row| {
                let Some(Value::Text(text)) = row.get(column) else { return None };
                Some((normal(text)?, self.category_of(&row)?))
            });
            let row = said.map(|(text, category)| {
                let mut columns = of.key.schema().columns.clone();
                columns.extend([TEXT, CATEGORY].map(|name| Column { name: name.into(), kind: Kind::Text }));
                let values = of.key.values().iter().cloned().chain([Value::Text(text), Value::Text(category)]);
                Row::new(Arc::new(TableSchema { columns }), values.collect())
            });
            let op = if row.is_some() { Op::Update } else { Op::Delete };
            let (table, position) = (self.texts.clone(), position.clone());
            Record { table, op, row, before: None, patch: None, position, version, ..(*of).clone() }
        };
        store.apply(changed.iter().zip(rows).map(derive).collect()).await.map(|_| ())
    }

    /// The rows of `table` that the corrections `at` among `records` concern or have concerned: key and record.
    pub async fn concerned(
        &self,
        view: &mut dyn Snapshot,
        (table, into): (&str, &str),
        records: &[Record],
        at: &[usize],
    ) -> Result<Vec<(Row, usize)>> {
        let keys: Vec<Row> = at.iter().filter_map(|at| records.get(*at)).map(|r| r.key.clone()).collect();
        let cause = |i: usize| at.get(i).copied().unwrap_or_default();
        let mut rows = Vec::new();
        if let Some((ours, theirs)) = self.on.first() {
            let links = view.links_of(&self.table, theirs, &keys).await?;
            if self.on.len() == 1 {
                let key = |value| Row::of([(ours.value.as_str(), value)]);
                rows.extend(links.into_iter().map(|(i, value)| (key(value), cause(i))));
            } else {
                let (causes, values): (Vec<usize>, Vec<Value>) = links.into_iter().unzip();
                let found = view.find(table, ours, &values).await?;
                let key = |row: &Row| {
                    let column = |(ours, _): &(Spanned<String>, _)| Some((ours.value.clone(), row.get(ours)?.clone()));
                    self.on.iter().map(column).collect::<Option<Vec<_>>>().map(Row::of)
                };
                let keyed = found.into_iter().filter_map(|(i, found)| Some((key(&found.row)?, cause(*causes.get(i)?))));
                rows.extend(keyed);
            }
        }
        if self.by_text() {
            let links = view.links_of(&self.texts, TEXT, &keys).await?;
            let (causes, texts): (Vec<usize>, Vec<Value>) = links.into_iter().unzip();
            let found = view.find(into, MERCHANT, &texts).await?;
            rows.extend(found.into_iter().filter_map(|(i, found)| Some((found.key, cause(*causes.get(i)?)))));
        }
        Ok(rows)
    }

    /// The corrected category of each of `rows`, which are due for the rows at the same places.
    pub async fn of(
        &self,
        view: &mut dyn Snapshot,
        rows: &[Option<Row>],
        merchants: &[Option<ByteString>],
        due: &[Due],
        decided: &mut Decided,
    ) -> Result<Vec<Option<ByteString>>> {
        let mut categories = self.by_key(view, rows).await?;
        if !self.by_text() {
            return Ok(categories);
        }
        for (due, merchant) in due.iter().zip(merchants) {
            if let Some(merchant) = merchant {
                decided.texts.entry(merchant.clone()).or_default().1.push(due.clone());
            }
        }
        let texts: Vec<ByteString> = merchants.iter().flatten().cloned().collect();
        let said = self.said(view, texts).await?;
        for (text, (category, _)) in &mut decided.texts {
            if let Some(said) = said.get(text) {
                *category = Some(said.clone());
            }
        }
        for (category, merchant) in categories.iter_mut().zip(merchants) {
            if category.is_none() {
                *category = merchant.as_ref().and_then(|merchant| said.get(merchant)).cloned();
            }
        }
        Ok(categories)
    }

    async fn by_key(&self, view: &mut dyn Snapshot, rows: &[Option<Row>]) -> Result<Vec<Option<ByteString>>> {
        let mut categories = vec![None; rows.len()];
        let Some(((ours, theirs), others)) = self.on.split_first() else { return Ok(categories) };
        let value = |row: &Option<Row>| row.as_ref().and_then(|row| row.get(ours)).cloned().unwrap_or_default();
        let values: Vec<Value> = rows.iter().map(value).collect();
        // In the order of the corrections' keys: the last one wins.
        for (i, found) in view.find(&self.table, theirs, &values).await? {
            let Some(Some(row)) = rows.get(i) else { continue };
            let same = |a: Option<&Value>, b: Option<&Value>| match (a, b) {
                (Some(a), Some(b)) => identity(std::slice::from_ref(a)) == identity(std::slice::from_ref(b)),
                _ => false,
            };
            let fits = others.iter().all(|(ours, theirs)| same(row.get(ours), found.row.get(theirs)));
            let said = self.category_of(&found.row).filter(|_| fits);
            if let (Some(place), Some(said)) = (categories.get_mut(i), said) {
                *place = Some(said);
            }
        }
        Ok(categories)
    }

    /// What corrections say of normal texts.
    async fn said(
        &self,
        view: &mut dyn Snapshot,
        mut texts: Vec<ByteString>,
    ) -> Result<FxHashMap<ByteString, ByteString>> {
        texts.sort_unstable();
        texts.dedup();
        let values: Vec<Value> = texts.iter().cloned().map(Value::Text).collect();
        let found = view.find(&self.texts, TEXT, &values).await?;
        // In the order of the corrections' keys: the last one wins.
        let said = |(i, found): (usize, crate::stores::StoredRow)| {
            Some((texts.get(i)?.clone(), text_of(&found.row, CATEGORY)?))
        };
        Ok(found.into_iter().filter_map(said).collect())
    }

    /// The rows whose text was corrected otherwise while their results were on their way into the store.
    ///
    /// A correction that was stored meanwhile looked for results with its text and may have found none; but then it is in
    /// this snapshot, taken after the results were stored. One of the two always sees the other.
    pub async fn changed(&self, view: &mut dyn Snapshot, decided: Decided) -> Result<Vec<Due>> {
        let said = self.said(view, decided.texts.keys().cloned().collect()).await?;
        let changed = decided.texts.into_iter().filter(|(text, (category, _))| said.get(text) != category.as_ref());
        Ok(changed.flat_map(|(_, (_, due))| due).collect())
    }
}

fn text_of(row: &Row, column: &str) -> Option<ByteString> {
    match row.get(column) {
        Some(Value::Text(text)) if !text.is_empty() => Some(text.clone()),
        _ => None,
    }
}

/// The normal form of a text; none when nothing is left of it.
pub fn normal(text: &str) -> Option<ByteString> {
    let mut normal = Vec::new();
    crate::model::normalize(text, &mut normal).then(|| ByteString::from(String::from_utf8_lossy(&normal).into_owned()))
}
