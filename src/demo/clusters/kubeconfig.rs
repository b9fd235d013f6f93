//! A kubeconfig file as `kubectl` writes it: the cluster of one context and who signs in there. What a server could not keep (programs that
//! fetch a token, proxies, impersonation) is refused, never passed over.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use manifold_model::{Problem, code};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

/// Bytes of a kubeconfig, or of a file that one names: far more than any holds.
const FILE_LIMIT: u64 = 1024 * 1024;
/// Nodes of a kubeconfig's YAML: a thousand clusters.
const NODE_LIMIT: usize = 50_000;

/// A cluster and who signs in to it.
pub struct Access {
    /// The file.
    pub file: PathBuf,
    /// The context in it.
    pub context: String,
    /// URL of the API server.
    pub server: String,
    /// Certificates that sign the server's, PEM; without any the system's authorities count.
    pub authority: Option<String>,
    /// Whether the server's certificate is taken unseen.
    pub insecure: bool,
    /// Who signs in.
    pub sign_in: SignIn,
}

/// Who signs in.
pub enum SignIn {
    /// By bearer token.
    Token(String),
    /// By client certificate and its key, PEM.
    Certificate { certificate: String, key: String },
    /// By HTTP Basic.
    Password { user: String, password: String },
    /// Nobody.
    Anonymous,
}

type Refusal = Box<Problem>;

/// Reads `FILE`, or `FILE#CONTEXT` for another context than the current one.
///
/// # Errors
/// `KUBECONFIG_INVALID` when it cannot be read, has no such context, or holds what cannot be kept; `KUBECONFIG_PLUGIN` when a program signs in.
pub fn read(argument: &str) -> Result<Access, Refusal> {
    let (file, context) = match argument.rsplit_once('#') {
        Some((file, context)) if !Path::new(argument).exists() => (file, Some(context)),
        _ => (argument, None),
    };
    let source = Source { file: Path::new(file) };
    let text = source.text(source.file)?;
    access(&source, &text, context)
}

fn access(source: &Source, text: &str, context: Option<&str>) -> Result<Access, Refusal> {
    let config: Kubeconfig = source.parse(text)?;
    let name = match context.or(config.current_context.as_deref()).filter(|name| !name.is_empty()) {
        Some(name) => name.to_owned(),
        None => return Err(source.invalid("it has no current context", &config.choose(source))),
    };
    let Some(context) = find(&config.contexts, &name).map(|found| &found.context) else {
        return Err(source.invalid(&format!("it has no context {name:?}"), &config.choose(source)));
    };
    let cluster_name = context.as_ref().and_then(|context| context.cluster.as_deref()).unwrap_or_default();
    let Some(cluster) = find(&config.clusters, cluster_name).and_then(|found| found.cluster.as_ref()) else {
        let what = format!("its context {name:?} names the cluster {cluster_name:?}, which is not there");
        return Err(source.invalid(&what, MEND));
    };
    let user_name = context.as_ref().and_then(|context| context.user.as_deref()).unwrap_or_default();
    let user = find(&config.users, user_name).map(|found| &found.user);
    if user.is_none() && !user_name.is_empty() {
        let what = format!("its context {name:?} names the user {user_name:?}, who is not there");
        return Err(source.invalid(&what, MEND));
    }
    let sign_in = match user.and_then(Option::as_ref) {
        Some(user) => user.sign_in(source, user_name)?,
        None => SignIn::Anonymous,
    };
    let server = cluster.server(source, cluster_name)?;
    Ok(Access {
        file: source.file.to_owned(),
        context: name,
        server,
        authority: cluster.authority(source)?,
        insecure: cluster.insecure_skip_tls_verify.unwrap_or_default(),
        sign_in,
    })
}

/// What to do about a file that says too little.
const MEND: &str = "mend the file; `kubectl --kubeconfig FILE get namespaces` must work with it";

/// A file, for messages and for the paths in it.
struct Source<'a> {
    file: &'a Path,
}

impl Source<'_> {
    fn invalid(&self, what: &str, hint: &str) -> Refusal {
        let message = format!("the kubeconfig {} cannot be used", self.file.display());
        Box::new(Problem::new(code!("KUBECONFIG_INVALID"), message).detail(what).hint(hint))
    }

    fn parse<T: DeserializeOwned>(&self, text: &str) -> Result<T, Refusal> {
        let options = serde_saphyr::options! {
            budget: serde_saphyr::budget! { max_nodes: NODE_LIMIT },
            with_snippet: false,
        };
        serde_saphyr::from_str_with_options(text, options)
            .map_err(|error| self.invalid(&format!("it is no kubeconfig: {error}"), MEND))
    }

    /// The text of a file; a relative path counts from the kubeconfig's folder.
    fn text(&self, path: &Path) -> Result<String, Refusal> {
        let path = match self.file.parent() {
            Some(folder) if path != self.file => folder.join(path),
            _ => path.to_owned(),
        };
        let unreadable = |error: String| {
            let what = format!("{} cannot be read: {error}", path.display());
            self.invalid(&what, "give a file that you may read")
        };
        let file = File::open(&path).map_err(|error| unreadable(error.to_string()))?;
        let mut text = String::new();
        let read = file.take(FILE_LIMIT + 1).read_to_string(&mut text);
        match read.map_err(|error| unreadable(error.to_string()))? {
            length if length as u64 > FILE_LIMIT => {
                Err(unreadable(format!("it has more than {FILE_LIMIT} bytes")))
            }
            _ => Ok(text),
        }
    }

    /// What stands in the file itself, else in the file that it names.
    fn embedded(
        &self,
        key: &str,
        data: Option<&String>,
        path: Option<&PathBuf>,
    ) -> Result<Option<String>, Refusal> {
        if let Some(data) = data.filter(|data| !data.is_empty()) {
            let packed: String = data.split_whitespace().collect();
            let bytes = BASE64.decode(packed.as_bytes()).map_err(|error| error.to_string());
            let text = bytes.and_then(|bytes| String::from_utf8(bytes).map_err(|error| error.to_string()));
            let refused =
                |error| self.invalid(&format!("its `{key}-data` is not base64 of a text: {error}"), MEND);
            return text.map(Some).map_err(refused);
        }
        path.filter(|path| !path.as_os_str().is_empty()).map(|path| self.text(path)).transpose()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Kubeconfig {
    current_context: Option<String>,
    contexts: Option<Vec<NamedContext>>,
    clusters: Option<Vec<NamedCluster>>,
    users: Option<Vec<NamedUser>>,
}

impl Kubeconfig {
    fn choose(&self, source: &Source) -> String {
        let contexts: Vec<&str> = self.contexts.iter().flatten().map(|named| named.name.as_str()).collect();
        let file = source.file.display();
        format!("name one as `--kubeconfig {file}#CONTEXT`; it has: {}", contexts.join(", "))
    }
}

/// An item of a list whose items have names.
trait Named {
    fn name(&self) -> &str;
}

fn find<'a, T: Named>(list: &'a Option<Vec<T>>, name: &str) -> Option<&'a T> {
    list.iter().flatten().find(|item| item.name() == name)
}

#[derive(Deserialize)]
struct NamedContext {
    name: String,
    context: Option<Context>,
}

#[derive(Deserialize)]
struct NamedCluster {
    name: String,
    cluster: Option<Cluster>,
}

#[derive(Deserialize)]
struct NamedUser {
    name: String,
    user: Option<User>,
}

impl Named for NamedContext {
    fn name(&self) -> &str {
        &self.name
    }
}

impl Named for NamedCluster {
    fn name(&self) -> &str {
        &self.name
    }
}

impl Named for NamedUser {
    fn name(&self) -> &str {
        &self.name
    }
}

#[derive(Deserialize)]
struct Context {
    cluster: Option<String>,
    user: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: Option<String>,
    certificate_authority: Option<PathBuf>,
    certificate_authority_data: Option<String>,
    insecure_skip_tls_verify: Option<bool>,
    tls_server_name: Option<String>,
    proxy_url: Option<String>,
}

impl Cluster {
    fn server(&self, source: &Source, name: &str) -> Result<String, Refusal> {
        let dropped = [("tls-server-name", &self.tls_server_name), ("proxy-url", &self.proxy_url)];
        let dropped = dropped.iter().find(|(_, value)| value.as_ref().is_some_and(|it| !it.is_empty()));
        if let Some((key, _)) = dropped {
            let what = format!("its cluster {name:?} has `{key}`, which a cloud provider cannot keep");
            return Err(source.invalid(&what, "give a cluster that is reached directly, by its own name"));
        }
        let server = self.server.clone().unwrap_or_default();
        if !server.starts_with("https://") && !server.starts_with("http://") {
            let what = match server.as_str() {
                "" => format!("its cluster {name:?} has no `server`"),
                other => format!("the `server` of its cluster {name:?} is no URL: {other:?}"),
            };
            return Err(source.invalid(&what, MEND));
        }
        Ok(server)
    }

    fn authority(&self, source: &Source) -> Result<Option<String>, Refusal> {
        let (data, path) = (self.certificate_authority_data.as_ref(), self.certificate_authority.as_ref());
        source.embedded("certificate-authority", data, path)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<PathBuf>,
    client_certificate: Option<PathBuf>,
    client_certificate_data: Option<String>,
    client_key: Option<PathBuf>,
    client_key_data: Option<String>,
    username: Option<String>,
    password: Option<String>,
    exec: Option<IgnoredAny>,
    auth_provider: Option<IgnoredAny>,
    #[serde(rename = "as")]
    impersonated: Option<String>,
}

impl User {
    /// Of several ways to sign in the first counts that an API server looks at: certificate, token, password.
    fn sign_in(&self, source: &Source, name: &str) -> Result<SignIn, Refusal> {
        self.check(source, name)?;
        let certificate = (self.client_certificate_data.as_ref(), self.client_certificate.as_ref());
        let key = (self.client_key_data.as_ref(), self.client_key.as_ref());
        let certificate = source.embedded("client-certificate", certificate.0, certificate.1)?;
        let key = source.embedded("client-key", key.0, key.1)?;
        let half = |has: &str, lacks: &str| {
            Err(source.invalid(&format!("its user {name:?} has a {has} and no {lacks}"), MEND))
        };
        match (certificate, key) {
            (Some(certificate), Some(key)) => return Ok(SignIn::Certificate { certificate, key }),
            (Some(_), None) => return half("client certificate", "client key"),
            (None, Some(_)) => return half("client key", "client certificate"),
            (None, None) => {}
        }
        if let Some(token) = self.token(source)? {
            return Ok(SignIn::Token(token));
        }
        let text = |value: &Option<String>| value.clone().filter(|text| !text.is_empty());
        match (text(&self.username), text(&self.password)) {
            (Some(user), Some(password)) => Ok(SignIn::Password { user, password }),
            (Some(_), None) => half("user name", "password"),
            (None, Some(_)) => half("password", "user name"),
            (None, None) => Ok(SignIn::Anonymous),
        }
    }

    /// A token file wins over a token, as for `kubectl`.
    fn token(&self, source: &Source) -> Result<Option<String>, Refusal> {
        let path = self.token_file.as_ref().filter(|path| !path.as_os_str().is_empty());
        let token = match path {
            Some(path) => Some(source.text(path)?),
            None => self.token.clone(),
        };
        Ok(token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty()))
    }

    fn check(&self, source: &Source, name: &str) -> Result<(), Refusal> {
        let plugin = match (&self.exec, &self.auth_provider) {
            (Some(_), _) => Some("an exec plugin"),
            (None, Some(_)) => Some("an auth-provider"),
            (None, None) => None,
        };
        if let Some(plugin) = plugin {
            let file = source.file.display();
            let message = format!("the user {name:?} of the kubeconfig {file} signs in by {plugin}");
            let problem = Problem::new(code!("KUBECONFIG_PLUGIN"), message);
            let problem =
                problem.detail("no configuration may make a server run a program for its credentials");
            return Err(Box::new(problem.hint(
                "make a service account token and a context that uses it: `manifold explain KUBECONFIG_PLUGIN` shows how",
            )));
        }
        match self.impersonated.as_deref().unwrap_or_default() {
            "" => Ok(()),
            other => {
                let what = format!("its user {name:?} acts as {other:?}, which a cloud provider cannot");
                Err(source.invalid(&what, "give a user who signs in as itself"))
            }
        }
    }
}

#[cfg(test)]
mod tests;
