//! Categorization models: features, training, calibration, evaluation, and the files they live in.
//!
//! A model is linear: hashed n-grams of the normal text, one weight per slot and class. It is trained by `linfa-ftrl` and
//! used by our own sparse scorer. Rules stand before it, human corrections before both.
//!
//! Invariants: nothing in here knows pipelines or stores; using a model allocates nothing per row and gives the same
//! answer on every platform; a file that is broken, truncated or foreign is refused by name and never half-loaded.

mod calibrate;
mod categorizer;
mod dataset;
mod features;
mod file;
pub mod folder;
mod ftrl;
mod memory;
mod normalize;
mod rules;
mod train;
mod trained;
mod weights;

pub use calibrate::Calibration;
pub use categorizer::{Categorizer, Source, UNCATEGORIZED, Verdict};
pub use dataset::{Columns, Dataset, Sample};
pub use features::{FEATURE_VERSION, Feature, FeatureSpec, Scratch};
pub use ftrl::FtrlSettings;
pub use normalize::{MAX_INPUT_BYTES, NORMALIZER_VERSION, normalize};
pub use rules::Rules;
pub use train::{Settings, train};
pub use trained::{Answer, Buffers, Familiarity, Info, Model};
pub use weights::{Candidate, Scores, Weights};
