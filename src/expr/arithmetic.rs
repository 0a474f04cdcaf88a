//! Arithmetic that fails where VRL's own would wrap an integer at 64 bits or make a text as long as a row says.
//!
//! One tree of `+`, `-`, `*` and `/` is one call of this function, whose name no program can spell; [`super::rewrite`]
//! puts it in. Types, and the order in which operands are evaluated, are those of VRL.

use vrl::compiler::expression::{Expr, Op};
use vrl::compiler::function::{ArgumentList, Compiled, Example, FunctionCompileContext};
use vrl::compiler::state::{TypeInfo, TypeState};
use vrl::compiler::value::{VrlValueArithmetic, kind};
use vrl::compiler::{Context, Expression, ExpressionError, Function, Parameter, Resolved};
use vrl::diagnostic::{DiagnosticMessage, Span};
use vrl::parser::ast::{Node, Opcode};
use vrl::value::Value;

/// The function's name.
pub(super) const NAME: &str = "arithmetic of the expression";
/// What an operand is in a plan; operators stand behind their two operands.
pub(super) const OPERAND: char = '.';
/// Why arithmetic fails, apart from operands whose types do not fit.
pub(super) const REASONS: [&str; 3] = [OVERFLOW, TOO_LONG, "can't divide by zero"];

/// What has no integer of 64 bits as its result.
pub(super) const OVERFLOW: &str = "the result is no integer of 64 bits";
const TOO_LONG: &str = "the result is a text of more than 16 MiB";
/// The longest text that arithmetic makes: no document has room for a longer one.
const TEXT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The sign of an operator in a plan; `None` for what is no arithmetic.
pub(super) fn sign(opcode: Opcode) -> Option<char> {
    match opcode {
        Opcode::Add => Some('+'),
        Opcode::Sub => Some('-'),
        Opcode::Mul => Some('*'),
        Opcode::Div => Some('/'),
        _ => None,
    }
}

fn opcode(sign: char) -> Option<Opcode> {
    [Opcode::Add, Opcode::Sub, Opcode::Mul, Opcode::Div].into_iter().find(|opcode| self::sign(*opcode) == Some(sign))
}

/// The function: a plan and the operands from left to right.
#[derive(Debug)]
pub(super) struct Arithmetic;

impl Function for Arithmetic {
    fn identifier(&self) -> &'static str {
        NAME
    }

    fn usage(&self) -> &'static str {
        "Not for programs."
    }

    fn category(&self) -> &'static str {
        "Number"
    }

    fn return_kind(&self) -> u16 {
        kind::ANY
    }

    fn examples(&self) -> &'static [Example] {
        &[]
    }

    fn parameters(&self) -> &'static [Parameter] {
        const PARAMETERS: &[Parameter] = &[
            Parameter::required("plan", kind::BYTES, "Operands and operators, operators last."),
            Parameter::required("operands", kind::ARRAY, "The operands."),
        ];
        PARAMETERS
    }

    fn compile(&self, state: &TypeState, _: &mut FunctionCompileContext, arguments: ArgumentList) -> Compiled {
        let refused = |reason: &str| Box::new(ExpressionError::from(reason)) as Box<dyn DiagnosticMessage>;
        let plan = arguments.required_literal("plan", state)?;
        let plan = plan.to_str_lossy().unwrap_or_default();
        let mut operands = arguments.required_array("operands")?.into_iter();
        let mut stack: Vec<(Tree, Expr)> = Vec::new();
        for sign in plan.chars() {
            let made = match opcode(sign) {
                None => operands.next().map(|operand| (Tree::Operand(operand.clone()), operand)),
                Some(opcode) => match (stack.pop(), stack.pop()) {
                    (Some((rhs, right)), Some((lhs, left))) => {
                        let node = |expr| Node::new(Span::default(), expr);
                        let types = Op::new(node(left), Node::new(Span::default(), opcode), node(right), state)
                            .map_err(|error| Box::new(error) as Box<dyn DiagnosticMessage>)?;
                        Some((Tree::Operation(opcode, Box::new((lhs, rhs))), Expr::Op(types)))
                    }
                    _ => None,
                },
            };
            stack.push(made.ok_or_else(|| refused("an operand is missing"))?);
        }
        let Some((Tree::Operation(opcode, sides), types)) = stack.pop() else {
            return Err(refused("an operator is missing"));
        };
        let tree = Tree::Operation(opcode, sides);
        if let Some(Err(error)) = tree.constant(state) {
            return Err(Box::new(error));
        }
        Ok(Box::new(Checked { tree, types }))
    }
}

/// One compiled tree of operators.
#[derive(Debug, Clone)]
struct Checked {
    tree: Tree,
    /// The same tree as VRL has it, which knows its type.
    types: Expr,
}

// Every second node is an operand: a box for each would cost more than the room in the few operations.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone)]
enum Tree {
    Operand(Expr),
    Operation(Opcode, Box<(Tree, Tree)>),
}

impl Expression for Checked {
    fn resolve(&self, context: &mut Context<'_>) -> Resolved {
        self.tree.resolve(context)
    }

    fn resolve_constant(&self, state: &TypeState) -> Option<Value> {
        self.tree.constant(state)?.ok()
    }

    fn type_info(&self, state: &TypeState) -> TypeInfo {
        self.types.type_info(state)
    }
}

impl Tree {
    fn resolve(&self, context: &mut Context<'_>) -> Resolved {
        match self {
            Tree::Operand(operand) => operand.resolve(context),
            Tree::Operation(opcode, sides) => {
                let lhs = sides.0.resolve(context)?;
                compute(*opcode, lhs, sides.1.resolve(context)?)
            }
        }
    }

    /// The value, where it follows from the program alone.
    fn constant(&self, state: &TypeState) -> Option<Resolved> {
        match self {
            Tree::Operand(operand) => operand.resolve_constant(state).map(Ok),
            Tree::Operation(opcode, sides) => match (sides.0.constant(state)?, sides.1.constant(state)?) {
                (Ok(lhs), Ok(rhs)) => Some(compute(*opcode, lhs, rhs)),
                (Err(error), _) | (_, Err(error)) => Some(Err(error)),
            },
        }
    }
}

fn compute(opcode: Opcode, lhs: Value, rhs: Value) -> Resolved {
    let integer = |result: Option<i64>| result.map(Value::Integer).ok_or_else(|| OVERFLOW.into());
    if let (Value::Integer(a), Value::Integer(b)) = (&lhs, &rhs) {
        match opcode {
            Opcode::Add => return integer(a.checked_add(*b)),
            Opcode::Sub => return integer(a.checked_sub(*b)),
            Opcode::Mul => return integer(a.checked_mul(*b)),
            _ => {}
        }
    }
    if text_bytes(opcode, &lhs, &rhs).is_none_or(|bytes| bytes > TEXT_BYTES_MAX) {
        return Err(TOO_LONG.into());
    }
    let result = match opcode {
        Opcode::Add => lhs.try_add(rhs),
        Opcode::Sub => lhs.try_sub(rhs),
        Opcode::Mul => lhs.try_mul(rhs),
        _ => lhs.try_div(rhs),
    };
    result.map_err(Into::into)
}

/// How long a text comes of it, 0 for other results; `None` when it cannot even be counted.
fn text_bytes(opcode: Opcode, lhs: &Value, rhs: &Value) -> Option<usize> {
    let bytes = |value: &Value| match value {
        Value::String(text) => Some(text.len()),
        Value::Bytes(bytes) => Some(bytes.len()),
        _ => None,
    };
    match (opcode, bytes(lhs), bytes(rhs), lhs, rhs) {
        (Opcode::Add, Some(a), Some(b), ..) => a.checked_add(b),
        (Opcode::Mul, Some(bytes), _, _, Value::Integer(times))
        | (Opcode::Mul, _, Some(bytes), Value::Integer(times), _) => {
            bytes.checked_mul(usize::try_from(*times).unwrap_or(0))
        }
        _ => Some(0),
    }
}
