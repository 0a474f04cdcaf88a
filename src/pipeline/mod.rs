//! From YAML text to a checked plan: parse, resolve variables, build components, let them say their fields.
//!
//! Invariant: nothing in here touches the network or starts anything.

mod batch_limits;
mod diagnostic;
mod flow;
mod section;
mod yaml;

pub use batch_limits::BatchLimits;
pub use diagnostic::{Problem, Span, Spanned, closest};
pub use flow::{Field, Flow, TableFlow};
pub use section::{Section, parse_bytes, parse_duration};
pub use yaml::{Node, NodeKind};
