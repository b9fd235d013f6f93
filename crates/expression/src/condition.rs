//! Conditions: skip conditions and assertions, true or false.

use crate::error::{Class, ExpressionError};
use crate::evaluate::{Evaluator, located};
use crate::operator::truth;
use crate::render::Mode;
use crate::scope::Scope;

/// Whether a condition holds (`behaviour.md` 6.5). Spans are operands, also inside quotes: `${infra.name} == 'QA'`,
/// `"${env.name}" == "QA"`; a bare expression without `${}` works too.
///
/// # Errors
/// What has no value, secrets, and results that are neither true nor false (the texts `true` and `false` count as such).
pub fn condition(text: &str, scope: &dyn Scope) -> Result<bool, ExpressionError> {
    let mut evaluator = Evaluator::new(scope, Mode::Strict);
    let (flat, expr) = evaluator.prepare(text)?;
    let value = evaluator.plain(&expr).map_err(|error| located(error, &flat))?;
    truth(&value).ok_or_else(|| {
        let message = format!("the condition must be true or false, but it is {}", value.sort());
        ExpressionError::new(Class::NotBoolean, 0..text.len(), message)
            .hint("compare it with something, such as `== 'yes'`")
    })
}
