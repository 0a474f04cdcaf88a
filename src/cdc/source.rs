//! The `source` block of an event: which table, which place in the source's log.
//!
//! Every scalar is taken as its text, since versions differ in whether they write numbers or strings. Meaning is given
//! by connector; “Debezium connector for …, Change events” name the fields.

use std::hash::Hasher;

use rustc_hash::{FxHashSet, FxHasher};

use super::Fault;
use super::json::{Cursor, Next, Text};
use crate::record::{SnapshotMark, SourcePosition, Timestamp};

/// What a `source` block says, as slices of the message.
#[derive(Debug, Default, Clone, Copy)]
pub struct Source<'a> {
    /// `postgresql`, `mysql`, …
    pub connector: &'a str,
    /// The connector's logical name: the prefix of its topics.
    pub name: &'a str,
    /// Database.
    pub db: &'a str,
    /// Schema, where the database has them.
    pub schema: &'a str,
    /// Table or collection.
    pub table: Option<Text<'a>>,
    /// `true`, `first`, …, `incremental`, `false`; empty when absent.
    pub snapshot: &'a str,
    sequence: &'a str,
    ts_ms: &'a str,
    ts_us: &'a str,
    ts_ns: &'a str,
    lsn: &'a str,
    server_id: &'a str,
    gtid: &'a str,
    file: &'a str,
    pos: &'a str,
    row: &'a str,
    change_lsn: &'a str,
    commit_lsn: &'a str,
    event_serial_no: &'a str,
    scn: &'a str,
    commit_scn: &'a str,
    ssn: &'a str,
    redo_thread: &'a str,
    ord: &'a str,
}

/// Where a scalar of a `source` block goes.
type Slot = for<'s, 'a> fn(&'s mut Source<'a>) -> &'s mut &'a str;

/// A field of a `source` block.
#[derive(Clone, Copy)]
enum Field {
    Table,
    Scalar(Slot),
    Other,
}

impl Field {
    fn called(name: &str) -> Field {
        match name {
            "table" | "collection" => Field::Table,
            _ => slot(name).map_or(Field::Other, Field::Scalar),
        }
    }
}

/// The fields that the `source` blocks of a topic have, in order: the usual block is read by comparing each name with the
/// expected one.
#[derive(Default)]
pub struct SourceShape {
    fields: Vec<(Box<str>, Field)>,
    learned: u32,
}

impl SourceShape {
    /// How often another order is learned; what changes all the time is not worth it.
    const LESSONS: u32 = 64;
    /// More fields than any connector has.
    const WIDEST: usize = 64;

    /// Takes a block of exactly this shape; `None` when the names differ.
    fn read<'a>(&self, cursor: &mut Cursor<'a>) -> Result<Option<Source<'a>>, Fault> {
        let mut source = Source::default();
        let mut more = cursor.open_object()?;
        for (name, field) in &self.fields {
            if !more || !cursor.try_key(name) {
                return Ok(None);
            }
            source.take(*field, cursor)?;
            more = cursor.more_fields()?;
        }
        Ok((!more).then_some(source))
    }
}

fn slot(name: &str) -> Option<Slot> {
    Some(match name {
        "connector" => |s| &mut s.connector,
        "name" => |s| &mut s.name,
        "db" => |s| &mut s.db,
        "schema" => |s| &mut s.schema,
        "snapshot" => |s| &mut s.snapshot,
        "sequence" => |s| &mut s.sequence,
        "ts_ms" | "tsms" => |s| &mut s.ts_ms,
        "ts_us" | "tsus" => |s| &mut s.ts_us,
        "ts_ns" | "tsns" => |s| &mut s.ts_ns,
        "lsn" => |s| &mut s.lsn,
        "server_id" | "serverid" => |s| &mut s.server_id,
        "gtid" => |s| &mut s.gtid,
        "file" => |s| &mut s.file,
        "pos" => |s| &mut s.pos,
        "row" => |s| &mut s.row,
        "change_lsn" | "changelsn" => |s| &mut s.change_lsn,
        "commit_lsn" | "commitlsn" => |s| &mut s.commit_lsn,
        "event_serial_no" | "eventserialno" => |s| &mut s.event_serial_no,
        "scn" => |s| &mut s.scn,
        "commit_scn" | "commitscn" => |s| &mut s.commit_scn,
        "ssn" => |s| &mut s.ssn,
        "redo_thread" | "redothread" => |s| &mut s.redo_thread,
        "ord" => |s| &mut s.ord,
        _ => return None,
    })
}

impl<'a> Source<'a> {
    /// Takes a `source` object, which is probably of `shape`.
    pub fn read(cursor: &mut Cursor<'a>, shape: &mut SourceShape) -> Result<Self, Fault> {
        let mut attempt = *cursor;
        if let Some(source) = shape.read(&mut attempt)? {
            *cursor = attempt;
            return Ok(source);
        }
        let learn = shape.learned < SourceShape::LESSONS;
        if learn {
            shape.learned += 1;
            shape.fields.clear();
        }
        let mut source = Source::default();
        let mut names = FxHashSet::default();
        let mut more = cursor.open_object()?;
        while more {
            let name = cursor.key()?.raw;
            // A doubled field could name another table or another place.
            if !names.insert(name) {
                return Err(Fault::new("json.duplicate", "a name occurs twice in `source`"));
            }
            let field = Field::called(name);
            if learn && shape.fields.len() < SourceShape::WIDEST {
                shape.fields.push((name.into(), field));
            }
            source.take(field, cursor)?;
            more = cursor.more_fields()?;
        }
        Ok(source)
    }

    fn take(&mut self, field: Field, cursor: &mut Cursor<'a>) -> Result<(), Fault> {
        match field {
            Field::Table if self.table.is_some() => {
                return Err(Fault::new("json.duplicate", "`source` names its table twice"));
            }
            Field::Table if cursor.next()? == Next::Text => {
                self.table = Some(cursor.string()?).filter(|t| !t.raw.is_empty());
            }
            Field::Scalar(slot) => *slot(self) = scalar(cursor)?,
            Field::Table | Field::Other => {
                cursor.skip()?;
            }
        }
        Ok(())
    }

    /// Where the scalar called `name` goes. CloudEvents attributes use the same names without underscores.
    pub fn place(&mut self, name: &str) -> Option<&mut &'a str> {
        slot(name).map(|slot| slot(self))
    }

    /// Tells the connector by the positions that it alone has, where nothing names it.
    pub fn infer_connector(&mut self) {
        if !self.connector.is_empty() {
            return;
        }
        let given = |text: &str| !text.is_empty();
        self.connector = match &*self {
            s if given(s.commit_lsn) || given(s.change_lsn) => "sqlserver",
            s if given(s.scn) || given(s.commit_scn) => "oracle",
            s if given(s.file) || given(s.gtid) => "mysql",
            s if given(s.ord) => "mongodb",
            s if given(s.lsn) || given(s.sequence) => "postgresql",
            _ => "",
        };
    }

    /// Whether the event is a snapshot's row. (`false` and the absence of a mark say no.)
    pub fn is_snapshot(&self) -> bool {
        !matches!(self.snapshot, "" | "false")
    }

    /// Where the row stands in a snapshot that reads whole tables.
    pub fn mark(&self) -> SnapshotMark {
        match self.snapshot {
            "" | "false" | "incremental" => SnapshotMark::None,
            "first" | "first_in_data_collection" => SnapshotMark::First,
            "last" | "last_in_data_collection" => SnapshotMark::Last,
            _ => SnapshotMark::Within,
        }
    }

    /// When the source committed, as finely as it says. Zero means that it did not say.
    pub fn changed_at(&self) -> Option<Timestamp> {
        let units = [(self.ts_us, 1_000_000), (self.ts_ns, 1_000_000_000), (self.ts_ms, 1_000)];
        let counts = units.into_iter().filter_map(|(text, per_second)| Some((text.parse().ok()?, per_second)));
        counts.filter(|(count, _)| *count != 0).map(|(count, per)| Timestamp::from_units(count, per)).next()
    }

    /// A fingerprint of the connector, its name and the database: positions are comparable within one.
    pub fn incarnation(&self) -> u32 {
        fingerprint(&[self.connector, self.name, self.db])
    }

    /// The place in the source's log; `incarnation` is [`Source::incarnation`], which callers keep.
    pub fn position(&self, incarnation: u32) -> SourcePosition {
        if self.snapshot == "incremental" {
            return SourcePosition::Unknown;
        }
        let position = match self.connector {
            "postgresql" => self.postgres(incarnation),
            "mysql" | "mariadb" => self.mysql(incarnation),
            "sqlserver" | "db2" => self.sql_server(incarnation),
            "oracle" => self.oracle(),
            "mongodb" => self.mongodb(incarnation),
            _ => None,
        };
        position.unwrap_or_default()
    }

    fn postgres(&self, incarnation: u32) -> Option<SourcePosition> {
        let (commit, change) = sequence(self.sequence);
        let lsn = self.lsn.parse().ok().or(change)?;
        Some(SourcePosition::Postgres { incarnation, commit_lsn: commit.unwrap_or(0), lsn })
    }

    fn mysql(&self, incarnation: u32) -> Option<SourcePosition> {
        let (gtid_origin, gtid_number) = gtid(self.gtid).unwrap_or((0, 0));
        let digits = self.file.bytes().rev().take_while(u8::is_ascii_digit).count();
        let file = self.file.get(self.file.len() - digits..).and_then(|n| n.parse().ok());
        if file.is_none() && gtid_origin == 0 {
            return None;
        }
        Some(SourcePosition::MySql {
            incarnation,
            server_id: self.server_id.parse().unwrap_or(0),
            gtid_origin,
            gtid_number,
            file: file.unwrap_or(0),
            pos: self.pos.parse().unwrap_or(0),
            row: self.row.parse().unwrap_or(0),
        })
    }

    fn sql_server(&self, incarnation: u32) -> Option<SourcePosition> {
        Some(SourcePosition::SqlServer {
            incarnation,
            commit_lsn: log_sequence_number(self.commit_lsn)?,
            change_lsn: log_sequence_number(self.change_lsn).unwrap_or((0, 0)),
            serial: self.event_serial_no.parse().unwrap_or(0),
        })
    }

    fn oracle(&self) -> Option<SourcePosition> {
        Some(SourcePosition::Oracle {
            incarnation: fingerprint(&[self.connector, self.name, self.db, self.redo_thread]),
            commit_scn: self.commit_scn.parse().unwrap_or(0),
            scn: self.scn.parse().ok()?,
            ssn: self.ssn.parse().unwrap_or(0),
        })
    }

    fn mongodb(&self, incarnation: u32) -> Option<SourcePosition> {
        let millis: i64 = self.ts_ms.parse().ok()?;
        Some(SourcePosition::MongoDb { incarnation, secs: millis.div_euclid(1_000), ord: self.ord.parse().ok()? })
    }
}

/// A scalar's text; empty for null.
pub fn scalar<'a>(cursor: &mut Cursor<'a>) -> Result<&'a str, Fault> {
    match cursor.next()? {
        Next::Text => cursor.string().map(|t| t.raw),
        Next::Number => cursor.number().map(|n| n.text),
        Next::Bool => cursor.bool().map(|b| if b { "true" } else { "false" }),
        Next::Null => cursor.null().map(|_| ""),
        Next::Object => Err(Fault::new(
            "envelope.shape",
            "expected a scalar, found an object: is this Avro's JSON with its union wrappers? (`format: avro` reads the bytes)",
        )),
        Next::List => Err(Fault::new("envelope.shape", "expected a scalar, found a list")),
    }
}

fn fingerprint(parts: &[&str]) -> u32 {
    let mut hasher = FxHasher::default();
    for part in parts {
        hasher.write(part.as_bytes());
        hasher.write_u8(0xff);
    }
    (hasher.finish() >> 32) as u32
}

/// `["24023128","24023256"]` as it stands in JSON, quotes escaped: last commit and change, either may be null.
fn sequence(raw: &str) -> (Option<u64>, Option<u64>) {
    let mut parts = raw.split(',').map(|part| part.trim_matches(|c: char| !c.is_ascii_digit()).parse().ok());
    (parts.next().flatten(), parts.next().flatten())
}

/// MySQL's `uuid:number` and MariaDB's `domain-server-number`: who counts, and the count. A set of several
/// transactions (`uuid:1-5`) is no single place.
fn gtid(text: &str) -> Option<(u32, u64)> {
    if let Some((uuid, number)) = text.rsplit_once(':') {
        return Some((fingerprint(&[uuid]).max(1), number.parse().ok()?));
    }
    let mut parts = text.split('-');
    let (domain, _server, number) = (parts.next()?, parts.next()?, parts.next()?);
    let number = parts.next().is_none().then(|| number.parse().ok())??;
    Some((fingerprint(&["domain", domain]).max(1), number))
}

/// `0000002a:000004d8:0003`, hexadecimal of fixed width: SQL Server's of 80 bits. Db2's of 128 bits has a longer last part.
fn log_sequence_number(text: &str) -> Option<(u64, u64)> {
    let mut parts = text.split(':');
    let mut hex = |most| {
        let part = parts.next().filter(|part| (1..=most).contains(&part.len()))?;
        u64::from_str_radix(part, 16).ok()
    };
    let (file, block, slot) = (hex(8)?, hex(8)?, hex(16)?);
    parts.next().is_none().then_some((file << 32 | block, slot))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(json: &str) -> SourcePosition {
        Source::read(&mut Cursor::new(json), &mut SourceShape::default()).unwrap().position(1)
    }

    #[test]
    fn every_connector_tells_its_place() {
        use SourcePosition::*;
        for (json, expected) in [
            (
                r#"{"connector":"postgresql","sequence":"[\"24023119\",\"24023128\"]","lsn":24023128}"#,
                Postgres { incarnation: 1, commit_lsn: 24_023_119, lsn: 24_023_128 },
            ),
            (
                r#"{"connector":"postgresql","sequence":"[null,\"23911624\"]","lsn":null}"#,
                Postgres { incarnation: 1, commit_lsn: 0, lsn: 23_911_624 },
            ),
            (r#"{"connector":"postgresql","snapshot":"incremental","lsn":5}"#, Unknown),
            (r#"{"connector":"postgresql","lsn":null}"#, Unknown),
            (
                r#"{"connector":"mysql","server_id":223344,"gtid":null,"file":"mysql-bin.000003","pos":1442,"row":1}"#,
                MySql {
                    incarnation: 1,
                    server_id: 223_344,
                    gtid_origin: 0,
                    gtid_number: 0,
                    file: 3,
                    pos: 1442,
                    row: 1,
                },
            ),
            (
                r#"{"connector":"sqlserver","commit_lsn":"0000002a:000004d8:0003","change_lsn":null,"event_serial_no":"2"}"#,
                SqlServer { incarnation: 1, commit_lsn: (0x2a_0000_04d8, 3), change_lsn: (0, 0), serial: 2 },
            ),
            (
                r#"{"connector":"db2","commit_lsn":"00000000:00000001:00000000038d2e6b","change_lsn":"00000000:00000000:ffffffffffffffff"}"#,
                SqlServer { incarnation: 1, commit_lsn: (1, 0x038d_2e6b), change_lsn: (0, u64::MAX), serial: 0 },
            ),
            (r#"{"connector":"db2","commit_lsn":"00000000:00000001:00000001:00000001"}"#, Unknown),
            (r#"{"connector":"sqlserver","commit_lsn":"NULL"}"#, Unknown),
            (
                r#"{"connector":"mongodb","ts_ms":1706968217000,"ord":2}"#,
                MongoDb { incarnation: 1, secs: 1_706_968_217, ord: 2 },
            ),
        ] {
            assert_eq!(position(json), expected, "{json}");
        }
        let oracle =
            position(r#"{"connector":"oracle","scn":"13234397","commit_scn":"13271102","ssn":1,"redo_thread":1}"#);
        assert!(matches!(oracle, Oracle { commit_scn: 13_271_102, scn: 13_234_397, ssn: 1, .. }));
    }

    #[test]
    fn gtids_of_both_dialects() {
        let mysql = |n| gtid(&format!("3e11fa47-71ca-11e1-9e33-c80aa9429562:{n}")).unwrap();
        assert_eq!(mysql(23).0, mysql(24).0);
        assert_eq!(mysql(23).1, 23);
        assert_eq!(gtid("0-1-77").unwrap().1, 77);
        assert_eq!(gtid("0-1-77").unwrap().0, gtid("0-2-78").unwrap().0);
        assert_eq!(gtid("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5"), None);
        assert_eq!(gtid(""), None);
    }

    #[test]
    fn the_finest_time_that_is_told() {
        let at = |json| {
            Source::read(&mut Cursor::new(json), &mut SourceShape::default())
                .unwrap()
                .changed_at()
                .map(|t| t.to_string())
        };
        assert_eq!(at(r#"{"ts_ms":1500,"ts_us":1500001}"#).unwrap(), "1970-01-01T00:00:01.500001");
        assert_eq!(at(r#"{"ts_ms":"1500"}"#).unwrap(), "1970-01-01T00:00:01.5");
        assert_eq!(at(r#"{"ts_ms":0}"#), None);
    }
}
