//! The components of this crate, one line each. A binary of your own adds its lines to these.

use crate::stage::Registry;
use crate::stages;
use crate::{sinks, sources};

/// Everything that comes with Headwater.
pub fn builtin() -> Registry {
    Registry::empty()
        // sources
        .source("file", sources::file::make)
        .source("kafka", sources::kafka::make)
        // stages and sinks
        .stage("categorize", stages::categorize::make)
        .stage("debezium", stages::debezium::make)
        .stage("document", stages::document::make)
        .stage("filter", stages::filter::make)
        .stage("map", stages::map::make)
        .stage("mongodb", sinks::mongodb::make)
        .stage("raw", stages::raw::make)
        .stage("sqlite", sinks::sqlite::make)
}
