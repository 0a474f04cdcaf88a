//! What the loader says of bad pipeline files: every problem, where it is, and the way out; never a secret.
//!
//! The components are small ones of this test, so that its pipelines stay small too.

use async_trait::async_trait;
use headwater::Result;
use headwater::pipeline::{Field, Flow, Problem, Section, Spanned, TableFlow, load_text};
use headwater::record::{Batch, Kind};
use headwater::stage::{LaneContext, Offsets, Registry, Source, Stage};

/// Gives one table `orders` with the fields `id` and `total`.
struct Orders {
    text: Spanned<String>,
}

#[async_trait]
impl Source for Orders {
    fn plan(&mut self) -> Result<Flow, Vec<Problem>> {
        if self.text.value == "broken" {
            return Err(vec![self.text.problem("source.broken", "this source cannot be planned")]);
        }
        let field = |name: &str, kind| Field { name: name.into(), kind, origin: vec![], tags: vec![] };
        let fields = vec![field("id", Kind::Int64), field("total", Kind::Text)];
        let table = TableFlow { fields, open: false, nested: false, key: vec!["id".into()] };
        Ok(Flow { tables: [("orders".to_string(), table)].into(), ..Flow::default() })
    }
    async fn open(&mut self, _: &LaneContext) -> Result<()> {
        Ok(())
    }
    async fn next(&mut self) -> Result<Option<Batch>> {
        Ok(None)
    }
    async fn commit(&mut self, _: &Offsets) -> Result<()> {
        Ok(())
    }
}

/// Wants a field to exist.
struct Need(Spanned<String>);

#[async_trait]
impl Stage for Need {
    fn plan(&mut self, input: Flow) -> Result<Flow, Vec<Problem>> {
        let mut problems = Vec::new();
        for table in input.tables.values().filter(|t| !t.open) {
            if table.field(&self.0).is_none() {
                let problem = self.0.problem("field.unknown", format!("no field `{}`", self.0.value));
                problems.push(problem.suggest(&self.0, table.fields.iter().map(|f| f.name.as_str())));
            }
        }
        if problems.is_empty() { Ok(input) } else { Err(problems) }
    }
    async fn process(&mut self, batch: Batch) -> Result<Batch> {
        Ok(batch)
    }
}

fn orders(section: &mut Section<'_>) -> Box<dyn Source> {
    section.flag("fast", false);
    section.number("limit");
    Box::new(Orders { text: section.required_text("text") })
}

fn need(section: &mut Section<'_>) -> Box<dyn Stage> {
    Box::new(Need(section.required_text("field")))
}

fn registry() -> Registry {
    Registry::empty().source("orders", orders).stage("need", need)
}

fn no_variables(_: &str) -> Option<String> {
    None
}

/// Every problem as a line `line:column: path message (help)`.
fn problems_with(text: &str, variables: impl Fn(&str) -> Option<String>) -> Vec<String> {
    match load_text("test.yaml", text, &registry(), &variables) {
        Ok(_) => Vec::new(),
        Err(failure) => failure.problems.iter().map(ToString::to_string).collect(),
    }
}

fn problems(text: &str) -> Vec<String> {
    problems_with(text, no_variables)
}

/// A whole pipeline around one source section.
fn with_source(settings: &str) -> String {
    format!("name: n\nsource: {{ orders: {settings} }}\nstages: [need: {{ field: id }}]\n")
}

#[test]
fn a_good_file_is_a_pipeline_with_flows_and_components() {
    let text = "name: n-1\nlanes: 4\nsource: { orders: { text: a } }\nstages:\n  - need: { field: id }\n";
    let pipeline = load_text("test.yaml", text, &registry(), &no_variables).unwrap();
    assert_eq!((&*pipeline.name, pipeline.lanes, pipeline.batch.records), ("n-1", 4, 2_000));
    assert_eq!(pipeline.parking.store, "n-1-parking");
    let ids: Vec<_> = pipeline.steps.iter().map(|s| s.id.as_str()).collect();
    assert_eq!(ids, ["source:orders", "0:need"]);
    let (_, stages) = pipeline.build().unwrap();
    assert_eq!(stages[0].0, "0:need");
}

#[test]
fn all_problems_of_all_parts_come_at_once_with_suggestions() {
    let text =
        "name: My Pipeline\nlanse: 2\nsource:\n  orders: { txt: a }\nstages:\n  - need: { field: totl }\n  - ned: {}\n";
    assert_eq!(
        problems(text),
        [
            "1:7: /name a name has a-z, 0-9 and `-`, starts with a letter and has at most 63 bytes",
            "2:1: /lanse unknown key `lanse`; known here: name, source, stages, lanes, batch, parking, shutdown, \
             consistency \
             (did you mean `lanes`?)",
            "4:11: /source/orders `text` is missing",
            "4:13: /source/orders/txt unknown key `txt`; known here: fast, limit, text (did you mean `text`?)",
            "6:20: /stages/0/need/field no field `totl` (did you mean `total`?)",
            "7:5: /stages/1/ned no stage is called `ned`; there are: need (did you mean `need`?)",
        ]
    );
}

#[test]
fn nothing_is_said_of_fields_behind_a_stage_that_could_not_be_planned() {
    let text = "name: n\nsource: { orders: { text: broken } }\nstages:\n  - need: { field: anything }\n";
    assert_eq!(problems(text), ["2:27: /source/orders/text this source cannot be planned"]);
}

#[test]
fn files_that_are_no_yaml_or_no_pipeline() {
    let cases: &[(&[u8], &str)] = &[
        (b"", "1:1: / the file is empty (a pipeline needs `name`, `source` and `stages`)"),
        (b"# nothing\n", "1:1: / the file is empty (a pipeline needs `name`, `source` and `stages`)"),
        (b"name: a\n\xff\xfe", "1:1: / line 2 is not UTF-8 (byte 8 of the file) (save the file as UTF-8)"),
        (b"\xff\xfen\0a\0", "1:1: / the file is UTF-16 (save it as UTF-8)"),
        (b"name: a\0b", "1:1: / line 1 has a control character (byte 7 of the file)"),
        (b"name: a\nsource:\n\torders: {}\n", "3:2: /source a tab where YAML wants spaces (indent with spaces)"),
        (b"name: a\n---\nname: b\n", "2:1: / one pipeline per file; remove `---`"),
        (b"name: [a\nlanes: 2\n", "2:6: /name/0 illegal placement of ':'"),
        (b"name: &a [*a]\n", "1:11: /name/0 this alias is inside the value that it stands for"),
        (b"name: *nowhere\n", "1:7: /name "),
        (b"? {a: b}\n: c\n", "1:3: / a key must be text, not a list or a map"),
        (b"just text", "1:1: / expected a map, found a scalar"),
    ];
    for (bytes, expected) in cases {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bad.yaml");
        std::fs::write(&path, bytes).unwrap();
        let failure = headwater::pipeline::load(&path, &registry(), &no_variables).unwrap_err();
        let first = failure.problems[0].to_string();
        assert!(first.starts_with(expected), "{:?}\n gave {first}\n want {expected}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn a_byte_order_mark_is_skipped_and_places_stay_right() {
    assert_eq!(
        problems("\u{feff}name: n\nsource: { orders: { text: ä, fast: 1 } }\nstages: [need: { field: id }]\n"),
        ["2:36: /source/orders/fast expected true or false, found a scalar"]
    );
}

#[test]
fn size_depth_and_aliases_are_bounded() {
    for level in ["[", "{a: ", "- "] {
        let deep = format!("name: n\nsource:\n  {}x", level.repeat(10_000));
        assert!(problems(&deep)[0].contains("nested deeper than 64 levels"), "{:?}", problems(&deep));
    }

    let mut bomb = String::from("x-0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n");
    for level in 1..10 {
        let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
        bomb.push_str(&format!("x-{level}: &a{level} [{aliases}]\n"));
    }
    assert!(problems(&bomb)[0].contains("once aliases are expanded"), "{:?}", problems(&bomb));

    let large = format!("name: n # {}", "x".repeat(2 << 20));
    assert_eq!(problems(&large), ["1:1: / the file is larger than 1 MB"]);
}

#[test]
fn duplicates_merge_keys_and_tags_are_problems() {
    let text = "name: n\nname: m\nsource: { orders: { text: !env A } }\nstages:\n  - need: { <<: {field: id} }\n";
    assert_eq!(
        problems(text),
        [
            "2:1: /name `name` is given twice; the first is on line 1",
            "3:27: /source/orders/text YAML tags (`!…`) are not supported (remove the tag; values get their type from \
             the key they stand under)",
            "5:13: /stages/0/need/<< merge keys are not supported (write the keys out, or use an alias for a whole value)",
        ]
    );
}

#[test]
fn norway_values_are_text_where_text_is_wanted_and_errors_elsewhere() {
    assert_eq!(problems(&with_source("{ text: no }")), [""; 0]);
    let wrong = [
        ("{ text: a, fast: no }", "2:36: /source/orders/fast expected true or false, found a scalar"),
        ("{ text: a, limit: 1e3 }", "2:37: /source/orders/limit expected a whole number, found a scalar"),
        ("{ text: a, limit: 0777 }", "2:37: /source/orders/limit expected a whole number, found a scalar"),
        ("{ text: a, limit: '7' }", "2:37: /source/orders/limit expected a whole number, found a scalar"),
    ];
    for (settings, expected) in wrong {
        assert_eq!(problems(&with_source(settings)), [expected]);
    }
}

#[test]
fn all_missing_variables_are_listed_at_once() {
    let text = "name: n\nlanes: ${LANES}\nsource: { orders: { text: \"${A} ${B:?the broker's address} ${C:-fine}\" } }\n\
                stages: [need: { field: '${file:/nonexistent}' }]\n";
    assert_eq!(
        problems(text),
        [
            "2:8: /lanes the variable `LANES` is not set (set it, or give a default: ${LANES:-…})",
            "3:27: /source/orders/text the variable `A` is not set (set it, or give a default: ${A:-…})",
            "3:27: /source/orders/text the variable `B` is not set (the broker's address)",
            "4:25: /stages/0/need/field the file /nonexistent cannot be read: entity not found (give a readable text \
             file of at most 64 KB)",
        ]
    );
}

#[test]
fn variables_are_resolved_after_parsing_and_never_printed() {
    let canary = "canary-s3cret: [x, {y";
    let variables = |name: &str| (name == "SECRET").then(|| format!("{canary}\nsecond-line"));
    let text =
        "name: n\nsource: { orders: { text: '${SECRET} $${PLAIN}' } }\nstages: [need: { field: \"${SECRET}\" }]\n";
    let found = problems_with(text, variables);
    assert_eq!(found, ["3:25: /stages/0/need/field no field `${SECRET}`"]);
    let pipeline = load_text("t", &text.replace("\"${SECRET}\"", "id"), &registry(), &variables).unwrap();
    assert!(!format!("{pipeline:?}").contains("canary"));
    assert_eq!(pipeline.hide_secrets(&format!("at {canary}")), "at ${SECRET}");
}

#[test]
fn secrets_come_from_regular_files_without_the_last_line_break() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("field"), "id\n").unwrap();
    let of = |path: &std::path::Path| {
        problems(&format!(
            "name: n\nsource: {{ orders: {{ text: a }} }}\nstages: [need: {{ field: '${{file:{}}}' }}]\n",
            path.display()
        ))
    };
    assert_eq!(of(&directory.path().join("field")), [""; 0]);
    assert!(of(directory.path())[0].contains("is not a regular file"));
}

#[test]
fn a_bare_name_is_a_component_and_two_keys_are_not() {
    let text =
        "name: n\nsource: { orders: { text: a } }\nstages:\n  - need\n  - need: { field: id }\n    field: id\n  -\n";
    assert_eq!(
        problems(text),
        [
            "4:5: /stages/0/need `field` is missing",
            "5:5: /stages/1 expected one component, found 2 keys: need, field (a component's settings stand under its \
             name, one level deeper)",
            "7:4: /stages/2 expected a component, found nothing",
        ]
    );
}

#[test]
fn limits_have_ranges() {
    let text = format!(
        "{}lanes: 65\nbatch: {{ records: 0, bytes: 1GB, linger: 2h }}\nparking: {{ stop_above: {{ share: 1.5, within: 1ms }} }}\n",
        with_source("{ text: a }")
    );
    assert_eq!(
        problems(&text),
        [
            "4:8: /lanes expected 1 to 64",
            "5:19: /batch/records expected 1 to 100000",
            "5:29: /batch/bytes expected 1KB to 256MB",
            "5:42: /batch/linger expected at most 60s",
            "6:33: /parking/stop_above/share expected a share from 0 to 1",
            "6:46: /parking/stop_above/within expected at least 1s",
        ]
    );
}

#[test]
fn places_in_literal_blocks_are_those_of_the_file() {
    let text = "name: n\nsource: { orders: { text: a } }\nstages:\n  - need:\n      field: |-\n\n        id\n \n        ä wrong\n";
    let registry = registry().stage("need", |section| Box::new(Wrong(section.required_text("field"))));
    let failure = load_text("t", text, &registry, &no_variables).unwrap_err();
    let span = failure.problems[0].span;
    assert_eq!((span.line, span.column, &text[span.start..span.end]), (9, 11, "wrong"));
}

proptest::proptest! {
    /// Any text is loaded or refused, without a panic, and every problem stands in the file.
    #[test]
    fn any_text_gives_a_pipeline_or_problems_within_it(
        pieces in proptest::collection::vec(proptest::sample::select(PIECES.to_vec()), 0..40),
        noise in ".{0,6}",
        at in 0_usize..40,
    ) {
        let mut pieces: Vec<&str> = pieces;
        pieces.insert(at.min(pieces.len()), &noise);
        let text = pieces.concat();
        if let Err(failure) = load_text("t", &text, &registry(), &no_variables) {
            proptest::prop_assert!(!failure.problems.is_empty());
            for problem in &failure.problems {
                let span = problem.span;
                proptest::prop_assert!(span.start <= span.end && span.end <= text.len(), "{problem:?}");
                proptest::prop_assert!(failure.source.is_empty() || failure.source.get(span.start..span.end).is_some());
            }
        }
    }
}

/// What YAML and pipeline files are made of.
const PIECES: &[&str] = &[
    "name: n\n",
    "source:",
    "orders:",
    "stages:",
    " need:",
    " field:",
    " text:",
    "lanes:",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "- ",
    "? ",
    "\n",
    "\n  ",
    "\n    ",
    " ",
    "\t",
    "|",
    "|2-\n",
    ">",
    "&a ",
    "*a",
    "<<: ",
    "!t ",
    "'",
    "\"",
    "\\",
    "#",
    "---\n",
    "...\n",
    "%YAML 1.2\n",
    "${",
    "${A}",
    "${A:-x}",
    "$${",
    "}",
    "ä",
    "\u{85}",
    "\r\n",
    "~",
    "null",
    "id",
    "1",
    "@",
    "`",
];

/// Finds fault with the word `wrong`.
struct Wrong(Spanned<String>);

#[async_trait]
impl Stage for Wrong {
    fn plan(&mut self, _: Flow) -> Result<Flow, Vec<Problem>> {
        let start = self.0.find("wrong").unwrap();
        Err(vec![self.0.part(start, start + 5).problem("wrong", "wrong")])
    }
    async fn process(&mut self, batch: Batch) -> Result<Batch> {
        Ok(batch)
    }
}
