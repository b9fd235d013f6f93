//! Secrets and secret managers (`wire.md` 2.7). A value is never returned.

use async_graphql::{Enum, InputObject, Interface, Object, SimpleObject, Union};
use manifold_control::model::secret::{SecretRecord, SecretType as Kind, SshCredential, SshMethod};
use manifold_control::model::{Problem, SecretId, code};
use manifold_control::secrets::{Credential, SecretChange};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Types of secrets.
#[derive(Enum, Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum SecretType {
    EncryptedText,
    EncryptedFile,
    SshCredential,
    #[graphql(name = "WINRM_CREDENTIAL")]
    WinRmCredential,
}

impl From<SecretType> for Kind {
    fn from(kind: SecretType) -> Self {
        match kind {
            SecretType::EncryptedText => Self::EncryptedText,
            SecretType::EncryptedFile => Self::EncryptedFile,
            SecretType::SshCredential => Self::SshCredential,
            SecretType::WinRmCredential => Self::WinRmCredential,
        }
    }
}

impl From<Kind> for SecretType {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::EncryptedText => Self::EncryptedText,
            Kind::EncryptedFile => Self::EncryptedFile,
            Kind::SshCredential => Self::SshCredential,
            Kind::WinRmCredential => Self::WinRmCredential,
        }
    }
}

/// All applications, or one.
#[derive(Enum, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum GenericFilterType {
    /// All.
    All,
}

/// Kinds of environments.
#[derive(Enum, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EnvFilterType {
    /// Those of type PROD.
    ProductionEnvironments,
    /// Those of type NON_PROD.
    NonProductionEnvironments,
}

/// Which applications.
#[derive(SimpleObject, InputObject, Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[graphql(name = "AppScopeFilter", input_name = "AppScopeFilterInput")]
#[serde(rename_all = "camelCase")]
pub struct AppScope {
    /// All.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter_type: Option<GenericFilterType>,
    /// Or this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_id: Option<String>,
}

/// Which environments.
#[derive(SimpleObject, InputObject, Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[graphql(name = "EnvScopeFilter", input_name = "EnvScopeFilterInput")]
#[serde(rename_all = "camelCase")]
pub struct EnvScope {
    /// All of a kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter_type: Option<EnvFilterType>,
    /// Or this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env_id: Option<String>,
}

/// Applications with their environments.
#[derive(SimpleObject, InputObject, Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[graphql(name = "AppEnvScope", input_name = "AppEnvScopeInput")]
pub struct AppEnvScope {
    /// Applications.
    pub application: AppScope,
    /// Environments.
    pub environment: EnvScope,
}

/// Where something may be used.
#[derive(SimpleObject, InputObject, Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[graphql(name = "UsageScope", input_name = "UsageScopeInput")]
#[serde(rename_all = "camelCase")]
pub struct UsageScope {
    /// Scopes; their order means nothing.
    pub app_env_scopes: Option<Vec<AppEnvScope>>,
}

impl UsageScope {
    /// As it is stored; no scopes at all is none.
    #[must_use]
    pub fn stored(&self) -> Option<Value> {
        self.app_env_scopes
            .as_ref()
            .filter(|scopes| !scopes.is_empty())
            .and_then(|_| serde_json::to_value(self).ok())
    }

    fn read(stored: Option<&Value>) -> Option<Self> {
        serde_json::from_value(stored?.clone()).ok()
    }
}

/// A secret.
#[derive(Interface, Clone, Debug)]
#[graphql(
    field(name = "id", ty = "String"),
    field(name = "name", ty = "String"),
    field(name = "secret_type", ty = "SecretType"),
    field(name = "usage_scope", ty = "Option<UsageScope>")
)]
pub enum Secret {
    /// Text.
    Text(EncryptedText),
    /// File.
    File(EncryptedFile),
    /// SSH credential.
    Ssh(SshCredentialObject),
    /// WinRM credential.
    WinRm(WinRmCredential),
}

impl From<SecretRecord> for Secret {
    fn from(record: SecretRecord) -> Self {
        match record.kind {
            Kind::EncryptedText => Self::Text(EncryptedText(record)),
            Kind::EncryptedFile => Self::File(EncryptedFile(record)),
            Kind::SshCredential => Self::Ssh(SshCredentialObject(record)),
            Kind::WinRmCredential => Self::WinRm(WinRmCredential(record)),
        }
    }
}

macro_rules! value_secret {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name(SecretRecord);

        $(#[$doc])*
        #[Object]
        impl $name {
            async fn id(&self) -> String {
                self.0.id.to_string()
            }

            async fn name(&self) -> String {
                self.0.name.clone()
            }

            async fn secret_type(&self) -> SecretType {
                self.0.kind.into()
            }

            async fn usage_scope(&self) -> Option<UsageScope> {
                UsageScope::read(self.0.usage_scope.as_ref())
            }

            #[graphql(name = "inheritScopesFromSM")]
            async fn inherit_scopes_from_sm(&self) -> bool {
                self.0.inherit_scopes_from_sm
            }

            async fn scoped_to_account(&self) -> bool {
                self.0.scoped_to_account
            }

            async fn secret_manager_id(&self) -> String {
                self.0.manager_id.clone()
            }
        }
    };
}

value_secret!(
    /// A text.
    EncryptedText
);
value_secret!(
    /// The content of a file.
    EncryptedFile
);

/// How an SSH credential signs in.
#[derive(Union, Clone, Debug)]
#[graphql(name = "SSHAuthenticationType")]
pub enum SshAuthenticationType {
    /// By key or password.
    Ssh(SshAuthentication),
    /// By ticket.
    Kerberos(KerberosAuthentication),
}

/// By key or password.
#[derive(SimpleObject, Clone, Debug)]
#[graphql(name = "SSHAuthentication")]
pub struct SshAuthentication {
    /// Port.
    pub port: Option<i64>,
    /// User.
    pub user_name: Option<String>,
}

/// By ticket.
#[derive(SimpleObject, Clone, Debug)]
pub struct KerberosAuthentication {
    /// Port.
    pub port: Option<i64>,
    /// Principal.
    pub principal: Option<String>,
    /// Realm.
    pub realm: Option<String>,
}

/// How to sign in to hosts over SSH.
#[derive(Clone, Debug)]
pub struct SshCredentialObject(SecretRecord);

/// How to sign in to hosts over SSH.
#[Object(name = "SSHCredential")]
impl SshCredentialObject {
    async fn id(&self) -> String {
        self.0.id.to_string()
    }

    async fn name(&self) -> String {
        self.0.name.clone()
    }

    async fn secret_type(&self) -> SecretType {
        SecretType::SshCredential
    }

    async fn usage_scope(&self) -> Option<UsageScope> {
        UsageScope::read(self.0.usage_scope.as_ref())
    }

    async fn authentication_type(&self) -> Option<SshAuthenticationType> {
        let stored = self.0.credential.as_ref()?;
        let port = stored.get("port").and_then(Value::as_i64);
        let text = |key: &str| stored.get(key).and_then(Value::as_str).map(str::to_owned);
        Some(if stored.get("principal").is_some() {
            SshAuthenticationType::Kerberos(KerberosAuthentication {
                port,
                principal: text("principal"),
                realm: text("realm"),
            })
        } else {
            SshAuthenticationType::Ssh(SshAuthentication { port, user_name: text("userName") })
        })
    }
}

/// How WinRM authenticates.
#[derive(Enum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum WinRmAuthenticationScheme {
    /// NTLM.
    #[graphql(name = "NTLM")]
    Ntlm,
}

/// How to sign in to hosts over WinRM.
#[derive(Clone, Debug)]
pub struct WinRmCredential(SecretRecord);

impl WinRmCredential {
    fn field(&self, key: &str) -> Option<&Value> {
        self.0.credential.as_ref()?.get(key)
    }
}

/// How to sign in to hosts over WinRM.
#[Object(name = "WinRMCredential")]
impl WinRmCredential {
    async fn id(&self) -> String {
        self.0.id.to_string()
    }

    async fn name(&self) -> String {
        self.0.name.clone()
    }

    async fn secret_type(&self) -> SecretType {
        SecretType::WinRmCredential
    }

    async fn usage_scope(&self) -> Option<UsageScope> {
        UsageScope::read(self.0.usage_scope.as_ref())
    }

    async fn authentication_scheme(&self) -> WinRmAuthenticationScheme {
        WinRmAuthenticationScheme::Ntlm
    }

    async fn domain(&self) -> Option<String> {
        self.field("domain").and_then(Value::as_str).map(str::to_owned)
    }

    async fn port(&self) -> Option<i64> {
        self.field("port").and_then(Value::as_i64)
    }

    async fn skip_cert_check(&self) -> bool {
        self.field("skipCertCheck").and_then(Value::as_bool).unwrap_or(false)
    }

    #[graphql(name = "useSSL")]
    async fn use_ssl(&self) -> bool {
        self.field("useSSL").and_then(Value::as_bool).unwrap_or(false)
    }

    async fn user_name(&self) -> Option<String> {
        self.field("userName").and_then(Value::as_str).map(str::to_owned)
    }
}

/// Where secret values are kept.
#[derive(SimpleObject, Clone, Debug)]
pub struct SecretManager {
    /// Id; the built-in one has the account's.
    pub id: String,
    /// Name.
    pub name: String,
}

/// A text.
#[derive(InputObject, Clone, Debug)]
pub struct EncryptedTextInput {
    /// Name.
    pub name: Option<String>,
    /// Value.
    pub value: Option<String>,
    /// A record of an external manager instead of a value.
    pub secret_reference: Option<String>,
    /// Secret manager; the built-in one when absent.
    pub secret_manager_id: Option<String>,
    /// Only for the account itself.
    pub scoped_to_account: Option<bool>,
    /// Scopes of the manager.
    #[graphql(name = "inheritScopesFromSM")]
    pub inherit_scopes_from_sm: Option<bool>,
    /// Scopes.
    pub usage_scope: Option<UsageScope>,
}

/// A file; its content is the part `file` of the multipart body.
#[derive(InputObject, Clone, Debug)]
pub struct EncryptedFileInput {
    /// Name.
    pub name: Option<String>,
    /// Secret manager; the built-in one when absent.
    pub secret_manager_id: Option<String>,
    /// Only for the account itself.
    pub scoped_to_account: Option<bool>,
    /// Scopes of the manager.
    #[graphql(name = "inheritScopesFromSM")]
    pub inherit_scopes_from_sm: Option<bool>,
    /// Scopes.
    pub usage_scope: Option<UsageScope>,
}

/// SSH or Kerberos.
#[derive(Enum, Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum SshAuthenticationScheme {
    #[graphql(name = "SSH")]
    Ssh,
    #[graphql(name = "KERBEROS")]
    Kerberos,
}

/// Key or password.
#[derive(Enum, Clone, Copy, PartialEq, Eq, Debug)]
#[graphql(name = "SSHCredentialType")]
#[allow(missing_docs, reason = "the names say it")]
pub enum SshCredentialType {
    SshKey,
    SshKeyFilePath,
    Password,
}

/// A key in a secret.
#[derive(InputObject, Clone, Debug)]
#[graphql(name = "InlineSSHKeyInput")]
pub struct InlineSshKey {
    /// Secret with the key.
    pub ssh_key_secret_file_id: String,
    /// Secret with its passphrase.
    pub passphrase_secret_id: Option<String>,
}

/// A key file on the delegate.
#[derive(InputObject, Clone, Debug)]
#[graphql(name = "SSHKeyFileInput")]
pub struct SshKeyFile {
    /// Path.
    pub path: String,
    /// Secret with its passphrase.
    pub passphrase_secret_id: Option<String>,
}

/// A password.
#[derive(InputObject, Clone, Debug)]
#[graphql(name = "SSHPasswordInput")]
pub struct ServerPassword {
    /// Secret with it.
    pub password_secret_id: String,
}

/// Key or password.
#[derive(InputObject, Clone, Debug)]
#[graphql(name = "SSHAuthenticationMethodInput")]
pub struct SshAuthenticationMethod {
    /// Which.
    pub ssh_credential_type: SshCredentialType,
    /// A key in a secret.
    #[graphql(name = "inlineSSHKey")]
    pub inline_ssh_key: Option<InlineSshKey>,
    /// A key file on the delegate.
    pub ssh_key_file: Option<SshKeyFile>,
    /// A password.
    pub server_password: Option<ServerPassword>,
}

/// By key or password.
#[derive(InputObject, Clone, Debug)]
#[graphql(name = "SSHAuthenticationInput")]
pub struct SshAuthenticationInput {
    /// Port; 22 when absent.
    pub port: Option<i64>,
    /// User.
    pub user_name: String,
    /// Key or password.
    pub ssh_authentication_method: SshAuthenticationMethod,
}

/// How the ticket is got.
#[derive(Enum, Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum TgtGenerationUsing {
    KeyTabFile,
    Password,
}

/// A key tab.
#[derive(InputObject, Clone, Debug)]
pub struct KeyTabFileInput {
    /// Path on the delegate.
    pub file_path: String,
}

/// A password.
#[derive(InputObject, Clone, Debug)]
pub struct KerberosPasswordInput {
    /// Secret with it.
    pub password_secret_id: String,
}

/// How the ticket is got.
#[derive(InputObject, Clone, Debug)]
#[graphql(name = "TGTGenerationMethodInput")]
pub struct TgtGenerationMethod {
    /// By what.
    pub tgt_generation_using: TgtGenerationUsing,
    /// A key tab.
    pub key_tab_file: Option<KeyTabFileInput>,
    /// A password.
    pub kerberos_password: Option<KerberosPasswordInput>,
}

/// By ticket.
#[derive(InputObject, Clone, Debug)]
pub struct KerberosAuthenticationInput {
    /// Port.
    pub port: Option<i64>,
    /// Principal.
    pub principal: String,
    /// Realm.
    pub realm: String,
    /// How the ticket is got.
    pub tgt_generation_method: Option<TgtGenerationMethod>,
}

/// How to sign in to hosts over SSH.
#[derive(InputObject, Clone, Debug)]
#[graphql(name = "SSHCredentialInput")]
pub struct SshCredentialInput {
    /// Name.
    pub name: Option<String>,
    /// Scopes.
    pub usage_scope: Option<UsageScope>,
    /// SSH or Kerberos.
    pub authentication_scheme: Option<SshAuthenticationScheme>,
    /// By key or password.
    pub ssh_authentication: Option<SshAuthenticationInput>,
    /// By ticket.
    pub kerberos_authentication: Option<KerberosAuthenticationInput>,
}

/// How to sign in to hosts over WinRM.
#[derive(InputObject, Clone, Debug)]
#[graphql(name = "WinRMCredentialInput")]
pub struct WinRmCredentialInput {
    /// Name.
    pub name: Option<String>,
    /// Domain.
    pub domain: Option<String>,
    /// User.
    pub user_name: Option<String>,
    /// Secret with the password.
    pub password_secret_id: Option<String>,
    /// Port.
    pub port: Option<i64>,
    /// TLS.
    #[graphql(name = "useSSL")]
    pub use_ssl: Option<bool>,
    /// Whether certificates are not checked.
    pub skip_cert_check: Option<bool>,
    /// Scheme.
    pub authentication_scheme: Option<WinRmAuthenticationScheme>,
    /// Scopes.
    pub usage_scope: Option<UsageScope>,
}

/// What `createSecret` and `updateSecret` say about the secret itself.
#[derive(Debug)]
pub struct SecretInput {
    /// A text.
    pub text: Option<EncryptedTextInput>,
    /// A file.
    pub file: Option<EncryptedFileInput>,
    /// An SSH credential.
    pub ssh: Option<SshCredentialInput>,
    /// A WinRM credential.
    pub winrm: Option<WinRmCredentialInput>,
    /// The uploaded file.
    pub upload: Option<Vec<u8>>,
}

impl SecretInput {
    /// As the use case takes it.
    ///
    /// # Errors
    /// When the part for this type is missing or incomplete.
    pub fn change(self, kind: Kind) -> Result<SecretChange, Problem> {
        match kind {
            Kind::EncryptedText => self.text.ok_or_else(|| missing("encryptedText")).and_then(text),
            Kind::EncryptedFile => {
                let file = self.file.ok_or_else(|| missing("encryptedFile"))?;
                Ok(SecretChange {
                    name: file.name,
                    value: self.upload,
                    manager: file.secret_manager_id,
                    scoped_to_account: file.scoped_to_account,
                    inherit_scopes_from_sm: file.inherit_scopes_from_sm,
                    usage_scope: file.usage_scope.map(|scope| scope.stored()),
                    credential: None,
                })
            }
            Kind::SshCredential => self.ssh.ok_or_else(|| missing("sshCredential")).and_then(ssh),
            Kind::WinRmCredential => self.winrm.ok_or_else(|| missing("winRMCredential")).map(winrm),
        }
    }
}

fn missing(part: &str) -> Problem {
    Problem::new(code!("INPUT_MISSING"), format!("{part} is missing")).item(part)
}

fn text(text: EncryptedTextInput) -> Result<SecretChange, Problem> {
    if text.secret_reference.as_ref().is_some_and(|reference| !reference.is_empty()) {
        return Err(Problem::new(
            code!("SECRET_MANAGER_UNSUPPORTED"),
            "secretReference names a record of an external secret manager, and none is configured",
        )
        .hint("give a value instead"));
    }
    Ok(SecretChange {
        name: text.name,
        value: text.value.map(String::into_bytes),
        manager: text.secret_manager_id,
        scoped_to_account: text.scoped_to_account,
        inherit_scopes_from_sm: text.inherit_scopes_from_sm,
        usage_scope: text.usage_scope.map(|scope| scope.stored()),
        credential: None,
    })
}

fn ssh(ssh: SshCredentialInput) -> Result<SecretChange, Problem> {
    let credential = match (ssh.ssh_authentication, ssh.kerberos_authentication) {
        (Some(method), _) => Some(Credential::Ssh(ssh_method(method)?)),
        (None, Some(kerberos)) => Some(Credential::Other(json!({
            "port": kerberos.port, "principal": kerberos.principal, "realm": kerberos.realm,
            "keyTabFile": kerberos.tgt_generation_method.as_ref()
                .and_then(|method| Some(method.key_tab_file.as_ref()?.file_path.clone())),
            "passwordSecretId": kerberos.tgt_generation_method.as_ref()
                .and_then(|method| Some(method.kerberos_password.as_ref()?.password_secret_id.clone())),
        }))),
        (None, None) => None,
    };
    Ok(SecretChange {
        name: ssh.name,
        usage_scope: ssh.usage_scope.map(|scope| scope.stored()),
        credential,
        ..SecretChange::default()
    })
}

fn ssh_method(given: SshAuthenticationInput) -> Result<SshCredential, Problem> {
    let port = given
        .port
        .map(|port| {
            u16::try_from(port).ok().filter(|port| *port > 0).ok_or_else(|| {
                Problem::new(code!("INPUT_MISSING"), "port must lie between 1 and 65535")
                    .item(port.to_string())
            })
        })
        .transpose()?;
    let optional = |id: Option<String>| id.filter(|id| !id.is_empty()).map(SecretId::from);
    let method = given.ssh_authentication_method;
    let method = match method.ssh_credential_type {
        SshCredentialType::SshKey => {
            let key = method.inline_ssh_key.ok_or_else(|| missing("inlineSSHKey"))?;
            SshMethod::SshKey {
                key: key.ssh_key_secret_file_id.into(),
                passphrase: optional(key.passphrase_secret_id),
            }
        }
        SshCredentialType::SshKeyFilePath => {
            let file = method.ssh_key_file.ok_or_else(|| missing("sshKeyFile"))?;
            SshMethod::SshKeyFilePath { path: file.path, passphrase: optional(file.passphrase_secret_id) }
        }
        SshCredentialType::Password => {
            let password = method.server_password.ok_or_else(|| missing("serverPassword"))?;
            SshMethod::Password { password: password.password_secret_id.into() }
        }
    };
    Ok(SshCredential { user_name: given.user_name, port, method })
}

fn winrm(winrm: WinRmCredentialInput) -> SecretChange {
    SecretChange {
        name: winrm.name,
        usage_scope: winrm.usage_scope.map(|scope| scope.stored()),
        credential: Some(Credential::Other(json!({
            "domain": winrm.domain, "userName": winrm.user_name, "passwordSecretId": winrm.password_secret_id,
            "port": winrm.port, "useSSL": winrm.use_ssl, "skipCertCheck": winrm.skip_cert_check,
        }))),
        ..SecretChange::default()
    }
}

/// Which secret managers.
#[derive(InputObject, Clone, Debug)]
pub struct SecretManagerFilter {
    /// Secret manager.
    pub secret_manager: Option<super::filter::IdFilter>,
}
