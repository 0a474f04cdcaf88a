//! A model folder in use: rules, then the trained model, then the default. Loaded once per process and version.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use bytestring::ByteString;

use super::explain::shown;
use super::facts::Facts;
use super::folder::{self, Checked};
use super::memo;
use super::rules::Rules;
use super::trained::{Answer, Buffers, Familiarity, Model};
use crate::error::{Error, Result};

/// What a row gets when nothing is sure enough.
pub const UNCATEGORIZED: &str = "uncategorized";

static NEXT_NUMBER: AtomicU64 = AtomicU64::new(1);

/// A version of a model, ready to answer. Shared between lanes.
#[derive(Debug)]
pub struct Categorizer {
    /// `name@version`, as stored with every result.
    pub id: ByteString,
    /// The folder it was loaded from.
    pub folder: PathBuf,
    /// Distinct in this process.
    number: u64,
    rules: Option<Rules>,
    model: Option<Model>,
    classes: Vec<ByteString>,
    uncategorized: ByteString,
}

/// Who decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// A human.
    Correction,
    /// A line of `rules.tsv`.
    Rule,
    /// The trained model's memory: the text itself was labelled in training.
    Memory,
    /// The trained model.
    Model,
    /// The default of a folder of rules.
    Default,
}

impl Source {
    /// As stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Source::Correction => "correction",
            Source::Rule => "rule",
            Source::Memory => "memory",
            Source::Model => "model",
            Source::Default => "default",
        }
    }
}

/// The decision on one row.
#[derive(Debug, Clone, Copy)]
pub struct Verdict<'c> {
    /// The category; `uncategorized` when the model is not sure enough.
    pub category: &'c ByteString,
    /// Calibrated; 1 for rules, 0 for the default.
    pub confidence: f32,
    /// Who decided.
    pub source: Source,
    /// What the model thought, when it was asked.
    pub answer: Option<Answer>,
}

impl Categorizer {
    /// Loads the version in use under `path` (or the version that `path` is).
    pub fn load(path: &Path) -> Result<Categorizer> {
        let folder = folder::resolve(path)?;
        Self::from_folder(&folder, path)
    }

    /// The same, shared with everyone in this process who uses the same version.
    pub fn shared(path: &Path) -> Result<Arc<Categorizer>> {
        static LOADED: OnceLock<Mutex<HashMap<PathBuf, Weak<Categorizer>>>> = OnceLock::new();
        let folder = folder::resolve(path)?;
        // A version that is published never changes; rules edited by hand do, so they are loaded anew.
        if !folder.join(folder::MANIFEST).exists() {
            return Self::from_folder(&folder, path).map(Arc::new);
        }
        let mut loaded = LOADED.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(categorizer) = loaded.get(&folder).and_then(Weak::upgrade) {
            return Ok(categorizer);
        }
        let categorizer = Arc::new(Self::from_folder(&folder, path)?);
        loaded.retain(|_, weak| weak.strong_count() > 0);
        loaded.insert(folder, Arc::downgrade(&categorizer));
        Ok(categorizer)
    }

    fn from_folder(folder: &Path, path: &Path) -> Result<Categorizer> {
        let checked = Checked::read(folder, false)?;
        let wrong = |file: &str, text: String| Error::Config(format!("{}: {text}", folder.join(file).display()));
        let model = checked.model().map_err(|e| wrong(folder::MODEL, e))?;
        let rules = checked.text(folder::RULES).map_err(|e| e.at(folder.display()))?;
        let rules = rules.map(Rules::parse).transpose().map_err(|e| wrong(folder::RULES, e))?;
        let id = match &checked.manifest {
            Some(manifest) => format!("{}@{}", manifest.name, manifest.version),
            None => format!("{}@rules", path.file_name().map(|n| n.to_string_lossy()).unwrap_or_default()),
        };
        if model.is_none() && !rules.as_ref().is_some_and(Rules::has_default) {
            return Err(wrong(
                folder::RULES,
                "rules without a model need a default: a last line `*<TAB>category`".to_string(),
            ));
        }
        let classes = model.iter().flat_map(|m| &m.info.classes).map(|c| c.as_str().into()).collect();
        Ok(Categorizer {
            id: id.into(),
            folder: folder.to_path_buf(),
            number: NEXT_NUMBER.fetch_add(1, Ordering::Relaxed),
            rules,
            model,
            classes,
            uncategorized: UNCATEGORIZED.into(),
        })
    }

    /// Decides on a row. `texts` are its texts in the order of training; `facts` is what else is known of it.
    pub fn decide<'c, 't>(
        &'c self,
        texts: impl Iterator<Item = &'t str> + Clone,
        facts: &Facts,
        buffers: &mut Buffers,
    ) -> Verdict<'c> {
        if self.model.is_some() || self.rules.as_ref().is_some_and(Rules::reads_normal_text) {
            buffers.scratch.set_texts(texts.clone());
        }
        let by_rules = self.rules.as_ref().and_then(|r| r.find(buffers.scratch.normal_text(), texts, facts.amount));
        match (by_rules, &self.model) {
            (Some((category, true)), _) => Verdict { category, confidence: 1.0, source: Source::Rule, answer: None },
            (_, Some(model)) => self.by_model(model, facts, buffers),
            (default, None) => Verdict {
                category: default.map_or(&self.uncategorized, |(category, _)| category),
                confidence: 0.0,
                source: Source::Default,
                answer: None,
            },
        }
    }

    fn by_model(&self, model: &Model, facts: &Facts, buffers: &mut Buffers) -> Verdict<'_> {
        let key = memo::key(buffers.scratch.normal_text(), facts.key(&model.info.features));
        let answer = buffers.memo.get(self.number, key).unwrap_or_else(|| {
            let answer = model.answer(buffers, facts);
            buffers.memo.put(self.number, key, answer);
            answer
        });
        let (class, confidence) = answer.best();
        let sure = confidence >= model.info.threshold && answer.familiarity != Familiarity::Empty;
        let category = self.classes.get(usize::from(class)).filter(|_| sure).unwrap_or(&self.uncategorized);
        let by_heart = sure && answer.familiarity == Familiarity::Text;
        let source = if by_heart { Source::Memory } else { Source::Model };
        Verdict { category, confidence, source, answer: Some(answer) }
    }

    /// What decided on the row that [`Categorizer::decide`] was asked last with the same buffers, strongest first: the
    /// rule's pattern, the text known by heart, or the words that spoke for the best category. Allocates.
    pub fn explain<'t>(
        &self,
        verdict: &Verdict<'_>,
        texts: impl Iterator<Item = &'t str>,
        facts: &Facts,
        buffers: &Buffers,
    ) -> Vec<(ByteString, f32)> {
        let normal = buffers.scratch.normal_text();
        match (verdict.source, verdict.answer, &self.model) {
            (Source::Rule, ..) => {
                let pattern = self.rules.as_ref().and_then(|rules| rules.pattern(normal, texts, facts.amount));
                pattern.map(|pattern| (pattern.clone(), 1.0)).into_iter().collect()
            }
            (Source::Memory, ..) => vec![(shown(normal), verdict.confidence)],
            (_, Some(answer), Some(model)) => model.explain(&buffers.scratch, facts, answer.best().0),
            _ => Vec::new(),
        }
    }

    /// The name of a class of the model.
    pub fn class(&self, class: u16) -> &ByteString {
        self.classes.get(usize::from(class)).unwrap_or(&self.uncategorized)
    }

    /// The classes of the model, in their order; none for rules alone.
    pub fn classes(&self) -> &[ByteString] {
        &self.classes
    }

    /// The trained model, if the folder has one.
    pub fn model(&self) -> Option<&Model> {
        self.model.as_ref()
    }

    /// The rules, if the folder has some.
    pub fn rules(&self) -> Option<&Rules> {
        self.rules.as_ref()
    }
}
