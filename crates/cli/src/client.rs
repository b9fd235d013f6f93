//! Speaks to a server: GraphQL and the REST calls of the public API (`wire.md` 1). Says in three ways why not: refused, unreachable, not understood.

use std::time::Duration;

use manifold_model::{Code, Problem, code};
use reqwest::header::{ACCEPT, HeaderMap, HeaderValue};
use reqwest::{RequestBuilder, Response, StatusCode, Url};
use serde_json::{Value, json};

use crate::lines::Lines;

/// How long to wait for a connection.
const CONNECT_WAIT: Duration = Duration::from_secs(10);
/// How long to wait for a whole answer: a start may wait 90 s for the collection of an artifact source.
const ANSWER_WAIT: Duration = Duration::from_secs(180);
/// How long a transfer of a configuration tree may take.
const TRANSFER_WAIT: Duration = Duration::from_secs(900);
/// How long a tail may be silent before it is opened again.
const SILENCE_WAIT: Duration = Duration::from_secs(90);
/// Bytes of an answer: an exported tree is the largest.
const ANSWER_LIMIT: usize = 512 << 20;
/// Characters of a foreign answer that a message cites.
const CITED: usize = 200;

/// Why a call did nothing.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server understood and said no: validation, permission, freeze.
    #[error("{}", sentence(problems))]
    Refused {
        /// Every reason, at least one.
        problems: Vec<Problem>,
    },
    /// There is no server there, or it cannot answer now.
    #[error("cannot reach {url}: {cause}")]
    Unreachable {
        /// Where.
        url: String,
        /// Why.
        cause: String,
        /// Whether the request may have arrived, so that its effect is not known.
        sent: bool,
    },
    /// The answer is none that a server of this release gives.
    #[error("the answer of {url} cannot be understood: {detail}")]
    Misunderstood {
        /// Where.
        url: String,
        /// What is strange.
        detail: String,
    },
}

impl ClientError {
    /// One reason.
    #[must_use]
    pub fn refused(problem: Problem) -> Self {
        Self::Refused { problems: vec![problem] }
    }

    /// Whether what was named is not there, and nothing else is wrong.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        let Self::Refused { problems } = self else { return false };
        problems.iter().all(|problem| problem.code == code!("NOT_FOUND"))
    }

    /// Exit code of a command that ends with it (`design.md` 9): 3 refused, 4 unreachable, 70 a bug.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Refused { .. } => crate::exit::REFUSED,
            Self::Unreachable { .. } => crate::exit::UNREACHABLE,
            Self::Misunderstood { .. } => crate::exit::BUG,
        }
    }
}

fn sentence(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// A server and who asks it.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    account: String,
}

impl Client {
    /// A client of the server at `url`, which may end in `/gateway` as FirstGen's do. An empty `account` leaves the account to the key.
    ///
    /// # Errors
    /// When the URL or the key cannot be one.
    pub fn new(url: &str, key: &str, account: &str) -> Result<Self, ClientError> {
        let base = url.trim().trim_end_matches('/').to_owned();
        let parsed =
            Url::parse(&base).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if parsed.is_none() {
            return Err(ClientError::refused(
                Problem::new(code!("CLIENT_URL_INVALID"), format!("{url:?} is no address of a server"))
                    .hint("give one like http://127.0.0.1:8080"),
            ));
        }
        let mut headers = HeaderMap::new();
        let mut secret = HeaderValue::from_str(key.trim()).map_err(|_| {
            ClientError::refused(
                Problem::new(code!("CLIENT_KEY_INVALID"), "the API key has characters that no key has")
                    .hint("the key is one line of letters, digits and signs; look at the file that holds it"),
            )
        })?;
        secret.set_sensitive(true);
        headers.insert("x-api-key", secret);
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let http = reqwest::Client::builder()
            .default_headers(headers)
            .user_agent(concat!("manifold-cli/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_WAIT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| ClientError::Misunderstood { url: base.clone(), detail: causes(&error) })?;
        Ok(Self { http, base, account: account.trim().to_owned() })
    }

    /// The address.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.base
    }

    /// Runs a query or a mutation and gives its `data`.
    ///
    /// # Errors
    /// See [`ClientError`]; what the server's `errors[].extensions.problems` say is in [`ClientError::Refused`].
    pub async fn graphql(&self, query: &str, variables: Value) -> Result<Value, ClientError> {
        let path = "/api/graphql";
        let request =
            self.post(path).timeout(ANSWER_WAIT).json(&json!({ "query": query, "variables": variables }));
        let response = self.send(path, request).await?;
        let body = self.json(path, response).await?;
        self.data(path, body)
    }

    /// GET with query parameters, as bytes.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Vec<u8>, ClientError> {
        let request =
            self.with_account(self.http.get(self.address(path)).query(query)).timeout(TRANSFER_WAIT);
        let response = self.send(path, request).await?;
        self.bytes(response).await
    }

    /// GET of newline-delimited JSON, line by line as it comes.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn tail(&self, path: &str, query: &[(&str, &str)]) -> Result<Lines, ClientError> {
        let request = self.with_account(self.http.get(self.address(path)).query(query));
        let response = tokio::time::timeout(ANSWER_WAIT, self.send(path, request))
            .await
            .map_err(|_| self.unreachable(format!("no answer within {} s", ANSWER_WAIT.as_secs()), true))??;
        Ok(Lines::new(response, self.address(path), SILENCE_WAIT))
    }

    /// POST of a file as multipart field; gives `resource` of the REST envelope.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn upload(
        &self,
        path: &str,
        field: &str,
        name: &str,
        bytes: Vec<u8>,
    ) -> Result<Value, ClientError> {
        let part = reqwest::multipart::Part::bytes(bytes).file_name(name.to_owned());
        let form = reqwest::multipart::Form::new().part(field.to_owned(), part);
        let request = self.post(path).timeout(TRANSFER_WAIT).multipart(form);
        let response = self.send(path, request).await?;
        let mut body = self.json(path, response).await?;
        if let Some(problems) = said_in_envelope(&body) {
            return Err(ClientError::Refused { problems });
        }
        Ok(body.get_mut("resource").map(Value::take).unwrap_or_default())
    }

    fn post(&self, path: &str) -> RequestBuilder {
        self.with_account(self.http.post(self.address(path)))
    }

    fn with_account(&self, request: RequestBuilder) -> RequestBuilder {
        if self.account.is_empty() { request } else { request.query(&[("accountId", &self.account)]) }
    }

    fn address(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    async fn send(&self, path: &str, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = request.send().await.map_err(|error| self.failed(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        if status.is_redirection() {
            return Err(self.unreachable(format!("it answers {status}"), false));
        }
        let body = self.bytes(response).await.unwrap_or_default();
        Err(self.refusal(path, status, &body))
    }

    /// What an answer that is no success says.
    fn refusal(&self, path: &str, status: StatusCode, body: &[u8]) -> ClientError {
        let parsed: Option<Value> = serde_json::from_slice(body).ok();
        if status == StatusCode::UNAUTHORIZED {
            let problem =
                Problem::new(code!("INVALID_TOKEN"), format!("{} does not know this API key", self.base))
                    .hint("look at MANIFOLD_API_KEY, --api-key-file or the profile");
            return ClientError::refused(problem);
        }
        let said = parsed.as_ref().and_then(said_in_envelope);
        if matches!(
            status,
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
        ) {
            return self
                .unreachable(said.map_or(format!("it answers {status}"), |said| sentence(&said)), true);
        }
        if let Some(problems) = said.filter(|_| status.is_client_error()) {
            return ClientError::Refused { problems };
        }
        if status == StatusCode::NOT_FOUND {
            return self.unreachable("something answers there, but no Manifold server".to_owned(), false);
        }
        let message = parsed.as_ref().and_then(|body| body.pointer("/errors/0/message")?.as_str());
        let text: String = message.unwrap_or(&String::from_utf8_lossy(body)).chars().take(CITED).collect();
        if status.is_client_error() {
            let problem = Problem::new(code!("REQUEST_REFUSED"), format!("the server answers {status}"));
            return ClientError::refused(if text.trim().is_empty() { problem } else { problem.detail(text) });
        }
        ClientError::Misunderstood { url: self.address(path), detail: format!("{status} {text}") }
    }

    /// `data` of a GraphQL answer, or what its `errors` say. A query that the server does not know is not the user's doing: the two are of
    /// different releases.
    fn data(&self, path: &str, mut body: Value) -> Result<Value, ClientError> {
        if let Some(problems) = said_in_envelope(&body) {
            return Err(ClientError::Refused { problems });
        }
        let strange = |detail: String| ClientError::Misunderstood { url: self.address(path), detail };
        let errors = body.get("errors").and_then(Value::as_array).cloned().unwrap_or_default();
        if !errors.is_empty() {
            let problems: Vec<Problem> = errors.iter().flat_map(problems_of).collect();
            if problems.iter().any(|problem| problem.code == code!("STORE_UNAVAILABLE")) {
                return Err(self.unreachable(sentence(&problems), true));
            }
            let ours = [code!("QUERY_INVALID"), code!("QUERY_SYNTAX"), code!("BUG")];
            if problems.is_empty() || problems.iter().any(|problem| ours.contains(&problem.code)) {
                let said: Vec<&str> =
                    errors.iter().filter_map(|error| error.get("message")?.as_str()).collect();
                return Err(strange(said.join("; ")));
            }
            return Err(ClientError::Refused { problems });
        }
        match body.get_mut("data").map(Value::take) {
            Some(data) if !data.is_null() => Ok(data),
            _ => Err(strange("it has neither data nor errors".to_owned())),
        }
    }

    async fn json(&self, path: &str, response: Response) -> Result<Value, ClientError> {
        let bytes = self.bytes(response).await?;
        serde_json::from_slice(&bytes).map_err(|error| ClientError::Misunderstood {
            url: self.address(path),
            detail: format!("it is no JSON: {error}"),
        })
    }

    async fn bytes(&self, mut response: Response) -> Result<Vec<u8>, ClientError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failed(&error))? {
            if bytes.len() + chunk.len() > ANSWER_LIMIT {
                let detail = format!("it is longer than {ANSWER_LIMIT} bytes");
                return Err(ClientError::Misunderstood { url: self.base.clone(), detail });
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    fn failed(&self, error: &reqwest::Error) -> ClientError {
        if error.is_timeout() && !error.is_connect() {
            return self.unreachable("no answer in time".to_owned(), true);
        }
        self.unreachable(causes(error), !error.is_connect())
    }

    fn unreachable(&self, cause: String, sent: bool) -> ClientError {
        ClientError::Unreachable { url: self.base.clone(), cause, sent }
    }
}

/// Problems of one entry of `errors`; none when it is no refusal of ours, such as a query that the schema does not know.
fn problems_of(error: &Value) -> Vec<Problem> {
    let extensions = error.get("extensions");
    let listed = extensions.and_then(|extensions| extensions.get("problems")).cloned();
    let listed: Vec<Problem> = listed.and_then(|list| serde_json::from_value(list).ok()).unwrap_or_default();
    if !listed.is_empty() {
        return listed;
    }
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let code = text(extensions.and_then(|extensions| extensions.get("code")));
    match (code, text(error.get("message"))) {
        (Some(code), Some(message)) => vec![Problem::new(Code(code.into()), message)],
        _ => Vec::new(),
    }
}

/// What `problems` or `responseMessages` of an envelope say (`wire.md` 1.4).
fn said_in_envelope(body: &Value) -> Option<Vec<Problem>> {
    let messages = body.get("responseMessages")?.as_array().filter(|messages| !messages.is_empty())?;
    let listed = body.get("problems").cloned();
    let listed: Vec<Problem> = listed.and_then(|list| serde_json::from_value(list).ok()).unwrap_or_default();
    if !listed.is_empty() {
        return Some(listed);
    }
    let problem = |message: &Value| {
        let code = message.get("code").and_then(Value::as_str).unwrap_or("REQUEST_REFUSED").to_owned();
        let text = message.get("message").and_then(Value::as_str).unwrap_or("the server refused").to_owned();
        Problem::new(Code(code.into()), text)
    };
    Some(messages.iter().map(problem).collect())
}

/// An error with its causes; what one says already is not said twice.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

    use super::*;

    #[test]
    fn an_address_and_a_key_are_checked() {
        assert!(Client::new("http://127.0.0.1:8080/gateway/", "k", "a").is_ok());
        for url in ["", "127.0.0.1:8080", "ftp://x", "http://"] {
            assert!(matches!(Client::new(url, "k", "a"), Err(ClientError::Refused { .. })), "{url}");
        }
        assert!(matches!(Client::new("http://h", "a\nb", ""), Err(ClientError::Refused { .. })));
    }

    #[test]
    fn problems_are_taken_from_extensions() {
        let client = Client::new("http://h", "k", "").unwrap();
        let body = json!({ "data": null, "errors": [{ "message": "m", "extensions": { "code": "A", "problems": [
            { "code": "A", "message": "one", "hint": "do" }, { "code": "B", "message": "two" } ] } }] });
        let Err(ClientError::Refused { problems }) = client.data("/x", body) else { panic!() };
        assert_eq!(problems.len(), 2);
        assert_eq!(problems[0].hint.as_deref(), Some("do"));
        let body = json!({ "errors": [{ "message": "Unknown field" }] });
        assert_eq!(client.data("/x", body).unwrap_err().exit_code(), 70);
        let body = json!({ "errors": [{ "message": "m", "extensions": { "code": "QUERY_INVALID" } }] });
        assert_eq!(client.data("/x", body).unwrap_err().exit_code(), 70);
        let body = json!({ "errors": [{ "message": "m", "extensions": { "code": "STORE_UNAVAILABLE" } }] });
        assert_eq!(client.data("/x", body).unwrap_err().exit_code(), 4);
    }

    #[test]
    fn an_unsuccessful_status_is_told_apart() {
        let client = Client::new("http://h", "k", "").unwrap();
        let code = |status: u16, body: &str| {
            client.refusal("/x", StatusCode::from_u16(status).unwrap(), body.as_bytes()).exit_code()
        };
        assert_eq!(code(401, ""), 3);
        assert_eq!(code(404, "<html>"), 4);
        assert_eq!(code(404, r#"{"responseMessages":[{"code":"NOT_FOUND","message":"m"}]}"#), 3);
        assert_eq!(code(413, "too large"), 3);
        assert_eq!(code(500, "oh"), 70);
        assert_eq!(code(503, r#"{"responseMessages":[{"code":"A","message":"m"}]}"#), 4);
    }
}
