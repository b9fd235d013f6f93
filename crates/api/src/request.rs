//! The forms in which GraphQL requests come (`wire.md` 1.3).

use axum::body::Bytes;
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::header::CONTENT_TYPE;
use manifold_control::model::{Problem, code};
use serde_json::{Map, Value};

use crate::BODY_BYTES;

/// A GraphQL request as it was sent.
#[derive(Debug, Default)]
pub struct Sent {
    /// The query text.
    pub query: String,
    /// Variables.
    pub variables: Map<String, Value>,
    /// `operationName`.
    pub operation: Option<String>,
    /// Content of the uploaded file of `ENCRYPTED_FILE` secrets.
    pub file: Option<Bytes>,
}

/// A body that cannot be read.
#[derive(Debug)]
pub struct Unreadable {
    /// Why.
    pub problem: Problem,
    /// Whether it was too large (413).
    pub too_large: bool,
}

impl From<Problem> for Unreadable {
    fn from(problem: Problem) -> Self {
        Self { problem, too_large: false }
    }
}

impl Unreadable {
    /// The body is over the limit.
    #[must_use]
    pub fn too_large() -> Self {
        Self {
            problem: Problem::new(
                code!("BODY_TOO_LARGE"),
                format!("the body has more than {BODY_BYTES} bytes"),
            ),
            too_large: true,
        }
    }
}

/// Reads a request in any form that clients use.
///
/// # Errors
/// When it is too large or has none of the forms.
pub async fn read(request: Request) -> Result<Sent, Unreadable> {
    let kind = request
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .trim_start()
        .to_ascii_lowercase();
    if kind.starts_with("multipart/form-data") {
        return read_multipart(request).await;
    }
    let bytes = axum::body::to_bytes(request.into_body(), BODY_BYTES).await.map_err(|error| {
        if too_long(&error) { Unreadable::too_large() } else { unreadable("the body ended early").into() }
    })?;
    Ok(parse(&bytes)?)
}

fn too_long(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.to_string().contains("length limit exceeded") {
            return true;
        }
        cause = error.source();
    }
    false
}

fn unreadable(message: impl Into<String>) -> Problem {
    Problem::new(code!("REQUEST_UNREADABLE"), message)
        .hint("send JSON {\"query\": \"…\", \"variables\": {…}}, or the GraphQL text alone")
}

async fn read_multipart(request: Request) -> Result<Sent, Unreadable> {
    let mut parts = Multipart::from_request(request, &())
        .await
        .map_err(|error| unreadable(format!("the multipart body cannot be read: {error}")))?;
    let mut sent = None;
    let mut file = None;
    loop {
        let part = parts.next_field().await.map_err(multipart)?;
        let Some(part) = part else { break };
        let name = part.name().unwrap_or_default().to_owned();
        let bytes = part.bytes().await.map_err(multipart)?;
        match name.as_str() {
            "query" | "operations" if sent.is_none() => sent = Some(parse(&bytes)?),
            "file" => file = Some(bytes),
            _ => {}
        }
    }
    let sent = sent.ok_or_else(|| unreadable("the multipart body has no part named query"))?;
    Ok(Sent { file, ..sent })
}

fn multipart(error: axum::extract::multipart::MultipartError) -> Unreadable {
    if error.status() == axum::http::StatusCode::PAYLOAD_TOO_LARGE {
        Unreadable::too_large()
    } else {
        unreadable(format!("the multipart body cannot be read: {}", error.body_text())).into()
    }
}

/// Reads JSON, JSON with real newlines inside its strings, or a bare GraphQL text.
fn parse(bytes: &[u8]) -> Result<Sent, Problem> {
    let text = std::str::from_utf8(bytes).map_err(|_| unreadable("the body is not UTF-8"))?;
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.is_empty() {
        return Err(unreadable("the body is empty"));
    }
    let json = match serde_json::from_str::<Value>(text) {
        Ok(json) => Ok(json),
        Err(_) => serde_json::from_str(&escaped(text)),
    };
    match json {
        Ok(Value::Object(fields)) => from_fields(fields),
        Ok(Value::String(query)) => Ok(Sent { query, ..Sent::default() }),
        Ok(_) => Err(unreadable("the body is JSON, but no object with a query")),
        // `{"` cannot begin a GraphQL text.
        Err(error) if text.strip_prefix('{').is_some_and(|rest| rest.trim_start().starts_with('"')) => {
            Err(unreadable(format!("the body is not JSON: {error}")))
        }
        Err(_) => Ok(Sent { query: text.to_owned(), ..Sent::default() }),
    }
}

fn from_fields(mut fields: Map<String, Value>) -> Result<Sent, Problem> {
    let Some(Value::String(query)) = fields.remove("query") else {
        return Err(unreadable("the body has no text named query"));
    };
    let variables = match fields.remove("variables") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(variables)) => variables,
        // Some shells quote the variables once more.
        Some(Value::String(text)) if text.trim().is_empty() => Map::new(),
        Some(Value::String(text)) => serde_json::from_str(&text)
            .map_err(|error| unreadable(format!("variables are a text that is no JSON object: {error}")))?,
        Some(_) => return Err(unreadable("variables are not a JSON object")),
    };
    let operation = match fields.remove("operationName") {
        Some(Value::String(name)) if !name.is_empty() => Some(name),
        _ => None,
    };
    Ok(Sent { query, variables, operation, file: None })
}

/// The text with control characters inside JSON strings written as escapes.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 64);
    let (mut inside, mut after_backslash) = (false, false);
    for letter in text.chars() {
        if inside && letter.is_control() {
            match letter {
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                other => out.push_str(&format!("\\u{:04x}", u32::from(other))),
            }
            after_backslash = false;
            continue;
        }
        out.push(letter);
        if after_backslash {
            after_backslash = false;
        } else if inside && letter == '\\' {
            after_backslash = true;
        } else if letter == '"' {
            inside = !inside;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
    use super::*;

    #[test]
    fn every_form_gives_the_query() {
        let forms = [
            r#"{"query": "{a}"}"#,
            r#"{"query": "{a}", "variables": null, "operationName": null}"#,
            r#"{"operationName": "X", "query": "{a}", "variables": {"b": 1}, "extensions": {}}"#,
            "{a}",
            "  {a}\n",
            r#"{"query":"no","query":"{a}"}"#,
        ];
        for form in forms {
            assert_eq!(parse(form.as_bytes()).unwrap().query, "{a}", "{form}");
        }
    }

    #[test]
    fn real_newlines_inside_strings_are_read() {
        let sent =
            parse("{\n \"query\": \"{\n\ta(x: \\\"y\\\")\n}\",\n \"variables\": {} }".as_bytes()).unwrap();
        assert_eq!(sent.query, "{\n\ta(x: \"y\")\n}");
    }

    #[test]
    fn broken_json_says_so() {
        assert_eq!(parse(br#"{"query": "#).unwrap_err().code.0, "REQUEST_UNREADABLE");
        assert_eq!(parse(b"").unwrap_err().code.0, "REQUEST_UNREADABLE");
        assert_eq!(parse(b"[1]").unwrap_err().code.0, "REQUEST_UNREADABLE");
    }
}
