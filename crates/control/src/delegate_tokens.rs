//! Tokens with which delegates join: made, shown once, listed, revoked. Only their SHA-256 is kept.

use manifold_model::{KeyId, Problem, code};
use manifold_secrets::{ExposeSecret, SecretString, api_key};
pub use manifold_store::DelegateTokenRow;
use manifold_store::StoreError;

use crate::authorise::{Action, Resource, authorise};
use crate::delegates::check_name;
use crate::{Actor, Control, Error, Result};

/// Tokens of the account, revoked ones among them.
const MOST_TOKENS: usize = 1_000;

impl Control {
    /// Makes a token with which delegates join. Its text is told here and never again.
    ///
    /// # Errors
    /// When its name is bad or taken, or there are too many.
    pub async fn create_delegate_token(
        &self,
        actor: &Actor,
        name: &str,
        approval_required: bool,
    ) -> Result<(DelegateTokenRow, SecretString)> {
        authorise(actor, Action::ManageDelegates, Resource::Account)?;
        check_name(name, "a delegate token").map_err(|problem| Error::refused(*problem))?;
        if self.store.delegate_tokens().await?.len() >= MOST_TOKENS {
            return Err(Error::refused(
                Problem::new(
                    code!("DELEGATE_TOKENS_TOO_MANY"),
                    format!("there are {MOST_TOKENS} delegate tokens already"),
                )
                .hint("use one of them: a token may serve any number of delegates"),
            ));
        }
        let text = api_key::random_delegate_token().map_err(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "no delegate token was made");
            Error::unavailable(Problem::new(
                code!("RANDOMNESS_MISSING"),
                "the system of the server gives no randomness, so no token can be made",
            ))
        })?;
        let row = DelegateTokenRow {
            id: KeyId::random().to_string(),
            name: name.to_owned(),
            hash: api_key::hash(text.expose_secret()),
            approval_required,
            created_at: self.now(),
            revoked_at: None,
        };
        self.store.create_delegate_token(row.clone()).await?;
        tracing::info!(actor = actor.id(), token = row.id, name, "a delegate token was made");
        Ok((row, text))
    }

    /// All tokens with which delegates join, by name; revoked ones among them.
    ///
    /// # Errors
    /// When the store cannot read.
    pub async fn delegate_tokens(&self, actor: &Actor) -> Result<Vec<DelegateTokenRow>> {
        authorise(actor, Action::Read, Resource::Account)?;
        Ok(self.store.delegate_tokens().await?)
    }

    /// Revokes a token, named by id or name: nobody joins with it any more, and whoever joined with it is cut off and not let in again.
    /// Revoking twice changes nothing.
    ///
    /// # Errors
    /// When there is no such token.
    pub async fn revoke_delegate_token(&self, actor: &Actor, token: &str) -> Result<DelegateTokenRow> {
        authorise(actor, Action::ManageDelegates, Resource::Account)?;
        let id = self.token_of(token).await?.id;
        self.store.revoke_delegate_token(&id).await.map_err(|error| match error {
            StoreError::Missing(_) => unknown(token),
            other => other.into(),
        })?;
        tracing::info!(actor = actor.id(), token = id, "a delegate token was revoked");
        self.token_of(&id).await
    }

    /// A token by id or, if no id fits, by name.
    async fn token_of(&self, token: &str) -> Result<DelegateTokenRow> {
        let rows = self.store.delegate_tokens().await?;
        let found =
            rows.iter().find(|row| row.id == token).or_else(|| rows.iter().find(|row| row.name == token));
        found.cloned().ok_or_else(|| unknown(token))
    }
}

fn unknown(token: &str) -> Error {
    let shown: String = token.chars().take(256).collect();
    Error::not_found(format!("Delegate token does not exist: {shown}"))
}
