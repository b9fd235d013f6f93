//! Dialing a server: its address, TLS, the WebSocket.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Uri;
use futures::{SinkExt, StreamExt, future};
use manifold_model::{Problem, code};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{Connector, connect_async_tls_with_config};

/// How long dialing may take, TLS and the upgrade included.
const DIAL: Duration = Duration::from_secs(20);
/// Largest message taken from a server, bytes; it sends pieces of at most 64 KiB.
const MESSAGE_BYTES: usize = 256 << 10;
/// Where a server takes delegates, below its URL.
const PATH: &str = "/api/delegate/connect";

/// A server's address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// As it was given.
    given: String,
    /// `ws://…` or `wss://…`.
    url: String,
    /// Host and port.
    host: (String, u16),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.given)
    }
}

impl Endpoint {
    /// Reads `http(s)://HOST[:PORT][/PREFIX]`, or the same with `ws(s)`.
    ///
    /// # Errors
    /// `DELEGATE_SERVER_INVALID`; `INSECURE_SERVER` for another machine without TLS.
    pub fn parse(given: &str, insecure_http: bool) -> Result<Self, Box<Problem>> {
        let invalid = |why: &str| {
            let problem = Problem::new(
                code!("DELEGATE_SERVER_INVALID"),
                format!("{given:?} is no address of a server: {why}"),
            );
            Box::new(problem.hint("write https://HOST[:PORT][/PREFIX]"))
        };
        let uri: Uri = given.trim().parse().map_err(|_| invalid("it is no URL"))?;
        let (scheme, port) = match uri.scheme_str() {
            Some("https" | "wss") => ("wss", 443),
            Some("http" | "ws") => ("ws", 80),
            _ => return Err(invalid("it begins neither with https:// nor with http://")),
        };
        let authority = uri.authority().ok_or_else(|| invalid("it names no host"))?;
        if authority.as_str().contains('@') || uri.query().is_some() || authority.host().is_empty() {
            return Err(invalid("a URL of a server has a host, and neither user nor query"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if scheme == "ws" && !insecure_http && !is_loopback(&host) {
            let what = format!("refusing to dial {given} without TLS");
            let problem = Problem::new(code!("INSECURE_SERVER"), what);
            return Err(Box::new(problem.hint("dial https://, or say --insecure-http")));
        }
        let url = format!("{scheme}://{authority}{}{PATH}", uri.path().trim_end_matches('/'));
        Ok(Self { given: given.trim().to_owned(), url, host: (host, authority.port_u16().unwrap_or(port)) })
    }

    /// Host and port.
    pub fn host(&self) -> (&str, u16) {
        (&self.host.0, self.host.1)
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Dials.
pub struct Dialer {
    /// `None`: the authorities of this system.
    connector: Option<Connector>,
}

impl Dialer {
    /// A dialer that trusts the authorities of this file, or those of the system.
    ///
    /// # Errors
    /// `TLS_FILES_INVALID`: the file cannot be used.
    pub fn new(authorities: Option<&Path>) -> Result<Self, Box<Problem>> {
        let Some(path) = authorities else { return Ok(Self { connector: None }) };
        let mut roots = rustls::RootCertStore::empty();
        for certificate in crate::tls::certificates(path)? {
            roots.add(certificate).map_err(|error| {
                let what = format!("{} holds what is no certificate", path.display());
                Box::new(Problem::new(code!("TLS_FILES_INVALID"), what).detail(error.to_string()))
            })?;
        }
        let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Ok(Self { connector: Some(Connector::Rustls(Arc::new(config))) })
    }

    /// A stream to a server.
    ///
    /// # Errors
    /// Why there is none, for people.
    pub async fn dial(
        &self,
        endpoint: &Endpoint,
    ) -> Result<impl AsyncRead + AsyncWrite + Send + 'static, String> {
        let config = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_BYTES))
            .max_frame_size(Some(MESSAGE_BYTES));
        let dialing =
            connect_async_tls_with_config(endpoint.url.as_str(), Some(config), true, self.connector.clone());
        let (socket, _) = match timeout(DIAL, dialing).await {
            Ok(Ok(dialed)) => dialed,
            Ok(Err(Error::Http(answer))) => {
                return Err(format!("the server answers {} where it should take delegates", answer.status()));
            }
            Ok(Err(error)) => return Err(format!("the server cannot be reached: {error}")),
            Err(_) => return Err(format!("the server does not answer within {} s", DIAL.as_secs())),
        };
        let (outgoing, incoming) = socket.split();
        let incoming = incoming.filter_map(|message| future::ready(bytes(message)));
        let outgoing = outgoing
            .sink_map_err(io::Error::other)
            .with(|bytes| future::ready(Ok::<_, io::Error>(Message::Binary(bytes))));
        Ok(manifold_link::stream(incoming, outgoing))
    }
}

/// The bytes of a message; pings and the like have none, texts are nothing a server says.
fn bytes(message: Result<Message, Error>) -> Option<io::Result<axum::body::Bytes>> {
    match message {
        Ok(Message::Binary(bytes)) => Some(Ok(bytes)),
        Ok(Message::Text(_)) => {
            Some(Err(io::Error::new(io::ErrorKind::InvalidData, "a text where bytes had to come")))
        }
        Ok(_) => None,
        Err(error) => Some(Err(io::Error::other(error))),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn addresses_become_those_of_the_door() {
        let url = |given: &str| Endpoint::parse(given, false).map(|endpoint| endpoint.url);
        assert_eq!(url("https://a.example").unwrap(), "wss://a.example/api/delegate/connect");
        assert_eq!(url("wss://a:8443/gateway/").unwrap(), "wss://a:8443/gateway/api/delegate/connect");
        assert_eq!(url("http://127.0.0.1:1").unwrap(), "ws://127.0.0.1:1/api/delegate/connect");
        assert_eq!(url("http://[::1]:1/").unwrap(), "ws://[::1]:1/api/delegate/connect");
        for bad in ["", "a", "ftp://a", "https://u@a", "https://a?x=1", "https://"] {
            assert_eq!(url(bad).unwrap_err().code, code!("DELEGATE_SERVER_INVALID"), "{bad}");
        }
        assert_eq!(url("http://a.example").unwrap_err().code, code!("INSECURE_SERVER"));
        assert!(Endpoint::parse("http://a.example", true).is_ok());
    }
}
