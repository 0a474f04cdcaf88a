//! VRL expressions over rows: compiled against known fields before anything runs, evaluated on exact values.
//!
//! How values look inside an expression ([`to_vrl`]): bool, int64, float64, text, bytes, list and map as themselves;
//! both timestamps as VRL timestamps (a zone-less one as if it were UTC); json as its text (`parse_json!(.payload)`);
//! decimal, date, time and integers above `i64::MAX` as text, because VRL has no type that holds them exactly
//! (`to_float!(.amount) < -100`). Everything may be null. An integer that would leave its 64 bits, or a text that would
//! grow beyond 16 MiB, is an error of the row, like any other: it parks the row unless the program handles it (`?? 0`).
//!
//! Invariants: an expression is a pure function of what it reads: functions that ask the clock, the environment, the
//! network, files or a random generator do not exist here; errors at run time never carry values.

mod arithmetic;
mod convert;
mod errors;
mod functions;
mod rewrite;
mod scope;
mod target;

pub use convert::{from_vrl, to_vrl};
pub use scope::Scope;
pub use target::Touched;
pub use vrl::value::Value as VrlValue;

use vrl::compiler::runtime::Runtime;
use vrl::compiler::state::ExternalEnv;
use vrl::compiler::{CompileConfig, Compiler, Program, TargetValueRef, TimeZone, TypeState, compile_with_external};
use vrl::path::{OwnedSegment, OwnedTargetPath, OwnedValuePath, PathPrefix};
use vrl::value::Secrets;

use self::rewrite::Rewritten;
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
        let program = bounded(source, scope, access)?;
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

    /// What the field at `path` is after it ran; `None` when it is gone.
    pub fn kind_after(&self, path: &[&str]) -> Option<Kind> {
        let kind = self.vrl_kind_after(path);
        (!kind.is_undefined()).then(|| convert::kind_from_vrl(&kind))
    }

    /// The top-level field `name` after it ran, as the fields below it (dotted names) where they are all known.
    pub fn fields_after(&self, name: &str) -> Vec<(String, Kind)> {
        let mut fields = Vec::new();
        convert::leaves(name.to_string(), &self.vrl_kind_after(&[name]), &mut fields);
        fields
    }

    fn vrl_kind_after(&self, path: &[&str]) -> vrl::value::Kind {
        let segments = path.iter().map(|name| OwnedSegment::field(name)).collect::<Vec<_>>();
        self.program.final_type_info().state.external.target_kind().at_path(&OwnedValuePath::from(segments))
    }
}

/// Compiles `source` as VRL does, then once more with bounds where it has arithmetic.
fn bounded(source: &Spanned<String>, scope: &Scope, access: Access) -> Result<Program, Vec<Problem>> {
    let config = || {
        let mut config = CompileConfig::default();
        match access {
            Access::Read => config.set_read_only(),
            Access::Write => config.set_read_only_path(OwnedTargetPath::metadata_root(), true),
        }
        config
    };
    let problems = |found| errors::problems(source, &found);
    let external = ExternalEnv::new_with_kind(scope.kind().clone(), vrl::value::Kind::any_object());
    let compiled = compile_with_external(source, functions::available(), &external, config()).map_err(problems)?;
    let Ok(parsed) = vrl::parser::parse(&**source) else { return Ok(compiled.program) };
    let mut rewritten = Rewritten::default();
    let program = rewritten.program(parsed);
    if !rewritten.refused.is_empty() {
        let refused = rewritten.refused.into_iter();
        return Err(refused
            .map(|(span, text)| source.part(span.start(), span.end()).problem("expression.unbounded", text))
            .collect());
    }
    if !rewritten.changed {
        return Ok(compiled.program);
    }
    let state = TypeState { local: Default::default(), external };
    let compiled = Compiler::compile(functions::with_arithmetic(), program, &state, config()).map_err(problems)?;
    Ok(compiled.program)
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
        // A function of the standard library may panic on a value that nobody thought of.
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
    use crate::pipeline::{Field, TableFlow};

    fn scope(fields: &[(&str, Kind)]) -> Scope {
        Scope::of(&flow(fields))
    }

    fn flow(fields: &[(&str, Kind)]) -> TableFlow {
        let field = |(name, kind): &(&str, Kind)| Field {
            name: (*name).into(),
            kind: kind.clone(),
            origin: Vec::new(),
            tags: Vec::new(),
        };
        TableFlow { fields: fields.iter().map(field).collect(), ..TableFlow::default() }
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
    fn a_dot_leads_into_documents_and_is_part_of_a_column_s_name() {
        let fields = [("id", Kind::Int64), ("customer.name", Kind::Text), ("customer.home.city", Kind::Text)];
        let documents = Scope::of(&TableFlow { nested: true, ..flow(&fields) });
        let known = compile("[.customer.name, .customer.home.city, .customer.home, .customer]", &documents).unwrap();
        assert_eq!(known.reads().len(), 4);
        let code = |text: &str, scope: &Scope| compile(text, scope).unwrap_err()[0].to_string();
        let misspelt = code(".customer.nmae == \"x\"", &documents);
        assert!(misspelt.contains("`nmae`") && misspelt.contains("`name`"), "{misspelt}");
        assert!(code(".customer.home.ctiy", &documents).contains("did you mean `city`?"));
        assert!(code(".custmer.name", &documents).contains("did you mean `customer`?"));
        assert!(code(".\"customer.name\"", &documents).contains("there is no field `customer.name`"));
        let rows = scope(&fields);
        assert!(compile(".\"customer.name\"", &rows).is_ok());
        assert!(code(".customer.name", &rows).contains("there is no field `customer`"));
    }

    #[test]
    fn nested_fields_may_be_null() {
        let documents = Scope::of(&TableFlow { nested: true, ..flow(&[("customer.name", Kind::Text)]) });
        assert!(compile("upcase(.customer.name)", &documents).is_err());
        let upper = compile("upcase(string(.customer.name) ?? \"nobody\")", &documents).unwrap();
        let mut target = row(&[("customer", crate::record::Value::Null)]);
        assert_eq!(Evaluator::default().eval(&upper, &mut target).map(from_vrl), Ok("NOBODY".into()));
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

    /// What `text` gives for `.n`, a text `.t` and a floating point number `.f`.
    fn eval(text: &str, n: i64, t: &str) -> Result<VrlValue, String> {
        let scope = scope(&[("n", Kind::Int64), ("t", Kind::Text), ("f", Kind::Float64)]);
        let compiled = compile(text, &scope).unwrap_or_else(|problems| panic!("{text}: {problems:?}"));
        let mut target = row(&[("n", n.into()), ("t", t.into()), ("f", crate::record::Value::Float(0.5))]);
        Evaluator::default().eval(&compiled, &mut target)
    }

    #[test]
    fn arithmetic_is_vrl_s_as_long_as_it_has_bounds() {
        let integer = |n: i64| Ok(VrlValue::Integer(n));
        assert_eq!(eval("int!(.n) + 2 * 3 - 1", 1, ""), integer(6));
        assert_eq!(eval("(int!(.n) + 2) * (3 - 1)", 1, ""), integer(6));
        assert_eq!(eval("(.n + .n * 2) ?? 0", 7, ""), integer(21));
        assert_eq!(eval("(.n + .t) ?? 5", 7, "x"), integer(5));
        assert_eq!(eval("x, err = .n - .t; err == null", 7, "x"), Ok(VrlValue::Boolean(false)));
        assert_eq!(eval("if int!(.n) + 1 > 7 { 0 - int!(.n) } else { 0 }", 7, ""), integer(-7));
        assert_eq!(from_vrl(eval("\"<\" + .t + \">\" * 2", 0, "x").unwrap()), "<x>>".into());
        assert_eq!(from_vrl(eval("string!(.t) * int!(.n)", -3, "x").unwrap()), "".into());
        assert_eq!(from_vrl(eval("float!(.f) * 3 + int!(.n) / 4", 2, "").unwrap()), crate::record::Value::Float(2.0));
        let mapped = "map_values({\"a\": int!(.n)}) -> |v| { int!(v) + 1 }";
        let expected = crate::record::Value::Map(vec![("a".into(), 3.into())]);
        assert_eq!(from_vrl(eval(mapped, 2, "").unwrap()), expected);
        assert_eq!(eval("abs(int!(.n))", -3, ""), integer(3));
    }

    #[test]
    fn what_leaves_its_bounds_is_an_error_of_the_row() {
        let overflow = "the result is no integer of 64 bits";
        for (text, n, at) in [
            ("int!(.n) + 1", i64::MAX, "0:12"),
            ("int!(.n) - 1", i64::MIN, "0:12"),
            ("[1, 2 * int!(.n)]", i64::MAX / 2 + 1, "4:16"),
            ("!(int!(.n) * int!(.n) > 0)", i64::MIN, "2:21"),
            ("upcase(to_string(-1 + int!(.n)))", i64::MIN, "17:30"),
        ] {
            assert_eq!(eval(text, n, ""), Err(format!("arithmetic at ({at}): {overflow}")), "{text}");
        }
        let error = eval("abs(int!(.n))", i64::MIN, "").unwrap_err();
        assert_eq!(error, format!("function call error for \"abs\" at (0:13): {overflow}"));
        let long = "arithmetic at (0:14): the result is a text of more than 16 MiB";
        assert_eq!(eval("\"x\" * int!(.n)", i64::MAX, ""), Err(long.into()));
        assert_eq!(eval("\"x\" * int!(.n)", 16 * 1024 * 1024 + 1, ""), Err(long.into()));
        assert!(eval("\"x\" * int!(.n)", 16 * 1024 * 1024, "").is_ok());
        let doubled = "x = \"x\"; for_each(split(string!(.t), \",\")) -> |_, _| { x = x + x }; x";
        assert!(eval(doubled, 0, &"a,".repeat(70)).unwrap_err().ends_with("16 MiB"));
        assert_eq!(eval("int!(.n) / 0 ?? -1.0", 1, "").map(from_vrl), Ok(crate::record::Value::Float(-1.0)));
        let error = eval("to_int!(.t) + 1", 0, "secret-iban").unwrap_err();
        assert_eq!(error, "function call error for \"to_int\" at (0:11)");
    }

    #[test]
    fn what_is_seen_to_have_no_bounds_is_refused() {
        let scope = scope(&[("n", Kind::Int64), ("t", Kind::Text), ("list", Kind::List(Box::new(Kind::Int64)))]);
        let refused =
            |text: &str| Expression::compile(&source(text), &scope, Access::Write).unwrap_err()[0].to_string();
        for (text, expected) in [
            ("9223372036854775807 + 1", "no integer of 64 bits"),
            (".x = \"x\" * 99999999999", "more than 16 MiB"),
            (".list[1000000] = 3", "an index of at most 65535"),
            ("x = []; x[-70000] = 1", "an index of at most 65535"),
            (".x = format_number!(.n, scale: int!(.n))", "0 to 1000"),
            (".x = format_number!(.n, 99999)", "0 to 1000"),
            (".x = set!({}, [\"a\", .n], 1)", "`set` is left out"),
            (".x = decode_gzip!(.n)", "`decode_gzip` is left out"),
            (".x = to_int(.t) + 1 ?? 0", "handle the failure of each operand first"),
        ] {
            let found = refused(text);
            assert!(found.contains(expected), "{text}: {found}");
        }
        assert!(Expression::compile(&source(".x = format_number!(.n, scale: 2)"), &scope, Access::Write).is_ok());
    }

    #[test]
    fn reading_expressions_cannot_assign() {
        assert!(compile(".name = 3", &scope(&[("name", Kind::Text)])).is_err());
        assert!(compile("del(.name)", &scope(&[("name", Kind::Text)])).is_err());
        assert!(compile("abort", &scope(&[])).is_err());
    }
}
