//! The proxy's side towards its clients: HTTP/1.1, plain or by TLS.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::{StreamExt, stream};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, RETRY_AFTER, USER_AGENT};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use reqwest::Body;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{DEFAULT_VERSIONS, ServerConfig};

use super::forward::Upstream;
use super::{Act, Script, Seen};
use crate::certificates::Pem;

/// What was sent before a cut may take so long to leave; hyper would drop it with the connection.
const LEAVE: Duration = Duration::from_millis(50);

/// TLS with a certificate and its key.
pub fn acceptor((certificate, key): &(Pem, Pem)) -> Result<TlsAcceptor> {
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).context("read a certificate")?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).context("read a key")?;
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(DEFAULT_VERSIONS)?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Serves connections until the runtime ends.
pub async fn serve(
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    script: Arc<Script>,
    upstream: Arc<Upstream>,
) {
    loop {
        // An error is one connection's: its client is gone again. Or there are too many, which passes.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(LEAVE).await;
            continue;
        };
        let (acceptor, script, upstream) = (acceptor.clone(), Arc::clone(&script), Arc::clone(&upstream));
        tokio::spawn(async move {
            match acceptor {
                None => connection(stream, script, upstream).await,
                // Clients that refuse the certificate are what such a front is for.
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        connection(stream, script, upstream).await;
                    }
                }
            }
        });
    }
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    script: Arc<Script>,
    upstream: Arc<Upstream>,
) {
    let service = service_fn(|request| answer(request, Arc::clone(&script), Arc::clone(&upstream)));
    // An error of the service cuts the connection, which is all that there is to do.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// Answers a request; an error cuts the connection.
async fn answer(
    request: Request<Incoming>,
    script: Arc<Script>,
    upstream: Arc<Upstream>,
) -> Result<Response<Body>> {
    let text = |name: HeaderName| {
        let value = request.headers().get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let authorization = text(AUTHORIZATION);
    let seen = Seen {
        method: request.method().to_string(),
        path: request.uri().to_string(),
        content_type: text(CONTENT_TYPE),
        scheme: authorization.split(' ').next().unwrap_or_default().to_owned(),
        agent: text(USER_AGENT),
    };
    let act = script.act(seen);
    let Ok(authorization) = script.sign_in(&authorization) else { return status_object(401, None) };
    let pass = upstream.pass(request, authorization);
    match act {
        None => pass.await,
        Some(Act::Answer { status, retry_after }) => status_object(status, retry_after),
        Some(Act::Say { status, content_type, body }) => {
            Ok(Response::builder().status(status).header(CONTENT_TYPE, content_type).body(body.into())?)
        }
        Some(Act::Delay(time)) => {
            tokio::time::sleep(time).await;
            pass.await
        }
        Some(Act::Hang) => std::future::pending().await,
        Some(Act::Cut) => bail!("cut"),
        Some(Act::LoseAnswer) => {
            pass.await?;
            bail!("lost")
        }
        Some(Act::CutAfter(bytes)) => Ok(cut_after(pass.await?, bytes)),
        Some(Act::EndAfter(time)) => Ok(end_after(pass.await?, time)),
    }
}

/// What an API server says when it refuses.
fn status_object(status: u16, retry_after: Option<u64>) -> Result<Response<Body>> {
    let reason = match status {
        400 => "BadRequest",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        410 => "Expired",
        422 => "Invalid",
        429 => "TooManyRequests",
        500 => "InternalError",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "",
    };
    let object = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": format!("the proxy was told to answer {status}"), "reason": reason, "code": status,
        "details": { "retryAfterSeconds": retry_after.unwrap_or_default() } });
    let mut answer = Response::builder().status(status).header(CONTENT_TYPE, "application/json");
    if let Some(seconds) = retry_after {
        answer = answer.header(RETRY_AFTER, seconds);
    }
    Ok(answer.body(object.to_string().into())?)
}

/// The answer with a body that breaks after so many bytes.
fn cut_after(answer: Response<Body>, bytes: usize) -> Response<Body> {
    let (head, body) = answer.into_parts();
    let left = stream::unfold(Some((frames(body), bytes)), |state| async {
        let (mut frames, left) = state?;
        if left == 0 {
            tokio::time::sleep(LEAVE).await;
            return Some((Err(std::io::Error::other("cut")), None));
        }
        match frames.next().await? {
            Err(error) => Some((Err(error), None)),
            Ok(mut chunk) => {
                chunk.truncate(left);
                let left = left - chunk.len();
                Some((Ok(chunk), Some((frames, left))))
            }
        }
    });
    Response::from_parts(head, Body::wrap_stream(left))
}

/// The answer with a body that ends after this time.
fn end_after(answer: Response<Body>, time: Duration) -> Response<Body> {
    let (mut head, body) = answer.into_parts();
    // It may end before the length that was announced.
    head.headers.remove(CONTENT_LENGTH);
    let frames = frames(body).take_until(Box::pin(tokio::time::sleep(time)));
    Response::from_parts(head, Body::wrap_stream(frames))
}

/// The chunks of a body.
fn frames(body: Body) -> impl stream::Stream<Item = std::io::Result<Bytes>> + Send + Unpin + 'static {
    let response = reqwest::Response::from(hyper::Response::new(body));
    Box::pin(response.bytes_stream().map(|chunk| chunk.map_err(std::io::Error::other)))
}
