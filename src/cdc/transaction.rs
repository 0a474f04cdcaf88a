//! Which transaction a message is part of: the block `transaction: {id, total_order, …}` of an envelope, and the connector's
//! own events about transactions. Read only where it is asked for.

use std::sync::Arc;

use super::Fault;
use super::decoder::Control;
use super::json::Cursor;
use super::parts;
use super::source::scalar;
use crate::record::{Membership, Role, Row};

/// Takes what messages tell, one after the other.
#[derive(Default)]
pub struct Told {
    asked: bool,
    now: Option<Membership>,
    /// The last identity: a transaction's changes follow each other.
    last: Option<Arc<str>>,
}

impl Told {
    /// Nothing is told yet; nothing is taken unless it is `asked` for.
    pub fn new(asked: bool) -> Self {
        Told { asked, ..Told::default() }
    }

    /// What the last message told.
    pub fn take(&mut self) -> Option<Membership> {
        self.now.take()
    }

    /// A change, whose envelope has the block at `at`.
    pub fn change(&mut self, at: Option<Cursor<'_>>) -> Result<(), Fault> {
        let Some(mut at) = at.filter(|_| self.asked) else { return Ok(()) };
        let (mut id, mut order) = ("", "");
        let mut more = at.open_object()?;
        while more {
            match at.key()?.raw {
                "id" => id = scalar(&mut at)?,
                "total_order" => order = scalar(&mut at)?,
                _ => at.skip().map(|_| ())?,
            }
            more = at.more_fields()?;
        }
        self.set(id, Role::Change { order: order.parse().ok() });
        Ok(())
    }

    /// A change of a binary encoding.
    pub fn change_of(&mut self, block: Option<&Row>) {
        let Some(block) = block.filter(|_| self.asked) else { return };
        let text = |name: &str| block.get(name).map(parts::scalar).unwrap_or_default();
        self.set(&text("id"), Role::Change { order: text("total_order").parse().ok() });
    }

    /// A change whose transaction stands in attributes: without an order in it there is none, whatever the id.
    pub fn attributes(&mut self, id: &str, order: &str) {
        if self.asked && !order.is_empty() {
            self.set(id, Role::Change { order: order.parse().ok() });
        }
    }

    /// An event that is no change.
    pub fn control(&mut self, control: &Control) {
        if let (true, Control::Transaction { end, id, collections, .. }) = (self.asked, control) {
            self.set(id, if *end { Role::End { changes: collections.clone() } } else { Role::Begin });
        }
    }

    fn set(&mut self, id: &str, role: Role) {
        let id = identity(id);
        if id.is_empty() {
            return;
        }
        let known = self.last.take().filter(|last| **last == *id);
        let id = known.unwrap_or_else(|| id.into());
        self.last = Some(id.clone());
        self.now = Some(Membership { id, role });
    }
}

/// PostgreSQL's id is `txid:lsn`, the LSN another in each of the transaction's events. (SQL Server's id is an LSN of three
/// parts and stays whole.)
pub fn identity(id: &str) -> &str {
    id.split_once(':').filter(|(tx, lsn)| is_number(tx) && is_number(lsn)).map_or(id, |(tx, _)| tx)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use crate::cdc::{Config, Decoder};
    use crate::record::{Membership, Message, Role};

    fn told(asked: bool, value: &str) -> Option<Membership> {
        let mut decoder = Decoder::new(Config { transactions: asked, ..Config::default() });
        let value = Some(bytes::Bytes::copy_from_slice(value.as_bytes()));
        let message = Message { topic: "bank.public.account".into(), value, ..Message::default() };
        let _ = decoder.decode(&message, 0);
        decoder.take_membership()
    }

    #[test]
    fn a_change_names_its_transaction_and_its_place_in_it() {
        let event = |after: &str, transaction: &str| {
            format!(
                r#"{{"before":null,"after":{after},"source":{{"connector":"postgresql","table":"account","lsn":7}},"op":"c","ts_ms":1,"transaction":{transaction}}}"#
            )
        };
        let block = r#"{"id":"571:53195832","total_order":2,"data_collection_order":1}"#;
        let change = |id: &str, order| Some(Membership { id: id.into(), role: Role::Change { order } });
        assert_eq!(told(true, &event(r#"{"id":1}"#, block)), change("571", Some(2)));
        assert_eq!(told(true, &event(r#"{"id":1}"#, r#"{"id":"00:1:2"}"#)), change("00:1:2", None));
        assert_eq!(told(true, &event(r#"{"id":1}"#, "null")), None);
        assert_eq!(told(false, &event(r#"{"id":1}"#, block)), None);
        // It is known of a change that cannot be read, too.
        assert_eq!(told(true, &event("null", block)), change("571", Some(2)));
    }

    #[test]
    fn cloud_events_name_their_transaction_in_attributes() {
        let event = |attributes: &str| {
            format!(
                r#"{{"id":"x","specversion":"1.0","iodebeziumop":"c","iodebeziumconnector":"postgresql","iodebeziumtable":"account","iodebeziumlsn":"7","iodebeziumtxId":"571",{attributes},"data":{{"after":{{"id":1}}}}}}"#
            )
        };
        let block =
            r#""iodebeziumtxid":"571:53195832","iodebeziumtxtotalorder":"2","iodebeziumtxdatacollectionorder":"1""#;
        let change = Some(Membership { id: "571".into(), role: Role::Change { order: Some(2) } });
        assert_eq!(told(true, &event(block)), change);
        assert_eq!(told(false, &event(block)), None);
        // The attribute of the source's own number has the same name in lower case.
        let doubled = r#""iodebeziumtxid":"571","iodebeziumtxid":"571:53195832","iodebeziumtxtotalorder":"2""#;
        assert_eq!(told(true, &event(doubled)), change);
        let none = r#""iodebeziumtxid":"571","iodebeziumtxtotalorder":null"#;
        assert_eq!(told(true, &event(none)), None, "the connector tells no transactions");
    }

    #[test]
    fn the_connector_tells_beginnings_and_ends() {
        let begin = r#"{"status":"BEGIN","id":"571:1","ts_ms":1,"event_count":null,"data_collections":null}"#;
        assert_eq!(told(true, begin).unwrap(), Membership { id: "571".into(), role: Role::Begin });
        let end = r#"{"status":"END","id":"571:2","ts_ms":1,"event_count":3,"data_collections":[{"data_collection":"public.account","event_count":3}]}"#;
        let changes = vec![("public.account".to_string(), 3)];
        assert_eq!(told(true, end).unwrap(), Membership { id: "571".into(), role: Role::End { changes } });
        assert_eq!(told(false, end), None);
    }
}
