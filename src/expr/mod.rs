//! VRL expressions over rows: compiled against known fields before anything runs, evaluated on exact values.
//!
//! How values look inside an expression ([`to_vrl`]): bool, int64, float64, text, bytes, list and map as themselves;
//! both timestamps as VRL timestamps (a zone-less one as if it were UTC); json as its text (`parse_json!(.payload)`);
//! decimal, date, time and integers above `i64::MAX` as text, because VRL has no type that holds them exactly
//! (`to_float!(.amount) < -100`). Everything may be null. Integer arithmetic is VRL's: it wraps at 64 bits.
//!
//! Invariants: an expression is a pure function of what it reads: functions that ask the clock, the environment, the
//! network, files or a random generator do not exist here; errors at run time never carry values.

mod convert;
mod errors;
mod functions;
mod scope;
mod target;

pub use convert::{from_vrl, to_vrl};
pub use scope::Scope;
pub use target::Touched;
pub use vrl::value::Value as VrlValue;

use vrl::compiler::runtime::Runtime;
use vrl::compiler::state::ExternalEnv;
use vrl::compiler::{CompileConfig, Program, TargetValueRef, TimeZone, compile_with_external};
use vrl::path::{OwnedSegment, OwnedTargetPath, PathPrefix};
use vrl::value::Secrets;

use crate::pipeline::{Problem, Spanned};
use crate::record::Kind;

/// Whether an expression may change the row that it sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It gives a value.
    Read,
    /// It assigns fields.
    Write,
}

/// A compiled expression.
#[derive(Debug, Clone)]
pub struct Expression {
    program: Program,
    reads: Vec<Vec<String>>,
    writes: Vec<Vec<String>>,
}

impl Expression {
    /// Compiles `source` against the fields of `scope`; every problem has its place in the pipeline file.
    pub fn compile(source: &Spanned<String>, scope: &Scope, access: Access) -> Result<Self, Vec<Problem>> {
        let mut config = CompileConfig::default();
        match access {
            Access::Read => config.set_read_only(),
            Access::Write => config.set_read_only_path(OwnedTargetPath::metadata_root(), true),
        }
        let external = ExternalEnv::new_with_kind(scope.kind().clone(), vrl::value::Kind::any_object());
        let compiled = compile_with_external(source, functions::available(), &external, config);
        let program = compiled.map_err(|found| errors::problems(source, &found))?.program;
        let reads = field_paths(&program.info().target_queries);
        let writes = field_paths(&program.info().target_assignments);
        let mut problems = Vec::new();
        if program.info().abortable {
            problems.push(source.problem("expression.invalid", "`abort` has no meaning here").help("use `filter`"));
        }
        problems.extend(reads.iter().filter_map(|path| scope.unknown(source, path)));
        if problems.is_empty() { Ok(Expression { program, reads, writes }) } else { Err(problems) }
    }

    /// Compiles a condition: an expression that gives true, false or null.
    pub fn condition(source: &Spanned<String>, scope: &Scope) -> Result<Self, Vec<Problem>> {
        let expression = Expression::compile(source, scope, Access::Read)?;
        match expression.kind() {
            Kind::Bool => Ok(expression),
            other => Err(vec![
                source
                    .problem("expression.condition", format!("expected a condition, but the expression gives {other}"))
                    .help("compare (`.status == \"booked\"`), or say that it is one: `bool!(.flag)`"),
            ]),
        }
    }

    /// The paths that it may read, as field names from the top; an empty path means everything. Sorted, without
    /// repetition.
    pub fn reads(&self) -> &[Vec<String>] {
        &self.reads
    }

    /// The paths that it assigns. Sorted, without repetition.
    pub fn writes(&self) -> &[Vec<String>] {
        &self.writes
    }

    /// What its result is, null aside.
    pub fn kind(&self) -> Kind {
        convert::kind_from_vrl(self.program.final_type_info().result.kind())
    }

    /// What the top-level field `name` is after it ran; `None` when it is gone.
    pub fn kind_after(&self, name: &str) -> Option<Kind> {
        let info = self.program.final_type_info();
        let kind = info.state.external.target_kind().at_path(&vrl::path::OwnedValuePath::single_field(name));
        (!kind.is_undefined()).then(|| convert::kind_from_vrl(&kind))
    }
}

/// Field names of event paths; a path is cut at an index, since what lies behind it belongs to the field.
fn field_paths(paths: &[OwnedTargetPath]) -> Vec<Vec<String>> {
    let names = |path: &OwnedTargetPath| {
        let fields = path.path.segments.iter().map_while(|segment| match segment {
            OwnedSegment::Field(name) => Some(name.to_string()),
            OwnedSegment::Index(_) => None,
        });
        fields.collect::<Vec<_>>()
    };
    let mut all: Vec<_> = paths.iter().filter(|p| p.prefix == PathPrefix::Event).map(names).collect();
    all.sort();
    all.dedup();
    all
}

/// Runs expressions; one per lane, reused.
#[derive(Debug)]
pub struct Evaluator {
    runtime: Runtime,
    metadata: VrlValue,
    secrets: Secrets,
    zone: TimeZone,
}

impl Default for Evaluator {
    fn default() -> Self {
        Evaluator {
            runtime: Runtime::default(),
            metadata: VrlValue::Object(Default::default()),
            secrets: Secrets::new(),
            // Never the machine's zone: the same row gives the same document everywhere.
            zone: TimeZone::parse("UTC").unwrap_or_default(),
        }
    }
}

impl Evaluator {
    /// The value of `expression` over `target`; an error says where and what was expected, without values.
    pub fn eval(&mut self, expression: &Expression, target: &mut VrlValue) -> Result<VrlValue, String> {
        let mut target = TargetValueRef { value: target, metadata: &mut self.metadata, secrets: &mut self.secrets };
        // Some functions panic on extreme values (`abs` of the smallest integer).
        let run = || self.runtime.resolve(&mut target, &expression.program, &self.zone);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
        self.runtime.clear();
        match result {
            Ok(result) => result.map_err(|error| errors::without_values(&error.to_string())),
            Err(_) => Err("a function could not cope with its argument".to_string()),
        }
    }

    /// Whether `condition` holds for `target`; null counts as false, as in SQL.
    pub fn holds(&mut self, condition: &Expression, target: &mut VrlValue) -> Result<bool, String> {
        Ok(self.eval(condition, target)? == VrlValue::Boolean(true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Field;

    fn scope(fields: &[(&str, Kind)]) -> Scope {
        let field = |(name, kind): &(&str, Kind)| Field {
            name: (*name).into(),
            kind: kind.clone(),
            origin: Vec::new(),
            tags: Vec::new(),
        };
        Scope::new(&fields.iter().map(field).collect::<Vec<_>>(), false)
    }

    fn source(text: &str) -> Spanned<String> {
        Spanned { value: text.into(), span: Default::default(), path: "/x".into() }
    }

    fn compile(text: &str, scope: &Scope) -> Result<Expression, Vec<Problem>> {
        Expression::compile(&source(text), scope, Access::Read)
    }

    fn row(fields: &[(&str, crate::record::Value)]) -> VrlValue {
        VrlValue::Object(fields.iter().map(|(n, v)| ((*n).into(), to_vrl(v).unwrap())).collect())
    }

    #[test]
    fn an_expression_knows_what_it_reads_and_gives() {
        let scope = scope(&[("name", Kind::Text), ("n", Kind::Int64)]);
        let upper = compile("upcase(string!(.name))", &scope).unwrap();
        assert_eq!(upper.reads(), [vec!["name".to_string()]]);
        assert_eq!(upper.kind(), Kind::Text);
        assert!(Expression::condition(&source(".n == 3"), &scope).is_ok());
        assert_eq!(Expression::condition(&source(".n"), &scope).unwrap_err()[0].code, "expression.condition");
        let mut target = row(&[("name", "bakery".into()), ("n", 3.into())]);
        let value = Evaluator::default().eval(&upper, &mut target).unwrap();
        assert_eq!(from_vrl(value), "BAKERY".into());
    }

    #[test]
    fn unknown_fields_are_found_with_a_suggestion() {
        let problems = compile(".nmae == \"x\"", &scope(&[("name", Kind::Text)])).unwrap_err();
        assert_eq!(problems[0].code, "field.unknown");
        assert_eq!(problems[0].help.as_deref(), Some("did you mean `name`?"));
    }

    #[test]
    fn impure_functions_do_not_exist() {
        for text in ["now()", "get_env_var!(\"HOME\")", "random_int(0, 9)", "uuid_v4()", "http_request!(\"x\")"] {
            let problems = compile(text, &scope(&[])).unwrap_err();
            assert!(problems[0].help.as_deref().unwrap_or("").contains("pure"), "{text}: {problems:?}");
        }
    }

    #[test]
    fn decimals_do_not_silently_become_floats() {
        let scope = scope(&[("amount", Kind::Decimal { precision: None, scale: Some(2) })]);
        let problems = compile(".amount < -100", &scope).unwrap_err();
        assert!(problems[0].help.as_deref().unwrap_or("").contains("to_float!"), "{problems:?}");
        let small = compile("to_float!(.amount) < -100", &scope).unwrap();
        let mut target = row(&[("amount", crate::record::Value::Decimal("-100.01".parse().unwrap()))]);
        assert_eq!(Evaluator::default().eval(&small, &mut target), Ok(VrlValue::Boolean(true)));
    }

    #[test]
    fn errors_at_run_time_carry_no_values() {
        let scope = scope(&[("name", Kind::Text)]);
        let mut target = row(&[("name", "secret-iban".into())]);
        for (text, expected) in [
            ("to_int!(.name)", "function call error for \"to_int\" at (0:14)"),
            ("assert!(.name == \"x\", message: \"got \" + string!(.name))", "function call error"),
        ] {
            let error = Evaluator::default().eval(&compile(text, &scope).unwrap(), &mut target).unwrap_err();
            assert!(error.starts_with(expected) && !error.contains("secret"), "{error}");
        }
        let mut target = row(&[("name", crate::record::Value::Null)]);
        let error = Evaluator::default().eval(&compile("string!(.name)", &scope).unwrap(), &mut target).unwrap_err();
        assert!(error.ends_with("expected string, got null"), "{error}");
    }

    #[test]
    fn what_makes_a_function_panic_is_an_error() {
        let absolute = compile("abs(int(.n) ?? 0)", &scope(&[("n", Kind::Int64)])).unwrap();
        let result = Evaluator::default().eval(&absolute, &mut row(&[("n", i64::MIN.into())]));
        // Where overflow is checked it panics inside; elsewhere it wraps.
        if cfg!(debug_assertions) {
            assert_eq!(result, Err("a function could not cope with its argument".to_string()));
        }
    }

    #[test]
    fn reading_expressions_cannot_assign() {
        assert!(compile(".name = 3", &scope(&[("name", Kind::Text)])).is_err());
        assert!(compile("del(.name)", &scope(&[("name", Kind::Text)])).is_err());
        assert!(compile("abort", &scope(&[])).is_err());
    }
}
