//! A kubeconfig for scripts on the delegate (`${HARNESS_KUBE_CONFIG_PATH}`, `behaviour.md` 12.2): the cluster and the namespace of the phase.

use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use manifold_model::cluster::is_pem;
use manifold_model::kubernetes::{ClusterAccess, ClusterSignIn};
use manifold_model::task::ScriptCluster;
use manifold_model::view::secret_name;
use manifold_model::{Failure, FailureClass, code};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::Resolver;

/// Variables of a script that name its kubeconfig.
pub const VARIABLES: [&str; 2] = ["HARNESS_KUBE_CONFIG_PATH", "KUBECONFIG"];

/// Where a cluster mounts the delegate's own service account.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The kubeconfig of a script.
#[derive(Clone)]
pub enum Kubeconfig {
    /// A file of the delegate's own.
    At(PathBuf),
    /// Written beside the script while it runs.
    Text(Zeroizing<String>),
}

/// The kubeconfig of a cluster. `own`: that of the delegate, as configured.
///
/// # Errors
/// A credential cannot be opened, or a kubeconfig cannot hold it.
pub async fn of(
    cluster: &ScriptCluster,
    own: Option<&Path>,
    resolver: &dyn Resolver,
) -> Result<Kubeconfig, Failure> {
    let (url, ca, sign_in, insecure) = match &cluster.target.access {
        ClusterAccess::Delegate {} => return of_delegate(cluster, own),
        ClusterAccess::Url { url, ca, sign_in, insecure } => (url, ca, sign_in, *insecure),
    };
    let mut place = serde_json::Map::from_iter([("server".to_owned(), url.trim().into())]);
    match ca {
        // The two exclude each other.
        _ if insecure => drop(place.insert("insecure-skip-tls-verify".to_owned(), true.into())),
        Some(ca) => {
            let ca = BASE64.encode(opened(ca, resolver).await?.as_bytes());
            place.insert("certificate-authority-data".to_owned(), ca.into());
        }
        None => {}
    }
    let place = Value::Object(place);
    let user = match sign_in {
        ClusterSignIn::Token { token } => json!({"token": opened(token, resolver).await?.trim()}),
        ClusterSignIn::Password { user, user_is_secret, password } => {
            let user =
                if *user_is_secret { opened(user, resolver).await? } else { Zeroizing::new(user.clone()) };
            json!({"username": user.trim(), "password": opened(password, resolver).await?.as_str()})
        }
        ClusterSignIn::Certificate { certificate, key, passphrase } => {
            if passphrase.is_some() {
                return Err(encrypted(&cluster.target.name));
            }
            let (certificate, key) = (opened(certificate, resolver).await?, opened(key, resolver).await?);
            json!({"client-certificate-data": BASE64.encode(certificate.as_bytes()),
                "client-key-data": BASE64.encode(key.as_bytes())})
        }
        ClusterSignIn::Anonymous {} => json!({}),
    };
    Ok(Kubeconfig::Text(text(&place, &user, &cluster.namespace)))
}

/// As the driver of clusters does it: the configured file, else the pod's service account, else the usual file.
fn of_delegate(cluster: &ScriptCluster, own: Option<&Path>) -> Result<Kubeconfig, Failure> {
    if let Some(path) = own {
        return Ok(Kubeconfig::At(path.to_owned()));
    }
    let account = Path::new(SERVICE_ACCOUNT);
    let (host, port) = (std::env::var("KUBERNETES_SERVICE_HOST"), std::env::var("KUBERNETES_SERVICE_PORT"));
    if let (true, Ok(host), Ok(port)) = (account.join("token").exists(), host, port) {
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        let place = json!({"server": format!("https://{host}:{port}"),
            "certificate-authority": account.join("ca.crt")});
        let user = json!({"tokenFile": account.join("token")});
        return Ok(Kubeconfig::Text(text(&place, &user, &cluster.namespace)));
    }
    let named = std::env::var_os("KUBECONFIG")
        .and_then(|list| std::env::split_paths(&list).find(|path| path.is_file()));
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".kube/config"));
    named.or_else(|| home().filter(|path| path.is_file())).map(Kubeconfig::At).ok_or_else(|| {
        let message = format!(
            "the cluster of {} is reached as the delegate does, and the delegate has no kubeconfig",
            cluster.target.name
        );
        Failure::new(FailureClass::Authentication, code!("KUBECONFIG_MISSING"), message)
            .hint("start the delegate with --kubeconfig FILE, or give the cloud provider a masterUrl")
    })
}

fn text(place: &Value, user: &Value, namespace: &str) -> Zeroizing<String> {
    const NAME: &str = "manifold";
    let whole = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": NAME, "cluster": place}],
        "users": [{"name": NAME, "user": user}],
        "contexts": [{"name": NAME, "context": {"cluster": NAME, "user": NAME, "namespace": namespace}}],
        "current-context": NAME,
    });
    // JSON is YAML.
    Zeroizing::new(whole.to_string())
}

/// PEM as it stands, everything else as the secret that it names.
async fn opened(reference: &str, resolver: &dyn Resolver) -> Result<Zeroizing<String>, Failure> {
    if is_pem(reference) {
        return Ok(Zeroizing::new(reference.to_owned()));
    }
    Ok(resolver.secret(secret_name(reference)).await?.expose_text())
}

fn encrypted(name: &str) -> Failure {
    let message = format!("the client key of {name} has a passphrase, and a kubeconfig cannot hold one");
    Failure::new(FailureClass::Authentication, code!("KUBECONFIG_MISSING"), message)
        .hint("store the key without a passphrase, as a secret")
}
