//! Where an artifact's file is, and its content as a stream: a path on the delegate, HTTP(S), or SFTP.

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use manifold_driver::{OpenCredential, Resolver, SecretBytes};
use manifold_model::secret::SshMethod;
use manifold_model::task::ArtifactFile;
use manifold_model::view::secret_name;
use manifold_model::{Failure, FailureClass, SecretId, code};
use russh_sftp::client::SftpSession;
use serde_json::{Map, Value};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::connection::{Connection, Dialer};
use crate::transfer::PIECE;

/// For a connection to an HTTP server.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Between two pieces of a body.
const READ_LIMIT: Duration = Duration::from_secs(60);
/// Redirects followed.
const REDIRECTS: usize = 5;

/// A failure of an artifact server or of an artifact.
pub(crate) fn failed(class: FailureClass, message: impl Into<String>) -> Failure {
    Failure::new(class, code!("ARTIFACT_UNREADABLE"), message)
        .hint("check the artifact server, its credentials, and that this build is still there")
}

/// Where a file is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Location {
    /// On the delegate's machine.
    Local(PathBuf),
    /// `http://` or `https://`.
    Http(String),
    /// On an SFTP server.
    Sftp {
        /// `host` or `host:port`.
        server: String,
        /// Path there.
        path: String,
    },
}

impl Location {
    /// Reads a URL or path; a path is joined to the server's URL when there is a server.
    pub fn read(text: &str, server: Option<&str>) -> Result<Self, Failure> {
        let text = text.trim();
        if text.starts_with("http://") || text.starts_with("https://") {
            return Ok(Self::Http(text.to_owned()));
        }
        if let Some(rest) = text.strip_prefix("sftp://") {
            let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
            // The user of the URL is not the credential's business.
            let server = authority.rsplit_once('@').map_or(authority, |(_, server)| server);
            let path = if path.starts_with("~/") { path.to_owned() } else { format!("/{path}") };
            return Ok(Self::Sftp { server: server.to_owned(), path });
        }
        if let Some(path) = text.strip_prefix("file://") {
            return Ok(Self::Local(PathBuf::from(path)));
        }
        if text.contains("://") {
            return Err(failed(FailureClass::Application, format!("nobody knows how to read {text:?}")));
        }
        match server {
            None => Ok(Self::Local(PathBuf::from(text))),
            Some(server) if server.contains("://") => {
                let path = text.trim_start_matches('/');
                Self::read(&format!("{}/{path}", server.trim_end_matches('/')), None)
            }
            Some(server) => Ok(Self::Sftp { server: server.to_owned(), path: text.to_owned() }),
        }
    }

    /// The last part of the path.
    #[must_use]
    pub fn file_name(&self) -> Option<String> {
        let path = match self {
            Self::Local(path) => return path.file_name().map(|name| name.to_string_lossy().into_owned()),
            Self::Http(url) => url.split(['?', '#']).next().unwrap_or_default(),
            Self::Sftp { path, .. } => path,
        };
        path.rsplit('/').next().filter(|name| !name.is_empty() && !name.contains(':')).map(str::to_owned)
    }
}

/// The server's credentials, opened.
#[derive(Clone, Default)]
pub struct ServerAccess {
    /// The server's URL, or its host.
    pub url: Option<String>,
    user: Option<String>,
    password: Option<SecretBytes>,
    /// Name of an SSH credential.
    credential: Option<OpenCredential>,
    pinned: Vec<String>,
}

fn text_of(map: &Map<String, Value>, keys: &[&str]) -> Option<String> {
    keys.iter()
        .find_map(|key| map.get(*key).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty()))
        .map(str::to_owned)
}

impl ServerAccess {
    /// Opens the credentials of an artifact server.
    pub async fn open(server: &Map<String, Value>, resolver: &dyn Resolver) -> Result<Self, Failure> {
        let password = match text_of(server, &["password", "encryptedPassword"]) {
            Some(reference) => Some(resolver.secret(secret_name(&reference)).await?),
            None => None,
        };
        let credential = match text_of(server, &["sshKeyRefName", "hostConnectionAttrsName"]) {
            Some(name) => Some(resolver.ssh_credential(&name).await?),
            None => None,
        };
        let pinned = server.get("hostKeys").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        Ok(Self {
            url: text_of(server, &["url", "sftpUrl", "host"]),
            user: text_of(server, &["username", "userName"]),
            password,
            credential,
            pinned: pinned.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        })
    }

    /// The credential for SFTP.
    fn sign_in(&self) -> Result<OpenCredential, Failure> {
        if let Some(credential) = &self.credential {
            return Ok(credential.clone());
        }
        match (&self.user, &self.password) {
            (Some(user), Some(password)) => Ok(OpenCredential {
                user_name: user.clone(),
                port: 22,
                method: SshMethod::Password { password: SecretId::from("") },
                secret: Some(password.clone()),
                passphrase: None,
            }),
            _ => Err(failed(
                FailureClass::Authentication,
                "the SFTP server has no user name with a password or SSH key",
            )),
        }
    }

    /// Whether a URL is on this server, so that the credentials are its business.
    fn owns(&self, url: &reqwest::Url) -> bool {
        let Some(own) = self.url.as_deref().and_then(|own| reqwest::Url::parse(own).ok()) else {
            return false;
        };
        own.scheme() == url.scheme()
            && own.host_str() == url.host_str()
            && own.port_or_known_default() == url.port_or_known_default()
    }

    /// A request to the server.
    pub(crate) fn request(
        &self,
        method: reqwest::Method,
        url: &str,
    ) -> Result<reqwest::RequestBuilder, Failure> {
        let parsed = reqwest::Url::parse(url)
            .map_err(|error| failed(FailureClass::Application, format!("{url:?} is not a URL: {error}")))?;
        let owns = self.owns(&parsed);
        let mut request = http()?.request(method, parsed);
        if owns && let Some(user) = &self.user {
            let password = self.password.as_ref().map(SecretBytes::expose_text);
            request = request.basic_auth(user, password.as_ref().map(|password| password.as_str()));
        }
        Ok(request)
    }

    /// An SFTP session; the connection must be kept as long.
    pub(crate) async fn sftp(
        &self,
        dialer: &Dialer,
        server: &str,
    ) -> Result<(Connection, SftpSession), Failure> {
        let connection = dialer.dial_with(server, &self.pinned, &self.sign_in()?).await?;
        let trouble = |why: String| failed(FailureClass::Connectivity, format!("no SFTP on {server}: {why}"));
        let channel = connection.channel_open_session().await.map_err(|error| trouble(error.to_string()))?;
        channel.request_subsystem(true, "sftp").await.map_err(|error| trouble(error.to_string()))?;
        let session =
            SftpSession::new(channel.into_stream()).await.map_err(|error| trouble(error.to_string()))?;
        Ok((connection, session))
    }
}

fn http() -> Result<&'static reqwest::Client, Failure> {
    static CLIENT: LazyLock<Result<reqwest::Client, String>> = LazyLock::new(|| {
        reqwest::Client::builder()
            .connect_timeout(CONNECT_LIMIT)
            .read_timeout(READ_LIMIT)
            .redirect(reqwest::redirect::Policy::limited(REDIRECTS))
            // A file that travels compressed would not have the size that the server names.
            .no_gzip()
            .build()
            .map_err(|error| error.to_string())
    });
    CLIENT.as_ref().map_err(|error| failed(FailureClass::Delegate, format!("no HTTP client: {error}")))
}

/// The answer of an HTTP server that is not a success, as a failure.
pub(crate) fn answered(url: &str, response: reqwest::Response) -> Result<reqwest::Response, Failure> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let class = match status.as_u16() {
        401 | 403 => FailureClass::Authentication,
        500..=599 => FailureClass::Connectivity,
        _ => FailureClass::Application,
    };
    Err(failed(class, format!("{url} answered {status}")))
}

/// An error of the HTTP client as a failure.
pub(crate) fn unreachable(url: &str, error: &reqwest::Error) -> Failure {
    let mut why = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        why = format!("{why}: {cause}");
        source = cause.source();
    }
    failed(FailureClass::Connectivity, format!("cannot read {url}: {why}"))
}

/// A file being read.
pub struct Opened {
    /// Its name.
    pub name: String,
    /// Bytes, when known beforehand.
    pub size: Option<u64>,
    /// Expected SHA-256 and MD5, lower case.
    pub sha256: Option<String>,
    /// See above.
    pub md5: Option<String>,
    /// Content.
    pub content: BoxStream<'static, Result<Bytes, Failure>>,
}

/// Opens an artifact's file.
pub async fn open(file: &ArtifactFile, dialer: &Dialer, resolver: &dyn Resolver) -> Result<Opened, Failure> {
    let access = ServerAccess::open(&file.source.server, resolver).await?;
    let metadata = |keys: &[&str]| {
        keys.iter()
            .find_map(|key| file.artifact.metadata.get(*key))
            .map(|value| value.trim().to_owned())
            .filter(|value| !value.is_empty())
    };
    let place = metadata(&["url", "path", "artifactPath"]).ok_or_else(|| {
        let message = format!(
            "build {} of {} names no file: its metadata has neither url nor path",
            file.artifact.build_no, file.artifact.source_name
        );
        failed(FailureClass::Application, message)
    })?;
    // The path of a build that a script has listed is one of the delegate's machine.
    let server = access.url.as_deref().filter(|_| !file.source.kind.eq_ignore_ascii_case("CUSTOM"));
    let location = Location::read(&place, server)?;
    let name = metadata(&["fileName"]).or_else(|| location.file_name()).ok_or_else(|| {
        failed(FailureClass::Application, format!("{place} has no file name; give the build a fileName"))
    })?;
    let (size, content) = read(&location, &access, dialer).await?;
    let expected = metadata(&["size"]).and_then(|size| size.parse().ok());
    if let (Some(expected), Some(size)) = (expected, size)
        && expected != size
    {
        let message = format!("{place} has {size} bytes, and the build says {expected}");
        return Err(Failure::new(FailureClass::Application, code!("ARTIFACT_CHANGED"), message)
            .hint("the file was replaced after the build was collected: collect again"));
    }
    Ok(Opened {
        name,
        size: expected.or(size),
        sha256: metadata(&["sha256", "SHA256", "checksum"])
            .map(|digest| digest.to_ascii_lowercase())
            .filter(|digest| digest.len() == 64),
        md5: metadata(&["md5", "MD5"])
            .map(|digest| digest.to_ascii_lowercase())
            .filter(|digest| digest.len() == 32),
        content,
    })
}

type Content = (Option<u64>, BoxStream<'static, Result<Bytes, Failure>>);

async fn read(location: &Location, access: &ServerAccess, dialer: &Dialer) -> Result<Content, Failure> {
    match location {
        Location::Local(path) => {
            let trouble = |error: std::io::Error| {
                failed(
                    FailureClass::Application,
                    format!("cannot read {} on the delegate: {error}", path.display()),
                )
            };
            let file = tokio::fs::File::open(path).await.map_err(trouble)?;
            let size = file.metadata().await.map_err(trouble)?.len();
            Ok((Some(size), chunks(file, (), path.display().to_string())))
        }
        Location::Http(url) => {
            let response = access.request(reqwest::Method::GET, url)?.send().await;
            let response = answered(url, response.map_err(|error| unreachable(url, &error))?)?;
            let size = response.content_length();
            let url = url.clone();
            let body =
                response.bytes_stream().map(move |piece| piece.map_err(|error| unreachable(&url, &error)));
            Ok((size, body.boxed()))
        }
        Location::Sftp { server, path } => {
            let (connection, session) = access.sftp(dialer, server).await?;
            let trouble = |error: russh_sftp::client::error::Error| {
                failed(FailureClass::Application, format!("cannot read {path} on {server}: {error}"))
            };
            let path_there = path.strip_prefix("~/").unwrap_or(path);
            let file = session.open(path_there).await.map_err(trouble)?;
            let size = file.metadata().await.map_err(trouble)?.size;
            Ok((size, chunks(file, (connection, session), format!("{path} on {server}"))))
        }
    }
}

/// A reader as a stream of packets; `held` lives as long as it.
fn chunks<R, H>(reader: R, held: H, what: String) -> BoxStream<'static, Result<Bytes, Failure>>
where
    R: AsyncRead + Send + Unpin + 'static,
    H: Send + 'static,
{
    stream::unfold(Some((reader, held, what)), |state| async move {
        let (mut reader, held, what) = state?;
        let mut buffer = bytes::BytesMut::with_capacity(PIECE);
        while buffer.len() < PIECE {
            match reader.read_buf(&mut buffer).await {
                Ok(0) => break,
                Ok(_) if buffer.len() == buffer.capacity() => break,
                Ok(_) => {}
                Err(error) => {
                    let failure = failed(FailureClass::Connectivity, format!("cannot read {what}: {error}"));
                    return Some((Err(failure), None));
                }
            }
        }
        if buffer.is_empty() {
            return None;
        }
        Some((Ok(buffer.freeze()), Some((reader, held, what))))
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn places_are_read() {
        let sftp = |server: &str, path: &str| Location::Sftp { server: server.into(), path: path.into() };
        for (text, server, expected) in [
            ("/a/b", None, Location::Local("/a/b".into())),
            ("https://x/a?b=c", None, Location::Http("https://x/a?b=c".into())),
            ("a/b", Some("http://x/r/"), Location::Http("http://x/r/a/b".into())),
            ("sftp://u@h:2222/a/b", None, sftp("h:2222", "/a/b")),
            ("/a/b", Some("sftp://h:2222"), sftp("h:2222", "/a/b")),
            ("a/b", Some("h"), sftp("h", "a/b")),
        ] {
            assert_eq!(Location::read(text, server).unwrap(), expected);
        }
        assert!(Location::read("ftp://x/y", None).is_err());
        assert_eq!(Location::Http("https://x/a/b.tgz?t=1".into()).file_name(), Some("b.tgz".into()));
        assert_eq!(Location::Http("https://x/a/".into()).file_name(), None);
    }
}
