//! Secrets: sealed when they come in, never given out again (`behaviour.md` 20, `wire.md` 2.7).

use manifold_model::secret::{SecretRecord, SecretType, SshCredential, SshMethod};
use manifold_model::{Problem, SecretId, code};
use manifold_store::SecretRow;
use serde_json::Value;

use crate::authorise::{Action, Resource, authorise};
use crate::{Actor, Control, Error, Result};

/// Name of the built-in secret manager; its id is the account's.
pub const BUILT_IN_MANAGER: &str = "Harness Secrets Manager";
/// Longest name of a secret, characters.
const LONGEST_NAME: usize = 256;

/// The part of a credential that is not secret.
#[derive(Clone, PartialEq, Debug)]
pub enum Credential {
    /// SSH by key or password.
    Ssh(SshCredential),
    /// Kerberos and WinRM, as records.
    Other(Value),
}

/// What is said about a secret; `None` leaves it as it is.
#[derive(Clone, Default)]
pub struct SecretChange {
    /// Name.
    pub name: Option<String>,
    /// Value of a text or content of a file.
    pub value: Option<Vec<u8>>,
    /// Secret manager.
    pub manager: Option<String>,
    /// `scopedToAccount`.
    pub scoped_to_account: Option<bool>,
    /// `inheritScopesFromSM`.
    pub inherit_scopes_from_sm: Option<bool>,
    /// Usage scope; `Some(None)` takes it away.
    pub usage_scope: Option<Option<Value>>,
    /// Credential.
    pub credential: Option<Credential>,
}

/// Without the value.
impl std::fmt::Debug for SecretChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretChange").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Control {
    /// Makes a secret.
    ///
    /// # Errors
    /// When its name is bad or taken, its value is missing or too large, or it names secrets that are not there.
    pub async fn create_secret(
        &self,
        actor: &Actor,
        kind: SecretType,
        change: SecretChange,
    ) -> Result<SecretRecord> {
        authorise(actor, Action::ManageSecrets, Resource::Account)?;
        let mut problems = Vec::new();
        let name = change.name.clone().unwrap_or_default();
        problems.extend(check_name(&name));
        let holds_value = matches!(kind, SecretType::EncryptedText | SecretType::EncryptedFile);
        if holds_value && change.value.is_none() {
            let part = if kind == SecretType::EncryptedText { "value" } else { "the file" };
            problems.push(Problem::new(code!("INPUT_MISSING"), format!("{part} of the secret is missing")));
        }
        if !holds_value && change.credential.is_none() {
            problems.push(Problem::new(code!("INPUT_MISSING"), "how the credential signs in is missing"));
        }
        let record = SecretRecord {
            id: SecretId::random(),
            name,
            kind,
            manager_id: self.account.clone(),
            usage_scope: None,
            scoped_to_account: false,
            inherit_scopes_from_sm: false,
            credential: None,
            created_at: self.now(),
        };
        self.write_secret(SecretRow { record, sealed: Vec::new() }, change, problems).await
    }

    /// Changes a secret; what is not said stays.
    ///
    /// # Errors
    /// As [`Control::create_secret`], and when there is no such secret.
    pub async fn update_secret(
        &self,
        actor: &Actor,
        id: &SecretId,
        kind: SecretType,
        change: SecretChange,
    ) -> Result<SecretRecord> {
        authorise(actor, Action::ManageSecrets, Resource::Account)?;
        let row = self.secret_row(id, kind).await?;
        let mut problems = Vec::new();
        // An empty name means "unchanged" to clients that send every key.
        let change = SecretChange { name: change.name.filter(|name| !name.is_empty()), ..change };
        if let Some(name) = &change.name {
            problems.extend(check_name(name));
            if *name != row.record.name {
                problems.extend(self.secret_users(&row.record).await?.map(|users| {
                    Problem::new(code!("SECRET_USED"), "a secret that is used cannot be renamed")
                        .detail(users)
                }));
            }
        }
        self.write_secret(row, change, problems).await
    }

    /// Deletes a secret.
    ///
    /// # Errors
    /// When there is none, or configuration or a credential still refers to it.
    pub async fn delete_secret(&self, actor: &Actor, id: &SecretId, kind: SecretType) -> Result<()> {
        authorise(actor, Action::ManageSecrets, Resource::Account)?;
        let row = self.secret_row(id, kind).await?;
        if let Some(users) = self.secret_users(&row.record).await? {
            return Err(Error::refused(
                Problem::new(
                    code!("SECRET_USED"),
                    format!("the secret {:?} is still being used", row.record.name),
                )
                .detail(users)
                .hint("take it out of what uses it first"),
            ));
        }
        Ok(self.store.delete_secret(id).await?)
    }

    /// A secret by id, without its value.
    ///
    /// # Errors
    /// With the phrase of `wire.md` 1.5 when there is none.
    pub async fn secret(&self, actor: &Actor, id: &SecretId, kind: SecretType) -> Result<SecretRecord> {
        authorise(actor, Action::Read, Resource::Account)?;
        Ok(self.secret_row(id, kind).await?.record)
    }

    /// A secret by name, without its value.
    ///
    /// # Errors
    /// With the phrase of `wire.md` 1.5 when there is none.
    pub async fn secret_named(&self, actor: &Actor, name: &str, kind: SecretType) -> Result<SecretRecord> {
        authorise(actor, Action::Read, Resource::Account)?;
        let row = self.store.secret_named(name, Some(kind)).await?;
        row.map(|row| row.record)
            .ok_or_else(|| Error::not_found(format!("No secret exists with the name {name}")))
    }

    /// All secrets that somebody made, without their values; sealed outputs of steps are not among them.
    ///
    /// # Errors
    /// When the store cannot read.
    pub async fn secrets(&self, actor: &Actor) -> Result<Vec<SecretRecord>> {
        authorise(actor, Action::Read, Resource::Account)?;
        let mut secrets = self.store.secrets().await?;
        secrets.retain(|secret| !secret.name.starts_with(crate::open::OUTPUT));
        Ok(secrets)
    }

    async fn secret_row(&self, id: &SecretId, kind: SecretType) -> Result<SecretRow> {
        self.store
            .secret(id)
            .await?
            .filter(|row| row.record.kind == kind)
            .ok_or_else(|| Error::not_found(format!("No secret exists with the id {id}")))
    }

    async fn write_secret(
        &self,
        mut row: SecretRow,
        change: SecretChange,
        mut problems: Vec<Problem>,
    ) -> Result<SecretRecord> {
        let record = &mut row.record;
        if let Some(manager) = change.manager.as_ref().filter(|manager| !manager.is_empty())
            && *manager != record.manager_id
        {
            problems.push(
                Problem::new(
                    code!("SECRET_MANAGER_UNSUPPORTED"),
                    "the secret manager does not exist or cannot be changed",
                )
                .item(manager),
            );
        }
        if let Some(name) = change.name {
            record.name = name;
        }
        record.scoped_to_account = change.scoped_to_account.unwrap_or(record.scoped_to_account);
        record.inherit_scopes_from_sm =
            change.inherit_scopes_from_sm.unwrap_or(record.inherit_scopes_from_sm);
        if let Some(scope) = change.usage_scope {
            record.usage_scope = scope;
        }
        if let Some(credential) = change.credential {
            problems.extend(self.check_credential(&credential).await?);
            record.credential = Some(stored(credential)?);
        }
        if let Some(value) = &change.value
            && value.len() > self.limits.secret_bytes
        {
            problems.push(Problem::new(
                code!("VALUE_TOO_LONG"),
                format!(
                    "the secret has {} bytes, at most {} are kept",
                    value.len(),
                    self.limits.secret_bytes
                ),
            ));
        }
        if !problems.is_empty() {
            return Err(Error::Refused { problems });
        }
        if let Some(value) = change.value {
            row.sealed = self.seal(&row.record.id, &value)?;
        }
        let record = row.record.clone();
        self.store.put_secret(row).await?;
        Ok(record)
    }

    /// Complaints about secrets that a credential names and that are not there.
    async fn check_credential(&self, credential: &Credential) -> Result<Vec<Problem>> {
        let named: Vec<SecretId> = match credential {
            Credential::Ssh(ssh) => ids_of(ssh),
            Credential::Other(other) => other
                .get("passwordSecretId")
                .and_then(Value::as_str)
                .filter(|id| !id.is_empty())
                .map(SecretId::from)
                .into_iter()
                .collect(),
        };
        let mut problems = Vec::new();
        for id in named {
            if self.store.secret(&id).await?.is_none() {
                problems.push(
                    Problem::new(code!("SECRET_UNKNOWN"), format!("No secret exists with the id {id}"))
                        .item(id.as_str()),
                );
            }
        }
        Ok(problems)
    }

    /// Who uses a secret, as text; `None` when nobody does.
    async fn secret_users(&self, record: &SecretRecord) -> Result<Option<String>> {
        let mut users = Vec::new();
        for other in self.store.secrets().await? {
            let names_it = other
                .credential
                .as_ref()
                .is_some_and(|credential| credential.to_string().contains(&format!("\"{}\"", record.id)));
            if names_it {
                users.push(format!("credential {}", other.name));
            }
        }
        let snapshot = self.snapshot().await?;
        users.extend(snapshot.mentions_of(&record.name).map(str::to_owned));
        if users.is_empty() {
            return Ok(None);
        }
        let more = users.len().saturating_sub(USERS_NAMED);
        users.truncate(USERS_NAMED);
        if more > 0 {
            users.push(format!("and {more} more"));
        }
        Ok(Some(users.join(", ")))
    }
}

/// Users of a secret that are named in a refusal.
const USERS_NAMED: usize = 10;

fn ids_of(ssh: &SshCredential) -> Vec<SecretId> {
    let (first, second) = match &ssh.method {
        SshMethod::SshKey { key, passphrase } => (Some(key), passphrase.as_ref()),
        SshMethod::SshKeyFilePath { passphrase, .. } => (passphrase.as_ref(), None),
        SshMethod::Password { password } => (Some(password), None),
    };
    first.into_iter().chain(second).cloned().collect()
}

fn stored(credential: Credential) -> Result<Value> {
    match credential {
        Credential::Other(value) => Ok(value),
        Credential::Ssh(ssh) => serde_json::to_value(ssh).map_err(|error| {
            Error::refused(Problem::new(
                code!("REQUEST_REFUSED"),
                format!("the credential cannot be stored: {error}"),
            ))
        }),
    }
}

/// Names are letters, digits, `-` and `_` (`behaviour.md` 20); clients in the field also use blanks and dots, which do no harm.
fn check_name(name: &str) -> Option<Problem> {
    let good = !name.is_empty()
        && name.trim() == name
        && name.chars().count() <= LONGEST_NAME
        && name.chars().all(|letter| letter.is_alphanumeric() || "-_. ".contains(letter));
    (!good).then(|| {
        Problem::new(
            code!("NAME_INVALID"),
            format!("a secret's name has 1 to {LONGEST_NAME} letters, digits, '-', '_', '.' or blanks between them"),
        )
        .item(name.chars().take(LONGEST_NAME).collect::<String>())
    })
}
