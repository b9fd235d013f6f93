//! Newline-delimited JSON as it comes.

use std::time::Duration;

use manifold_model::{Code, Problem};
use reqwest::Response;
use serde_json::Value;

use crate::client::{ClientError, causes};

/// Bytes of one line.
const LINE_LIMIT: usize = 16 << 20;

/// Lines of a tail.
#[derive(Debug)]
pub struct Lines {
    response: Response,
    url: String,
    silence: Duration,
    buffer: Vec<u8>,
    ended: bool,
}

impl Lines {
    pub(crate) fn new(response: Response, url: String, silence: Duration) -> Self {
        Self { response, url, silence, buffer: Vec::new(), ended: false }
    }

    /// The next value; `None` at the end, or when nothing came for so long that the tail should be opened again.
    ///
    /// # Errors
    /// When the connection breaks off or a line is no JSON.
    pub async fn next(&mut self) -> Result<Option<Value>, ClientError> {
        loop {
            if let Some(line) = self.line() {
                let text = line.trim_ascii();
                if text.is_empty() {
                    continue;
                }
                return self.value(text).map(Some);
            }
            if self.ended {
                return Ok(None);
            }
            if self.buffer.len() > LINE_LIMIT {
                return Err(self.strange(format!("a line is longer than {LINE_LIMIT} bytes")));
            }
            match tokio::time::timeout(self.silence, self.response.chunk()).await {
                Err(_) => return Ok(None),
                Ok(Ok(Some(chunk))) => self.buffer.extend_from_slice(&chunk),
                Ok(Ok(None)) => self.ended = true,
                Ok(Err(error)) => {
                    let (url, cause) = (self.url.clone(), causes(&error));
                    return Err(ClientError::Unreachable { url, cause, sent: true });
                }
            }
        }
    }

    /// Takes a whole line out of the buffer; at the end of the tail, what is left.
    fn line(&mut self) -> Option<Vec<u8>> {
        match self.buffer.iter().position(|byte| *byte == b'\n') {
            Some(end) => Some(self.buffer.drain(..=end).collect()),
            None if self.ended && !self.buffer.is_empty() => Some(std::mem::take(&mut self.buffer)),
            None => None,
        }
    }

    /// The status of a tail is sent before its lines, so a failure in its middle comes as a line `{"error", "code"}`.
    fn value(&self, text: &[u8]) -> Result<Value, ClientError> {
        let value: Value = serde_json::from_slice(text).map_err(|error| self.strange(error.to_string()))?;
        match (value.get("error").and_then(Value::as_str), value.get("code").and_then(Value::as_str)) {
            (Some(message), Some(code)) if value.get("seq").is_none() => {
                Err(ClientError::refused(Problem::new(Code(code.to_owned().into()), message)))
            }
            _ => Ok(value),
        }
    }

    fn strange(&self, detail: String) -> ClientError {
        ClientError::Misunderstood { url: self.url.clone(), detail }
    }
}
