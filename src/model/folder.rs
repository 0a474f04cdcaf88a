//! Model folders: `models/NAME/VERSION/…` and the `current` file that says which version is in use.
//!
//! ```text
//! models/spending/current               one line: 1.0.0
//! models/spending/1.0.0/manifest.json   name, version, and size and SHA-256 of every other file
//! models/spending/1.0.0/model.bin       the trained model
//! models/spending/1.0.0/rules.tsv       optional: rules in front of it
//! models/spending/1.0.0/taxonomy.tsv    optional: what the categories are
//! models/spending/1.0.0/card.md, metrics.json, …
//! ```
//! A folder with `rules.tsv` and neither model nor manifest is a model of rules alone, to be edited by hand.
//!
//! Invariants: a version never changes once it is published (the manifest's checksums would not fit and it would be
//! refused); `current` is replaced by rename, so that a reader sees the old version or the new one, nothing between.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::file::{MAX_MODEL_BYTES, read_bounded, sha256_hex};
use super::trained::Model;
use crate::error::{Error, Result};

/// Name of the trained model's file.
pub const MODEL: &str = "model.bin";
/// Name of the rules' file.
pub const RULES: &str = "rules.tsv";
/// Name of the taxonomy's file.
pub const TAXONOMY: &str = "taxonomy.tsv";
/// Name of the manifest.
pub const MANIFEST: &str = "manifest.json";
/// Name of the pointer to the version in use.
pub const CURRENT: &str = "current";

const MAX_TEXT_BYTES: u64 = 64 << 20;

/// What a version consists of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Format of the manifest: 1.
    pub format: u32,
    /// The model's name.
    pub name: String,
    /// The version.
    pub version: String,
    /// When it was made, as the trainer's clock said.
    pub created: String,
    /// The files by name.
    pub files: BTreeMap<String, FileEntry>,
}

/// Size and checksum of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Length.
    pub bytes: u64,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
}

/// The folder of the version that `path` stands for: itself when it holds a model or rules, else the version that its
/// `current` file names.
pub fn resolve(path: &Path) -> Result<PathBuf> {
    if [MANIFEST, MODEL, RULES].iter().any(|file| path.join(file).is_file()) && !path.join(CURRENT).exists() {
        return Ok(path.to_path_buf());
    }
    let version = current(path)?;
    let folder = path.join(&version);
    if folder.is_dir() {
        Ok(folder)
    } else {
        Err(Error::Config(format!("{} names version {version}, which is not there", path.join(CURRENT).display())))
    }
}

/// The version in use.
pub fn current(path: &Path) -> Result<String> {
    let pointer = path.join(CURRENT);
    let wrong = |text: String| Error::Config(format!("{}: {text}", pointer.display()));
    if !path.is_dir() {
        return Err(Error::Config(format!("{}: no such model folder", path.display())));
    }
    if !pointer.exists() {
        return Err(Error::Config(format!(
            "{}: no model, no rules.tsv and no `current` file; publish a version with `headwater model publish`",
            path.display()
        )));
    }
    let text = read_bounded(&pointer, 256).map_err(&wrong)?;
    let version = String::from_utf8(text).unwrap_or_default().trim().to_string();
    check_version(&version).map_err(|e| wrong(e.to_string()))?;
    Ok(version)
}

/// Versions are `1.2.3` with an optional `-suffix`: never a path.
pub fn check_version(version: &str) -> std::result::Result<(), &'static str> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+');
    let (numbers, _) = version.split_once(['-', '+']).unwrap_or((version, ""));
    let parts: Vec<&str> = numbers.split('.').collect();
    let numeric = parts.len() == 3 && parts.iter().all(|p| p.parse::<u32>().is_ok() && !p.starts_with('+'));
    if numeric && version.chars().all(allowed) && version.len() <= 64 {
        Ok(())
    } else {
        Err("expected a version such as 1.0.0")
    }
}

/// The files of a version whose manifest fits, read and checked; a folder of rules alone has no manifest.
pub struct Checked {
    /// The manifest, if there is one.
    pub manifest: Option<Manifest>,
    files: BTreeMap<String, Vec<u8>>,
}

impl Checked {
    /// Reads `folder`. Only files that a running pipeline needs are read when `all` is false.
    pub fn read(folder: &Path, all: bool) -> Result<Checked> {
        let wrong = |file: &str, text: String| Error::Config(format!("{}: {text}", folder.join(file).display()));
        let mut files = BTreeMap::new();
        if !folder.join(MANIFEST).exists() {
            if folder.join(MODEL).exists() {
                return Err(wrong(MANIFEST, "missing: a trained model needs one".to_string()));
            }
            let rules = read_bounded(&folder.join(RULES), MAX_TEXT_BYTES).map_err(|e| wrong(RULES, e))?;
            files.insert(RULES.to_string(), rules);
            return Ok(Checked { manifest: None, files });
        }
        let text = read_bounded(&folder.join(MANIFEST), 1 << 20).map_err(|e| wrong(MANIFEST, e))?;
        let manifest: Manifest =
            serde_json::from_slice(&text).map_err(|e| wrong(MANIFEST, format!("cannot be read: {e}")))?;
        if manifest.format != 1 {
            return Err(wrong(MANIFEST, format!("format {}, this program reads format 1", manifest.format)));
        }
        for (name, entry) in &manifest.files {
            if !all && ![MODEL, RULES, TAXONOMY].contains(&name.as_str()) {
                continue;
            }
            if name.contains(['/', '\\']) || name.starts_with('.') {
                return Err(wrong(MANIFEST, "names a file outside of its folder".to_string()));
            }
            let bytes = read_bounded(&folder.join(name), MAX_MODEL_BYTES).map_err(|e| wrong(name, e))?;
            if bytes.len() as u64 != entry.bytes || sha256_hex(&bytes) != entry.sha256 {
                return Err(wrong(
                    name,
                    "is not the file that manifest.json names: broken, truncated or changed".to_string(),
                ));
            }
            files.insert(name.clone(), bytes);
        }
        for name in [MODEL, RULES] {
            if folder.join(name).exists() && !files.contains_key(name) {
                return Err(wrong(name, "is not named in manifest.json".to_string()));
            }
        }
        Ok(Checked { manifest: Some(manifest), files })
    }

    /// The bytes of a file.
    pub fn file(&self, name: &str) -> Option<&[u8]> {
        self.files.get(name).map(Vec::as_slice)
    }

    /// The trained model, if there is one: it has to be the one that the manifest names.
    pub fn model(&self) -> std::result::Result<Option<Model>, String> {
        let Some(model) = self.file(MODEL).map(Model::from_bytes).transpose()? else { return Ok(None) };
        let (named, info) = (&self.manifest, &model.info);
        if named.as_ref().is_some_and(|named| (&info.name, &info.version) != (&named.name, &named.version)) {
            return Err(format!("is {} {}, not what {MANIFEST} names", info.name, info.version));
        }
        Ok(Some(model))
    }

    /// The UTF-8 text of a file.
    pub fn text(&self, name: &str) -> Result<Option<&str>> {
        let text = self.file(name).map(std::str::from_utf8).transpose();
        text.map_err(|_| Error::Config(format!("{name}: not UTF-8")))
    }
}

/// Writes a new version: files first, the manifest last, all of it under a temporary name that is renamed at the end.
/// A version that is there already is never touched.
pub fn write_version(
    model: &Path,
    name: &str,
    version: &str,
    created: &str,
    files: &BTreeMap<String, Vec<u8>>,
) -> Result<PathBuf> {
    check_version(version).map_err(|e| Error::Config(format!("version `{version}`: {e}")))?;
    let folder = model.join(version);
    if folder.exists() {
        return Err(Error::Config(format!("{} exists: a version never changes, choose a new one", folder.display())));
    }
    let draft = model.join(format!(".{version}.{}", std::process::id()));
    let entry = |bytes: &Vec<u8>| FileEntry { bytes: bytes.len() as u64, sha256: sha256_hex(bytes) };
    let manifest = Manifest {
        format: 1,
        name: name.to_string(),
        version: version.to_string(),
        created: created.to_string(),
        files: files.iter().map(|(name, bytes)| (name.clone(), entry(bytes))).collect(),
    };
    let mut text = serde_json::to_string_pretty(&manifest).map_err(|e| Error::Broken(e.to_string()))?;
    text.push('\n');
    let write = || {
        fs::create_dir_all(&draft)?;
        for (name, bytes) in files {
            write_durably(&draft.join(name), bytes)?;
        }
        write_durably(&draft.join(MANIFEST), text.as_bytes())?;
        sync_folder(&draft)?;
        fs::rename(&draft, &folder)?;
        sync_folder(model)
    };
    if let Err(e) = write() {
        // What is left of the draft would only take room; the error says what happened.
        let _ = fs::remove_dir_all(&draft);
        return Err(Error::Unavailable(format!("{}: cannot be written: {e}", folder.display())));
    }
    Ok(folder)
}

/// Makes `version` the one in use. Running pipelines take it at their next batch.
pub fn set_current(model: &Path, version: &str) -> Result<()> {
    check_version(version).map_err(|e| Error::Config(format!("version `{version}`: {e}")))?;
    let draft = model.join(format!(".{CURRENT}.{}", std::process::id()));
    let unwritable = |e: std::io::Error| Error::Unavailable(format!("{}: cannot be written: {e}", model.display()));
    write_durably(&draft, format!("{version}\n").as_bytes()).map_err(unwritable)?;
    fs::rename(&draft, model.join(CURRENT)).map_err(unwritable)?;
    sync_folder(model).map_err(unwritable)
}

/// Folders that are named like versions, oldest number first; whether they are whole is another question.
pub fn versions(model: &Path) -> Result<Vec<String>> {
    let unreadable = |e: std::io::Error| Error::Config(format!("{}: cannot be read: {e}", model.display()));
    let mut found = Vec::new();
    for entry in fs::read_dir(model).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name().to_string_lossy().into_owned();
        if check_version(&name).is_ok() && model.join(&name).is_dir() {
            found.push(name);
        }
    }
    found.sort_by(|a, b| order(a, b));
    Ok(found)
}

/// The order of two versions: by their numbers, then by what follows them.
pub fn order(a: &str, b: &str) -> std::cmp::Ordering {
    let numbers = |v: &str| -> Vec<u32> { v.split(['.', '-', '+']).take(3).filter_map(|p| p.parse().ok()).collect() };
    (numbers(a), a).cmp(&(numbers(b), b))
}

/// Names in a folder outlive a power cut only when the folder itself is written.
fn sync_folder(folder: &Path) -> std::io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

fn write_durably(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = fs::File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
