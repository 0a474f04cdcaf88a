//! Goes through a program's syntax tree once more, after VRL has judged it as it was written: puts [`super::arithmetic`]
//! in the place of VRL's operators, and finds what can end a process and is seen before any row comes.
//!
//! Deliberately absent: a bound on what a program builds up in a loop over one row.

use vrl::diagnostic::Span;
use vrl::parser::Program;
use vrl::parser::ast::{
    Array, Assignment, AssignmentTarget, Block, Container, Expr, FunctionArgument, FunctionCall, FunctionClosure,
    Group, Ident, IfStatement, Literal, Node, Not, Object, Op, Predicate, Query, QueryTarget, Return, RootExpr, Unary,
};
use vrl::path::{OwnedSegment, OwnedValuePath};

use super::arithmetic::{self, OPERAND, sign};

/// The highest index that an assignment may name: a list is filled up to it with nulls.
const INDEX_MAX: isize = 65_535;
/// The most digits after the point that `format_number` may be asked for.
const SCALE_MAX: i64 = 1_000;

/// What became of a program.
#[derive(Default)]
pub(super) struct Rewritten {
    /// Whether there was any arithmetic.
    pub changed: bool,
    /// What is refused: where, and what is expected.
    pub refused: Vec<(Span, String)>,
}

impl Rewritten {
    /// The whole of `program`, rewritten.
    pub fn program(&mut self, program: Program) -> Program {
        Program(program.0.into_iter().map(|node| node.map(|root| self.root(root))).collect())
    }

    fn root(&mut self, root: RootExpr) -> RootExpr {
        match root {
            RootExpr::Expr(node) => RootExpr::Expr(self.expr(node)),
            error @ RootExpr::Error(_) => error,
        }
    }

    fn expr(&mut self, node: Node<Expr>) -> Node<Expr> {
        let (span, expr) = node.take();
        let expr = match expr {
            Expr::Op(op) if sign(*op.inner().1.inner()).is_some() => self.arithmetic(span, op.into_inner()),
            Expr::Op(op) => Expr::Op(op.map(|Op(lhs, opcode, rhs)| Op(self.boxed(lhs), opcode, self.boxed(rhs)))),
            Expr::Container(container) => Expr::Container(container.map(|container| self.container(container))),
            Expr::IfStatement(statement) => Expr::IfStatement(statement.map(|statement| self.condition(statement))),
            Expr::Assignment(assignment) => Expr::Assignment(assignment.map(|made| self.assignment(made))),
            Expr::Query(query) => Expr::Query(query.map(|query| self.query(query))),
            Expr::FunctionCall(call) => Expr::FunctionCall(call.map(|call| self.call(call))),
            Expr::Unary(unary) => Expr::Unary(unary.map(|Unary::Not(not)| {
                let (span, not) = not.take();
                let (sign, expr) = not.take();
                Unary::Not(Node::new(span, Not::new(sign.span(), self.expr(*expr))))
            })),
            Expr::Return(returned) => Expr::Return(returned.map(|Return { expr }| Return { expr: self.boxed(expr) })),
            // `abort` is refused anyway; the others have nothing below them.
            other @ (Expr::Literal(_) | Expr::Variable(_) | Expr::Abort(_) | Expr::Break(_)) => other,
        };
        Node::new(span, expr)
    }

    #[allow(clippy::unnecessary_box_returns)]
    fn boxed(&mut self, node: Box<Node<Expr>>) -> Box<Node<Expr>> {
        Box::new(self.expr(*node))
    }

    fn exprs(&mut self, nodes: impl IntoIterator<Item = Node<Expr>>) -> Vec<Node<Expr>> {
        nodes.into_iter().map(|node| self.expr(node)).collect()
    }

    fn block(&mut self, block: Node<Block>) -> Node<Block> {
        block.map(|block| Block(self.exprs(block)))
    }

    /// A call of our function instead of a tree of operators.
    fn arithmetic(&mut self, span: Span, op: Op) -> Expr {
        self.changed = true;
        let (mut plan, mut operands) = (String::new(), Vec::new());
        self.operation(op, &mut plan, &mut operands);
        let argument = |expr| Node::new(span, FunctionArgument { ident: None, expr: Node::new(span, expr) });
        let plan = Expr::Literal(Node::new(span, Literal::RawString(plan)));
        let operands = Container::Array(Node::new(span, operands.into_iter().collect::<Array>()));
        let operands = Expr::Container(Node::new(span, operands));
        Expr::FunctionCall(Node::new(
            span,
            FunctionCall {
                ident: Node::new(span, Ident::new(arithmetic::NAME)),
                abort_on_error: false,
                arguments: vec![argument(plan), argument(operands)],
                closure: None,
            },
        ))
    }

    fn operation(&mut self, Op(lhs, opcode, rhs): Op, plan: &mut String, operands: &mut Vec<Node<Expr>>) {
        self.operand(*lhs, plan, operands);
        self.operand(*rhs, plan, operands);
        plan.extend(sign(opcode.into_inner()));
    }

    fn operand(&mut self, node: Node<Expr>, plan: &mut String, operands: &mut Vec<Node<Expr>>) {
        let (span, expr) = node.take();
        match expr {
            Expr::Op(op) if sign(*op.inner().1.inner()).is_some() => self.operation(op.into_inner(), plan, operands),
            Expr::Container(container) => match container.take() {
                (_, Container::Group(group)) => self.operand(group.into_inner().into_inner(), plan, operands),
                (inner, other) => {
                    plan.push(OPERAND);
                    operands.push(self.expr(Node::new(span, Expr::Container(Node::new(inner, other)))));
                }
            },
            other => {
                plan.push(OPERAND);
                operands.push(self.expr(Node::new(span, other)));
            }
        }
    }

    fn container(&mut self, container: Container) -> Container {
        match container {
            Container::Group(group) => {
                Container::Group(Box::new(group.map(|group| Group(self.expr(group.into_inner())))))
            }
            Container::Block(block) => Container::Block(self.block(block)),
            Container::Array(array) => Container::Array(array.map(|array| self.exprs(array).into_iter().collect())),
            Container::Object(object) => Container::Object(
                object.map(|object| object.into_iter().map(|(key, value)| (key, self.expr(value))).collect::<Object>()),
            ),
        }
    }

    fn condition(&mut self, IfStatement { predicate, if_node, else_node }: IfStatement) -> IfStatement {
        let predicate = predicate.map(|predicate| match predicate {
            Predicate::One(expr) => Predicate::One(self.boxed(expr)),
            Predicate::Many(exprs) => Predicate::Many(self.exprs(exprs)),
        });
        IfStatement { predicate, if_node: self.block(if_node), else_node: else_node.map(|block| self.block(block)) }
    }

    fn assignment(&mut self, assignment: Assignment) -> Assignment {
        match assignment {
            Assignment::Single { target, op, expr } => {
                self.target(&target);
                Assignment::Single { target, op, expr: self.boxed(expr) }
            }
            Assignment::Infallible { ok, err, op, expr } => {
                self.target(&ok);
                self.target(&err);
                Assignment::Infallible { ok, err, op, expr: self.boxed(expr) }
            }
        }
    }

    fn target(&mut self, target: &Node<AssignmentTarget>) {
        let path: Option<&OwnedValuePath> = match target.inner() {
            AssignmentTarget::Query(query) => Some(query.path.inner()),
            AssignmentTarget::Internal(_, path) => path.as_ref(),
            AssignmentTarget::External(path) => path.as_ref().map(|target| &target.path),
            AssignmentTarget::Noop => None,
        };
        let too_high = |segment: &OwnedSegment| match segment {
            OwnedSegment::Index(index) => index.unsigned_abs() > INDEX_MAX.unsigned_abs(),
            OwnedSegment::Field(_) => false,
        };
        if path.is_some_and(|path| path.segments.iter().any(too_high)) {
            let expected = format!("expected an index of at most {INDEX_MAX}: a list is filled up to it with nulls");
            self.refused.push((target.span(), expected));
        }
    }

    fn query(&mut self, Query { target, path }: Query) -> Query {
        let target = target.map(|target| match target {
            QueryTarget::FunctionCall(call) => QueryTarget::FunctionCall(self.call(call)),
            QueryTarget::Container(container) => QueryTarget::Container(self.container(container)),
            other @ (QueryTarget::Internal(_) | QueryTarget::External(_)) => other,
        });
        Query { target, path }
    }

    fn call(&mut self, call: FunctionCall) -> FunctionCall {
        if &**call.ident.inner() == "format_number" {
            self.format_number(&call.arguments);
        }
        let argument = |argument: Node<FunctionArgument>| {
            argument.map(|FunctionArgument { ident, expr }| FunctionArgument { ident, expr: self.expr(expr) })
        };
        let arguments = call.arguments.into_iter().map(argument).collect();
        let closure = call.closure.map(|closure| {
            closure.map(|FunctionClosure { variables, block }| FunctionClosure { variables, block: self.block(block) })
        });
        FunctionCall { arguments, closure, ..call }
    }

    /// It writes as many zeros as `scale` says.
    fn format_number(&mut self, arguments: &[Node<FunctionArgument>]) {
        let named = |wanted: &str| {
            arguments.iter().find(|argument| argument.ident.as_ref().is_some_and(|name| &***name == wanted))
        };
        // Arguments without a name take the places that are left.
        let place = usize::from(named("value").is_none());
        let unnamed = || arguments.iter().filter(|argument| argument.ident.is_none()).nth(place);
        let Some(scale) = named("scale").or_else(unnamed) else { return };
        let small = match scale.expr.inner() {
            Expr::Literal(literal) => matches!(literal.inner(), Literal::Integer(n) if (0..=SCALE_MAX).contains(n)),
            _ => false,
        };
        if !small {
            self.refused.push((scale.span(), format!("expected a number from 0 to {SCALE_MAX} as `scale`")));
        }
    }
}
