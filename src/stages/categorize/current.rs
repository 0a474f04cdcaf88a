//! Which version of the model is in use.
//!
//! Invariant: whoever asks after taking a snapshot gets a version at least as new as the one that gave any result in
//! that snapshot. Results carry the snapshot's version, so that an answer of an old model never replaces one of a newly
//! published model, however long its lane was held up; re-categorization rests on it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::model::{Categorizer, folder};

/// Until a version that could not be loaded is tried again: it may have been on its way to this machine.
const TRY_AGAIN: Duration = Duration::from_secs(10);

/// The model behind a path: one version, or the one that the `current` file names.
pub struct Current {
    path: PathBuf,
    model: Option<Arc<Categorizer>>,
    refused: Option<Refused>,
    try_again: Duration,
}

/// A version that could not be loaded.
struct Refused {
    folder: PathBuf,
    /// What was said of it, so that it is said once.
    reason: String,
    tried: Instant,
}

impl Current {
    /// Nothing is loaded yet.
    pub fn new(path: &str) -> Self {
        Current { path: PathBuf::from(path), model: None, refused: None, try_again: TRY_AGAIN }
    }

    /// Loads the version in use.
    pub async fn open(&mut self) -> Result<()> {
        self.model = Some(load(self.path.clone()).await?);
        Ok(())
    }

    /// The version in use now. While one that was published since cannot be loaded, the one before it stays in use.
    pub async fn get(&mut self) -> Result<Arc<Categorizer>> {
        let Some(model) = self.model.clone() else {
            return Err(Error::Broken("categorize: used before it was opened".into()));
        };
        let path = self.path.clone();
        let newer = match tokio::task::spawn_blocking(move || folder::resolve(&path)).await {
            Ok(Ok(folder)) if model.folder != folder && !self.waits(&folder) => folder,
            _ => return Ok(model),
        };
        match load(self.path.clone()).await {
            Ok(model) => {
                tracing::info!(model = %model.id, "took a newly published model");
                self.refused = None;
                self.model = Some(model.clone());
                Ok(model)
            }
            Err(error) => {
                self.refuse(newer, error.to_string());
                Ok(model)
            }
        }
    }

    /// Whether a version was refused a moment ago.
    fn waits(&self, folder: &Path) -> bool {
        let refused = self.refused.as_ref().filter(|refused| refused.folder == folder);
        refused.is_some_and(|refused| refused.tried.elapsed() < self.try_again)
    }

    fn refuse(&mut self, folder: PathBuf, reason: String) {
        let known = self.refused.as_ref().is_some_and(|refused| refused.folder == folder && refused.reason == reason);
        if !known {
            tracing::warn!(error = %reason, "a newly published model cannot be used; the one before it stays in use");
        }
        self.refused = Some(Refused { folder, reason, tried: Instant::now() });
    }
}

async fn load(path: PathBuf) -> Result<Arc<Categorizer>> {
    let loaded = tokio::task::spawn_blocking(move || Categorizer::shared(Path::new(&path))).await;
    loaded.map_err(|e| Error::Broken(format!("loading the model was interrupted: {e}")))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_version_that_was_on_its_way_is_taken_when_it_has_arrived() {
        let dir = tempfile::tempdir().unwrap();
        let version = |name: &str| {
            let files = [(folder::RULES.to_string(), b"pattern\tcategory\n*\tother\n".to_vec())].into();
            folder::write_version(dir.path(), "shops", name, "", &files).unwrap();
            folder::set_current(dir.path(), name).unwrap();
        };
        version("1.0.0");
        let mut current = Current::new(&dir.path().display().to_string());
        assert!(current.get().await.is_err(), "not opened");
        current.open().await.unwrap();
        version("1.0.1");
        let manifest = dir.path().join("1.0.1").join(folder::MANIFEST);
        let arrived = std::fs::read(&manifest).unwrap();
        std::fs::write(&manifest, &arrived[..20]).unwrap();
        assert_eq!(current.get().await.unwrap().id, "shops@1.0.0");
        std::fs::write(&manifest, arrived).unwrap();
        assert_eq!(current.get().await.unwrap().id, "shops@1.0.0", "not tried at every batch");
        current.try_again = Duration::ZERO;
        assert_eq!(current.get().await.unwrap().id, "shops@1.0.1");
        // The one in use is not looked for again while it is the one that is published.
        std::fs::write(dir.path().join("1.0.1").join(folder::RULES), "broken").unwrap();
        assert_eq!(current.get().await.unwrap().id, "shops@1.0.1");
    }
}
