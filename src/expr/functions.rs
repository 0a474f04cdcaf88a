//! The functions that expressions may call: VRL's standard library without what is not pure or has no bounds.

use std::sync::LazyLock;

use vrl::compiler::expression::Expr;
use vrl::compiler::function::{ArgumentList, Compiled, Example, FunctionCompileContext};
use vrl::compiler::state::{TypeInfo, TypeState};
use vrl::compiler::{Context, Expression, Function, Parameter, Resolved};
use vrl::value::Value;

use super::arithmetic::{Arithmetic, OVERFLOW};

/// Functions that ask the clock, the environment, the network, files or a random generator, or that write into logs.
/// A document must come out the same whenever and wherever it is computed, and no value may leak.
const IMPURE: &[&str] = &[
    "dns_lookup",
    "encode_proto",
    "get_env_var",
    "get_hostname",
    "get_timezone_name",
    "http_request",
    "log",
    "now",
    "parse_etld",
    "parse_groks",
    "parse_proto",
    "random_bool",
    "random_bytes",
    "random_float",
    "random_int",
    "reverse_dns",
    "uuid_v4",
    "uuid_v7",
    "validate_json_schema",
];

/// Functions that make something of any size out of a small value: a row could end the process.
const UNBOUNDED: &[&str] = &["decode_gzip", "decode_lz4", "decode_snappy", "decode_zlib", "decode_zstd", "set"];

/// Every function that may be called.
pub fn available() -> &'static [Box<dyn Function>] {
    static ALL: LazyLock<Vec<Box<dyn Function>>> = LazyLock::new(offered);
    &ALL
}

/// What a rewritten program calls: the same, and [`Arithmetic`].
pub fn with_arithmetic() -> &'static [Box<dyn Function>] {
    static ALL: LazyLock<Vec<Box<dyn Function>>> = LazyLock::new(|| {
        let mut all = offered();
        all.push(Box::new(Arithmetic));
        all
    });
    &ALL
}

fn offered() -> Vec<Box<dyn Function>> {
    let offered = vrl::stdlib::all().into_iter().filter(|function| why_left_out(function.identifier()).is_none());
    let exact = |function: Box<dyn Function>| match function.identifier() {
        "abs" => Box::new(Abs(function)),
        _ => function,
    };
    offered.map(exact).collect()
}

/// Why the function of VRL that is called `name` was left out, if it was.
pub fn why_left_out(name: &str) -> Option<&'static str> {
    if IMPURE.contains(&name) {
        Some("an expression must be a pure function of the row")
    } else if UNBOUNDED.contains(&name) {
        Some("a small value could make it use up all memory")
    } else {
        None
    }
}

/// VRL's `abs`, except that it fails for the smallest integer, whose absolute value is none.
#[derive(Debug)]
struct Abs(Box<dyn Function>);

impl Function for Abs {
    fn identifier(&self) -> &'static str {
        self.0.identifier()
    }

    fn usage(&self) -> &'static str {
        self.0.usage()
    }

    fn category(&self) -> &'static str {
        self.0.category()
    }

    fn return_kind(&self) -> u16 {
        self.0.return_kind()
    }

    fn parameters(&self) -> &'static [Parameter] {
        self.0.parameters()
    }

    fn examples(&self) -> &'static [Example] {
        self.0.examples()
    }

    fn compile(&self, state: &TypeState, context: &mut FunctionCompileContext, arguments: ArgumentList) -> Compiled {
        let value = arguments.required_expr("value");
        Ok(Box::new(CheckedAbs { value, of: self.0.compile(state, context, arguments)? }))
    }
}

#[derive(Debug, Clone)]
struct CheckedAbs {
    value: Expr,
    of: Box<dyn Expression>,
}

impl Expression for CheckedAbs {
    fn resolve(&self, context: &mut Context<'_>) -> Resolved {
        match self.value.resolve(context)? {
            Value::Integer(i64::MIN) => Err(OVERFLOW.into()),
            Value::Integer(n) => Ok(Value::Integer(n.abs())),
            _ => self.of.resolve(context),
        }
    }

    fn type_info(&self, state: &TypeState) -> TypeInfo {
        self.of.type_info(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_excluded_function_is_one_of_vrl() {
        let all: Vec<_> = vrl::stdlib::all().iter().map(|f| f.identifier()).collect();
        for name in IMPURE.iter().chain(UNBOUNDED) {
            assert!(all.contains(name), "{name} is not known to VRL");
        }
        assert_eq!(available().len(), all.len() - IMPURE.len() - UNBOUNDED.len());
    }
}
