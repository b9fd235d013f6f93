//! JEXL's rules for operators: what is converted to what before it is compared or added.

use std::cmp::Ordering;

use crate::error::Class;
use crate::syntax::Binary;
use crate::value::Value;

/// An error without its place; the evaluator knows that.
pub(crate) type Refusal = (Class, String);

fn failed<T>(message: impl Into<String>) -> Result<T, Refusal> {
    Err((Class::Failed, message.into()))
}

#[derive(Clone, Copy)]
enum Number {
    Int(i64),
    Float(f64),
}

impl Number {
    fn float(self) -> f64 {
        match self {
            // Beyond 2^53 the nearest fraction, as in Java.
            Self::Int(value) => value as f64,
            Self::Float(value) => value,
        }
    }
}

/// Numbers as they are, text that reads as one; empty text is 0, as in JEXL.
fn number(value: &Value) -> Option<Number> {
    match value {
        Value::Int(value) => Some(Number::Int(*value)),
        Value::Float(value) => Some(Number::Float(*value)),
        Value::Str(text) if text.is_empty() => Some(Number::Int(0)),
        Value::Str(text) => {
            let numeric = text
                .bytes()
                .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+' | b'e' | b'E'));
            if !numeric {
                return None;
            }
            let whole = text.parse().ok().map(Number::Int);
            whole.or_else(|| text.parse().ok().filter(|float: &f64| float.is_finite()).map(Number::Float))
        }
        _ => None,
    }
}

fn is_number(value: &Value) -> bool {
    matches!(value, Value::Int(_) | Value::Float(_))
}

/// Whether a value counts as true where a boolean must stand: booleans, and text that says so.
pub(crate) fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(value) => Some(*value),
        Value::Str(text) if text.trim().eq_ignore_ascii_case("true") => Some(true),
        Value::Str(text) if text.trim().eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// `==`. `null` equals only `null`; next to a boolean everything is a boolean; next to a number text is a number if it reads as one.
pub(crate) fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Null, other) | (other, Value::Null) => *other == Value::Null,
        (Value::Bool(one), other) | (other, Value::Bool(one)) => match other {
            Value::Int(number) => *one == (*number != 0),
            Value::Float(number) => *one == (*number != 0.0),
            other => truth(other) == Some(*one),
        },
        _ if is_number(left) || is_number(right) => match (number(left), number(right)) {
            (Some(Number::Int(left)), Some(Number::Int(right))) => left == right,
            (Some(left), Some(right)) => left.float() == right.float(),
            _ => false,
        },
        _ => left == right,
    }
}

/// `<` and its kin. Text next to text compares by characters, as in JEXL: `"10" < "9"`.
pub(crate) fn order(operator: Binary, left: &Value, right: &Value) -> Result<Ordering, Refusal> {
    if is_number(left) || is_number(right) {
        let ordering = match (number(left), number(right)) {
            (Some(Number::Int(left)), Some(Number::Int(right))) => Some(left.cmp(&right)),
            (Some(left), Some(right)) => left.float().partial_cmp(&right.float()),
            _ => None,
        };
        if let Some(ordering) = ordering {
            return Ok(ordering);
        }
    } else if let (Value::Str(left), Value::Str(right)) = (left, right) {
        return Ok(left.cmp(right));
    }
    failed(format!("`{}` cannot compare {} with {}", operator.sign(), describe(left), describe(right)))
}

fn describe(value: &Value) -> String {
    match value {
        Value::Str(text) if text.chars().count() <= 40 => format!("the text \"{text}\""),
        other => other.sort().to_owned(),
    }
}

/// `+`: joins when one side is text, adds otherwise.
pub(crate) fn add(left: &Value, right: &Value) -> Result<Value, Refusal> {
    match (left, right) {
        (Value::Null, _) | (_, Value::Null) => failed("`+` cannot add null"),
        (Value::Str(_), _) | (_, Value::Str(_)) => Ok(Value::from(left.display() + &right.display())),
        _ => arithmetic(Binary::Add, left, right),
    }
}

/// `+ - * / %` on numbers. Whole numbers stay whole, also when divided.
pub(crate) fn arithmetic(operator: Binary, left: &Value, right: &Value) -> Result<Value, Refusal> {
    let (Some(left), Some(right)) = (number(left), number(right)) else {
        return failed(format!(
            "`{}` needs numbers, not {} and {}",
            operator.sign(),
            describe(left),
            describe(right)
        ));
    };
    if matches!(operator, Binary::Divide | Binary::Modulo) && right.float() == 0.0 {
        return failed("division by zero");
    }
    let value = match (left, right) {
        (Number::Int(left), Number::Int(right)) => match operator {
            Binary::Add => left.checked_add(right),
            Binary::Subtract => left.checked_sub(right),
            Binary::Multiply => left.checked_mul(right),
            Binary::Divide => left.checked_div(right),
            _ => left.checked_rem(right),
        }
        .map(Value::Int),
        (left, right) => {
            let (left, right) = (left.float(), right.float());
            let value = match operator {
                Binary::Add => left + right,
                Binary::Subtract => left - right,
                Binary::Multiply => left * right,
                Binary::Divide => left / right,
                _ => left % right,
            };
            value.is_finite().then_some(Value::Float(value))
        }
    };
    value.map_or_else(|| failed(format!("the result of `{}` is too large", operator.sign())), Ok)
}

/// A sign before a number.
pub(crate) fn negate(value: &Value) -> Result<Value, Refusal> {
    arithmetic(Binary::Subtract, &Value::Int(0), value)
}

/// `=^` and `=$`.
pub(crate) fn edge(operator: Binary, left: &Value, right: &Value) -> Result<bool, Refusal> {
    match (left, right) {
        (Value::Null, _) | (_, Value::Null) => Ok(left == right),
        (Value::Str(_) | Value::Int(_) | Value::Float(_) | Value::Bool(_), Value::Str(edge)) => {
            let text = left.display();
            Ok(match operator {
                Binary::StartsWith | Binary::NotStartsWith => text.starts_with(&**edge),
                _ => text.ends_with(&**edge),
            })
        }
        _ => failed(format!(
            "`{}` needs text, not {} and {}",
            operator.sign(),
            describe(left),
            describe(right)
        )),
    }
}
