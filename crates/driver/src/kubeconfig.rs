//! A kubeconfig for scripts on the delegate (`${HARNESS_KUBE_CONFIG_PATH}`, `behaviour.md` 12.2): the cluster and the namespace of the phase.

use std::path::Path;

use data_encoding::BASE64;
use manifold_model::cluster::is_pem;
use manifold_model::kubernetes::{ClusterAccess, ClusterSignIn};
use manifold_model::task::ScriptCluster;
use manifold_model::view::secret_name;
use manifold_model::{Failure, FailureClass, code, yaml};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::Resolver;

/// Variables of a script that name its kubeconfig.
pub const VARIABLES: [&str; 2] = ["HARNESS_KUBE_CONFIG_PATH", "KUBECONFIG"];

/// Where a cluster mounts the delegate's own service account.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The kubeconfig of a script: its text, written beside the script while that runs.
#[derive(Clone)]
pub struct Kubeconfig(pub Zeroizing<String>);

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
    Ok(Kubeconfig(text(&place, &user, &cluster.namespace)))
}

/// As the driver of clusters does it: the configured file, else the pod's service account, else the usual file.
fn of_delegate(cluster: &ScriptCluster, own: Option<&Path>) -> Result<Kubeconfig, Failure> {
    if let Some(path) = own {
        return of_file(cluster, path);
    }
    let account = Path::new(SERVICE_ACCOUNT);
    let (host, port) = (std::env::var("KUBERNETES_SERVICE_HOST"), std::env::var("KUBERNETES_SERVICE_PORT"));
    if let (true, Ok(host), Ok(port)) = (account.join("token").exists(), host, port) {
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        let place = json!({"server": format!("https://{host}:{port}"),
            "certificate-authority": account.join("ca.crt")});
        let user = json!({"tokenFile": account.join("token")});
        return Ok(Kubeconfig(text(&place, &user, &cluster.namespace)));
    }
    let named = std::env::var_os("KUBECONFIG")
        .and_then(|list| std::env::split_paths(&list).find(|path| path.is_file()));
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".kube/config"));
    let Some(path) = named.or_else(|| home().filter(|path| path.is_file())) else {
        let message = format!(
            "the cluster of {} is reached as the delegate does, and the delegate has no kubeconfig",
            cluster.target.name
        );
        return Err(Failure::new(FailureClass::Authentication, code!("KUBECONFIG_MISSING"), message)
            .hint("start the delegate with --kubeconfig FILE, or give the cloud provider a masterUrl"));
    };
    of_file(cluster, &path)
}

/// A kubeconfig file of the delegate's own, its current context in the namespace of the phase.
fn of_file(cluster: &ScriptCluster, path: &Path) -> Result<Kubeconfig, Failure> {
    let invalid = |what: String| {
        let message = format!("the delegate's own kubeconfig {} {what}", path.display());
        Failure::new(FailureClass::Authentication, code!("KUBECONFIG_INVALID"), message)
    };
    let bytes =
        Zeroizing::new(std::fs::read(path).map_err(|error| invalid(format!("cannot be read: {error}")))?);
    let read = yaml::parse(&path.to_string_lossy(), &bytes, &yaml::ENTITY_BUDGET)
        .map_err(|problem| invalid(format!("cannot be read: {}", problem.message)))?;
    let mut whole = read.root.to_json();
    let folder = std::path::absolute(path).ok().and_then(|path| path.parent().map(Path::to_owned));
    absolute(&mut whole, &folder.unwrap_or_default());
    let current = whole.get("current-context").and_then(Value::as_str).unwrap_or_default().to_owned();
    let context = items(&mut whole, "contexts")
        .find(|one| one.get("name").and_then(Value::as_str) == Some(&current))
        .and_then(|one| one.get_mut("context")?.as_object_mut());
    match context {
        Some(context) => context.insert("namespace".to_owned(), cluster.namespace.clone().into()),
        None => return Err(invalid(format!("has no context {current:?}, which is its current one"))),
    };
    Ok(Kubeconfig(Zeroizing::new(whole.to_string())))
}

/// Paths in a kubeconfig count from where it lies, and its copy lies elsewhere.
fn absolute(kubeconfig: &mut Value, folder: &Path) {
    const PATHS: [(&str, &str, &[&str]); 2] = [
        ("clusters", "cluster", &["certificate-authority"]),
        ("users", "user", &["client-certificate", "client-key", "tokenFile"]),
    ];
    let from = |path: &mut Value| {
        if let Value::String(path) = path
            && !path.is_empty()
        {
            *path = folder.join(&*path).to_string_lossy().into_owned();
        }
    };
    for (list, inner, keys) in PATHS {
        for one in items(kubeconfig, list).filter_map(|one| one.get_mut(inner)) {
            keys.iter().for_each(|key| one.get_mut(*key).into_iter().for_each(from));
            // A program is looked for in PATH unless its name is a path.
            let program = one.get_mut("exec").and_then(|exec| exec.get_mut("command"));
            program
                .filter(|name| name.as_str().is_some_and(|name| name.contains('/')))
                .into_iter()
                .for_each(from);
        }
    }
}

/// The items of a list under a key; none when it is no list.
fn items<'v>(value: &'v mut Value, key: &str) -> impl Iterator<Item = &'v mut Value> {
    value.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten()
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use manifold_model::kubernetes::ClusterTarget;

    use super::*;

    #[test]
    fn the_delegates_own_file_is_copied_with_the_namespace_of_the_phase() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        let target = ClusterTarget { name: "own".to_owned(), access: ClusterAccess::Delegate {} };
        let cluster = ScriptCluster { target, namespace: "shop".to_owned() };
        let of = |text: &str| {
            std::fs::write(&path, text).unwrap();
            of_file(&cluster, &path).map(|made| serde_json::from_str::<Value>(&made.0).unwrap())
        };
        let text = "current-context: b\ncontexts:\n- name: a\n  context: { namespace: other }\n- name: b\n  context: { cluster: c }\n\
                    clusters:\n- name: c\n  cluster: { certificate-authority: ca.pem }\nusers:\n- name: u\n  user:\n    tokenFile: /token\n    exec: { command: bin/sign }\n";
        let made = of(text).unwrap();
        let below = |name: &str| Value::from(folder.path().join(name).to_string_lossy().into_owned());
        assert_eq!(made.pointer("/contexts/0/context/namespace"), Some(&Value::from("other")));
        assert_eq!(made.pointer("/contexts/1/context"), Some(&json!({"cluster": "c", "namespace": "shop"})));
        assert_eq!(made.pointer("/clusters/0/cluster/certificate-authority"), Some(&below("ca.pem")));
        assert_eq!(made.pointer("/users/0/user/tokenFile"), Some(&Value::from("/token")));
        assert_eq!(made.pointer("/users/0/user/exec/command"), Some(&below("bin/sign")));
        for wrong in ["current-context: x\ncontexts: []\n", "a: [", ""] {
            assert_eq!(of(wrong).unwrap_err().code, code!("KUBECONFIG_INVALID"), "{wrong}");
        }
    }
}
