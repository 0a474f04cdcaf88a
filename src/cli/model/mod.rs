//! `headwater model …`: the life of a categorization model.

mod compare;
mod drift;
mod evaluate;
mod folders;
mod stored;
mod train;

use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::{Context, Outcome};
use crate::model::{Dataset, Model, TrainConfig, folder};
use crate::{Error, Result};

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Trains a new version, judges it on every split, writes its folder.
    Train(train::Args),
    /// Measures a model on labelled data; text, JSON or an HTML report.
    Evaluate(evaluate::Args),
    /// Compares two models on the same labelled data, with a significance test and the rows where they differ.
    Compare(compare::Args),
    /// Prints how far what a model sees has moved from its training, by window of time.
    Drift(drift::Args),
    /// Lists models and their versions.
    List(folders::ListArgs),
    /// Prints what a model is: data, settings, scores.
    Show(folders::ShowArgs),
    /// Checks every file of every version against its manifest.
    Verify(folders::ShowArgs),
    /// Makes a version the one in use; running pipelines take it at their next batch.
    Publish(folders::PublishArgs),
}

pub fn run(args: &Args, context: &Context) -> Result<Outcome> {
    match &args.verb {
        Verb::Train(args) => train::run(args, context),
        Verb::Evaluate(args) => evaluate::run(args),
        Verb::Compare(args) => compare::run(args),
        Verb::Drift(args) => drift::run(args, context),
        Verb::List(args) => folders::list(args),
        Verb::Show(args) => folders::show(args),
        Verb::Verify(args) => folders::verify(args),
        Verb::Publish(args) => folders::publish(args),
    }
}

/// The trained model that `path` stands for: a version's folder, a model's folder, or a `model.bin`.
fn load_model(path: &Path) -> Result<Model> {
    if path.is_file() {
        return Model::read(path).map_err(|e| Error::Config(format!("{}: {e}", path.display())));
    }
    let folder = folder::resolve(path)?;
    let checked = folder::Checked::read(&folder, false)?;
    let model = checked.model().map_err(|e| Error::Config(format!("{}: {e}", folder.join(folder::MODEL).display())))?;
    model.ok_or_else(|| {
        Error::Config(format!("{}: rules alone, there is no trained model to measure", folder.display()))
    })
}

/// Labelled data as the training configuration beside the model describes it, without hints: those are for learning alone.
fn load_data(model: &Path, config: Option<&Path>, files: &[PathBuf]) -> Result<(TrainConfig, Dataset)> {
    let beside = || {
        let mut folders = model.ancestors().skip(usize::from(model.is_file())).take(2).map(|f| f.join("train.toml"));
        folders.find(|f| f.is_file()).ok_or_else(|| {
            Error::Config(format!("{}: no train.toml beside it; name one with --training", model.display()))
        })
    };
    let mut config = TrainConfig::read(&config.map_or_else(beside, |c| Ok(c.to_path_buf()))?)?;
    config.data.hints.clear();
    let data = Dataset::read(files, &config.data)?;
    Ok((config, data))
}
