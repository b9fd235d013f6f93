//! Fills the last holes of a task: secrets over the link, expressions over facts that only the delegate has.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use manifold_driver::{Filled, OpenCredential, Resolver, SecretBytes};
use manifold_link::limits::MAX_FILE;
use manifold_link::{Answer, Ask, Sensitive};
use manifold_model::task::FileSource;
use manifold_model::{Failure, FailureClass, Hole, Piece, Rendered, TaskId, code};
use tokio::sync::Mutex;

use crate::ask::{Asks, wrong_answer};
use crate::files::Files;
use crate::mask::Secrets;

/// The resolver of one task. Values that it opened live as long as the task.
pub(crate) struct LinkResolver {
    asks: Arc<Asks>,
    files: Arc<Files>,
    task: TaskId,
    secrets: Arc<Secrets>,
    opened: Mutex<HashMap<String, SecretBytes>>,
}

impl LinkResolver {
    pub(crate) fn new(asks: Arc<Asks>, files: Arc<Files>, task: TaskId, secrets: Arc<Secrets>) -> Self {
        Self { asks, files, task, secrets, opened: Mutex::default() }
    }

    async fn fetch(&self, source: &FileSource) -> Result<Bytes, Failure> {
        let mut content = BytesMut::new();
        loop {
            let ask = Ask::File { source: source.clone(), offset: content.len() as u64 };
            let Answer::File { bytes, total } = self.asks.ask(&self.task, ask).await? else {
                return Err(wrong_answer("file"));
            };
            if total > MAX_FILE {
                return Err(too_large(source, total));
            }
            content.extend_from_slice(&bytes);
            match (content.len() as u64).cmp(&total) {
                std::cmp::Ordering::Equal => return Ok(content.freeze()),
                std::cmp::Ordering::Less if !bytes.is_empty() => {}
                _ => return Err(torn(source)),
            }
        }
    }

    fn open(&self, value: &Sensitive) -> SecretBytes {
        self.secrets.add(&value.0);
        SecretBytes::new(value.0.to_vec())
    }
}

#[async_trait]
impl Resolver for LinkResolver {
    async fn render(
        &self,
        text: &Rendered,
        facts: &BTreeMap<String, serde_json::Value>,
    ) -> Result<Filled, Failure> {
        let mut filled = Filled { text: String::new(), secret: false };
        for piece in &text.0 {
            match piece {
                Piece::Text(text) => filled.text.push_str(text),
                Piece::Hole(Hole::Secret { name }) => {
                    filled.text.push_str(&self.secret(name).await?.expose_text());
                    filled.secret = true;
                }
                Piece::Hole(Hole::Expression { text, known }) => {
                    filled.text.push_str(&crate::expression::text(text, known, facts)?);
                }
            }
        }
        Ok(filled)
    }

    async fn condition(
        &self,
        condition: &Rendered,
        facts: &BTreeMap<String, serde_json::Value>,
    ) -> Result<bool, Failure> {
        crate::expression::condition(condition, facts)
    }

    async fn ssh_credential(&self, name: &str) -> Result<OpenCredential, Failure> {
        match self.asks.ask(&self.task, Ask::Credential { name: name.to_owned() }).await? {
            Answer::Credential(credential) => Ok(OpenCredential {
                user_name: credential.user_name,
                port: credential.port,
                method: credential.method,
                secret: credential.secret.as_ref().map(|value| self.open(value)),
                passphrase: credential.passphrase.as_ref().map(|value| self.open(value)),
            }),
            _ => Err(wrong_answer("credential")),
        }
    }

    async fn secret(&self, name: &str) -> Result<SecretBytes, Failure> {
        // Held over the request: two askers of one secret ask the server once.
        let mut opened = self.opened.lock().await;
        if let Some(value) = opened.get(name) {
            return Ok(value.clone());
        }
        match self.asks.ask(&self.task, Ask::Secret { name: name.to_owned() }).await? {
            Answer::Secret(value) => {
                let value = self.open(&value);
                opened.insert(name.to_owned(), value.clone());
                Ok(value)
            }
            _ => Err(wrong_answer("secret")),
        }
    }

    async fn file(&self, source: &FileSource) -> Result<Bytes, Failure> {
        match source {
            FileSource::Document { path, revision } => {
                self.files.get(path, *revision, || self.fetch(source)).await
            }
            FileSource::Secret { .. } => self.fetch(source).await,
        }
    }

    async fn seal(&self, name: &str, value: &str) -> Result<String, Failure> {
        self.secrets.add(value.as_bytes());
        let ask = Ask::Seal { name: name.to_owned(), value: Sensitive::new(value) };
        match self.asks.ask(&self.task, ask).await? {
            Answer::Sealed { name } => Ok(name),
            _ => Err(wrong_answer("sealed output")),
        }
    }
}

fn name_of(source: &FileSource) -> String {
    match source {
        FileSource::Document { path, revision } => format!("{path:?} (revision {revision})"),
        FileSource::Secret { name } => format!("of secret {name:?}"),
    }
}

fn too_large(source: &FileSource, total: u64) -> Failure {
    Failure::new(
        FailureClass::Application,
        code!("FILE_TOO_LARGE"),
        format!("the file {} has {total} bytes; at most {MAX_FILE} travel to a delegate", name_of(source)),
    )
    .hint("put it into an artifact and download that on the host")
}

fn torn(source: &FileSource) -> Failure {
    Failure::new(
        FailureClass::Delegate,
        code!("SERVER_UNANSWERED"),
        format!("the parts of the file {} do not add up to its size", name_of(source)),
    )
}
