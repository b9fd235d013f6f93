//! The driver trait, the command wrapper that all drivers use, the contract suites per class, and a scripted fake driver. A driver gets a
//! resolved task and a context, never an execution (`design.md` 5).

pub mod clock;
pub mod command;
pub mod contract;
pub mod fake;
pub mod kubeconfig;
pub mod local;
pub mod noop;
pub mod script;
pub mod spans;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use manifold_model::kind::KindSpec;
use manifold_model::secret::SshMethod;
use manifold_model::task::{FileSource, Outcome, Task};
use manifold_model::{Failure, FailureClass, Rendered};
use tokio_util::sync::CancellationToken;

/// What may be found when looking for a task that was handed out before.
#[derive(Clone, PartialEq, Debug)]
pub enum Found {
    /// It never began: perform it.
    NotStarted,
    /// It runs still: [`Driver::perform`] with the same attempt attaches to it.
    Running,
    /// It has ended so.
    Ended(Box<Outcome>),
    /// Nobody can say.
    Unknown {
        /// What was seen.
        seen: String,
    },
}

/// A family of kinds on one sort of infrastructure.
#[async_trait]
pub trait Driver: Send + Sync + 'static {
    /// The kinds it offers.
    fn kinds(&self) -> Vec<KindSpec>;

    /// Does the task; returns when it has ended, was cancelled, or its deadline has passed. Never panics, never waits without a deadline.
    /// `recovering`: the task was handed out before and [`Driver::probe`] said [`Found::Running`] or [`Found::NotStarted`].
    async fn perform(&self, task: &Task, context: &Context) -> Outcome;

    /// Looks what became of a task that was handed out before; changes nothing.
    async fn probe(&self, task: &Task, context: &Context) -> Found;

    /// Stops what [`Driver::probe`] found running of a task that is no longer wanted; stopping twice does no harm. Kinds that leave nothing
    /// running have nothing to do.
    ///
    /// # Errors
    /// Nobody confirmed that it was stopped.
    async fn stop(&self, _task: &Task, _context: &Context) -> Result<(), Failure> {
        Ok(())
    }
}

/// What a driver may use while it performs.
#[derive(Clone)]
pub struct Context {
    /// Cancelled when the task is no longer wanted: stop what runs, then return [`manifold_model::task::TaskResult::Cancelled`].
    pub cancel: CancellationToken,
    /// Output for people; masks secrets, bounded.
    pub log: Arc<dyn LogSink>,
    /// Facts that only the delegate can get.
    pub resolver: Arc<dyn Resolver>,
}

/// Where output goes. Secrets that the resolver gave out are masked before anything leaves.
#[async_trait]
pub trait LogSink: Send + Sync {
    /// Appends output of a unit (section); waits when the window is full. Beyond the step's limit output is dropped and counted.
    async fn write(&self, unit: &str, bytes: Bytes);
    /// Appends one line of Manifold's own words.
    async fn note(&self, unit: &str, line: &str) {
        self.write(unit, Bytes::from(format!("{line}\n"))).await;
    }
}

/// Fills holes, opens credentials, fetches files.
#[async_trait]
pub trait Resolver: Send + Sync {
    /// Fills the holes of a text: secrets, and expressions over `facts` (`httpResponseCode` → value). An expression hole that cannot be
    /// evaluated is an error.
    async fn render(
        &self,
        text: &Rendered,
        facts: &BTreeMap<String, serde_json::Value>,
    ) -> Result<Filled, Failure>;
    /// Whether a condition over `facts` holds (the assertion of an HTTP step). Here: what it renders to says so; the delegate evaluates it.
    async fn condition(
        &self,
        condition: &Rendered,
        facts: &BTreeMap<String, serde_json::Value>,
    ) -> Result<bool, Failure> {
        let filled = self.render(condition, facts).await?;
        match filled.text.trim() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(Failure::new(
                FailureClass::Application,
                manifold_model::code!("CONDITION_NOT_BOOLEAN"),
                format!("the condition {} is neither true nor false", condition.masked()),
            )),
        }
    }
    /// An SSH credential by name, opened.
    async fn ssh_credential(&self, name: &str) -> Result<OpenCredential, Failure>;
    /// The value of a secret by name (for artifact servers).
    async fn secret(&self, name: &str) -> Result<SecretBytes, Failure>;
    /// The content of a file document or file secret.
    async fn file(&self, source: &FileSource) -> Result<Bytes, Failure>;
    /// A text file with its `${…}` spans replaced: `spans` has what stands for each span as it is written there; a span without an entry
    /// stays as it is (`behaviour.md` 12.1).
    ///
    /// # Errors
    /// The file cannot be had or is not UTF-8, or a hole of what stands for a span cannot be filled.
    async fn text_file(
        &self,
        source: &FileSource,
        spans: &BTreeMap<String, Rendered>,
    ) -> Result<Filled, Failure> {
        spans::replaced(self, source, spans).await
    }
    /// Seals secret outputs before they leave, so that they never travel or rest in the clear: returns the name under which
    /// `${secrets…}`-like holes find it again.
    async fn seal(&self, name: &str, value: &str) -> Result<String, Failure>;
}

/// Text with all holes filled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filled {
    /// The text.
    pub text: String,
    /// Whether a secret is in it, so that it must not stand in argv, a file left behind or a message.
    pub secret: bool,
}

/// Bytes that are wiped when dropped and print as asterisks.
#[derive(Clone)]
pub struct SecretBytes(pub Arc<zeroize::Zeroizing<Vec<u8>>>);

impl SecretBytes {
    /// Wraps bytes.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Arc::new(zeroize::Zeroizing::new(bytes)))
    }

    /// The bytes.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes as text, broken characters replaced.
    #[must_use]
    pub fn expose_text(&self) -> zeroize::Zeroizing<String> {
        zeroize::Zeroizing::new(String::from_utf8_lossy(&self.0).into_owned())
    }
}

impl std::fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("******")
    }
}

/// An SSH credential with its secrets.
#[derive(Clone, Debug)]
pub struct OpenCredential {
    /// User on the host.
    pub user_name: String,
    /// Port.
    pub port: u16,
    /// Method; the ids inside are already opened below.
    pub method: SshMethod,
    /// Private key or password; `None` for a key file on the delegate.
    pub secret: Option<SecretBytes>,
    /// Passphrase of the key.
    pub passphrase: Option<SecretBytes>,
}

/// The failure of a driver that was given a task of a kind it does not offer.
#[must_use]
pub fn wrong_payload(task: &Task) -> Failure {
    Failure::new(
        manifold_model::FailureClass::Delegate,
        manifold_model::code!("KIND_UNKNOWN"),
        format!("the driver does not know what to do with a task of kind {}", task.kind),
    )
}
