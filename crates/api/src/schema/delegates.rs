//! Queries and mutations of delegates, their scopes and tokens.

use async_graphql::{Context, Object, Result, SimpleObject};
use manifold_control::ExposeSecret;
use manifold_control::delegate_scopes::ScopeChange;
use manifold_control::delegates::DelegateRow;
use manifold_control::model::DelegateId;
use manifold_control::model::delegate::DelegateStatus as Status;

use super::delegate::{
    AddDelegateScopeInput, AttachAllScopesToDelegateInput, AttachScopeToDelegateInput,
    CreateDelegateTokenInput, Delegate, DelegateApproval, DelegateApproveRejectInput, DelegateFilter,
    DelegateScope, DelegateScopeFilter, DelegateToken, DeleteDelegateInput, RevokeDelegateTokenInput, listed,
};
use super::page::{Connection, Window, cost};
use super::{actor_of, control_of};
use crate::error;

/// What was decided about a delegate.
#[derive(SimpleObject, Clone, Debug)]
pub struct DelegateApproveRejectPayload {
    /// As given.
    pub client_mutation_id: Option<String>,
    /// The delegate.
    pub delegate: Option<Delegate>,
}

/// Done.
#[derive(SimpleObject, Clone, Debug)]
pub struct DeleteDelegatePayload {
    /// As given.
    pub client_mutation_id: Option<String>,
}

/// The scope.
#[derive(SimpleObject, Clone, Debug)]
pub struct AddDelegateScopePayload {
    /// As given.
    pub client_mutation_id: Option<String>,
    /// It.
    pub delegate_scope: Option<DelegateScope>,
    /// What was done, for people.
    pub message: Option<String>,
}

/// Done.
#[derive(SimpleObject, Clone, Debug)]
pub struct AttachScopeToDelegatePayload {
    /// As given.
    pub client_mutation_id: Option<String>,
    /// What was done, for people.
    pub message: Option<String>,
    /// The delegate as it is now.
    pub delegate: Option<Delegate>,
}

/// The token, and its text.
#[derive(SimpleObject, Clone, Debug)]
pub struct CreateDelegateTokenPayload {
    /// As given.
    pub client_mutation_id: Option<String>,
    /// It.
    pub delegate_token: Option<DelegateToken>,
    /// The text that a delegate joins with. It is told here and never again.
    pub value: Option<String>,
}

/// The token.
#[derive(SimpleObject, Clone, Debug)]
pub struct RevokeDelegateTokenPayload {
    /// As given.
    pub client_mutation_id: Option<String>,
    /// It.
    pub delegate_token: Option<DelegateToken>,
}

/// Queries of delegates.
#[derive(Debug)]
pub struct DelegateQuery;

#[Object]
impl DelegateQuery {
    /// Delegates, oldest first. Deleted ones are listed only when a filter asks for them.
    #[graphql(complexity = "cost(limit, child_complexity)")]
    async fn delegate_list(
        &self,
        ctx: &Context<'_>,
        filters: Option<Vec<Option<DelegateFilter>>>,
        limit: i64,
        offset: Option<i64>,
    ) -> Result<Connection<Delegate>> {
        let window = Window::of(limit, offset)?;
        let control = control_of(ctx)?;
        let filters: Vec<DelegateFilter> = filters.into_iter().flatten().flatten().collect();
        for filter in &filters {
            control.check_account(&filter.account_id).map_err(error::graphql)?;
        }
        let deleted_too = filters.iter().any(|filter| filter.delegate_status.is_some());
        let rows = control.delegates(actor_of(ctx)?).await.map_err(error::graphql)?;
        let found: Vec<Delegate> = rows
            .into_iter()
            .filter(|row| deleted_too || row.status != Status::Deleted)
            .filter(|row| filters.iter().all(|filter| filter.admits(row)))
            .map(|row| Delegate { row, account: control.account().to_owned() })
            .collect();
        Ok(window.cut(found))
    }

    /// Named scopes of the account, oldest first.
    #[graphql(complexity = "cost(limit, child_complexity)")]
    async fn delegate_scope_list(
        &self,
        ctx: &Context<'_>,
        filters: Option<Vec<Option<DelegateScopeFilter>>>,
        limit: i64,
        offset: Option<i64>,
    ) -> Result<Connection<DelegateScope>> {
        let window = Window::of(limit, offset)?;
        let control = control_of(ctx)?;
        let filters: Vec<DelegateScopeFilter> = filters.into_iter().flatten().flatten().collect();
        for filter in &filters {
            control.check_account(&filter.account_id).map_err(error::graphql)?;
        }
        let scopes = control.delegate_scopes(actor_of(ctx)?).await.map_err(error::graphql)?;
        let wanted = |name: &str| {
            filters.iter().all(|filter| filter.scope_name.as_ref().is_none_or(|wanted| wanted == name))
        };
        let found: Vec<DelegateScope> =
            scopes.into_iter().filter(|named| wanted(&named.scope.name)).map(DelegateScope::from).collect();
        Ok(window.cut(found))
    }

    /// Tokens with which delegates join, by name; revoked ones among them.
    #[graphql(complexity = "cost(limit, child_complexity)")]
    async fn delegate_tokens(
        &self,
        ctx: &Context<'_>,
        limit: i64,
        offset: Option<i64>,
    ) -> Result<Connection<DelegateToken>> {
        let window = Window::of(limit, offset)?;
        let rows = control_of(ctx)?.delegate_tokens(actor_of(ctx)?).await.map_err(error::graphql)?;
        Ok(window.cut(rows.into_iter().map(DelegateToken::from).collect::<Vec<_>>()))
    }
}

/// Mutations of delegates.
#[derive(Debug)]
pub struct DelegateMutation;

#[Object]
impl DelegateMutation {
    /// Lets a delegate work that waits for its approval, or sends it away.
    async fn delegate_approve_reject(
        &self,
        ctx: &Context<'_>,
        input: DelegateApproveRejectInput,
    ) -> Result<Option<DelegateApproveRejectPayload>> {
        let (control, actor) = (control_of(ctx)?, actor_of(ctx)?);
        control.check_account(&input.account_id).map_err(error::graphql)?;
        let id = DelegateId::from(input.delegate_id);
        let row = match input.delegate_approval {
            DelegateApproval::Activate => control.approve_delegate(actor, &id).await,
            DelegateApproval::Reject => control.reject_delegate(actor, &id).await,
        };
        let delegate = Some(shown(ctx, row.map_err(error::graphql)?)?);
        Ok(Some(DelegateApproveRejectPayload { client_mutation_id: input.client_mutation_id, delegate }))
    }

    /// Deletes a delegate: its connection ends, its tasks go back to the queue, and it is not let in again.
    async fn delete_delegate(
        &self,
        ctx: &Context<'_>,
        input: DeleteDelegateInput,
    ) -> Result<Option<DeleteDelegatePayload>> {
        let control = control_of(ctx)?;
        control.check_account(&input.account_id).map_err(error::graphql)?;
        let id = DelegateId::from(input.delegate_id);
        control.delete_delegate(actor_of(ctx)?, &id).await.map_err(error::graphql)?;
        Ok(Some(DeleteDelegatePayload { client_mutation_id: input.client_mutation_id }))
    }

    /// Adds a named scope.
    #[graphql(name = "addDelegegateScope")]
    async fn add_delegate_scope(
        &self,
        ctx: &Context<'_>,
        input: AddDelegateScopeInput,
    ) -> Result<Option<AddDelegateScopePayload>> {
        let control = control_of(ctx)?;
        control.check_account(&input.account_id).map_err(error::graphql)?;
        let scope = input.scope().map_err(error::graphql)?;
        let named = control.add_delegate_scope(actor_of(ctx)?, scope).await.map_err(error::graphql)?;
        Ok(Some(AddDelegateScopePayload {
            client_mutation_id: input.client_mutation_id,
            message: Some(format!("the scope {} was added", named.scope.name)),
            delegate_scope: Some(named.into()),
        }))
    }

    /// Says which scopes a delegate has.
    async fn attach_scope_to_delegate(
        &self,
        ctx: &Context<'_>,
        input: AttachScopeToDelegateInput,
    ) -> Result<Option<AttachScopeToDelegatePayload>> {
        let control = control_of(ctx)?;
        control.check_account(&input.account_id).map_err(error::graphql)?;
        let change = ScopeChange {
            limited_to: listed("includeScopes", input.include_scopes.as_ref()).map_err(error::graphql)?,
            excluded: listed("excludeScopes", input.exclude_scopes.as_ref()).map_err(error::graphql)?,
        };
        let id = DelegateId::from(input.delegate_id);
        let row = control.limit_delegate(actor_of(ctx)?, &id, change).await.map_err(error::graphql)?;
        attached(ctx, row, input.client_mutation_id)
    }

    /// Uses a delegate for what lies in one of all named scopes of the account.
    async fn attach_all_scopes_to_delegate(
        &self,
        ctx: &Context<'_>,
        input: AttachAllScopesToDelegateInput,
    ) -> Result<Option<AttachScopeToDelegatePayload>> {
        let control = control_of(ctx)?;
        control.check_account(&input.account_id).map_err(error::graphql)?;
        let id = DelegateId::from(input.delegate_id);
        let row = control.limit_delegate_to_all_scopes(actor_of(ctx)?, &id).await.map_err(error::graphql)?;
        attached(ctx, row, input.client_mutation_id)
    }

    /// Makes a token with which delegates join.
    async fn create_delegate_token(
        &self,
        ctx: &Context<'_>,
        input: CreateDelegateTokenInput,
    ) -> Result<Option<CreateDelegateTokenPayload>> {
        let approval = input.approval_required.unwrap_or(false);
        let (row, text) = control_of(ctx)?
            .create_delegate_token(actor_of(ctx)?, &input.name, approval)
            .await
            .map_err(error::graphql)?;
        Ok(Some(CreateDelegateTokenPayload {
            client_mutation_id: input.client_mutation_id,
            delegate_token: Some(row.into()),
            value: Some(text.expose_secret().to_owned()),
        }))
    }

    /// Revokes a token: nobody joins with it any more, and whoever joined with it is cut off and not let in again.
    async fn revoke_delegate_token(
        &self,
        ctx: &Context<'_>,
        input: RevokeDelegateTokenInput,
    ) -> Result<Option<RevokeDelegateTokenPayload>> {
        let row = control_of(ctx)?
            .revoke_delegate_token(actor_of(ctx)?, &input.delegate_token_id)
            .await
            .map_err(error::graphql)?;
        Ok(Some(RevokeDelegateTokenPayload {
            client_mutation_id: input.client_mutation_id,
            delegate_token: Some(row.into()),
        }))
    }
}

fn shown(ctx: &Context<'_>, row: DelegateRow) -> Result<Delegate> {
    Ok(Delegate { row, account: control_of(ctx)?.account().to_owned() })
}

fn attached(
    ctx: &Context<'_>,
    row: DelegateRow,
    client_mutation_id: Option<String>,
) -> Result<Option<AttachScopeToDelegatePayload>> {
    let message = Some(format!("the scopes of the delegate {} were set", row.name));
    Ok(Some(AttachScopeToDelegatePayload { client_mutation_id, message, delegate: Some(shown(ctx, row)?) }))
}
