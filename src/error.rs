//! Errors by the reaction they call for. Data that cannot be read or applied is not an error but a
//! [`Reject`](crate::record::Reject).
//!
//! Texts are lower-case, say where, what was expected and what to do, and never carry payload values or secrets.

use thiserror::Error;

/// What went wrong, sorted by what the runner does about it.
#[derive(Debug, Error)]
pub enum Error {
    /// The pipeline or its settings are wrong: stop, exit code 2.
    #[error("{0}")]
    Config(String),
    /// Something outside cannot be reached or refuses us for now (network, authentication, full disk): back off,
    /// rebuild the lane from the last committed position.
    #[error("{0}")]
    Unavailable(String),
    /// Going on would break a promise (lost offsets, foreign data in a store, too many rejects): stop, say why.
    #[error("{0}")]
    Broken(String),
}

/// The result of everything that touches the outside.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// The same error with a place in front.
    pub fn at(self, place: impl std::fmt::Display) -> Self {
        match self {
            Error::Config(text) => Error::Config(format!("{place}: {text}")),
            Error::Unavailable(text) => Error::Unavailable(format!("{place}: {text}")),
            Error::Broken(text) => Error::Broken(format!("{place}: {text}")),
        }
    }
}
