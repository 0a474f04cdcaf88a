//! What has to hold for whatever bytes: an answer in bounded memory, the same one again, a reason that fits into a log.
//!
//! An input is a key, a zero byte, and a value. (Without a zero byte it is a value without a key.)

use std::alloc::System;
use std::sync::Once;

use bytes::Bytes;
use cap::Cap;

use crate::cdc::{Config, Decoder, Known};
use crate::record::{Epoch, Message};

/// What exceeds its limit ends the process, which the fuzzer reports with the input.
#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

/// What decoding may take besides a multiple of the input: decoders and their caches.
const FIXED_BYTES: usize = 2 << 20;
const PER_INPUT_BYTE: usize = 512;

/// Runs `work` in memory in proportion to an input of `bytes` bytes.
fn bounded<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    static REPORT: Once = Once::new();
    REPORT.call_once(|| {
        let report = std::panic::take_hook();
        // A report needs memory, too.
        std::panic::set_hook(Box::new(move |panic| {
            let _ = MEMORY.set_limit(usize::MAX);
            report(panic);
        }));
    });
    let limit = |bytes| MEMORY.set_limit(bytes).expect("less is in use");
    limit(MEMORY.allocated() + FIXED_BYTES + PER_INPUT_BYTE * bytes);
    let result = work();
    limit(usize::MAX);
    result
}

/// Where inputs come from.
pub struct Feed<'f> {
    /// The topic.
    pub topic: &'f str,
    /// The headers.
    pub headers: &'f [(&'f str, &'f str)],
    /// What stands in front of the value.
    pub frame: &'f [u8],
}

impl Default for Feed<'_> {
    fn default() -> Self {
        Feed { topic: "bank.public.transaction", headers: &[], frame: &[] }
    }
}

impl Feed<'_> {
    /// The frame of schema 1.
    pub fn framed() -> Self {
        Feed { frame: &[0, 0, 0, 0, 1], ..Feed::default() }
    }

    /// Decodes `input` in a new decoder, then in one that has learned from `lesson`, twice: what a decoder learns costs or
    /// saves time and changes no answer.
    pub fn decode(&self, decoder: impl Fn() -> Decoder, lesson: &[u8], input: &[u8]) {
        let message = |input| {
            let (key, value) = split(input);
            self.message(key, value)
        };
        bounded(input.len(), || {
            let mut learned = decoder();
            let taught = learned.decode(&message(lesson), 0);
            assert!(taught.is_ok(), "the lesson is no event: {taught:?}");
            compare(&mut decoder(), &mut learned, &message(input));
        });
    }

    /// The same for inputs that are keys of one `value`; the lesson's answer is of no interest.
    pub fn keys(&self, decoder: impl Fn() -> Decoder, value: &[u8], lesson: &[u8], input: &[u8]) {
        bounded(input.len(), || {
            let mut learned = decoder();
            let _ = learned.decode(&self.message(Some(lesson), value), 0);
            compare(&mut decoder(), &mut learned, &self.message(Some(input), value));
        });
    }

    fn message(&self, key: Option<&[u8]>, value: &[u8]) -> Message {
        let headers =
            self.headers.iter().map(|(name, value)| ((*name).into(), Some(Bytes::copy_from_slice(value.as_bytes()))));
        Message {
            topic: self.topic.into(),
            epoch: Epoch::default(),
            partition: 0,
            offset: 7,
            timestamp_ms: None,
            key: key.map(Bytes::copy_from_slice),
            value: Some([self.frame, value].concat().into()),
            headers: headers.collect(),
        }
    }
}

/// Asks `new` and, twice, `learned`.
fn compare(new: &mut Decoder, learned: &mut Decoder, message: &Message) {
    let answer = new.decode(message, 0);
    if let Err(fault) = &answer {
        assert!(!fault.reason.is_empty() && fault.reason.len() < 1_000, "{fault:?}");
    }
    for _ in 0..2 {
        match (&answer, &learned.decode(message, 0)) {
            // Which of several faults is named may differ.
            (Err(_), Err(_)) => {}
            (Ok(one), Ok(other)) if one == other => {}
            // What is not a number equals nothing.
            (one, other) => assert_eq!(format!("{one:?}"), format!("{other:?}")),
        }
    }
}

/// Reads a schema, which ends at the first zero byte, and what stands behind it as a value of that schema.
pub fn schema_and_value(input: &[u8], parse: impl Fn(&str) -> Option<Known>) {
    let (schema, value) = split(input);
    let text = std::str::from_utf8(schema.unwrap_or(value)).unwrap_or_default();
    bounded(input.len(), || {
        let Some(known) = parse(text) else { return };
        let decoder = || {
            let mut decoder = Decoder::new(Config { registry_id_bytes: 4, ..Config::default() });
            decoder.schemas().insert(1, known.clone());
            decoder
        };
        let message = Feed::framed().message(None, value);
        compare(&mut decoder(), &mut decoder(), &message);
    });
}

/// What stands before and behind the first zero byte.
fn split(input: &[u8]) -> (Option<&[u8]>, &[u8]) {
    match input.iter().position(|byte| *byte == 0) {
        Some(at) => (Some(&input[..at]), &input[at + 1..]),
        None => (None, input),
    }
}
