//! What the targets share: an input is a key, a zero byte, and a value.

use bytes::Bytes;
use headwater::cdc::Decoder;
use headwater::record::{Epoch, Message};

/// Splits the input and decodes it twice: the second time with what the decoder learned from the first.
pub fn decode(mut decoder: Decoder, input: &[u8]) {
    let (key, value) = match input.iter().position(|byte| *byte == 0) {
        Some(at) => (Some(&input[..at]), &input[at + 1..]),
        None => (None, input),
    };
    for offset in 0..2 {
        let message = Message {
            topic: "bank.public.transaction".into(),
            epoch: Epoch::default(),
            partition: 0,
            offset,
            timestamp_ms: None,
            key: key.map(Bytes::copy_from_slice),
            value: Some(Bytes::copy_from_slice(value)),
            headers: Vec::new(),
        };
        let _ = decoder.decode(&message, 0);
    }
}
