//! `headwater parked`: what could not be read or applied, why, and what becomes of it.
//!
//! `show` prints the original bytes, which may be personal data: it is the one verb that prints payloads.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use clap::{Args as ClapArgs, Subcommand};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::run::{block_on, options, stores};
use super::{Context, Outcome, report};
use crate::pipeline::{LoadFailure, Pipeline, ProcessVariables, load};
use crate::record::{Timestamp, remedy};
use crate::stores::{Parked, SharedStore};
use crate::{Error, Result, runner};

/// Messages read at a time.
const PAGE: usize = 1_000;

#[derive(ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// One line a message: id, table, code, reason
    List {
        #[command(flatten)]
        place: Place,
        /// At most this many
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
    },
    /// One message with its original bytes
    Show {
        #[command(flatten)]
        place: Place,
        /// The message's id, as `list` prints it
        #[arg(long, value_name = "ID")]
        id: String,
    },
    /// Takes messages through their pipeline again; those that go through leave the parking store
    Retry {
        /// Pipeline file
        pipeline: PathBuf,
        /// Only these messages
        #[arg(long = "id", value_name = "ID")]
        ids: Vec<String>,
    },
    /// Forgets messages for good
    Drop {
        #[command(flatten)]
        place: Place,
        /// These messages
        #[arg(long = "id", value_name = "ID", required_unless_present = "all")]
        ids: Vec<String>,
        /// All messages of the pipeline or store
        #[arg(long, conflicts_with = "ids")]
        all: bool,
    },
}

#[derive(ClapArgs)]
struct Place {
    /// Pipeline file
    #[arg(required_unless_present = "store")]
    pipeline: Option<PathBuf>,
    /// Store name or mongodb:// URI instead of a pipeline: messages of all pipelines
    #[arg(long, conflicts_with = "pipeline")]
    store: Option<String>,
}

/// The parked messages of a pipeline, or of a whole store.
struct Lot {
    store: SharedStore,
    pipeline: Option<String>,
}

pub fn run(args: &Args, context: &Context) -> Result<Outcome> {
    let file = match &args.what {
        What::List { place, .. } | What::Show { place, .. } | What::Drop { place, .. } => place.pipeline.as_ref(),
        What::Retry { pipeline, .. } => Some(pipeline),
    };
    let pipeline = match file.map(|file| load(file, &context.registry, &ProcessVariables)).transpose() {
        Ok(pipeline) => pipeline,
        Err(failure) => return Ok(report::outcome(&[failure] as &[LoadFailure], context)),
    };
    block_on(work(&args.what, pipeline, context))?
}

async fn work(what: &What, pipeline: Option<Pipeline>, context: &Context) -> Result<Outcome> {
    match what {
        What::List { place, limit } => list(&lot(place, pipeline, context).await?, *limit).await,
        What::Show { place, id } => show(&lot(place, pipeline, context).await?, id).await,
        What::Drop { place, ids, all } => {
            let ids = if *all { None } else { Some(ids.as_slice()) };
            drop_messages(&lot(place, pipeline, context).await?, ids).await
        }
        What::Retry { ids, .. } => {
            let pipeline = pipeline.ok_or_else(|| Error::Config("retry needs a pipeline file".into()))?;
            let ids = Some(ids.as_slice()).filter(|ids| !ids.is_empty());
            let retried = runner::retry(&Arc::new(pipeline), &options(context, CancellationToken::new()), ids).await?;
            let summary = format!("{} applied, {} rejected again", retried.applied, retried.rejected);
            let result = json!({ "applied": retried.applied, "rejected": retried.rejected });
            Ok(Outcome { text: format!("{summary}\n"), summary, result, error: None })
        }
    }
}

async fn lot(place: &Place, pipeline: Option<Pipeline>, context: &Context) -> Result<Lot> {
    let stores = stores(context);
    match (pipeline, &place.store) {
        (Some(pipeline), _) => {
            let store = stores.existing(&pipeline.parking.store).await?;
            Ok(Lot { store, pipeline: Some(pipeline.name.to_string()) })
        }
        (None, Some(store)) => Ok(Lot { store: stores.existing(store).await?, pipeline: None }),
        (None, None) => Err(Error::Config("name a pipeline file or --store".into())),
    }
}

impl Lot {
    /// The messages after `after`, at most `limit`.
    async fn page(&self, after: Option<&str>, limit: usize) -> Result<Vec<Parked>> {
        self.store.parked(self.pipeline.as_deref(), after, limit).await
    }
}

async fn list(lot: &Lot, limit: usize) -> Result<Outcome> {
    let parked = lot.page(None, limit).await?;
    let mut text = String::new();
    for entry in &parked {
        let table = entry.table.as_deref().unwrap_or("-");
        let _ = writeln!(
            text,
            "{}  {}  {}  {table}  {}: {}",
            when(entry),
            entry.pipeline,
            entry.id,
            entry.code,
            entry.reason
        );
    }
    let summary = format!("{} parked", parked.len());
    Ok(Outcome {
        text,
        summary,
        result: json!({ "parked": parked.iter().map(facts).collect::<Vec<_>>() }),
        error: None,
    })
}

async fn show(lot: &Lot, id: &str) -> Result<Outcome> {
    let mut after = None;
    loop {
        let page = lot.page(after.as_deref(), PAGE).await?;
        if let Some(entry) = page.iter().find(|entry| entry.id == id) {
            return Ok(shown(entry));
        }
        match page.last() {
            Some(last) => after = Some(last.id.clone()),
            None => {
                return Err(Error::Config(format!("no parked message has the id `{id}`: see `headwater parked list`")));
            }
        }
    }
}

fn shown(entry: &Parked) -> Outcome {
    let message = &entry.message;
    let mut text = format!(
        "id         {}\npipeline   {}\nstage      {}\ntable      {}\nwhen       {}\nplace      {}:{}:{}\nreason     {}: {}\nto do      {}\n",
        entry.id,
        entry.pipeline,
        entry.stage,
        entry.table.as_deref().unwrap_or("-"),
        when(entry),
        message.topic,
        message.partition,
        message.offset,
        entry.code,
        entry.reason,
        remedy(&entry.code),
    );
    for (name, value) in &message.headers {
        let _ = writeln!(text, "header     {name}: {}", readable(value.as_ref()));
    }
    let _ = writeln!(
        text,
        "key        {}\nvalue      {}",
        readable(message.key.as_ref()),
        readable(message.value.as_ref())
    );
    let headers: Vec<_> =
        message.headers.iter().map(|(name, value)| json!([&**name, encoded(value.as_ref())])).collect();
    let mut result = facts(entry);
    if let Some(object) = result.as_object_mut() {
        object.insert("key_base64".into(), encoded(message.key.as_ref()));
        object.insert("value_base64".into(), encoded(message.value.as_ref()));
        object.insert("headers_base64".into(), headers.into());
    }
    Outcome { text, summary: entry.id.clone(), result, error: None }
}

async fn drop_messages(lot: &Lot, ids: Option<&[String]>) -> Result<Outcome> {
    let mut dropped = 0;
    match ids {
        Some(ids) => dropped += lot.store.unpark(ids).await?,
        None => loop {
            let page: Vec<String> = lot.page(None, PAGE).await?.into_iter().map(|entry| entry.id).collect();
            if page.is_empty() {
                break;
            }
            dropped += lot.store.unpark(&page).await?;
        },
    }
    let summary = format!("{dropped} dropped");
    Ok(Outcome { text: format!("{summary}\n"), summary, result: json!({ "dropped": dropped }), error: None })
}

/// What is known about a message without its payload.
fn facts(entry: &Parked) -> Value {
    json!({
        "id": entry.id,
        "pipeline": entry.pipeline,
        "stage": entry.stage,
        "table": entry.table,
        "code": entry.code,
        "reason": entry.reason,
        "to_do": remedy(&entry.code),
        "parked_at": when(entry),
        "topic": &*entry.message.topic,
        "partition": entry.message.partition,
        "offset": entry.message.offset,
    })
}

fn when(entry: &Parked) -> String {
    format!("{}Z", Timestamp::from_millis(entry.parked_at_ms))
}

/// Text as text, with control characters escaped so that a terminal does not obey them; other bytes as base64.
fn readable(bytes: Option<&Bytes>) -> String {
    match bytes.map(|b| std::str::from_utf8(b).map_err(|_| b)) {
        None => "(none)".to_string(),
        Some(Ok(text)) => text
            .chars()
            .flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] })
            .collect(),
        Some(Err(bytes)) => format!("(base64) {}", BASE64.encode(bytes)),
    }
}

fn encoded(bytes: Option<&Bytes>) -> Value {
    bytes.map_or(Value::Null, |bytes| BASE64.encode(bytes).into())
}
