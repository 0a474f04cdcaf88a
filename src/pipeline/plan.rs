//! A pipeline file, loaded: every component built once and asked for its fields, every problem of every part collected.
//!
//! Invariants: no I/O besides the pipeline file and what `${file:…}` names; a [`Pipeline`] has no problems; lanes get
//! fresh components from the same checked file by [`Pipeline::build`].

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::decode::{MAX_FILE_BYTES, decode};
use super::variables::{Secrets, Variables, resolve};
use super::{
    BatchLimits, Field, Flow, Node, NodeKind, Parking, Problem, Section, Spanned, TableFlow, Transactions, parse,
};
use crate::record::{Column, TableSchema};
use crate::stage::{Registry, Source, Stage};

const MAX_LANES: u64 = 64;
const MAX_NAME_BYTES: usize = 63;
const DEFAULT_SHUTDOWN: Duration = Duration::from_secs(30);

/// A checked pipeline.
#[derive(Clone)]
pub struct Pipeline {
    /// Its name: consumer group, name of its own stores, label of logs.
    pub name: Arc<str>,
    /// How many lanes work side by side.
    pub lanes: usize,
    /// When a source closes a batch.
    pub batch: BatchLimits,
    /// Where rejects go, and when there are too many.
    pub parking: Parking,
    /// The store of what must outlive a run: the raw store, else that of the rejects. May hold a password.
    pub state: Arc<str>,
    /// Transactions of the source that readers of the targets are to see whole.
    pub transactions: Option<Transactions>,
    /// How long a stop may take before lanes are dropped.
    pub shutdown: Duration,
    /// The source and the stages with what flows out of each, in order.
    pub steps: Vec<Step>,
    /// What is allowed and yet probably not meant, in the order of the file.
    pub warnings: Vec<Problem>,
    file: Arc<str>,
    secrets: Secrets,
    source: Part,
    stages: Vec<Part>,
    registry: Registry,
}

/// A component of a pipeline and what flows out of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// `source:kafka`, `0:debezium`: the place in the file and the component.
    pub id: String,
    /// What flows out.
    pub flow: Flow,
}

/// The components of one lane: the source, and the stages under their ids.
pub type Components = (Box<dyn Source>, Vec<(String, Box<dyn Stage>)>);

/// Why a file is not a pipeline.
#[derive(Debug, Clone)]
pub struct LoadFailure {
    /// The file's path, or what a text was called.
    pub file: String,
    /// The file's text, for showing places; empty when it could not be read.
    pub source: String,
    /// Everything that is wrong, in the order of the file. Never empty.
    pub problems: Vec<Problem>,
}

/// A component's name and its section of the file.
#[derive(Clone)]
struct Part {
    name: Spanned<String>,
    node: Node,
}

/// Loads a pipeline file.
pub fn load(path: &Path, registry: &Registry, variables: &dyn Variables) -> Result<Pipeline, LoadFailure> {
    let file = path.display().to_string();
    match read(path) {
        Ok(bytes) => load_bytes(&file, &bytes, registry, variables),
        Err(message) => {
            let problem = Spanned { value: (), span: Default::default(), path: "/".to_string() };
            let problem = problem.problem("file.unreadable", message);
            Err(LoadFailure { file, source: String::new(), problems: vec![problem] })
        }
    }
}

/// Loads a pipeline from text; `file` is what problems call it.
pub fn load_text(
    file: &str,
    text: &str,
    registry: &Registry,
    variables: &dyn Variables,
) -> Result<Pipeline, LoadFailure> {
    load_bytes(file, text.as_bytes(), registry, variables)
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    // Asked first: opening a named pipe would wait for its writer, and reading a huge file would fill the memory.
    let meta = std::fs::metadata(path).map_err(|e| format!("the file cannot be read: {}", e.kind()))?;
    if !meta.is_file() {
        return Err("not a regular file".to_string());
    }
    if meta.len() > MAX_FILE_BYTES as u64 {
        return Err("the file is larger than 1 MB".to_string());
    }
    std::fs::read(path).map_err(|e| format!("the file cannot be read: {}", e.kind()))
}

fn load_bytes(
    file: &str,
    bytes: &[u8],
    registry: &Registry,
    variables: &dyn Variables,
) -> Result<Pipeline, LoadFailure> {
    let failure = |source: &str, problems| LoadFailure { file: file.to_string(), source: source.to_string(), problems };
    let text = decode(bytes).map_err(|problem| failure("", vec![problem]))?;
    let mut root = parse(text).map_err(|problems| failure(text, problems))?;
    let (mut secrets, mut problems) = (Secrets::default(), Vec::new());
    resolve(&mut root, variables, &mut secrets, &mut problems);
    let unresolved: BTreeSet<String> = problems.iter().map(|p| p.path.clone()).collect();
    let mut found = Vec::new();
    let pipeline = read_pipeline(&root, registry, &mut found);
    // What a component says of a value that could not be resolved is noise.
    problems.extend(found.into_iter().filter(|p| !unresolved.contains(&p.path)));
    match pipeline {
        Some(pipeline) if problems.is_empty() => {
            let warnings = tidy(pipeline.warnings, text, &secrets);
            Ok(Pipeline { secrets, warnings, file: file.into(), ..pipeline })
        }
        _ => Err(failure(text, tidy(problems, text, &secrets))),
    }
}

/// In the order of the file, without secrets, each once: a value used through aliases may be wrong several times.
fn tidy(mut problems: Vec<Problem>, text: &str, secrets: &Secrets) -> Vec<Problem> {
    problems.iter_mut().filter(|p| p.span.literal).for_each(|p| p.span = p.span.located(text));
    problems.sort_by_key(|p| p.span.start);
    for problem in &mut problems {
        problem.message = secrets.hide(&problem.message);
        problem.help = problem.help.as_deref().map(|help| secrets.hide(help));
    }
    let mut seen = BTreeSet::new();
    problems.retain(|p| seen.insert((p.span.start, p.span.end, p.message.clone())));
    problems
}

/// Reads the top level. `None` only together with problems.
fn read_pipeline(root: &Node, registry: &Registry, problems: &mut Vec<Problem>) -> Option<Pipeline> {
    let mut section = Section::new(root);
    let name = section.required_text("name");
    if !name.value.is_empty() && !valid_name(&name.value) {
        let message =
            format!("a name has a-z, 0-9 and `-`, starts with a letter and has at most {MAX_NAME_BYTES} bytes");
        section.problem(name.problem("name.invalid", message));
    }
    let source = section.required_node("source").and_then(|node| part(&mut section, node));
    let stages = read_stages(&mut section);
    let lanes = section.number_in("lanes", 1..=MAX_LANES, 1) as usize;
    let batch = section.section("batch", BatchLimits::read).unwrap_or_default();
    let parking = section.section("parking", Parking::read).unwrap_or_default();
    let shutdown = section.duration("shutdown").map_or(DEFAULT_SHUTDOWN, |d| d.value);
    let transactions = Transactions::read(&mut section);
    problems.extend(section.finish());
    let source = source?;
    let (_, steps) = instantiate(&source, &stages, registry, transactions.as_ref(), None, problems);
    if let Some(transactions) = &transactions {
        let lanes = root.get("lanes").filter(|_| lanes > 1);
        let flows: Vec<&Flow> = steps.iter().map(|step| &step.flow).collect();
        problems.extend(transactions.check(lanes, &flows, problems.is_empty()));
    }
    let store = steps.last().and_then(|step| step.flow.store.clone());
    let warnings = steps.last().map(|step| step.flow.warnings.clone()).unwrap_or_default();
    let parking = parking.in_store(store.clone().unwrap_or_else(|| format!("{}-parking", name.value)));
    let state = store.unwrap_or_else(|| parking.store.clone()).into();
    Some(Pipeline {
        name: name.value.as_str().into(),
        lanes,
        batch: transactions.as_ref().map_or(batch, |transactions| transactions.share(batch)),
        parking,
        state,
        transactions,
        shutdown,
        steps,
        warnings,
        file: "".into(),
        secrets: Secrets::default(),
        source,
        stages,
        registry: registry.clone(),
    })
}

fn valid_name(name: &str) -> bool {
    let chars = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    chars && name.len() <= MAX_NAME_BYTES && name.starts_with(|c: char| c.is_ascii_lowercase())
}

fn read_stages(section: &mut Section<'_>) -> Vec<Part> {
    let Some(node) = section.required_node("stages") else { return Vec::new() };
    match &node.kind {
        NodeKind::List(items) if !items.is_empty() => items.iter().filter_map(|item| part(section, item)).collect(),
        NodeKind::List(_) => {
            section.problem(node.problem("stages.empty", "a pipeline needs at least one stage"));
            Vec::new()
        }
        _ => {
            let message = format!("expected a list of stages, found {}", node.kind_name());
            section.problem(node.problem("type.list", message).help("start each stage with `- `"));
            Vec::new()
        }
    }
}

/// A single-key map, or a bare name, as a component.
fn part(section: &mut Section<'_>, node: &Node) -> Option<Part> {
    match &node.kind {
        NodeKind::Map(entries) => match entries.as_slice() {
            [(name, settings)] => Some(Part { name: name.clone(), node: settings.clone() }),
            entries => {
                let names: Vec<_> = entries.iter().map(|(name, _)| name.value.as_str()).collect();
                let message = format!("expected one component, found {} keys: {}", names.len(), names.join(", "));
                let help = "a component's settings stand under its name, one level deeper";
                section.problem(node.problem("component.one", message).help(help));
                None
            }
        },
        NodeKind::Scalar { text, secret: false, .. } if !node.is_null() => {
            let nothing = NodeKind::Scalar { text: String::new(), quoted: false, secret: false };
            let path = format!("{}/{text}", node.path);
            let name = Spanned { value: text.clone(), span: node.span, path: path.clone() };
            Some(Part { name, node: Node { kind: nothing, span: node.span, path } })
        }
        _ => {
            let message = format!("expected a component, found {}", node.kind_name());
            section.problem(node.problem("component.one", message));
            None
        }
    }
}

/// Builds and plans every component. The components are there only if no problem was found. `seen` is a table as records
/// show it, whatever the first stage says of it.
fn instantiate(
    source: &Part,
    stages: &[Part],
    registry: &Registry,
    transactions: Option<&Transactions>,
    seen: Option<(&str, &TableSchema)>,
    problems: &mut Vec<Problem>,
) -> (Option<Components>, Vec<Step>) {
    let found_before = problems.len();
    let mut steps = Vec::with_capacity(stages.len() + 1);
    let built = build(source, registry.find_source(&source.name), registry.source_names(), "source", problems);
    let (mut flow, first) = match built {
        Some((mut component, sound)) => (settle(component.plan(), Flow::default(), sound, problems), Some(component)),
        None => (unknown_after(Flow::default()), None),
    };
    flow.transactions = transactions.cloned();
    steps.push(Step { id: format!("source:{}", source.name.value), flow: flow.clone() });
    let mut components = Vec::with_capacity(stages.len());
    for (index, stage) in stages.iter().enumerate() {
        let id = format!("{index}:{}", stage.name.value);
        let built = build(stage, registry.find_stage(&stage.name), registry.stage_names(), "stage", problems);
        flow = match built {
            None => unknown_after(flow),
            Some((mut component, sound)) => {
                let next = settle(component.plan(flow.clone()), flow, sound, problems);
                components.push((id.clone(), component));
                next
            }
        };
        if let Some((table, columns)) = seen.filter(|_| index == 0) {
            show(&mut flow, table, columns);
        }
        steps.push(Step { id, flow: flow.clone() });
    }
    let sound = problems.len() == found_before;
    (first.filter(|_| sound).map(|first| (first, components)), steps)
}

/// Puts a table into the flow as records show it.
fn show(flow: &mut Flow, table: &str, columns: &TableSchema) {
    let known = flow.tables.entry(table.to_string()).or_default();
    let field = |column: &Column| Field {
        name: column.name.to_string(),
        kind: column.kind.clone(),
        origin: vec![format!("{table}.{}", column.name)],
        tags: known.field(&column.name).map_or_else(Vec::new, |field| field.tags.clone()),
    };
    let fields = columns.columns.iter().map(field).collect();
    *known = TableFlow { fields, open: false, nested: known.nested, key: std::mem::take(&mut known.key) };
}

/// Calls a component's factory; says whether its section was sound.
fn build<C>(
    part: &Part,
    factory: Option<fn(&mut Section<'_>) -> C>,
    known: impl Iterator<Item = &'static str>,
    role: &str,
    problems: &mut Vec<Problem>,
) -> Option<(C, bool)> {
    let Some(factory) = factory else {
        let known: Vec<_> = known.collect();
        let message = format!("no {role} is called `{}`; there are: {}", part.name.value, known.join(", "));
        problems.push(part.name.problem("component.unknown", message).suggest(&part.name, known));
        return None;
    };
    let mut section = Section::new(&part.node);
    let component = factory(&mut section);
    let found = section.finish();
    let sound = found.is_empty();
    problems.extend(found);
    Some((component, sound))
}

/// What flows on after a component was planned. When its section was not sound, what it says of the plan follows from
/// that and is not repeated; when it could not be planned, later stages are asked with everything possible.
fn settle(planned: Result<Flow, Vec<Problem>>, before: Flow, sound: bool, problems: &mut Vec<Problem>) -> Flow {
    match planned {
        Ok(flow) => flow,
        Err(found) => {
            if sound {
                problems.extend(found);
            }
            unknown_after(before)
        }
    }
}

/// The flow behind a component that nothing is known of: any table, any field, some store.
fn unknown_after(mut flow: Flow) -> Flow {
    flow.open = true;
    flow.tables.values_mut().chain(flow.stored.values_mut()).for_each(|table| table.open = true);
    flow.store.get_or_insert_default();
    flow
}

impl Pipeline {
    /// Fresh components, planned, for one lane.
    pub fn build(&self) -> Result<Components, Vec<Problem>> {
        let mut problems = Vec::new();
        let transactions = self.transactions.as_ref();
        let (components, _) =
            instantiate(&self.source, &self.stages, &self.registry, transactions, None, &mut problems);
        components.ok_or(problems)
    }

    /// What is wrong with the pipeline once `table` has the columns `now`, and was right with the columns `before`: the
    /// file, and a place and a reason each.
    pub fn check_again(&self, table: &str, before: &TableSchema, now: &TableSchema) -> Vec<String> {
        let problems = |columns: &TableSchema| {
            let mut problems = Vec::new();
            let (transactions, seen) = (self.transactions.as_ref(), Some((table, columns)));
            instantiate(&self.source, &self.stages, &self.registry, transactions, seen, &mut problems);
            problems
        };
        let was = problems(before);
        let is_new = |p: &Problem| !was.iter().any(|w| w.code == p.code && w.span == p.span);
        problems(now)
            .iter()
            .filter(|p| is_new(p))
            .map(|p| format!("{}:{}", self.file, self.secrets.hide(&p.to_string())))
            .collect()
    }

    /// `text` with every value that came from the environment or a file replaced by its reference.
    pub fn hide_secrets(&self, text: &str) -> String {
        self.secrets.hide(text)
    }
}

impl std::fmt::Debug for Pipeline {
    /// The name alone: sections hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipeline").field("name", &self.name).finish_non_exhaustive()
    }
}
