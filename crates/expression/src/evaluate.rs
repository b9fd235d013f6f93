//! The value of an expression in a scope.

use std::ops::Range;

use manifold_model::{Hole, Piece};

use crate::error::{Class, ExpressionError};
use crate::flatten::{Flat, flatten};
use crate::functor;
use crate::limits::{MAX_EXPANSIONS, MAX_LIST, MAX_RECURSION, MAX_STEPS, MAX_VALUE};
use crate::method;
use crate::operator::{self, Refusal, truth};
use crate::parse::parse;
use crate::pattern;
use crate::render::{Mode, Renderer};
use crate::scope::{Lookup, Scope};
use crate::syntax::{Binary, Expr, Node, Unary};
use crate::value::Value;

/// The value of an expression without its outer `${` and `}`. A value that only the delegate can know is an error of code
/// `EXPRESSION_LATE`.
pub fn evaluate(expression: &str, scope: &dyn Scope) -> Result<Value, ExpressionError> {
    Evaluator::new(scope, Mode::Strict).whole(expression)
}

/// What a span becomes.
pub(crate) enum Out {
    Value(Value),
    /// A variable whose value is a text with expressions, rendered.
    Pieces(Vec<Piece>),
}

/// Evaluates within one budget.
pub(crate) struct Evaluator<'a> {
    pub(crate) scope: &'a dyn Scope,
    /// How values that hold expressions are rendered.
    pub(crate) mode: Mode,
    steps: usize,
    pub(crate) expansions: usize,
    depth: usize,
}

type Evaluated<T> = Result<T, ExpressionError>;

impl<'a> Evaluator<'a> {
    pub(crate) fn new(scope: &'a dyn Scope, mode: Mode) -> Self {
        Self { scope, mode, steps: 0, expansions: 0, depth: 0 }
    }

    /// The value of a whole expression. Errors have spans of `text`.
    pub(crate) fn whole(&mut self, text: &str) -> Evaluated<Value> {
        let (flat, expr) = self.prepare(text)?;
        let value = self.value(&expr).map_err(|error| located(error, &flat))?;
        self.bounded(value, &expr.span).map_err(|error| located(error, &flat))
    }

    /// Replaces what touches names and parses.
    pub(crate) fn prepare<'t>(&mut self, text: &'t str) -> Evaluated<(Flat<'t>, Expr)> {
        let flat = flatten(text, &mut |inner| self.splice(inner))?;
        let expr = parse(&flat.text).map_err(|error| located(error, &flat))?;
        Ok((flat, expr))
    }

    /// The text that takes the place of a span inside a name. What a value says may only lengthen the name, never add calls.
    fn splice(&mut self, inner: &str) -> Evaluated<String> {
        let (flat, expr) = self.prepare(inner)?;
        let value = self.plain(&expr).map_err(|error| located(error, &flat))?;
        let text = self.bounded(value, &expr.span)?.display();
        let written = matches!(expr.node, Node::Literal(_));
        let harmless = |c: char| c == '.' || c == '[' || c == ']' || c == '_' || c.is_alphanumeric();
        if text.contains("${") || !(written || text.chars().all(harmless)) {
            let message = "the value would become part of a name, but holds other characters than letters, digits, `_`, `.`, `[` and `]`";
            return Err(ExpressionError::new(Class::Failed, 0..inner.len(), message));
        }
        Ok(text)
    }

    /// What a prepared span of a text becomes. Errors have spans of the flat text.
    pub(crate) fn top(&mut self, expr: &Expr) -> Evaluated<Out> {
        if let Some(root) = expr.root() {
            let value = self.reference(expr)?;
            return match self.expandable(root, &value) {
                Some(text) => Ok(Out::Pieces(self.expand(&text, expr)?)),
                None => Ok(Out::Value(self.bounded(value, &expr.span)?)),
            };
        }
        let value = self.value(expr)?;
        Ok(Out::Value(self.bounded(value, &expr.span)?))
    }

    /// Charges work.
    pub(crate) fn spend(&mut self, steps: usize, span: &Range<usize>) -> Evaluated<()> {
        self.steps = self.steps.saturating_add(steps);
        if self.steps > MAX_STEPS {
            return Err(ExpressionError::new(
                Class::Limit,
                span.clone(),
                "evaluating the text takes too long",
            )
            .hint("use fewer or smaller values"));
        }
        Ok(())
    }

    fn bounded(&mut self, value: Value, span: &Range<usize>) -> Evaluated<Value> {
        let weight = value.weight();
        self.spend(weight / 64, span)?;
        if weight > MAX_VALUE {
            let message = format!("the value is larger than {} KB", MAX_VALUE / 1024);
            return Err(ExpressionError::new(Class::Limit, span.clone(), message)
                .hint("put large data into a file and pass its name"));
        }
        Ok(value)
    }

    /// The text of a value that must be rendered again.
    fn expandable(&self, root: &str, value: &Value) -> Option<std::sync::Arc<str>> {
        match value {
            Value::Str(text) if text.contains("${") && self.scope.expands(root) => Some(text.clone()),
            _ => None,
        }
    }

    /// Renders a value that holds expressions.
    fn expand(&mut self, text: &str, expr: &Expr) -> Evaluated<Vec<Piece>> {
        let name = expr.path().unwrap_or_else(|| "the value".to_owned());
        if self.expansions >= MAX_EXPANSIONS {
            let message =
                format!("expression loop: `{name}` leads to values that hold expressions again and again");
            return Err(ExpressionError::new(Class::Loop, expr.span.clone(), message)
                .hint("give one of the variables a value that does not refer back"));
        }
        self.spend(1 + text.len() / 64, &expr.span)?;
        self.expansions += 1;
        let mut renderer = Renderer::new(self);
        renderer.text(text);
        let (pieces, errors) = (renderer.pieces, renderer.errors);
        self.expansions -= 1;
        match errors.into_iter().next() {
            None => Ok(pieces),
            Some(error) if error.class == Class::Loop => Err(error.at(expr.span.clone())),
            Some(error) => {
                let message = format!("in the value of `{name}`: {}", error.message);
                Err(ExpressionError { message, ..error }.at(expr.span.clone()))
            }
        }
    }

    /// A value that is not a secret: everything that is computed with.
    pub(crate) fn plain(&mut self, expr: &Expr) -> Evaluated<Value> {
        match self.value(expr)? {
            Value::Secret(name) => Err(secret(&name, &expr.span)),
            value => Ok(value),
        }
    }

    /// The value of any node.
    fn value(&mut self, expr: &Expr) -> Evaluated<Value> {
        self.spend(1, &expr.span)?;
        self.depth += 1;
        if self.depth > MAX_RECURSION {
            return Err(ExpressionError::new(
                Class::Limit,
                expr.span.clone(),
                "values and expressions nest too deep",
            ));
        }
        let value = self.node(expr);
        self.depth -= 1;
        value
    }

    fn node(&mut self, expr: &Expr) -> Evaluated<Value> {
        match &expr.node {
            Node::Literal(value) => Ok(value.clone()),
            Node::Template(parts) => self.template(parts, &expr.span),
            Node::List(items) => {
                let items: Vec<Value> =
                    items.iter().map(|item| self.plain(item)).collect::<Result<_, _>>()?;
                Ok(Value::from(items))
            }
            Node::Root(_) | Node::Field(..) | Node::Index(..) => {
                let value = self.reference(expr)?;
                match expr.root().and_then(|root| self.expandable(root, &value)) {
                    Some(text) => self.expand(&text, expr).and_then(|pieces| collapse(pieces, &expr.span)),
                    None => Ok(value),
                }
            }
            Node::Call(receiver, method, args) => {
                let value = self.call(receiver, method, args, &expr.span)?;
                self.bounded(value, &expr.span)
            }
            Node::Unary(operator, operand) => self.unary(*operator, operand, &expr.span),
            Node::Binary(operator @ (Binary::And | Binary::Or), left, right) => {
                let left = self.boolean(left)?;
                if left == (*operator == Binary::Or) {
                    Ok(left.into())
                } else {
                    self.boolean(right).map(Value::Bool)
                }
            }
            Node::Binary(operator, left, right) => {
                let (left, right) = (self.plain(left)?, self.plain(right)?);
                let value = self.binary(*operator, &left, &right, &expr.span)?;
                self.bounded(value, &expr.span)
            }
            Node::Empty(operand) => self.empty(operand).map(Value::Bool),
            Node::Size(operand) => {
                let value = self.plain(operand)?;
                method::size(&value).map(Value::from).map_err(|refusal| refused(refusal, &operand.span))
            }
        }
    }

    fn template(&mut self, parts: &[Expr], span: &Range<usize>) -> Evaluated<Value> {
        let mut text = String::new();
        for part in parts {
            let value = self.plain(part)?;
            let value = self.bounded(value, &part.span)?;
            text.push_str(&value.display());
            self.spend(text.len() / 64, span)?;
        }
        self.bounded(Value::from(text), span)
    }

    /// A reference as the scope has it; text that holds expressions is not rendered.
    fn reference(&mut self, expr: &Expr) -> Evaluated<Value> {
        self.spend(1, &expr.span)?;
        match &expr.node {
            Node::Root(root) => match self.scope.lookup(root) {
                Lookup::Found(value) => Ok(value),
                Lookup::Missing => Err(unknown_root(root, &expr.span)),
                Lookup::Late => Err(late(root, &expr.span)),
            },
            Node::Field(below, name) => {
                let value = self.below(below)?;
                self.field(&value, below, name, &expr.span)
            }
            Node::Index(below, index) => {
                let value = self.below(below)?;
                let index = self.plain(index)?;
                match (&value, &index) {
                    (Value::Map(_), Value::Str(name)) => self.field(&value, below, name, &expr.span),
                    _ => method::index(&value, &index).map_err(|refusal| refused(refusal, &expr.span)),
                }
            }
            _ => self.plain(expr),
        }
    }

    /// A plain path's value as the scope has it; `None` when only the delegate can know it.
    pub(crate) fn top_value(&mut self, expr: &Expr) -> Evaluated<Option<Value>> {
        match self.reference(expr) {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.class == Class::Late => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What a field or an index is taken of.
    fn below(&mut self, expr: &Expr) -> Evaluated<Value> {
        match self.reference(expr)? {
            Value::Secret(name) => Err(secret(&name, &expr.span)),
            value => Ok(value),
        }
    }

    fn field(&mut self, value: &Value, below: &Expr, name: &str, span: &Range<usize>) -> Evaluated<Value> {
        let owner = below.path().map_or_else(|| "the value".to_owned(), |path| format!("`{path}`"));
        match value {
            Value::Map(entries) => entries.get(name).cloned().ok_or_else(|| {
                let error =
                    ExpressionError::new(Class::Unresolved, span.clone(), format!("{owner} has no `{name}`"));
                let known: Vec<&str> = entries.keys().take(8).map(String::as_str).collect();
                if known.is_empty() { error } else { error.hint(format!("it has {}", known.join(", "))) }
            }),
            other => {
                let message = format!("{owner} is {} and has no `{name}`", other.sort());
                Err(ExpressionError::new(Class::Unresolved, span.clone(), message))
            }
        }
    }

    fn call(
        &mut self,
        receiver: &Expr,
        method: &str,
        args: &[Expr],
        span: &Range<usize>,
    ) -> Evaluated<Value> {
        let values: Vec<Value> = args.iter().map(|arg| self.plain(arg)).collect::<Result<_, _>>()?;
        let work = values.iter().map(Value::weight).sum::<usize>() / 64;
        self.spend(work, span)?;
        if let Some(path) = receiver.path() {
            if functor::is_functor(&path) {
                self.spend(functor::steps(&path, &values), span)?;
                return functor::call(&path, method, &values).map_err(|refusal| refused(refusal, span));
            }
            if let Some(result) = self.scope.call(&path, method, &values) {
                return result.map_err(|message| ExpressionError::new(Class::Failed, span.clone(), message));
            }
        }
        let target = self.plain(receiver)?;
        self.spend(target.weight() / 64, span)?;
        if let (true, Some(Value::Str(regex))) = (method::uses_pattern(method), values.first()) {
            self.spend(pattern::steps(regex, target.weight()), span)?;
        }
        method::call(&target, method, &values).map_err(|refusal| refused(refusal, span))
    }

    fn unary(&mut self, operator: Unary, operand: &Expr, span: &Range<usize>) -> Evaluated<Value> {
        match operator {
            Unary::Not => self.boolean(operand).map(|value| Value::Bool(!value)),
            Unary::Minus => {
                let value = self.plain(operand)?;
                operator::negate(&value).map_err(|refusal| refused(refusal, span))
            }
            Unary::Plus => {
                let value = self.plain(operand)?;
                let zero = Value::Int(0);
                operator::arithmetic(Binary::Add, &zero, &value).map_err(|refusal| refused(refusal, span))
            }
        }
    }

    fn binary(
        &mut self,
        operator: Binary,
        left: &Value,
        right: &Value,
        span: &Range<usize>,
    ) -> Evaluated<Value> {
        let result = match operator {
            Binary::Equal => Ok(operator::equal(left, right).into()),
            Binary::NotEqual => Ok((!operator::equal(left, right)).into()),
            Binary::Less => operator::order(operator, left, right).map(|found| found.is_lt().into()),
            Binary::LessOrEqual => operator::order(operator, left, right).map(|found| found.is_le().into()),
            Binary::Greater => operator::order(operator, left, right).map(|found| found.is_gt().into()),
            Binary::GreaterOrEqual => {
                operator::order(operator, left, right).map(|found| found.is_ge().into())
            }
            Binary::Matches | Binary::NotMatches => {
                self.spend(right.as_str().map_or(1, |regex| pattern::steps(regex, left.weight())), span)?;
                matches(left, right).map(|found| (found == (operator == Binary::Matches)).into())
            }
            Binary::StartsWith | Binary::EndsWith => operator::edge(operator, left, right).map(Value::Bool),
            Binary::NotStartsWith | Binary::NotEndsWith => {
                operator::edge(operator, left, right).map(|found| Value::Bool(!found))
            }
            Binary::Add => operator::add(left, right),
            _ => operator::arithmetic(operator, left, right),
        };
        result.map_err(|refusal| refused(refusal, span))
    }

    /// An operand that must be true or false.
    pub(crate) fn boolean(&mut self, expr: &Expr) -> Evaluated<bool> {
        let value = self.plain(expr)?;
        truth(&value).ok_or_else(|| {
            let message = format!("expected true or false, found {}", value.sort());
            ExpressionError::new(Class::NotBoolean, expr.span.clone(), message)
        })
    }

    /// `empty(x)`: also true when nobody knows `x`, as in JEXL.
    fn empty(&mut self, operand: &Expr) -> Evaluated<bool> {
        match self.plain(operand) {
            Ok(value) => Ok(method::is_empty(&value)),
            Err(error) if error.class == Class::Unresolved => Ok(true),
            Err(error) => Err(error),
        }
    }
}

/// `=~`: the whole text matches the pattern, or the list or map has the value.
fn matches(left: &Value, right: &Value) -> Result<bool, Refusal> {
    match right {
        Value::Str(pattern) => match left {
            Value::Null => Ok(false),
            Value::List(_) | Value::Map(_) | Value::Secret(_) => {
                Err((Class::Failed, format!("`=~` matches text, not {}", left.sort())))
            }
            other => Ok(pattern::compile_whole(pattern)?.is_match(&other.display())),
        },
        Value::List(items) => Ok(items.iter().take(MAX_LIST).any(|item| operator::equal(left, item))),
        Value::Map(entries) => Ok(left.as_str().is_some_and(|key| entries.contains_key(key))),
        other => Err((
            Class::Failed,
            format!("`=~` needs a regular expression or a list on its right, not {}", other.sort()),
        )),
    }
}

/// One value out of the pieces of a rendered value.
fn collapse(pieces: Vec<Piece>, span: &Range<usize>) -> Evaluated<Value> {
    if let [Piece::Hole(Hole::Secret { name })] = pieces.as_slice() {
        return Ok(Value::Secret(name.as_str().into()));
    }
    let mut text = String::new();
    for piece in pieces {
        match piece {
            Piece::Text(part) => text.push_str(&part),
            Piece::Hole(Hole::Secret { name }) => return Err(secret(&name, span)),
            Piece::Hole(Hole::Expression { text, .. }) => return Err(late(&text, span)),
        }
    }
    Ok(Value::from(text))
}

/// An error about the expression as it was written.
pub(crate) fn located(error: ExpressionError, flat: &Flat<'_>) -> ExpressionError {
    let span = flat.source(error.span.clone());
    error.at(span)
}

fn refused((class, message): Refusal, span: &Range<usize>) -> ExpressionError {
    ExpressionError::new(class, span.clone(), message)
}

pub(crate) fn secret(name: &str, span: &Range<usize>) -> ExpressionError {
    let message =
        format!("the secret `{name}` cannot be computed with or compared; it can only be put into text");
    ExpressionError::new(Class::Secret, span.clone(), message)
        .hint("write `${secrets.getValue(\"name\")}` as a span of its own, next to other text")
}

fn late(what: &str, span: &Range<usize>) -> ExpressionError {
    let message = format!("`{what}` is known only while the task runs on the delegate");
    ExpressionError::new(Class::Late, span.clone(), message)
        .hint("use it in the step itself: a script, a request, an assertion")
}

fn unknown_root(root: &str, span: &Range<usize>) -> ExpressionError {
    ExpressionError::new(Class::Unresolved, span.clone(), format!("`{root}` has no value here"))
        .hint("check the spelling and where the value is available; put text into quotes")
}
