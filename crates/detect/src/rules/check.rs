//! From what an expression says to what it does: names resolved, types checked.
//!
//! Invariant: an expression that was checked reads no slot that its scope did not give out, and
//! compares like with like.

use tapewatch_model::Flags;

use super::expr::{Arithmetic, Column, Comparison, Expr, Type, named_constant};
use super::syntax::{Ast, Node, Operator, Wrong, read};

/// What names mean beside the columns of the event.
pub(super) trait Scope {
    /// A name that is no column; `None` when it is unknown here.
    fn name(&mut self, name: &str) -> Option<(Type, Expr)>;

    /// A call of an aggregate; `None` when there is none of this name here.
    fn call(&mut self, _: &Ast, _name: &str, _arguments: &[Ast]) -> Option<Result<Expr, Wrong>> {
        None
    }

    /// Whether the columns of an event can be read.
    fn has_event(&self) -> bool {
        true
    }

    /// The number of a step, where orders of steps can be asked for.
    fn step(&self, _: &str) -> Option<usize> {
        None
    }

    /// Names that are known, for a message.
    fn known(&self) -> Vec<String>;
}

/// Reads a condition.
pub(super) fn condition(text: &str, scope: &mut dyn Scope) -> Result<Expr, Wrong> {
    typed(text, Type::Bool, scope)
}

/// Reads a number.
pub(super) fn number(text: &str, scope: &mut dyn Scope) -> Result<Expr, Wrong> {
    typed(text, Type::Number, scope)
}

fn typed(text: &str, wanted: Type, scope: &mut dyn Scope) -> Result<Expr, Wrong> {
    let ast = read(text)?;
    of_type(&ast, wanted, scope)
}

/// The expression, which must be of this type.
pub(super) fn of_type(ast: &Ast, wanted: Type, scope: &mut dyn Scope) -> Result<Expr, Wrong> {
    let (found, expr) = check(ast, scope)?;
    if found == wanted {
        return Ok(expr);
    }
    let reason = format!("{} is expected here, not {}", wanted.words(), found.words());
    Err(Wrong::new(ast.at, reason))
}

fn check(ast: &Ast, scope: &mut dyn Scope) -> Result<(Type, Expr), Wrong> {
    match &ast.node {
        Node::Number(units) => Ok((Type::Number, Expr::Constant(*units))),
        Node::Name(name) => named(ast, name, scope),
        Node::Call(name, arguments) => call(ast, name, arguments, scope),
        Node::Not(inner) => {
            let inner = of_type(inner, Type::Bool, scope)?;
            Ok((Type::Bool, Expr::Not(Box::new(inner))))
        }
        Node::Negate(inner) => {
            let inner = of_type(inner, Type::Number, scope)?;
            let zero = Box::new(Expr::Constant(0));
            let negated = Expr::Compute(Arithmetic::Subtract, zero, Box::new(inner));
            Ok((Type::Number, negated))
        }
        Node::Pair(operator, left, right) => pair(ast, *operator, left, right, scope),
        Node::Text(_) | Node::List(_) => {
            let reason = "a text or a list can only be compared with a column of names";
            Err(Wrong::new(ast.at, reason))
        }
    }
}

fn named(ast: &Ast, name: &str, scope: &mut dyn Scope) -> Result<(Type, Expr), Wrong> {
    if let Some(found) = scope.name(name) {
        return Ok(found);
    }
    let event = scope.has_event();
    if let (true, Some((column, of))) = (event, Column::named(name)) {
        return Ok((of, Expr::Column(column)));
    }
    if let Some(flag) = name.strip_prefix("flag.").filter(|_| event) {
        let flags = Flags::parse(flag.as_bytes());
        let flags = flags.map_err(|error| Wrong::new(ast.at, error.reason))?;
        return Ok((Type::Bool, Expr::Flag(flags)));
    }
    if matches!(name, "true" | "false") {
        return Ok((Type::Bool, Expr::Constant(i128::from(name == "true"))));
    }
    let mut known = scope.known();
    if event {
        let columns = super::expr::COLUMNS.iter();
        known.extend(columns.map(|(name, _, _)| (*name).to_owned()));
        known.push("flag.<mark>".to_owned());
    }
    let reason = format!("unknown name {name:?}: there are {}", known.join(", "));
    Err(Wrong::new(ast.at, reason))
}

fn call(
    ast: &Ast,
    name: &str,
    arguments: &[Ast],
    scope: &mut dyn Scope,
) -> Result<(Type, Expr), Wrong> {
    if let Some(aggregate) = scope.call(ast, name, arguments) {
        return Ok((Type::Number, aggregate?));
    }
    match (name, arguments) {
        ("opposite", [side]) => {
            let side = of_type(side, Type::Side, scope)?;
            Ok((Type::Side, Expr::Opposite(Box::new(side))))
        }
        ("abs", [number]) => {
            let number = of_type(number, Type::Number, scope)?;
            Ok((Type::Number, Expr::Absolute(Box::new(number))))
        }
        ("opposite" | "abs", _) => Err(Wrong::new(ast.at, format!("{name} takes one value"))),
        _ => {
            let reason = format!(
                "unknown function {name:?} here: there are opposite, abs and, in measures, aggregates"
            );
            Err(Wrong::new(ast.at, reason))
        }
    }
}

fn pair(
    ast: &Ast,
    operator: Operator,
    left: &Ast,
    right: &Ast,
    scope: &mut dyn Scope,
) -> Result<(Type, Expr), Wrong> {
    use Operator as O;
    let boxed = |left: Expr, right: Expr| (Box::new(left), Box::new(right));
    let comparison = match operator {
        O::Or | O::And => {
            let left = of_type(left, Type::Bool, scope)?;
            let (left, right) = boxed(left, of_type(right, Type::Bool, scope)?);
            let both = operator == O::And;
            let joined = if both {
                Expr::Both(left, right)
            } else {
                Expr::Either(left, right)
            };
            return Ok((Type::Bool, joined));
        }
        O::Add => return compute(Arithmetic::Add, left, right, scope),
        O::Subtract => return compute(Arithmetic::Subtract, left, right, scope),
        O::Multiply => return compute(Arithmetic::Multiply, left, right, scope),
        O::Divide => return compute(Arithmetic::Divide, left, right, scope),
        O::In => return within(ast, left, right, scope),
        O::Equal => Comparison::Equal,
        O::Unequal => Comparison::Unequal,
        O::Less => Comparison::Less,
        O::AtMost => Comparison::AtMost,
        O::More => Comparison::More,
        O::AtLeast => Comparison::AtLeast,
    };
    let equality = matches!(comparison, Comparison::Equal | Comparison::Unequal);
    if let (Node::Text(text), true) = (&right.node, equality) {
        let is = one_of(left, &[(right.at, text)], scope)?;
        let negated = comparison == Comparison::Unequal;
        let is = if negated { Expr::Not(Box::new(is)) } else { is };
        return Ok((Type::Bool, is));
    }
    let (of, left) = check(left, scope)?;
    if of != Type::Number && !equality {
        let reason = format!("{} can only be compared by == and !=", of.words());
        return Err(Wrong::new(ast.at, reason));
    }
    let (left, right) = boxed(left, of_type(right, of, scope)?);
    Ok((Type::Bool, Expr::Compare(comparison, left, right)))
}

fn compute(
    what: Arithmetic,
    left: &Ast,
    right: &Ast,
    scope: &mut dyn Scope,
) -> Result<(Type, Expr), Wrong> {
    let left = Box::new(of_type(left, Type::Number, scope)?);
    let right = Box::new(of_type(right, Type::Number, scope)?);
    Ok((Type::Number, Expr::Compute(what, left, right)))
}

/// `trader in ["A", "B"]`, `order in bait`.
fn within(
    ast: &Ast,
    left: &Ast,
    right: &Ast,
    scope: &mut dyn Scope,
) -> Result<(Type, Expr), Wrong> {
    if let (Node::Name(order), Node::Name(step)) = (&left.node, &right.node)
        && order == "order"
    {
        let step = scope.step(step);
        let step =
            step.ok_or_else(|| Wrong::new(right.at, "no step of this name stands before"))?;
        return Ok((Type::Bool, Expr::OrderIn(step)));
    }
    let Node::List(items) = &right.node else {
        let reason = "behind `in` stands a list of texts, or behind `order in` a step";
        return Err(Wrong::new(ast.at, reason));
    };
    let mut texts = Vec::new();
    for item in items {
        match &item.node {
            Node::Text(text) => texts.push((item.at, text)),
            _ => return Err(Wrong::new(item.at, "a text is expected here")),
        }
    }
    Ok((Type::Bool, one_of(left, &texts, scope)?))
}

/// Whether a column of names is one of the texts.
fn one_of(left: &Ast, texts: &[(usize, &String)], scope: &mut dyn Scope) -> Result<Expr, Wrong> {
    let (of, expr) = check(left, scope)?;
    match (of, expr) {
        (Type::Event | Type::Side, expr) => {
            let mut all = Expr::Constant(0);
            for (at, text) in texts {
                let constant = named_constant(of, text);
                let constant = constant
                    .ok_or_else(|| Wrong::new(*at, format!("{text:?} is not {}", of.words())))?;
                let (left, right) = (Box::new(expr.clone()), Expr::Constant(constant));
                let is = Expr::Compare(Comparison::Equal, left, Box::new(right));
                all = match all {
                    Expr::Constant(_) => is,
                    before => Expr::Either(Box::new(before), Box::new(is)),
                };
            }
            Ok(all)
        }
        (Type::Sym | Type::Trader | Type::Owner, Expr::Column(column)) => {
            let texts = texts.iter().map(|(_, text)| (*text).clone()).collect();
            Ok(Expr::Named(column, texts))
        }
        (of, _) => {
            let reason = format!(
                "{} of this event cannot be compared with a text",
                of.words()
            );
            Err(Wrong::new(left.at, reason))
        }
    }
}
