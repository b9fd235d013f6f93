//! Delegates of the account (`behaviour.md` 19): who is let in, who may work, who is sent away.

use manifold_model::delegate::{Announced, DelegateStatus, Scopes};
use manifold_model::{DelegateId, Failure, FailureClass, Problem, code};
use manifold_secrets::api_key;
pub use manifold_store::DelegateRow;
use manifold_store::{DelegateTokenRow, StoreError};

use crate::announcement;
use crate::authorise::{Action, Resource, authorise};
use crate::{Actor, Control, Error, Result};

/// Longest name of a delegate or of a delegate token, characters.
const LONGEST_NAME: usize = 128;
/// Delegates of the account that are not deleted.
const MOST_DELEGATES: usize = 10_000;
/// Longest token that is looked at, bytes.
const LONGEST_TOKEN: usize = 1024;

/// A delegate that wants to connect.
#[derive(Clone, Debug)]
pub struct Applicant {
    /// Id: its own, the same on every connection.
    pub id: DelegateId,
    /// Name.
    pub name: String,
    /// Its Ed25519 public key, base64. Whoever asks has proved that it has the private one.
    pub key: String,
    /// The token with which it joins; a known delegate needs none.
    pub token: Option<String>,
    /// What it says of itself.
    pub announced: Announced,
}

/// What becomes of a delegate that may connect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admission {
    /// It gets tasks.
    Admitted,
    /// Somebody has to approve it first.
    Waiting,
}

impl Control {
    /// Whether a delegate may connect, and writes down what it says of itself. An unknown one joins with a token.
    ///
    /// # Errors
    /// The failure to refuse it with: what it says is malformed (`DELEGATE_ANNOUNCEMENT_REFUSED`), its key is another one's
    /// (`DELEGATE_KEY_MISMATCH`), it was deleted (`DELEGATE_DELETED`), its token was revoked (`DELEGATE_TOKEN_REVOKED`) or is none
    /// (`DELEGATE_TOKEN_INVALID`), there are too many (`DELEGATES_TOO_MANY`), or the store failed (`STORE_UNAVAILABLE`).
    pub async fn admit_delegate(&self, applicant: Applicant) -> std::result::Result<Admission, Failure> {
        announcement::check(&applicant)?;
        let tokens = self.store.delegate_tokens().await.map_err(failed)?;
        let row = match self.store.delegate(&applicant.id).await.map_err(failed)? {
            Some(known) => self.recognise(known, &applicant, &tokens).await?,
            None => self.join_delegate(&applicant, &tokens).await?,
        };
        match row.status {
            DelegateStatus::Enabled => Ok(Admission::Admitted),
            DelegateStatus::WaitingForApproval => Ok(Admission::Waiting),
            DelegateStatus::Deleted => Err(deleted(&row)),
        }
    }

    /// A delegate that has joined before.
    async fn recognise(
        &self,
        known: DelegateRow,
        applicant: &Applicant,
        tokens: &[DelegateTokenRow],
    ) -> std::result::Result<DelegateRow, Failure> {
        check_key(&known, applicant)?;
        if known.status == DelegateStatus::Deleted {
            return Err(deleted(&known));
        }
        if tokens.iter().any(|token| token.id == known.token && token.revoked_at.is_some()) {
            return Err(refusal(
                code!("DELEGATE_TOKEN_REVOKED"),
                format!("the token with which the delegate {} joined was revoked", known.name),
            )
            .hint("make a new token (manifold delegate token create) and start the delegate with it and an empty data folder: it joins as a new one"));
        }
        if known.name == applicant.name && known.announced == applicant.announced {
            self.store.delegates_seen(std::slice::from_ref(&known.id)).await.map_err(failed)?;
            return Ok(known);
        }
        self.enrol_checked(applicant, known.status, known.token).await
    }

    /// A delegate that nobody knows.
    async fn join_delegate(
        &self,
        applicant: &Applicant,
        tokens: &[DelegateTokenRow],
    ) -> std::result::Result<DelegateRow, Failure> {
        let token = presented(applicant, tokens)?;
        let delegates = self.store.delegates().await.map_err(failed)?;
        if delegates.iter().filter(|row| row.status != DelegateStatus::Deleted).count() >= MOST_DELEGATES {
            return Err(refusal(
                code!("DELEGATES_TOO_MANY"),
                format!("there are {MOST_DELEGATES} delegates already"),
            )
            .hint("delete some that are gone (manifold delegate delete)"));
        }
        let status = if token.approval_required {
            DelegateStatus::WaitingForApproval
        } else {
            DelegateStatus::Enabled
        };
        let row = self.enrol_checked(applicant, status, token.id.clone()).await?;
        tracing::info!(delegate = %row.id, name = row.name, token = token.id, status = row.status.as_str(), "a delegate joined");
        Ok(row)
    }

    /// Writes a delegate down. Somebody else may have joined under the same id at the same time: the key decides whose row it is.
    async fn enrol_checked(
        &self,
        applicant: &Applicant,
        status: DelegateStatus,
        token: String,
    ) -> std::result::Result<DelegateRow, Failure> {
        let now = self.store.now().await.map_err(failed)?;
        let row = DelegateRow {
            id: applicant.id.clone(),
            name: applicant.name.clone(),
            status,
            key: applicant.key.clone(),
            token,
            announced: applicant.announced.clone(),
            scopes: Scopes::default(),
            created_at: now,
            seen: now,
            connection: None,
        };
        let row = self.store.enrol(row).await.map_err(failed)?;
        check_key(&row, applicant)?;
        Ok(row)
    }

    /// All delegates, oldest first; deleted ones among them.
    ///
    /// # Errors
    /// When the store cannot read.
    pub async fn delegates(&self, actor: &Actor) -> Result<Vec<DelegateRow>> {
        authorise(actor, Action::Read, Resource::Account)?;
        Ok(self.store.delegates().await?)
    }

    /// A delegate.
    ///
    /// # Errors
    /// When there is none.
    pub async fn delegate(&self, actor: &Actor, id: &DelegateId) -> Result<DelegateRow> {
        authorise(actor, Action::Read, Resource::Account)?;
        self.store.delegate(id).await?.ok_or_else(|| unknown(id))
    }

    /// Lets a delegate work that waits for its approval; one that works already stays as it is. Only the one inside a server comes back from
    /// a deletion: every other one is not let in again.
    ///
    /// # Errors
    /// When there is none, or it was deleted.
    pub async fn approve_delegate(&self, actor: &Actor, id: &DelegateId) -> Result<DelegateRow> {
        authorise(actor, Action::ManageDelegates, Resource::Account)?;
        let row = self.delegate(actor, id).await?;
        if row.status == DelegateStatus::Deleted && !is_embedded(&row) {
            return Err(Error::refused(
                Problem::new(code!("DELEGATE_DELETED"), format!("the delegate {} was deleted", row.name))
                    .hint("start it with an empty data folder and a token: it joins as a new one"),
            ));
        }
        self.set_delegate_status(actor, row, DelegateStatus::Enabled).await
    }

    /// Sends a delegate away that waits for its approval.
    ///
    /// # Errors
    /// When there is none, or it was approved before.
    pub async fn reject_delegate(&self, actor: &Actor, id: &DelegateId) -> Result<DelegateRow> {
        authorise(actor, Action::ManageDelegates, Resource::Account)?;
        let row = self.delegate(actor, id).await?;
        if row.status == DelegateStatus::Enabled {
            return Err(Error::refused(
                Problem::new(
                    code!("DELEGATE_NOT_WAITING"),
                    format!("the delegate {} does not wait for an approval", row.name),
                )
                .hint("delete it, if it is not to work any more"),
            ));
        }
        self.set_delegate_status(actor, row, DelegateStatus::Deleted).await
    }

    /// Deletes a delegate: its connection ends, its tasks go back to the queue, and it is not let in again. Deleting twice changes nothing.
    ///
    /// # Errors
    /// When there is none, or it runs inside a server that is there.
    pub async fn delete_delegate(&self, actor: &Actor, id: &DelegateId) -> Result<DelegateRow> {
        authorise(actor, Action::ManageDelegates, Resource::Account)?;
        let row = self.delegate(actor, id).await?;
        if is_embedded(&row) && row.connection.is_some() {
            return Err(Error::refused(
                Problem::new(
                    code!("DELEGATE_EMBEDDED"),
                    format!("the delegate {} runs inside a server", row.name),
                )
                .hint("start the server with --no-delegate, then delete it"),
            ));
        }
        self.set_delegate_status(actor, row, DelegateStatus::Deleted).await
    }

    async fn set_delegate_status(
        &self,
        actor: &Actor,
        row: DelegateRow,
        status: DelegateStatus,
    ) -> Result<DelegateRow> {
        if row.status == status {
            return Ok(row);
        }
        self.store.set_delegate_status(&row.id, status).await.map_err(|error| match error {
            StoreError::Missing(_) => unknown(&row.id),
            other => other.into(),
        })?;
        tracing::info!(actor = actor.id(), delegate = %row.id, name = row.name, status = status.as_str(), "a delegate's status was set");
        self.delegate(actor, &row.id).await
    }
}

/// The token that the applicant presents. Every row is compared in full, so that the time says nothing about how close a guess was.
fn presented<'a>(
    applicant: &Applicant,
    tokens: &'a [DelegateTokenRow],
) -> std::result::Result<&'a DelegateTokenRow, Failure> {
    let text = applicant.token.as_deref().unwrap_or_default().trim();
    let mut found = None;
    if !text.is_empty() && text.len() <= LONGEST_TOKEN {
        let hash = api_key::hash(text);
        for token in tokens {
            if api_key::same(token.hash.as_bytes(), hash.as_bytes()) {
                found = Some(token);
            }
        }
    }
    let Some(token) = found else {
        return Err(refusal(
            code!("DELEGATE_TOKEN_INVALID"),
            format!("the delegate {} is not known here and has no valid token to join with", applicant.name),
        )
        .hint("make one with manifold delegate token create and name the file it is in with --token-file"));
    };
    if token.revoked_at.is_some() {
        return Err(refusal(
            code!("DELEGATE_TOKEN_REVOKED"),
            format!("the token {} was revoked", token.name),
        )
        .hint("make a new one with manifold delegate token create"));
    }
    Ok(token)
}

/// The one inside a server has no key: nobody connects from outside under its id.
fn check_key(known: &DelegateRow, applicant: &Applicant) -> std::result::Result<(), Failure> {
    if !known.key.is_empty() && api_key::same(known.key.as_bytes(), applicant.key.as_bytes()) {
        return Ok(());
    }
    Err(refusal(
        code!("DELEGATE_KEY_MISMATCH"),
        format!("a delegate with the id {} joined before with another key", known.id),
    )
    .hint("give each delegate a data folder of its own; if its key is lost, delete the delegate and start it with an empty data folder and a token"))
}

/// Whether it runs inside a server.
#[must_use]
pub fn is_embedded(row: &DelegateRow) -> bool {
    row.key.is_empty()
}

/// Names of delegates and of their tokens: letters, digits, `-`, `_`, `.`.
pub(crate) fn check_name(name: &str, what: &str) -> std::result::Result<(), Box<Problem>> {
    if is_name(name) {
        return Ok(());
    }
    let message = format!(
        "the name of {what} has 1 to {LONGEST_NAME} characters: letters, digits, \"-\", \"_\", \".\""
    );
    let shown: String = name.chars().take(LONGEST_NAME).collect();
    Err(Box::new(Problem::new(code!("NAME_INVALID"), message).item(shown)))
}

pub(crate) fn is_name(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !name.is_empty() && name.len() <= LONGEST_NAME && name.chars().all(legal)
}

pub(crate) fn refusal(code: manifold_model::Code, message: impl Into<String>) -> Failure {
    Failure::new(FailureClass::Delegate, code, message)
}

fn deleted(row: &DelegateRow) -> Failure {
    refusal(code!("DELEGATE_DELETED"), format!("the delegate {} was deleted or rejected", row.name))
        .hint("start it with an empty data folder and a token: it joins as a new one")
}

pub(crate) fn unknown(id: &DelegateId) -> Error {
    let shown: String = id.as_str().chars().take(64).collect();
    Error::not_found(format!("Delegate does not exist: {shown}"))
}

/// The delegate learns that the store failed; why is logged.
fn failed(error: StoreError) -> Failure {
    tracing::error!(error = &error as &dyn std::error::Error, "a delegate was not admitted");
    refusal(code!("STORE_UNAVAILABLE"), "the server cannot use its store now")
        .hint("the delegate tries again by itself")
}
