//! Passing a request on to the API server.

use anyhow::{Context, Result};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONNECTION, HOST, HeaderName, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use hyper::{HeaderMap, Request, Response};
use reqwest::{Body, Certificate, Client};

/// Headers that are of one connection only.
const HOP: [HeaderName; 6] = [CONNECTION, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];

/// The API server.
pub struct Upstream {
    url: String,
    client: Client,
}

impl Upstream {
    /// One at a URL, with its authority.
    pub fn new(url: &str, ca: &str) -> Result<Self> {
        let client = Client::builder()
            .tls_certs_only([Certificate::from_pem(ca.as_bytes())?])
            // Bodies go through as they are.
            .no_gzip()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .context("make a client")?;
        Ok(Self { url: url.to_owned(), client })
    }

    /// Passes a request on, with another `Authorization` if there is one; both bodies stream.
    pub async fn pass(
        &self,
        request: Request<Incoming>,
        authorization: Option<String>,
    ) -> Result<Response<Body>> {
        let (head, body) = request.into_parts();
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut headers = without_hop(head.headers);
        if let Some(authorization) = authorization {
            headers.insert(AUTHORIZATION, authorization.parse()?);
        }
        let answer = self
            .client
            .request(head.method, format!("{}{path}", self.url))
            .headers(headers)
            .body(Body::wrap(body))
            .send()
            .await
            .context("pass a request on")?;
        let mut answer = Response::<Body>::from(answer);
        let headers = std::mem::take(answer.headers_mut());
        *answer.headers_mut() = without_hop(headers);
        Ok(answer)
    }
}

fn without_hop(mut headers: HeaderMap) -> HeaderMap {
    for name in HOP {
        headers.remove(name);
    }
    headers
}
