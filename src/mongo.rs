//! What both users of MongoDB, the raw store and the sink, say of a server: how it is reached, and what its errors mean.
//!
//! Invariants
//! - no text names a key or a value: of a server's error only code, code name and our own advice are kept, since its
//!   message quotes the documents; nor does it name a user or a password;
//! - what is not known is `Unavailable`: better a pause that is seen than a record that is lost.
//!
//! Deliberately absent: commands and their replies, which the two have of their own.

use std::time::Duration;

use bson::{Bson, Document};
use mongodb::Client;
use mongodb::error::{Error as DriverError, ErrorKind};
use mongodb::options::ClientOptions;

use crate::error::{Error, Result};

/// How long a server is looked for before the lane backs off.
const SELECTION_TIMEOUT: Duration = Duration::from_secs(10);

/// A client that has not yet sent anything.
pub struct Reached {
    /// The client.
    pub client: Client,
    /// `mongodb host:port,…`: the start of every error.
    pub place: String,
    /// The database that the URI names.
    pub database: Option<String>,
}

/// A client for `uri`, of which an error shows only the form. `who` starts the errors until the hosts are known.
pub async fn reach(who: &str, uri: &str, form: &str) -> Result<Reached> {
    let mut options = ClientOptions::parse(uri).await.map_err(|error| match *error.kind {
        ErrorKind::InvalidArgument { .. } | ErrorKind::InvalidTlsConfig { .. } => {
            Error::Config(format!("{who}: the uri cannot be read; expected {form}"))
        }
        _ => unavailable(who, &error, &[]),
    })?;
    options.server_selection_timeout.get_or_insert(SELECTION_TIMEOUT);
    options.app_name.get_or_insert_with(|| "headwater".into());
    let hosts: Vec<String> = options.hosts.iter().map(ToString::to_string).collect();
    let (place, database) = (format!("mongodb {}", hosts.join(",")), options.default_database.clone());
    let client = Client::with_options(options)
        .map_err(|_| Error::Config(format!("{place}: the uri's options contradict each other")))?;
    Ok(Reached { client, place, database })
}

/// A driver's error without anything that a document or a URI may have put into it. `advice` says what helps against a
/// code.
pub fn unavailable(place: &str, error: &DriverError, advice: &[(i32, &str)]) -> Error {
    let text = match &*error.kind {
        ErrorKind::Authentication { .. } => "authentication failed; check user, password and authSource".to_string(),
        ErrorKind::Command(command) => {
            let login = (18, "check user, password and authSource");
            let advice = advice.iter().chain([&login]).find(|(code, _)| *code == command.code);
            let advice = advice.map(|(_, text)| format!("; {text}")).unwrap_or_default();
            format!("the server refused a command (code {} {}){advice}", command.code, command.code_name)
        }
        ErrorKind::Io(io) => format!("the connection failed ({})", io.kind()),
        ErrorKind::ConnectionPoolCleared { .. } => "the connection was lost".to_string(),
        ErrorKind::ServerSelection { .. } => "no primary can be reached".to_string(),
        ErrorKind::DnsResolve { .. } => "the host's name cannot be resolved".to_string(),
        ErrorKind::InvalidTlsConfig { .. } => {
            "the TLS settings cannot be used; check the certificate files".to_string()
        }
        ErrorKind::IncompatibleServer { .. } => "the server's version is not supported; 5.0 or later is".to_string(),
        ErrorKind::Shutdown => "the client has been shut down".to_string(),
        _ => "the driver reports a failure".to_string(),
    };
    Error::Unavailable(format!("{place}: {text}"))
}

/// Whether a server that answers `hello` so has transactions and snapshots: a member of a replica set, or a router.
pub fn has_transactions(hello: &Document) -> bool {
    hello.get_str("setName").is_ok() || hello.get_str("msg").is_ok_and(|msg| msg == "isdbgrid")
}

/// A number of any BSON type, 0 when it is absent.
pub fn number(document: &Document, name: &str) -> i64 {
    match document.get(name) {
        Some(Bson::Int32(n)) => i64::from(*n),
        Some(Bson::Int64(n)) => *n,
        Some(Bson::Double(n)) => *n as i64,
        _ => 0,
    }
}
