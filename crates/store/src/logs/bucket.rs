//! Logs in an S3-compatible bucket: an object a frame. The header of a frame stands in the object's key, so that listing a log reads them all.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use manifold_model::ExecutionId;
use reqwest::{Client, Method, StatusCode, Url};
use rusty_s3::actions::ListObjectsV2;
use rusty_s3::{Bucket as Place, Credentials, S3Action, UrlStyle};
use tokio::runtime::Handle;

use super::LogKey;
use super::frame::{self, HEADER, Header};
use super::shelf::{Frames, Shelf, Visit, file_name};

/// How long a signature is good for: longer than a request may take.
const SIGNED: Duration = Duration::from_secs(300);
/// How long a request may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// Objects listed at once; as many as the service allows.
const LISTED: usize = 1_000;
/// Largest answer read, bytes: a list, or the body of a frame.
const ANSWER: usize = 8 * 1024 * 1024;

/// Why a bucket cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// The setting is no such URL.
    #[error("{0:?} is not of the form s3://BUCKET[/PREFIX]?region=REGION[&endpoint=URL]")]
    Url(String),
    /// No credentials in the environment.
    #[error("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set")]
    Credentials,
    /// The HTTP client cannot be made.
    #[error("the HTTP client cannot be made")]
    Client(#[source] reqwest::Error),
}

/// All logs.
pub(super) struct Bucket {
    service: Arc<Service>,
}

struct Service {
    place: Place,
    credentials: Credentials,
    /// Before every key; empty or ends with a slash.
    prefix: String,
    client: Client,
    /// Calls come from threads of their own, which wait here.
    runtime: Handle,
}

impl Bucket {
    /// The bucket of a URL `s3://BUCKET[/PREFIX]?region=REGION[&endpoint=URL]`; credentials come from the environment (`AWS_ACCESS_KEY_ID`,
    /// `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`). Must be made inside a runtime.
    pub(super) fn open(url: &str) -> Result<Self, BucketError> {
        let malformed = || BucketError::Url(url.to_owned());
        let parsed = Url::parse(url).map_err(|_| malformed())?;
        let name = parsed.host_str().filter(|_| parsed.scheme() == "s3").ok_or_else(malformed)?;
        let setting = |wanted: &str| {
            parsed.query_pairs().find(|(name, _)| name == wanted).map(|(_, value)| value.into_owned())
        };
        let region = setting("region").ok_or_else(malformed)?;
        let (endpoint, style) = match setting("endpoint") {
            Some(endpoint) => (endpoint, UrlStyle::Path),
            None => (format!("https://s3.{region}.amazonaws.com"), UrlStyle::VirtualHost),
        };
        let endpoint = Url::parse(&endpoint).map_err(|_| malformed())?;
        let place = Place::new(endpoint, style, name.to_owned(), region).map_err(|_| malformed())?;
        let prefix = match parsed.path().trim_matches('/') {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        let credentials = Credentials::from_env().ok_or(BucketError::Credentials)?;
        let client = Client::builder().timeout(DEADLINE).build().map_err(BucketError::Client)?;
        let runtime = Handle::current();
        Ok(Self { service: Arc::new(Service { place, credentials, prefix, client, runtime }) })
    }
}

impl Service {
    /// Sends a signed request; `None` for an object that is not there.
    fn send(&self, method: Method, url: Url, body: Vec<u8>) -> io::Result<Option<Vec<u8>>> {
        self.runtime.block_on(async {
            let sent = self.client.request(method, url).body(body).send().await;
            // The URL holds a signature.
            let mut answer = sent.map_err(|error| io::Error::other(error.without_url()))?;
            if answer.status() == StatusCode::NOT_FOUND {
                return Ok(None);
            }
            let status = answer.status();
            let mut body = Vec::new();
            while let Some(part) =
                answer.chunk().await.map_err(|error| io::Error::other(error.without_url()))?
            {
                if body.len() + part.len() > ANSWER {
                    return Err(io::Error::new(ErrorKind::InvalidData, "the answer is too long"));
                }
                body.extend_from_slice(&part);
            }
            if status.is_success() {
                return Ok(Some(body));
            }
            let said: String = String::from_utf8_lossy(&body).chars().take(300).collect();
            Err(io::Error::other(format!("the bucket answered {status}: {said}")))
        })
    }

    /// The folder of an execution's logs, with a slash at the end.
    fn folder(&self, execution: Option<&ExecutionId>) -> String {
        let name = execution.map_or("account".to_owned(), |execution| file_name(execution.as_str()));
        format!("{}{name}/", self.prefix)
    }

    fn log(&self, key: &LogKey) -> String {
        format!("{}{}/", self.folder(key.execution.as_ref()), file_name(key.log.as_str()))
    }

    /// Up to so many keys below a folder, after a key, in order.
    fn list(&self, folder: &str, after: &str, most: usize) -> io::Result<Vec<String>> {
        let mut list = self.place.list_objects_v2(Some(&self.credentials));
        list.with_prefix(folder);
        list.with_max_keys(most);
        if !after.is_empty() {
            list.with_start_after(after);
        }
        let body = self.send(Method::GET, list.sign(SIGNED), Vec::new())?;
        let body = body.ok_or_else(|| io::Error::new(ErrorKind::NotFound, "the bucket does not exist"))?;
        let text = String::from_utf8(body).map_err(io::Error::other)?;
        let found = ListObjectsV2::parse_response(&text)
            .map_err(|error| io::Error::new(ErrorKind::InvalidData, error.to_string()))?;
        // Keys hold nothing that is written differently in a URL.
        Ok(found.contents.into_iter().map(|object| object.key).collect())
    }

    fn drop_below(&self, folder: &str) -> io::Result<()> {
        loop {
            let keys = self.list(folder, "", LISTED)?;
            for key in &keys {
                let url = self.place.delete_object(Some(&self.credentials), key).sign(SIGNED);
                self.send(Method::DELETE, url, Vec::new())?;
            }
            if keys.len() < LISTED {
                return Ok(());
            }
        }
    }
}

impl Shelf for Bucket {
    fn frames(&self, key: &LogKey) -> io::Result<Box<dyn Frames>> {
        Ok(Box::new(Objects { folder: self.service.log(key), service: self.service.clone() }))
    }

    fn drop_log(&self, key: &LogKey) -> io::Result<()> {
        self.service.drop_below(&self.service.log(key))
    }

    fn drop_execution(&self, execution: &ExecutionId) -> io::Result<()> {
        self.service.drop_below(&self.service.folder(Some(execution)))
    }

    fn may_have(&self, key: &LogKey) -> bool {
        // One that cannot be looked at is looked into by the ordinary way, which says why.
        self.service.list(&self.service.log(key), "", 1).is_ok_and(|keys| !keys.is_empty())
    }

    fn waits(&self) -> bool {
        true
    }

    fn name(&self, key: &LogKey) -> String {
        format!("{} in the bucket {}", self.service.log(key), self.service.place.name())
    }
}

/// The objects of one log: `<folder><number>-<header>`. A place is a frame's number.
struct Objects {
    service: Arc<Service>,
    folder: String,
}

impl Objects {
    fn key(&self, place: u64, header: &[u8]) -> String {
        format!("{}{place:010}-{}", self.folder, BASE64URL_NOPAD.encode(header))
    }

    /// Number and header of a key; `None` for what is no frame.
    fn read(&self, key: &str) -> Option<(u64, Header)> {
        let (number, header) = key.strip_prefix(&self.folder)?.split_once('-')?;
        let header = BASE64URL_NOPAD.decode(header.as_bytes()).ok()?;
        Some((number.parse().ok()?, frame::decode_header(&header)?.0))
    }

    /// The key after which those from this place on come.
    fn before(&self, place: u64) -> String {
        place.checked_sub(1).map_or(String::new(), |last| format!("{}{last:010}~", self.folder))
    }
}

impl Frames for Objects {
    fn walk(&self, from: u64, visit: &mut Visit<'_>) -> io::Result<u64> {
        let mut at = from;
        let mut after = self.before(from);
        loop {
            let keys = self.service.list(&self.folder, &after, LISTED)?;
            let mut frames: Vec<_> = keys.iter().filter_map(|key| self.read(key)).collect();
            // Two servers that both believed to write the log may have left two frames with one number: the later run counts.
            frames.sort_by_key(|(number, header)| (*number, std::cmp::Reverse(header.last)));
            for (number, header) in frames {
                if number < at {
                    continue;
                }
                if number > at || !visit(&header, number, number)? {
                    return Ok(at);
                }
                at = number + 1;
            }
            match keys.last() {
                Some(last) if keys.len() == LISTED => after.clone_from(last),
                _ => return Ok(at),
            }
        }
    }

    fn body(&self, header: &Header, place: u64) -> io::Result<Vec<u8>> {
        let key = self.key(place, &frame::encode_header(header));
        let url = self.service.place.get_object(Some(&self.service.credentials), &key).sign(SIGNED);
        let body = self.service.send(Method::GET, url, Vec::new())?.ok_or(ErrorKind::NotFound)?;
        frame::decode_body(&body)
    }

    fn push(&mut self, _header: &Header, frame: &[u8], at: u64) -> io::Result<u64> {
        if !self.service.list(&self.folder, &self.before(at), 1)?.is_empty() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let (head, body) = frame.split_at_checked(HEADER).unwrap_or((frame, &[]));
        let key = self.key(at, head);
        let url = self.service.place.put_object(Some(&self.service.credentials), &key).sign(SIGNED);
        self.service.send(Method::PUT, url, body.to_vec())?.ok_or(ErrorKind::NotFound)?;
        Ok(at + 1)
    }

    fn cut(&mut self, _at: u64) -> io::Result<()> {
        // An object is there or not, never half.
        Ok(())
    }
}
