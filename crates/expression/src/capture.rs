//! Making an expression that is evaluated later, on a delegate, together with the values it will need.

use std::collections::BTreeMap;

use manifold_model::Hole;
use serde_json::Value as Json;

use crate::error::{Class, ExpressionError};
use crate::evaluate::{Evaluator, located, secret};
use crate::flatten::Flat;
use crate::functor;
use crate::limits::{MAX_EXPANSIONS, MAX_VALUE};
use crate::render::Mode;
use crate::scan::{Segment, scan};
use crate::scope::{Lookup, Scope};
use crate::syntax::{Expr, Node};
use crate::value::Value;

/// A condition or an expression as a hole: its text, and by dotted path the values of the references in it that are known here. On the
/// delegate, [`condition`](crate::condition) or [`evaluate`](crate::evaluate) works on the text in a
/// [`known_scope`](crate::known_scope).
///
/// # Errors
/// Syntax, references that neither this scope nor the delegate knows, secrets, and functors that only this scope has.
pub fn capture(text: &str, scope: &dyn Scope) -> Result<Hole, ExpressionError> {
    let mut evaluator = Evaluator::new(scope, Mode::Strict);
    let (flat, expr) = evaluator.prepare(text)?;
    evaluator.hole(&flat, &expr).map_err(|error| located(error, &flat))
}

impl Evaluator<'_> {
    /// The hole for a prepared expression. Errors have spans of the flat text.
    pub(crate) fn hole(&mut self, flat: &Flat<'_>, expr: &Expr) -> Result<Hole, ExpressionError> {
        let mut known = BTreeMap::new();
        self.gather(expr, &mut known)?;
        let size: usize =
            known.iter().map(|(path, value): (&String, &Value)| path.len() + value.weight()).sum();
        if size > MAX_VALUE {
            let message = format!(
                "the values that must travel with the expression are larger than {} KB",
                MAX_VALUE / 1024
            );
            return Err(ExpressionError::new(Class::Limit, expr.span.clone(), message)
                .hint("name the fields that are needed instead of the whole"));
        }
        let known = known.into_iter().map(|(path, value)| (path, open_json(&value))).collect();
        Ok(Hole::Expression { text: flat.text.trim().to_owned(), known })
    }

    fn gather(&mut self, expr: &Expr, known: &mut BTreeMap<String, Value>) -> Result<(), ExpressionError> {
        self.spend(1, &expr.span)?;
        match &expr.node {
            Node::Root(_) | Node::Field(..) => return self.gather_reference(expr, known),
            Node::Call(receiver, method, args) => {
                for arg in args {
                    self.gather(arg, known)?;
                }
                match receiver.path() {
                    Some(path) if path == functor::SECRETS => return Err(secret(method, &expr.span)),
                    Some(path) if functor::is_functor(&path) => {}
                    Some(path) if self.only_here(&path) => {
                        let message = format!(
                            "`{path}.{method}` cannot stand in an expression that the delegate evaluates"
                        );
                        return Err(ExpressionError::new(Class::Failed, expr.span.clone(), message)
                            .hint("put it into a variable or a span of its own"));
                    }
                    _ => self.gather(receiver, known)?,
                }
            }
            // What nobody knows is empty there as it is here.
            Node::Empty(operand) if operand.root().is_some() => match self.gather(operand, known) {
                Err(error) if error.class == Class::Unresolved => {}
                other => return other,
            },
            _ => {
                for child in expr.children() {
                    self.gather(child, known)?;
                }
            }
        }
        Ok(())
    }

    /// Whether a receiver is no value, so that only the scope's own functor can be meant.
    fn only_here(&self, path: &str) -> bool {
        let root = path.split('.').next().unwrap_or(path);
        self.scope.lookup(root) == Lookup::Missing
    }

    fn gather_reference(
        &mut self,
        expr: &Expr,
        known: &mut BTreeMap<String, Value>,
    ) -> Result<(), ExpressionError> {
        let (Some(path), Some(root)) = (expr.path(), expr.root()) else {
            // A field of something that is no plain path, such as `list[0].name`: what is below decides.
            return expr.children().into_iter().try_for_each(|child| self.gather(child, known));
        };
        let value = match self.top_value(expr) {
            Ok(Some(value)) => value,
            Ok(None) => return Ok(()),
            Err(error) => return Err(error),
        };
        let value = match &value {
            Value::Secret(name) => return Err(secret(name, &expr.span)),
            Value::Str(text) if text.contains("${") && self.scope.expands(root) => match self.plain(expr) {
                // Rendered here, so that the delegate need not.
                Ok(value) => value,
                Err(error) if error.class == Class::Late => {
                    self.gather_text(text, expr, known)?;
                    value
                }
                Err(error) => return Err(error),
            },
            _ => value,
        };
        known.insert(path, value);
        Ok(())
    }

    /// The references in a value that is rendered again where it is used.
    fn gather_text(
        &mut self,
        text: &str,
        expr: &Expr,
        known: &mut BTreeMap<String, Value>,
    ) -> Result<(), ExpressionError> {
        if self.expansions >= MAX_EXPANSIONS {
            return Err(ExpressionError::new(
                Class::Loop,
                expr.span.clone(),
                "expression loop: values lead to each other",
            ));
        }
        self.expansions += 1;
        for segment in scan(text) {
            if let Segment::Span { inner, .. } = segment {
                let source = text.get(inner).unwrap_or_default();
                let gathered = self.prepare(source).and_then(|(_, below)| self.gather(&below, known));
                gathered.map_err(|error| error.at(expr.span.clone()))?;
            }
        }
        self.expansions -= 1;
        Ok(())
    }
}

/// JSON without the entries that are secrets: they must not leave, and reading one there is an unknown name.
fn open_json(value: &Value) -> Json {
    match value {
        Value::Map(entries) => Json::Object(
            entries
                .iter()
                .filter(|(_, value)| !matches!(value, Value::Secret(_)))
                .map(|(key, value)| (key.clone(), open_json(value)))
                .collect(),
        ),
        Value::List(items) => Json::Array(items.iter().map(open_json).collect()),
        other => other.to_json(),
    }
}
