//! `headwater quickstart`: the main job over a shipped recording, on embedded parts, and what came of it.
//!
//! Lacks: anything that `run` does not do; it is `run --until-end` with a look into the target behind it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};
use serde_json::json;

use super::run as runs;
use super::{Context, Outcome};
use crate::{Error, Result};

/// The target of `pipelines/quickstart.yaml`, in the data directory.
const DOCUMENTS: &str = "spending.db";

#[derive(clap::Args)]
pub struct Args {
    /// The pipeline file
    #[arg(default_value = "pipelines/quickstart.yaml")]
    file: PathBuf,
}

pub fn run(args: &Args, context: &Context) -> Result<Outcome> {
    let mut outcome = runs::run(&runs::Args::until_end(args.file.clone()), context)?;
    if outcome.error.is_some() {
        return Ok(outcome);
    }
    let data = &context.settings.data_dir;
    let file = data.join(DOCUMENTS);
    let (count, documents) = sample(&file).map_err(|e| Error::Broken(format!("{}: {e}", file.display())))?;
    let _ = writeln!(outcome.text, "\n{count} documents in {}, three of them:\n", file.display());
    for document in &documents {
        let _ = writeln!(outcome.text, "{document}\n");
    }
    let (data, file) = (data.display(), file.display());
    let _ = write!(
        outcome.text,
        "where to look further:\n  \
         headwater explain {}             what each stage takes and gives, and where every field comes from\n  \
         headwater raw tables bank        the exact copies of the source tables, in {data}/bank.db\n  \
         headwater raw dump bank account --limit 3\n  \
         headwater parked list quickstart what could not be read, and why\n  \
         sqlite3 {file} 'SELECT document FROM transactions LIMIT 3'\n",
        args.file.display()
    );
    outcome.result = json!({ "run": outcome.result, "documents": documents });
    Ok(outcome)
}

/// How many documents there are, and the three newest.
fn sample(file: &Path) -> rusqlite::Result<(u64, Vec<String>)> {
    let connection = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let count: i64 = connection.query_row("SELECT count(*) FROM transactions", [], |row| row.get(0))?;
    let mut newest = connection.prepare("SELECT document FROM transactions ORDER BY id DESC LIMIT 3")?;
    let documents = newest.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    Ok((u64::try_from(count).unwrap_or(0), documents))
}
