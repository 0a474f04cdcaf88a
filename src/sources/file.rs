//! `file`: replays recordings of topics as `kcat -J` prints them, one JSON object a line, plain or zstd.
//!
//! ```yaml
//! source:
//!   file:
//!     path: recording.jsonl.zst     # or several; relative to the pipeline file's working directory
//!     speed: 10                     # times the recorded speed; absent: as fast as the stages take it
//! ```
//!
//! Bytes that are not text stand in `key_b64` and `payload_b64`. The number of lines that are durable is kept in the
//! data directory, so that a restarted pipeline goes on where it stopped.
//!
//! Deliberately absent: following a file that grows. A recording ends; the source says so, whatever `--until-end` says.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::pipeline::{Flow, Problem, Section, Spanned};
use crate::record::{Batch, Epoch, Message};
use crate::stage::{LaneContext, Offsets, Source};

/// A line longer than this is not a recorded message.
const MAX_LINE_BYTES: u64 = 256 << 20;

/// The component.
pub struct FileSource {
    paths: Vec<Spanned<String>>,
    speed: Option<f64>,
    lane: Option<LaneContext>,
    reader: Option<Lines>,
    progress: PathBuf,
    clock: Option<(Instant, i64)>,
    waiting: Option<Message>,
}

/// Makes the source from its section.
pub fn make(section: &mut Section<'_>) -> Box<dyn Source> {
    let _ = section.required_node("path");
    let paths = section.texts("path");
    let speed = section.float("speed");
    if let Some(wrong) = speed.as_ref().filter(|s| s.value <= 0.0) {
        section.problem(wrong.problem("value.range", "expected a speed above 0"));
    }
    let speed = speed.map(|s| s.value);
    Box::new(FileSource {
        paths,
        speed,
        lane: None,
        reader: None,
        progress: PathBuf::new(),
        clock: None,
        waiting: None,
    })
}

#[async_trait]
impl Source for FileSource {
    fn plan(&mut self) -> Result<Flow, Vec<Problem>> {
        Ok(Flow { open: true, ..Flow::default() })
    }

    async fn open(&mut self, lane: &LaneContext) -> Result<()> {
        self.progress = lane.data_dir.join(format!("{}.lane{}of{}.position", lane.pipeline, lane.lane, lane.lanes));
        let done = read_progress(&self.progress)?;
        let paths = self.paths.iter().map(|p| PathBuf::from(&p.value)).collect();
        let mut lines = Lines { paths, current: None, topics: Vec::new(), line: 0, file_line: 0 };
        tokio::task::block_in_place(|| lines.skip(done))?;
        self.reader = Some(lines);
        self.lane = Some(lane.clone());
        Ok(())
    }

    async fn next(&mut self) -> Result<Option<Batch>> {
        let Some(lane) = self.lane.clone() else { return Ok(None) };
        if lane.shutdown.is_cancelled() {
            return Ok(None);
        }
        if let Some(pause) = self.pause() {
            tokio::time::sleep(pause.min(Duration::from_millis(100))).await;
            if self.pause().is_some() {
                return Ok(Some(Batch::default()));
            }
        }
        let messages = tokio::task::block_in_place(|| self.read_batch(&lane))?;
        Ok((!messages.is_empty() || self.waiting.is_some()).then(|| Batch::from_messages(messages)))
    }

    async fn commit(&mut self, kept: &Offsets) -> Result<()> {
        // What is kept back may lie anywhere in what was read. A recording ends; until then the last position stands.
        if !kept.is_empty() {
            return Ok(());
        }
        // A message that waits for its time has been read but not handed out.
        let read = self.reader.as_ref().map_or(0, |r| r.line);
        let done = read - u64::from(self.waiting.is_some());
        tokio::task::block_in_place(|| write_progress(&self.progress, done))
    }
}

impl FileSource {
    fn read_batch(&mut self, lane: &LaneContext) -> Result<Vec<Message>> {
        let mut messages = Vec::new();
        let mut bytes = 0;
        while messages.len() < lane.batch.records && bytes < lane.batch.bytes {
            let next = match self.waiting.take() {
                Some(message) => Some(message),
                None => self.reader.as_mut().map_or(Ok(None), Lines::next)?,
            };
            let Some(message) = next else { break };
            // Each lane takes its share of the partitions, so that order per partition holds.
            if message.partition.unsigned_abs() as usize % lane.lanes.max(1) != lane.lane {
                continue;
            }
            self.waiting = Some(message);
            if self.pause().is_some() {
                break;
            }
            if let Some(message) = self.waiting.take() {
                bytes += message.size_bytes();
                messages.push(message);
            }
        }
        Ok(messages)
    }

    /// How long until the waiting message is due.
    fn pause(&mut self) -> Option<Duration> {
        let (speed, at) = (self.speed?, self.waiting.as_ref()?.timestamp_ms?);
        let (begun, first) = *self.clock.get_or_insert_with(|| (Instant::now(), at));
        let due = Duration::from_secs_f64(((at - first).max(0) as f64 / 1_000.0 / speed).min(86_400.0));
        Some(due.saturating_sub(begun.elapsed())).filter(|d| !d.is_zero())
    }
}

/// The lines of all files, in order.
struct Lines {
    paths: Vec<PathBuf>,
    current: Option<(PathBuf, Box<dyn BufRead + Send>)>,
    topics: Vec<Arc<str>>,
    /// Lines read of all files.
    line: u64,
    /// Lines read of the current file.
    file_line: u64,
}

/// A line as `kcat -J` prints it.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    topic: std::borrow::Cow<'a, str>,
    partition: i32,
    offset: i64,
    ts: Option<i64>,
    #[serde(default)]
    headers: Option<Vec<Option<String>>>,
    key: Option<String>,
    key_b64: Option<String>,
    payload: Option<String>,
    payload_b64: Option<String>,
}

impl Lines {
    fn skip(&mut self, lines: u64) -> Result<()> {
        let mut text = Vec::new();
        while self.line < lines && self.read_line(&mut text)? {}
        Ok(())
    }

    fn next(&mut self) -> Result<Option<Message>> {
        let mut text = Vec::new();
        while self.read_line(&mut text)? {
            if !text.trim_ascii().is_empty() {
                return self.parse(&text).map(Some);
            }
        }
        Ok(None)
    }

    /// The next line of any file; false at the end of the last.
    fn read_line(&mut self, text: &mut Vec<u8>) -> Result<bool> {
        loop {
            if self.current.is_none() {
                if self.paths.is_empty() {
                    return Ok(false);
                }
                let path = self.paths.remove(0);
                self.current = Some((path.clone(), open(&path)?));
                self.file_line = 0;
            }
            let Some((path, reader)) = &mut self.current else { return Ok(false) };
            text.clear();
            let read = reader.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', text);
            match read.map_err(|e| Error::Broken(format!("{}: line {}: {e}", path.display(), self.file_line + 1)))? {
                0 => self.current = None,
                _ => {
                    self.line += 1;
                    self.file_line += 1;
                    return Ok(true);
                }
            }
        }
    }

    fn parse(&mut self, text: &[u8]) -> Result<Message> {
        let wrong = |what: String| {
            let path = self.current.as_ref().map(|(p, _)| p.display().to_string()).unwrap_or_default();
            Error::Broken(format!("{path}:{}: {what}; expected a line as `kcat -J` prints it", self.file_line))
        };
        let line: Line<'_> = serde_json::from_slice(text).map_err(|e| {
            wrong(format!("not a recorded message ({:?} error in column {})", e.classify(), e.column()))
        })?;
        let bytes = |text: Option<String>, b64: Option<String>| match (text, b64) {
            (_, Some(b64)) => BASE64.decode(b64).map(|b| Some(Bytes::from(b))).map_err(|_| wrong("not base64".into())),
            (text, None) => Ok(text.map(Bytes::from)),
        };
        let (key, value) = (bytes(line.key, line.key_b64)?, bytes(line.payload, line.payload_b64)?);
        let mut headers = Vec::new();
        let mut flat = line.headers.unwrap_or_default().into_iter();
        while let (Some(Some(name)), value) = (flat.next(), flat.next().flatten()) {
            headers.push((Arc::from(name), value.map(Bytes::from)));
        }
        let topic = intern(&mut self.topics, &line.topic);
        Ok(Message {
            topic,
            epoch: Epoch::default(),
            partition: line.partition,
            offset: line.offset,
            timestamp_ms: line.ts,
            key,
            value,
            headers,
        })
    }
}

fn intern(topics: &mut Vec<Arc<str>>, name: &str) -> Arc<str> {
    if let Some(known) = topics.iter().find(|t| &***t == name) {
        return known.clone();
    }
    let topic: Arc<str> = name.into();
    topics.push(topic.clone());
    topic
}

fn open(path: &Path) -> Result<Box<dyn BufRead + Send>> {
    let unreadable = |e: std::io::Error| Error::Config(format!("recording {}: {e}", path.display()));
    let file = File::open(path).map_err(unreadable)?;
    if path.extension().is_some_and(|e| e == "zst") {
        let decoder = zstd::stream::read::Decoder::new(file).map_err(unreadable)?;
        return Ok(Box::new(BufReader::new(decoder)));
    }
    Ok(Box::new(BufReader::with_capacity(1 << 20, file)))
}

fn read_progress(path: &Path) -> Result<u64> {
    match std::fs::read_to_string(path) {
        Ok(text) => text.trim().parse().map_err(|_| {
            Error::Broken(format!(
                "{}: expected a number of lines; delete the file to read the recording from its start",
                path.display()
            ))
        }),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(e) => Err(Error::Unavailable(format!("{}: {e}", path.display()))),
    }
}

/// Replaces the file by rename, so that a crash leaves the old or the new number.
fn write_progress(path: &Path, lines: u64) -> Result<()> {
    let written = || -> std::io::Result<()> {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        let new = path.with_extension("new");
        let mut file = File::create(&new)?;
        writeln!(file, "{lines}")?;
        file.sync_all()?;
        std::fs::rename(&new, path)
    };
    written().map_err(|e| Error::Unavailable(format!("{}: {e}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::BatchLimits;
    use crate::stores::Stores;

    fn lane(dir: &Path) -> LaneContext {
        LaneContext {
            pipeline: "test".into(),
            lane: 0,
            lanes: 1,
            batch: BatchLimits { records: 3, ..BatchLimits::default() },
            data_dir: dir.to_path_buf(),
            stores: Arc::new(Stores::new(dir)),
            shutdown: Default::default(),
            until_end: true,
            state: "state".into(),
            accepted: Default::default(),
        }
    }

    fn source(path: &Path) -> FileSource {
        let path = Spanned { value: path.display().to_string(), span: Default::default(), path: String::new() };
        FileSource {
            paths: vec![path],
            speed: None,
            lane: None,
            reader: None,
            progress: PathBuf::new(),
            clock: None,
            waiting: None,
        }
    }

    fn recording(dir: &Path, lines: &[String]) -> PathBuf {
        let path = dir.join("in.jsonl");
        std::fs::write(&path, lines.join("\n")).unwrap();
        path
    }

    fn line(offset: i64) -> String {
        format!(
            r#"{{"topic":"t","partition":0,"offset":{offset},"ts":1,"headers":["h","v"],"key":"k","payload":null}}"#
        )
    }

    async fn offsets(source: &mut FileSource) -> Vec<i64> {
        let batch = source.next().await.unwrap();
        batch.map_or_else(Vec::new, |b| b.messages.iter().map(|m| m.offset).collect())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn goes_on_behind_the_last_commit() {
        let dir = tempfile::tempdir().unwrap();
        let path = recording(dir.path(), &(0..8).map(line).collect::<Vec<_>>());
        let mut first = source(&path);
        first.open(&lane(dir.path())).await.unwrap();
        assert_eq!(offsets(&mut first).await, [0, 1, 2]);
        first.commit(&Offsets::new()).await.unwrap();
        assert_eq!(offsets(&mut first).await, [3, 4, 5], "read, but never committed");

        let mut second = source(&path);
        second.open(&lane(dir.path())).await.unwrap();
        assert_eq!(offsets(&mut second).await, [3, 4, 5]);
        assert_eq!(offsets(&mut second).await, [6, 7]);
        assert!(second.next().await.unwrap().is_none());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn reads_headers_tombstones_and_base64() {
        let dir = tempfile::tempdir().unwrap();
        let binary = r#"{"topic":"t","partition":1,"offset":9,"key_b64":"/w==","payload_b64":"AP8="}"#;
        let mut source = source(&recording(dir.path(), &[line(0), binary.to_string()]));
        source.open(&lane(dir.path())).await.unwrap();
        let messages = source.next().await.unwrap().unwrap().messages;
        assert_eq!(messages[0].header("h").map(|v| &v[..]), Some(&b"v"[..]));
        assert_eq!((messages[0].value.clone(), messages[0].timestamp_ms), (None, Some(1)));
        assert_eq!(messages[1].key.as_deref(), Some(&[0xff][..]));
        assert_eq!(messages[1].value.as_deref(), Some(&[0, 0xff][..]));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_broken_line_is_named_without_its_text() {
        let dir = tempfile::tempdir().unwrap();
        let mut source = source(&recording(dir.path(), &[line(0), r#"{"topic":"secret""#.to_string()]));
        source.open(&lane(dir.path())).await.unwrap();
        let error = source.next().await.unwrap_err().to_string();
        assert!(error.contains("in.jsonl:2") && !error.contains("secret"), "{error}");
    }
}
