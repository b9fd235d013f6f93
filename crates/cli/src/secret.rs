//! `manifold secret …`. Values come by standard input or from files, never by the command line, where every process of the machine could read them.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use manifold_model::{Problem, code};
use serde_json::{Value, json};

use crate::client::{Client, ClientError};
use crate::connection::{Connection, bounded};
use crate::deploy::look_up;
use crate::error::Error;
use crate::print::{Output, Paint, columns, out, out_json, say};
use crate::show;

/// Bytes of a value from standard input.
const VALUE_LIMIT: u64 = 1 << 20;
/// Secrets of one page.
const PAGE: u32 = 1_000;

/// Flags of `secret`.
#[derive(Args, Clone, Debug)]
pub struct SecretFlags {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

#[derive(Subcommand, Clone, Debug)]
enum Verb {
    /// Make a secret; its text comes from standard input or --value-file
    Create(CreateFlags),
    /// List secrets, never their values
    List,
    /// Delete a secret that nothing uses
    Delete(DeleteFlags),
}

/// Types of secrets.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, ValueEnum)]
enum Kind {
    /// A text
    #[default]
    Text,
    /// How to sign in to hosts
    SshCredential,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Text => "ENCRYPTED_TEXT",
            Self::SshCredential => "SSH_CREDENTIAL",
        }
    }
}

#[derive(Args, Clone, Debug)]
struct CreateFlags {
    /// Name
    name: String,
    /// What it is
    #[arg(long = "type", value_enum, default_value_t)]
    kind: Kind,
    /// File with the text; standard input when absent
    #[arg(long, value_name = "FILE")]
    value_file: Option<PathBuf>,
    /// ssh-credential: user on the hosts
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// ssh-credential: port of the hosts
    #[arg(long, value_name = "PORT", default_value_t = 22)]
    port: u16,
    /// ssh-credential: file with the private key, kept as the secret NAME-key
    #[arg(long, value_name = "FILE", group = "how")]
    key_file: Option<PathBuf>,
    /// ssh-credential: secret that holds the private key
    #[arg(long, value_name = "SECRET", group = "how")]
    key_secret: Option<String>,
    /// ssh-credential: file with the password, kept as the secret NAME-password
    #[arg(long, value_name = "FILE", group = "how")]
    password_file: Option<PathBuf>,
}

#[derive(Args, Clone, Debug)]
struct DeleteFlags {
    /// Name
    name: String,
    /// What it is
    #[arg(long = "type", value_enum, default_value_t)]
    kind: Kind,
}

/// Runs a verb.
///
/// # Errors
/// When it is refused or the server cannot be reached.
pub async fn run(flags: SecretFlags) -> Result<u8, Error> {
    let output = flags.connection.output;
    match flags.verb {
        Verb::Create(create) => {
            check(&create)?;
            let client = flags.connection.client()?;
            let id = match create.kind {
                Kind::Text => {
                    let text = value(create.value_file.as_deref())?;
                    create_text(&client, &create.name, &text).await?
                }
                Kind::SshCredential => create_credential(&client, &create).await?,
            };
            made(&id, &create.name, create.kind, output)
        }
        Verb::List => list(&flags.connection.client()?, output).await,
        Verb::Delete(delete) => {
            let client = flags.connection.client()?;
            let id = id_of(&client, &delete.name, delete.kind).await?;
            remove(&client, &id, delete.kind).await?;
            if output == Output::Json {
                out_json(&json!({ "id": id, "name": delete.name }))?;
            } else {
                say(&format!("the secret {} is deleted", delete.name));
            }
            Ok(0)
        }
    }
}

/// Flags that belong together.
fn check(flags: &CreateFlags) -> Result<(), Error> {
    let how = flags.key_file.is_some() || flags.key_secret.is_some() || flags.password_file.is_some();
    let wrong = match flags.kind {
        Kind::Text if how || flags.user.is_some() => {
            "--user, --key-file, --key-secret and --password-file need --type ssh-credential"
        }
        Kind::SshCredential if flags.value_file.is_some() => {
            "an SSH credential has no --value-file; give --key-file or --password-file"
        }
        Kind::SshCredential if flags.user.is_none() => "an SSH credential needs --user",
        Kind::SshCredential if !how => "an SSH credential needs --key-file, --key-secret or --password-file",
        _ => return Ok(()),
    };
    Err(Error::Usage(wrong.to_owned()))
}

fn made(id: &str, name: &str, kind: Kind, output: Output) -> Result<u8, Error> {
    match output {
        Output::Json => out_json(&json!({ "id": id, "name": name, "secretType": kind.name() }))?,
        Output::Text => out(id)?,
    }
    Ok(0)
}

/// The text of a secret: of the file, or of standard input; one line end at its end is taken off.
fn value(file: Option<&Path>) -> Result<String, Error> {
    let text = match file {
        Some(path) => bounded(path)?,
        None => {
            if std::io::stdin().is_terminal() {
                say("type the value, then Ctrl-D");
            }
            let mut text = String::new();
            let read = std::io::stdin().lock().take(VALUE_LIMIT + 1).read_to_string(&mut text);
            read.map_err(|source| Error::File { what: "read", path: "standard input".into(), source })?;
            text
        }
    };
    if text.len() as u64 > VALUE_LIMIT {
        return Err(Error::Usage(format!("the value has more than {VALUE_LIMIT} bytes")));
    }
    let text = text.strip_suffix('\n').map(|text| text.strip_suffix('\r').unwrap_or(text)).unwrap_or(&text);
    if text.is_empty() {
        return Err(Error::Usage("the value is empty".to_owned()));
    }
    Ok(text.to_owned())
}

async fn create(client: &Client, input: Value) -> Result<String, ClientError> {
    const QUERY: &str =
        "mutation($input: CreateSecretInput!) { createSecret(input: $input) { secret { id } } }";
    let data = client.graphql(QUERY, json!({ "input": input })).await?;
    let id = data.pointer("/createSecret/secret/id").and_then(Value::as_str).map(str::to_owned);
    id.ok_or_else(|| ClientError::Misunderstood {
        url: client.url().to_owned(),
        detail: "the answer names no secret".to_owned(),
    })
}

async fn create_text(client: &Client, name: &str, text: &str) -> Result<String, ClientError> {
    create(
        client,
        json!({ "secretType": Kind::Text.name(), "encryptedText": { "name": name, "value": text } }),
    )
    .await
}

/// Makes the credential, and before it the secret that it needs; when the credential is refused, that secret goes again.
async fn create_credential(client: &Client, flags: &CreateFlags) -> Result<String, Error> {
    let (secret, is_new) = match (&flags.key_secret, &flags.key_file, &flags.password_file) {
        (Some(name), _, _) => (id_of(client, name, Kind::Text).await?, false),
        // A private key keeps its last line end: some readers insist on it.
        (None, Some(file), _) => {
            (create_text(client, &format!("{}-key", flags.name), &bounded(file)?).await?, true)
        }
        (None, None, file) => {
            let text = value(file.as_deref())?;
            (create_text(client, &format!("{}-password", flags.name), &text).await?, true)
        }
    };
    let method = if flags.password_file.is_some() {
        json!({ "sshCredentialType": "PASSWORD", "serverPassword": { "passwordSecretId": secret } })
    } else {
        json!({ "sshCredentialType": "SSH_KEY", "inlineSSHKey": { "sshKeySecretFileId": secret } })
    };
    let credential = json!({ "secretType": Kind::SshCredential.name(), "sshCredential": {
        "name": flags.name, "authenticationScheme": "SSH",
        "sshAuthentication": { "userName": flags.user, "port": flags.port, "sshAuthenticationMethod": method } } });
    match create(client, credential).await {
        Ok(id) => Ok(id),
        Err(error) => {
            if is_new && let Err(left) = remove(client, &secret, Kind::Text).await {
                say(&format!("the secret {secret} was made for it and stays: {left}"));
            }
            Err(error.into())
        }
    }
}

async fn remove(client: &Client, id: &str, kind: Kind) -> Result<(), ClientError> {
    const QUERY: &str =
        "mutation($input: DeleteSecretInput!) { deleteSecret(input: $input) { clientMutationId } }";
    client.graphql(QUERY, json!({ "input": { "secretId": id, "secretType": kind.name() } })).await.map(|_| ())
}

async fn id_of(client: &Client, name: &str, kind: Kind) -> Result<String, ClientError> {
    const QUERY: &str = "query($name: String!, $type: SecretType!) { found: secretByName(name: $name, secretType: $type) { id } }";
    let variables = json!({ "name": name, "type": kind.name() });
    look_up(client, QUERY, variables).await?.ok_or_else(|| {
        let problem = Problem::new(
            code!("SECRET_UNKNOWN"),
            format!("there is no secret {name:?} of type {}", kind.name()),
        );
        ClientError::refused(problem.item(name).hint("`manifold secret list` shows what there is"))
    })
}

async fn list(client: &Client, output: Output) -> Result<u8, Error> {
    const QUERY: &str = "query($limit: Int!, $offset: Int) { secrets(limit: $limit, offset: $offset) { \
        pageInfo { hasMore } nodes { id name secretType } } }";
    let mut secrets: Vec<Value> = Vec::new();
    loop {
        let data = client.graphql(QUERY, json!({ "limit": PAGE, "offset": secrets.len() })).await?;
        let page = data.pointer("/secrets/nodes").and_then(Value::as_array).cloned().unwrap_or_default();
        let more = data.pointer("/secrets/pageInfo/hasMore") == Some(&json!(true)) && !page.is_empty();
        secrets.extend(page);
        if !more {
            break;
        }
    }
    if output == Output::Json {
        out_json(&json!({ "secrets": secrets }))?;
        return Ok(0);
    }
    if secrets.is_empty() {
        say("there are no secrets");
        return Ok(0);
    }
    let mut table = show::plain_table(columns(), Paint(false));
    table.set_header(vec!["NAME", "TYPE", "ID"]);
    for secret in &secrets {
        table.add_row(
            ["name", "secretType", "id"]
                .map(|key| secret.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()),
        );
    }
    out(&show::trimmed(&table))?;
    Ok(0)
}
