//! Which version of the model is in use.
//!
//! Invariant: whoever asks after taking a snapshot gets a version at least as new as the one that gave any result in
//! that snapshot. Results carry the snapshot's version, so that an answer of an old model never replaces one of a newly
//! published model, however long its lane was held up; re-categorization rests on it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::model::{Categorizer, folder};

/// The model behind a path: one version, or the one that the `current` file names.
pub struct Current {
    path: PathBuf,
    model: Option<Arc<Categorizer>>,
    /// A version that could not be loaded, so that it is reported once.
    refused: Option<PathBuf>,
}

impl Current {
    /// Nothing is loaded yet.
    pub fn new(path: &str) -> Self {
        Current { path: PathBuf::from(path), model: None, refused: None }
    }

    /// Loads the version in use.
    pub async fn open(&mut self) -> Result<()> {
        self.model = Some(load(self.path.clone()).await?);
        Ok(())
    }

    /// The version in use now. One that was published since and cannot be loaded is reported once, and the one before it
    /// stays in use.
    pub async fn get(&mut self) -> Result<Arc<Categorizer>> {
        let path = self.path.clone();
        let found = tokio::task::spawn_blocking(move || folder::resolve(&path)).await;
        let newer = match (&self.model, found) {
            (Some(model), Ok(Ok(folder))) if model.folder != folder && self.refused.as_ref() != Some(&folder) => folder,
            (Some(model), _) => return Ok(model.clone()),
            (None, _) => return Err(Error::Broken("categorize: used before it was opened".into())),
        };
        match load(self.path.clone()).await {
            Ok(model) => {
                tracing::info!(model = %model.id, "took a newly published model");
                self.refused = None;
                self.model = Some(model.clone());
                Ok(model)
            }
            Err(error) => {
                tracing::warn!(%error, "a newly published model cannot be used; the one before it stays in use");
                self.refused = Some(newer);
                self.model.clone().ok_or(error)
            }
        }
    }
}

async fn load(path: PathBuf) -> Result<Arc<Categorizer>> {
    let loaded = tokio::task::spawn_blocking(move || Categorizer::shared(Path::new(&path))).await;
    loaded.map_err(|e| Error::Broken(format!("loading the model was interrupted: {e}")))?
}
