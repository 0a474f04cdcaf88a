//! From YAML text to a checked plan: parse, resolve variables, build components, let them say their fields.
//!
//! Invariant: nothing in here touches the network or starts anything.

mod batch_limits;
mod consistency;
mod decode;
mod diagnostic;
mod flow;
mod parking;
mod parse;
mod plan;
mod section;
mod variables;
mod yaml;

pub use batch_limits::BatchLimits;
pub use consistency::Transactions;
pub use diagnostic::{Problem, Span, Spanned, closest};
pub use flow::{Field, Flow, OnSchemaChange, ResultTable, SchemaPolicy, TableFlow};
pub use parking::{Parking, StopAbove};
pub use parse::parse;
pub use plan::{Components, LoadFailure, Pipeline, Step, load, load_text};
pub use section::{Section, parse_bytes, parse_duration};
pub use variables::{ProcessVariables, Variables};
pub use yaml::{Node, NodeKind};
