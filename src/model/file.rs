//! `model.bin`: one trained model as bytes.
//!
//! ```text
//! 8 bytes   magic "HWMODEL\n"
//! u32       format version (3), little-endian as everything
//! u32       length of the header, then the header: JSON, see `Parts`
//! …         known texts (u64 hash, u16 class, u16 confidence each), merchants (u64 each), rarities of all slots (u8),
//!           left-out bits of each block of weights (u8), weights (i8)
//! 32 bytes  SHA-256 of all before
//! ```
//! Invariants: nothing is believed before the checksum fits; every length is bounded and the file's length must be exactly
//! what the header says; a file that fails any check gives no model, not half of one.

use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::memory::{Known, Memory};
use super::trained::{Info, Model};
use super::weights::{Stored, Weights};

const MAGIC: &[u8; 8] = b"HWMODEL\n";
const FORMAT: u32 = 3;
const MAX_HEADER_BYTES: usize = 1 << 20;
/// Largest file that is read.
pub const MAX_MODEL_BYTES: u64 = 256 << 20;
const KNOWN_BYTES: usize = 12;
const KEY_BYTES: usize = 8;
const CHECKSUM_BYTES: usize = 32;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts {
    info: Info,
    scale: f32,
    known_texts: usize,
    merchants: usize,
    slots: usize,
    blocks: usize,
    weight_bytes: usize,
}

impl Model {
    /// The bytes of `model.bin`. The same model gives the same bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, String> {
        let (rarities, shifts, cells) = self.weights.to_parts();
        let (texts, keys) = (self.memory.texts(), self.memory.keys());
        let parts = Parts {
            info: self.info.clone(),
            scale: self.weights.scale(),
            known_texts: texts.len(),
            merchants: keys.len(),
            slots: rarities.len(),
            blocks: shifts.len(),
            weight_bytes: cells.len(),
        };
        let header = serde_json::to_vec(&parts).map_err(|e| format!("the header cannot be written: {e}"))?;
        let header_len = u32::try_from(header.len()).ok().filter(|n| *n as usize <= MAX_HEADER_BYTES);
        let mut out = Vec::with_capacity(cells.len() + rarities.len() + header.len() + (1 << 20));
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&header_len.ok_or("the header is larger than 1 MB")?.to_le_bytes());
        out.extend_from_slice(&header);
        for known in &texts {
            out.extend_from_slice(&known.hash.to_le_bytes());
            out.extend_from_slice(&known.class.to_le_bytes());
            out.extend_from_slice(&known.confidence.to_le_bytes());
        }
        out.extend(keys.iter().flat_map(|key| key.to_le_bytes()));
        for part in [&rarities, &shifts, &cells] {
            out.extend_from_slice(part);
        }
        let checksum = Sha256::digest(&out);
        out.extend_from_slice(&checksum);
        Ok(out)
    }

    /// Reads the bytes of `model.bin`.
    pub fn from_bytes(bytes: &[u8]) -> Result<Model, String> {
        if !bytes.starts_with(MAGIC) {
            return Err("not a model file (the first 8 bytes are not HWMODEL)".to_string());
        }
        let truncated = || "truncated".to_string();
        let mut rest = Reader(bytes.get(MAGIC.len()..).unwrap_or_default());
        let format = rest.u32().ok_or_else(truncated)?;
        if format != FORMAT {
            return Err(format!("model format {format}, this program reads format {FORMAT}"));
        }
        let body = bytes.len().checked_sub(CHECKSUM_BYTES).and_then(|n| bytes.split_at_checked(n));
        let (content, checksum) = body.ok_or_else(truncated)?;
        if Sha256::digest(content).as_slice() != checksum {
            return Err("the checksum does not fit: broken or truncated".to_string());
        }
        let header_len = rest.u32().ok_or_else(truncated)? as usize;
        let header = rest.take(header_len.min(MAX_HEADER_BYTES)).ok_or_else(truncated)?;
        let parts: Parts = serde_json::from_slice(header).map_err(|e| format!("the header cannot be read: {e}"))?;
        parts.info.check()?;
        let texts = rest.items::<KNOWN_BYTES>(parts.known_texts).ok_or_else(truncated)?;
        let keys = rest.items::<KEY_BYTES>(parts.merchants).ok_or_else(truncated)?;
        let rarities = rest.take(parts.slots).ok_or_else(truncated)?;
        let shifts = rest.take(parts.blocks).ok_or_else(truncated)?;
        let cells = rest.take(parts.weight_bytes).ok_or_else(truncated)?;
        if rest.0.len() != CHECKSUM_BYTES {
            return Err("longer than its header says".to_string());
        }
        let classes = parts.info.classes.len();
        let known: Vec<Known> = texts.iter().map(known_from).collect();
        if known.iter().any(|k| usize::from(k.class) >= classes) {
            return Err("a known text has a category that the model does not have".to_string());
        }
        let keys: Vec<u64> = keys.iter().map(|key| u64::from_le_bytes(*key)).collect();
        if known.iter().any(|k| k.hash == 0) || keys.contains(&0) {
            return Err("an impossible hash".to_string());
        }
        let stored = Stored { rarities, shifts, cells };
        let weights = Weights::from_parts(&stored, &parts.info.features, classes, parts.scale)?;
        Ok(Model { info: parts.info, weights, memory: Memory::new(&known, &keys) })
    }

    /// Reads a `model.bin`.
    pub fn read(path: &Path) -> Result<Model, String> {
        Model::from_bytes(&read_bounded(path, MAX_MODEL_BYTES)?)
    }
}

fn known_from(bytes: &[u8; KNOWN_BYTES]) -> Known {
    let [h0, h1, h2, h3, h4, h5, h6, h7, c0, c1, p0, p1] = *bytes;
    Known {
        hash: u64::from_le_bytes([h0, h1, h2, h3, h4, h5, h6, h7]),
        class: u16::from_le_bytes([c0, c1]),
        confidence: u16::from_le_bytes([p0, p1]),
    }
}

/// The bytes of a file that may not be larger than `limit`.
pub fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, String> {
    use std::io::Read;
    let unreadable = |e: std::io::Error| format!("cannot be read: {e}");
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let size = file.metadata().map_err(unreadable)?.len();
    if size > limit {
        return Err(format!("{size} bytes, at most {limit} are read"));
    }
    let mut bytes = Vec::with_capacity(size as usize + 1);
    file.take(limit + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

/// SHA-256 as lower-case hexadecimal digits.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Length and SHA-256 of a file of any size; it is never in memory as a whole.
pub fn sha256_of(path: &Path) -> Result<(u64, String), String> {
    let mut hasher = Sha256::new();
    let read = std::fs::File::open(path).and_then(|mut file| std::io::copy(&mut file, &mut hasher));
    let len = read.map_err(|e| format!("cannot be read: {e}"))?;
    Ok((len, hex(&hasher.finalize())))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, len: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        let (first, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*first))
    }

    fn items<const N: usize>(&mut self, count: usize) -> Option<&'b [[u8; N]]> {
        Some(self.take(count.checked_mul(N)?)?.as_chunks::<N>().0)
    }
}
