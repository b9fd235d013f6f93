//! `manifold delegate token|list|approve|reject|delete|scope …`: who may touch infrastructure. `manifold delegate --server …` without a verb runs
//! a delegate; that is the binary's.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use manifold_model::{Problem, code};
use serde_json::{Value, json};

use crate::client::{Client, ClientError};
use crate::connection::Connection;
use crate::error::Error;
use crate::pages::pages;
use crate::print::{Output, Paint, columns, out, out_json, say};
use crate::show;

/// Verbs of `delegate`.
#[derive(Subcommand, Clone, Debug)]
pub enum DelegateCommand {
    /// Tokens with which delegates join
    Token(TokenFlags),
    /// List delegates
    List(ListFlags),
    /// Let a delegate work that waits for its approval
    Approve(OneFlags),
    /// Send a delegate away that waits for its approval
    Reject(OneFlags),
    /// Delete a delegate: its connection ends and it is not let in again
    Delete(OneFlags),
    /// Scopes: what delegates may be used for
    Scope(ScopeFlags),
}

/// Flags of `delegate token`.
#[derive(Args, Clone, Debug)]
pub struct TokenFlags {
    #[command(subcommand)]
    verb: TokenVerb,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Subcommand, Clone, Debug)]
enum TokenVerb {
    /// Make a token; its text is printed once and kept nowhere
    Create {
        /// Name
        name: String,
        /// Somebody has to approve each delegate that joins with it
        #[arg(long)]
        approval_required: bool,
        /// Write the text into this new file, which only its owner can read, instead of printing it
        #[arg(long, value_name = "FILE")]
        token_file: Option<PathBuf>,
    },
    /// List tokens, never their texts
    List,
    /// Revoke a token: nobody joins with it any more, and whoever joined with it is cut off
    Revoke {
        /// Name or id
        token: String,
    },
}

/// Flags of `delegate list`.
#[derive(Args, Clone, Debug)]
pub struct ListFlags {
    /// Only those with this status; deleted ones are listed only so
    #[arg(long, value_enum, ignore_case = true)]
    status: Option<Status>,
    #[command(flatten)]
    connection: Connection,
}

/// Statuses of delegates.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Status {
    /// It works
    Enabled,
    /// It waits for its approval
    WaitingForApproval,
    /// It is not let in
    Deleted,
}

/// Flags of verbs on one delegate.
#[derive(Args, Clone, Debug)]
pub struct OneFlags {
    /// Id, or a name that only one has
    #[arg(allow_hyphen_values = true)]
    delegate: String,
    #[command(flatten)]
    connection: Connection,
}

/// Flags of `delegate scope`.
#[derive(Args, Clone, Debug)]
pub struct ScopeFlags {
    #[command(subcommand)]
    verb: ScopeVerb,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Subcommand, Clone, Debug)]
enum ScopeVerb {
    /// Add a scope: all kinds of conditions that are given must hold, one of each kind is enough
    Add(ScopeAddFlags),
    /// List scopes
    List,
    /// Say what a delegate may be used for
    Attach(ScopeAttachFlags),
}

#[derive(Args, Clone, Debug)]
struct ScopeAddFlags {
    /// Name
    name: String,
    /// Id of an application
    #[arg(long = "application", value_name = "ID", allow_hyphen_values = true)]
    applications: Vec<String>,
    /// Type of environments: PROD or NON_PROD
    #[arg(long = "environment-type", value_name = "TYPE")]
    environment_types: Vec<String>,
    /// Id of an environment
    #[arg(long = "environment", value_name = "ID", allow_hyphen_values = true)]
    environments: Vec<String>,
    /// Id of a service
    #[arg(long = "service", value_name = "ID", allow_hyphen_values = true)]
    services: Vec<String>,
    /// Id of an infrastructure definition
    #[arg(long = "infrastructure", value_name = "ID", allow_hyphen_values = true)]
    infrastructures: Vec<String>,
}

#[derive(Args, Clone, Debug)]
struct ScopeAttachFlags {
    /// Id of the delegate, or a name that only one has
    #[arg(allow_hyphen_values = true)]
    delegate: String,
    /// It is used only for what lies in one of these scopes; may be given several times
    #[arg(long, value_name = "SCOPE", required_unless_present_any = ["exclude", "clear"])]
    include: Vec<String>,
    /// It is used for nothing that lies in one of these scopes; may be given several times
    #[arg(long, value_name = "SCOPE")]
    exclude: Vec<String>,
    /// It is used for everything
    #[arg(long, conflicts_with_all = ["include", "exclude"])]
    clear: bool,
}

impl DelegateCommand {
    /// How data is printed.
    #[must_use]
    pub fn output(&self) -> Output {
        self.connection().output
    }

    fn connection(&self) -> &Connection {
        match self {
            Self::Token(flags) => &flags.connection,
            Self::List(flags) => &flags.connection,
            Self::Approve(flags) | Self::Reject(flags) | Self::Delete(flags) => &flags.connection,
            Self::Scope(flags) => &flags.connection,
        }
    }
}

/// Runs a verb.
///
/// # Errors
/// When it is refused or the server cannot be reached.
pub async fn run(command: DelegateCommand) -> Result<u8, Error> {
    let output = command.output();
    let client = command.connection().client()?;
    match command {
        DelegateCommand::Token(flags) => token(&client, flags.verb, output).await,
        DelegateCommand::List(flags) => list(&client, flags.status, output).await,
        DelegateCommand::Approve(flags) => decide(&client, &flags.delegate, "ACTIVATE", output).await,
        DelegateCommand::Reject(flags) => decide(&client, &flags.delegate, "REJECT", output).await,
        DelegateCommand::Delete(flags) => delete(&client, &flags.delegate, output).await,
        DelegateCommand::Scope(flags) => scope(&client, flags.verb, output).await,
    }
}

async fn token(client: &Client, verb: TokenVerb, output: Output) -> Result<u8, Error> {
    match verb {
        TokenVerb::Create { name, approval_required, token_file } => {
            const QUERY: &str = "mutation($input: CreateDelegateTokenInput!) { done: createDelegateToken(input: $input) { \
                value delegateToken { id name approvalRequired createdAt } } }";
            // The file first: a token whose text cannot be kept would be lost.
            let file = token_file.as_deref().map(new_file).transpose()?;
            let input = json!({ "name": name, "approvalRequired": approval_required });
            let made = client.graphql(QUERY, json!({ "input": input })).await;
            let data = match made {
                Ok(data) => data,
                Err(error) => {
                    if let Some(path) = &token_file {
                        // It is empty and ours; when it cannot be removed the refusal matters more.
                        let _ = std::fs::remove_file(path);
                    }
                    return Err(error.into());
                }
            };
            made_token(&data, file.zip(token_file), output)
        }
        TokenVerb::List => {
            const QUERY: &str = "query($limit: Int!, $offset: Int) { all: delegateTokens(limit: $limit, offset: $offset) { \
                pageInfo { hasMore } nodes { id name approvalRequired createdAt revokedAt } } }";
            let tokens = pages(client, QUERY, json!({}), "/all").await?;
            if output == Output::Json {
                out_json(&json!({ "tokens": tokens }))?;
            } else if tokens.is_empty() {
                say("there are no delegate tokens");
            } else {
                out(&table_of_tokens(&tokens))?;
            }
            Ok(0)
        }
        TokenVerb::Revoke { token } => {
            const QUERY: &str = "mutation($token: String!) { done: revokeDelegateToken(input: { delegateTokenId: $token }) { \
                delegateToken { id name approvalRequired createdAt revokedAt } } }";
            let data = client.graphql(QUERY, json!({ "token": token })).await?;
            let row = data.pointer("/done/delegateToken").cloned().unwrap_or_default();
            match output {
                Output::Json => out_json(&row)?,
                Output::Text => say(&format!("the delegate token {} is revoked", text(&row, "name"))),
            }
            Ok(0)
        }
    }
}

/// A new file that only its owner can read.
fn new_file(path: &std::path::Path) -> Result<std::fs::File, Error> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|source| Error::File { what: "create", path: path.to_owned(), source })
}

fn made_token(data: &Value, file: Option<(std::fs::File, PathBuf)>, output: Output) -> Result<u8, Error> {
    let mut row = data.pointer("/done/delegateToken").cloned().unwrap_or_default();
    let value = data.pointer("/done/value").and_then(Value::as_str).unwrap_or_default();
    let told = match file {
        Some((mut file, path)) => {
            std::io::Write::write_all(&mut file, format!("{value}\n").as_bytes())
                .and_then(|()| file.sync_all())
                .map_err(|source| Error::File { what: "write", path: path.clone(), source })?;
            say(&format!("the text of the token is in {}", path.display()));
            json!({ "tokenFile": path })
        }
        None => json!({ "value": value }),
    };
    match output {
        Output::Json => {
            if let (Some(row), Some(told)) = (row.as_object_mut(), told.as_object()) {
                row.extend(told.clone());
            }
            out_json(&row)?;
        }
        Output::Text => match told.get("value").and_then(Value::as_str) {
            Some(value) => out(value)?,
            None => out(&text(&row, "id"))?,
        },
    }
    Ok(0)
}

const FIELDS: &str = "uuid delegateName status delegateType hostName ip version description lastHeartbeat disconnected node embedded selectors \
    capabilities supportedTasks includeScopes { name } excludeScopes { name }";

async fn account(client: &Client) -> Result<String, ClientError> {
    let data = client.graphql("{ viewer { accountId } }", json!({})).await?;
    Ok(data.pointer("/viewer/accountId").and_then(Value::as_str).unwrap_or_default().to_owned())
}

async fn delegates(client: &Client, filters: Value) -> Result<Vec<Value>, ClientError> {
    let query = format!(
        "query($filters: [DelegateFilter], $limit: Int!, $offset: Int) {{ all: delegateList(filters: $filters, limit: $limit, \
         offset: $offset) {{ pageInfo {{ hasMore }} nodes {{ {FIELDS} }} }} }}"
    );
    pages(client, &query, json!({ "filters": filters }), "/all").await
}

async fn list(client: &Client, status: Option<Status>, output: Output) -> Result<u8, Error> {
    let filters = match status {
        None => Value::Null,
        Some(status) => {
            let status = match status {
                Status::Enabled => "ENABLED",
                Status::WaitingForApproval => "WAITING_FOR_APPROVAL",
                Status::Deleted => "DELETED",
            };
            json!([{ "accountId": account(client).await?, "delegateStatus": status }])
        }
    };
    let delegates = delegates(client, filters).await?;
    if output == Output::Json {
        out_json(&json!({ "delegates": delegates }))?;
    } else if delegates.is_empty() {
        say("there are no delegates");
    } else {
        out(&table_of_delegates(&delegates))?;
    }
    Ok(0)
}

/// The delegate that is meant: by id, else by a name that only one has.
async fn found(client: &Client, wanted: &str) -> Result<Value, ClientError> {
    let mut all = delegates(client, Value::Null).await?;
    let deleted = json!([{ "accountId": account(client).await?, "delegateStatus": "DELETED" }]);
    if let Some(at) = all.iter().position(|one| text(one, "uuid") == wanted) {
        return Ok(all.swap_remove(at));
    }
    all.extend(delegates(client, deleted).await?.into_iter().filter(|one| text(one, "uuid") == wanted));
    let mut named: Vec<Value> = all
        .into_iter()
        .filter(|one| text(one, "delegateName") == wanted || text(one, "uuid") == wanted)
        .collect();
    match (named.pop(), named.len()) {
        (Some(one), 0) => Ok(one),
        (None, _) => Err(ClientError::refused(
            Problem::new(code!("DELEGATE_UNKNOWN"), format!("there is no delegate {wanted:?}"))
                .item(wanted)
                .hint("`manifold delegate list` shows what there is"),
        )),
        (Some(_), more) => Err(ClientError::refused(
            Problem::new(code!("DELEGATE_UNKNOWN"), format!("{} delegates are called {wanted:?}", more + 1))
                .item(wanted)
                .hint("give its id: `manifold delegate list` shows it"),
        )),
    }
}

async fn decide(client: &Client, wanted: &str, approval: &str, output: Output) -> Result<u8, Error> {
    const QUERY: &str = "mutation($input: DelegateApproveRejectInput!) { done: delegateApproveReject(input: $input) { \
        delegate { uuid delegateName status } } }";
    let delegate = found(client, wanted).await?;
    let input = json!({ "accountId": account(client).await?, "delegateId": text(&delegate, "uuid"), "delegateApproval": approval });
    let data = client.graphql(QUERY, json!({ "input": input })).await?;
    let row = data.pointer("/done/delegate").cloned().unwrap_or_default();
    match output {
        Output::Json => out_json(&row)?,
        Output::Text => {
            let done = if approval == "ACTIVATE" { "is approved" } else { "is rejected" };
            say(&format!("the delegate {} {done}", text(&row, "delegateName")));
        }
    }
    Ok(0)
}

async fn delete(client: &Client, wanted: &str, output: Output) -> Result<u8, Error> {
    const QUERY: &str =
        "mutation($input: DeleteDelegateInput!) { deleteDelegate(input: $input) { clientMutationId } }";
    let delegate = found(client, wanted).await?;
    let id = text(&delegate, "uuid");
    let input = json!({ "accountId": account(client).await?, "delegateId": id });
    client.graphql(QUERY, json!({ "input": input })).await?;
    let name = text(&delegate, "delegateName");
    match output {
        Output::Json => out_json(&json!({ "id": id, "name": name }))?,
        Output::Text => say(&format!("the delegate {name} is deleted")),
    }
    Ok(0)
}

async fn scope(client: &Client, verb: ScopeVerb, output: Output) -> Result<u8, Error> {
    match verb {
        ScopeVerb::Add(flags) => {
            const QUERY: &str = "mutation($input: AddDelegateScopeInput!) { done: addDelegegateScope(input: $input) { delegateScope { \
                name uuid applications environmentTypes environments services infrastructureDefinitions } } }";
            let ids = |ids: Vec<String>| if ids.is_empty() { Value::Null } else { one_of(ids) };
            let types: Vec<String> =
                flags.environment_types.iter().map(|kind| kind.to_uppercase().replace('-', "_")).collect();
            let input = json!({ "accountId": account(client).await?, "name": flags.name,
                "application": ids(flags.applications), "environmentTypes": types,
                "environment": ids(flags.environments), "service": ids(flags.services),
                "infrastructureDefinition": ids(flags.infrastructures) });
            let data = client.graphql(QUERY, json!({ "input": input })).await?;
            let row = data.pointer("/done/delegateScope").cloned().unwrap_or_default();
            match output {
                Output::Json => out_json(&row)?,
                Output::Text => out(&text(&row, "uuid"))?,
            }
        }
        ScopeVerb::List => {
            const QUERY: &str = "query($limit: Int!, $offset: Int) { all: delegateScopeList(limit: $limit, offset: $offset) { \
                pageInfo { hasMore } nodes { name uuid applications environmentTypes environments services infrastructureDefinitions } } }";
            let scopes = pages(client, QUERY, json!({}), "/all").await?;
            if output == Output::Json {
                out_json(&json!({ "scopes": scopes }))?;
            } else if scopes.is_empty() {
                say("there are no delegate scopes");
            } else {
                out(&table_of_scopes(&scopes))?;
            }
        }
        ScopeVerb::Attach(flags) => attach(client, flags, output).await?,
    }
    Ok(0)
}

async fn attach(client: &Client, flags: ScopeAttachFlags, output: Output) -> Result<(), Error> {
    const QUERY: &str = "mutation($input: AttachScopeToDelegateInput!) { done: attachScopeToDelegate(input: $input) { delegate { \
        uuid delegateName includeScopes { name } excludeScopes { name } } } }";
    let delegate = found(client, &flags.delegate).await?;
    let given =
        |names: Vec<String>| if names.is_empty() && !flags.clear { Value::Null } else { one_of(names) };
    let input = json!({ "accountId": account(client).await?, "delegateId": text(&delegate, "uuid"),
        "includeScopes": given(flags.include), "excludeScopes": given(flags.exclude) });
    let data = client.graphql(QUERY, json!({ "input": input })).await?;
    let row = data.pointer("/done/delegate").cloned().unwrap_or_default();
    match output {
        Output::Json => out_json(&row)?,
        Output::Text => say(&format!("the scopes of the delegate {} are set", text(&row, "delegateName"))),
    }
    Ok(())
}

fn one_of(values: Vec<String>) -> Value {
    json!({ "operator": "IN", "values": values })
}

fn table_of_tokens(tokens: &[Value]) -> String {
    let mut table = show::plain_table(columns(), Paint(false));
    table.set_header(vec!["NAME", "STATE", "APPROVAL", "ID"]);
    for token in tokens {
        let state = if text(token, "revokedAt").is_empty() { "good" } else { "revoked" };
        let approval = if text(token, "approvalRequired") == "true" { "required" } else { "no" };
        table.add_row([text(token, "name"), state.to_owned(), approval.to_owned(), text(token, "id")]);
    }
    show::trimmed(&table)
}

fn table_of_delegates(delegates: &[Value]) -> String {
    let mut table = show::plain_table(columns(), Paint(false));
    table.set_header(vec!["NAME", "STATUS", "CONNECTED", "HOST", "VERSION", "SELECTORS", "ID"]);
    for one in delegates {
        let connected = match text(one, "node") {
            node if node.is_empty() => "no".to_owned(),
            node => format!("to {node}"),
        };
        table.add_row([
            text(one, "delegateName"),
            text(one, "status"),
            connected,
            text(one, "hostName"),
            text(one, "version"),
            words(one, "selectors"),
            text(one, "uuid"),
        ]);
    }
    show::trimmed(&table)
}

fn table_of_scopes(scopes: &[Value]) -> String {
    let mut table = show::plain_table(columns(), Paint(false));
    table.set_header(vec!["NAME", "APPLICATIONS", "TYPES", "ENVIRONMENTS", "SERVICES", "INFRASTRUCTURES"]);
    for one in scopes {
        let lists =
            ["applications", "environmentTypes", "environments", "services", "infrastructureDefinitions"];
        table.add_row(std::iter::once(text(one, "name")).chain(lists.map(|key| words(one, key))));
    }
    show::trimmed(&table)
}

/// A list of words as a cell.
fn words(value: &Value, key: &str) -> String {
    let list = value.get(key).and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
}

/// A field as a cell.
fn text(value: &Value, key: &str) -> String {
    match value.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}
