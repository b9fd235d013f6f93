//! The request with all holes filled, and its way over redirects.

use std::collections::BTreeMap;

use manifold_driver::Resolver;
use manifold_model::Failure;
use manifold_model::task::HttpTask;
use reqwest::header::{
    AUTHORIZATION, COOKIE, HeaderMap, HeaderName, HeaderValue, LOCATION, PROXY_AUTHORIZATION,
};
use reqwest::{Client, Method, Response, StatusCode, Url};

use crate::failure;
use crate::limits::MAX_REDIRECTS;

/// A request ready to be sent.
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    headers: HeaderMap,
    body: Option<String>,
}

impl Request {
    /// Fills the holes and checks what came out.
    pub(crate) async fn of(task: &HttpTask, resolver: &dyn Resolver) -> Result<Self, Failure> {
        let none = BTreeMap::new();
        let method = Method::from_bytes(task.method.trim().to_ascii_uppercase().as_bytes())
            .map_err(|_| failure::invalid(format!("{:?} is no HTTP method", task.method)))?;
        let filled = resolver.render(&task.url, &none).await?;
        let url = address(&filled.text).map_err(|why| {
            failure::invalid(format!("the URL {} cannot be used: {why}", task.url.masked()))
        })?;
        let mut headers = HeaderMap::new();
        for (name, value) in &task.headers {
            let value = resolver.render(value, &none).await?;
            let name = HeaderName::from_bytes(name.trim().as_bytes())
                .map_err(|_| failure::invalid(format!("{name:?} is no header name")))?;
            let mut text = HeaderValue::from_str(value.text.trim())
                .map_err(|_| failure::invalid(format!("the value of header {name} has a line break")))?;
            text.set_sensitive(value.secret);
            headers.append(name, text);
        }
        let body = resolver.render(&task.body, &none).await?.text;
        Ok(Self { method, url, headers, body: (!body.is_empty()).then_some(body) })
    }

    /// The URL as it may be shown: without a password. Secrets that were rendered into it are masked by the log.
    pub(crate) fn place(&self) -> String {
        shown(&self.url)
    }

    /// Sends it and follows redirects, as FirstGen's client did: GET and HEAD follow each of them, other methods only 303, as GET. So a
    /// body is never sent twice.
    pub(crate) async fn send(mut self, client: &Client) -> Result<Response, Failure> {
        for _ in 0..=MAX_REDIRECTS {
            let place = shown(&self.url);
            let mut request =
                client.request(self.method.clone(), self.url.clone()).headers(self.headers.clone());
            if let Some(body) = &self.body {
                request = request.body(body.clone());
            }
            let response =
                request.send().await.map_err(|error| failure::unreachable(&error.without_url(), &place))?;
            match self.redirected(&response)? {
                Some(next) => self = next,
                None => return Ok(response),
            }
        }
        Err(failure::redirects(MAX_REDIRECTS))
    }

    fn redirected(&self, response: &Response) -> Result<Option<Self>, Failure> {
        let status = response.status();
        let safe = matches!(self.method, Method::GET | Method::HEAD);
        let follows = match status {
            StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT => safe,
            StatusCode::SEE_OTHER => true,
            _ => false,
        };
        let Some(location) = response.headers().get(LOCATION).filter(|_| follows) else { return Ok(None) };
        let next = location
            .to_str()
            .ok()
            .and_then(|location| self.url.join(location).ok())
            .filter(|url| matches!(url.scheme(), "http" | "https"))
            .ok_or_else(|| {
                failure::invalid(format!("{} redirected to something that is no HTTP URL", shown(&self.url)))
            })?;
        let stays = origin(&next) == origin(&self.url);
        let headers = if stays { self.headers.clone() } else { without_credentials(&self.headers) };
        let body = if stays && safe { self.body.clone() } else { None };
        let method = if self.method == Method::HEAD { Method::HEAD } else { Method::GET };
        Ok(Some(Self { method, url: next, headers, body }))
    }
}

/// Reads a URL that a request can be sent to.
fn address(text: &str) -> Result<Url, String> {
    let url = Url::parse(text.trim()).map_err(|error| error.to_string())?;
    match (url.scheme(), url.host()) {
        ("http" | "https", Some(_)) => Ok(url),
        ("http" | "https", None) => Err("it names no host".to_owned()),
        (scheme, _) => Err(format!("the scheme {scheme:?} is not http or https")),
    }
}

fn origin(url: &Url) -> (String, Option<String>, Option<u16>) {
    (url.scheme().to_owned(), url.host_str().map(str::to_owned), url.port_or_known_default())
}

/// Headers for another host: what signs in here, or holds a secret, stays here.
fn without_credentials(headers: &HeaderMap) -> HeaderMap {
    headers
        .iter()
        .filter(|(name, value)| {
            !value.is_sensitive() && ![AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION].contains(name)
        })
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn shown(url: &Url) -> String {
    let mut url = url.clone();
    if url.password().is_some() && url.set_password(Some("******")).is_err() {
        return "the URL".to_owned();
    }
    url.to_string()
}
