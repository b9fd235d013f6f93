//! Scalars of the wire (`wire.md` 1.7).

use async_graphql::{InputValueError, InputValueResult, Scalar, ScalarType, Value};

/// Milliseconds since 1970-01-01 UTC, as a JSON number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DateTime(pub i64);

/// Milliseconds since 1970-01-01 UTC, as a JSON number.
#[Scalar(name = "DateTime")]
impl ScalarType for DateTime {
    fn parse(value: Value) -> InputValueResult<Self> {
        integer(&value).map(Self).ok_or_else(|| InputValueError::expected_type(value))
    }

    fn to_value(&self) -> Value {
        Value::from(self.0)
    }
}

/// A whole number as a JSON string of digits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Long(pub i64);

/// A whole number as a JSON string of digits.
#[Scalar(name = "Long")]
impl ScalarType for Long {
    fn parse(value: Value) -> InputValueResult<Self> {
        integer(&value).map(Self).ok_or_else(|| InputValueError::expected_type(value))
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.to_string())
    }
}

/// A number, whole or not.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Number(pub f64);

/// A number, whole or not.
#[Scalar(name = "Number")]
impl ScalarType for Number {
    fn parse(value: Value) -> InputValueResult<Self> {
        match &value {
            Value::Number(number) => number.as_f64().map(Self),
            Value::String(text) => text.trim().parse().ok().map(Self),
            _ => None,
        }
        .ok_or_else(|| InputValueError::expected_type(value))
    }

    fn to_value(&self) -> Value {
        Value::from(self.0)
    }
}

/// Any JSON value.
#[derive(Clone, PartialEq, Debug)]
pub struct Json(pub serde_json::Value);

/// Any JSON value.
#[Scalar(name = "JSON")]
impl ScalarType for Json {
    fn parse(value: Value) -> InputValueResult<Self> {
        value.into_json().map(Self).map_err(|error| InputValueError::custom(error.to_string()))
    }

    fn to_value(&self) -> Value {
        Value::from_json(self.0.clone()).unwrap_or_default()
    }
}

/// A whole number, written as a number or as digits in quotes.
fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64().or_else(|| {
            let float = number.as_f64()?;
            // Only whole numbers that a float holds exactly.
            (float.fract() == 0.0 && float.abs() < 9.0e15).then_some(float as i64)
        }),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}
