//! Categorization models: features, training, calibration, evaluation, and the files they live in.
//!
//! A model is linear: hashed n-grams and words of the normal text, one weight per slot and class. It is trained by `linfa-ftrl` and
//! used by our own sparse scorer. Rules stand before it, human corrections before both.
//!
//! Invariants: nothing in here knows pipelines or stores; using a model allocates nothing per row and gives the same
//! answer on every platform; a file that is broken, truncated or foreign is refused by name and never half-loaded.

mod build;
mod calibrate;
mod card;
mod categorizer;
mod compare;
mod config;
mod dataset;
pub mod drift;
mod evaluate;
mod explain;
mod facts;
mod features;
mod file;
mod fit;
pub mod folder;
mod ftrl;
pub mod html;
mod lexicon;
mod lines;
mod memo;
mod memory;
mod normalize;
mod reading;
mod remember;
mod rules;
mod spent;
mod splits;
mod taxonomy;
mod train;
mod trained;
mod vocabulary;
mod weights;

pub use build::{Built, Judged, MCC, build, sources};
pub use calibrate::{Calibration, Curve};
pub use categorizer::{Categorizer, Source, UNCATEGORIZED, Verdict};
pub use compare::{Comparison, Difference, Pairs, compare};
pub use config::{CardTexts, StoreTables, TrainConfig};
pub use dataset::{Columns, Dataset, Sample};
pub use evaluate::{Answered, Bin, ClassScore, Covered, Evaluation, Part, answer_all, evaluate};
pub use facts::Facts;
pub use features::{FEATURE_VERSION, Feature, FeatureSpec, Features, Group, Origin, Scratch};
pub use ftrl::FtrlSettings;
pub use lexicon::Lexicon;
pub use normalize::{MAX_INPUT_BYTES, NORMALIZER_VERSION, normalize};
pub use reading::Reading;
pub use rules::Rules;
pub use spent::Spent;
pub use splits::{Division, Splits};
pub use taxonomy::{Category, MccTable, Taxonomy};
pub use train::{Settings, train};
pub use trained::{Answer, Buffers, Familiarity, Info, Model};
pub use weights::{Candidate, Scores, Weights};

#[cfg(test)]
mod robustness;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
