//! How a cluster is reached, from the keys of a cloud provider `KUBERNETES_CLUSTER` and of an infrastructure item (`behaviour.md` 5.4,
//! `wire.md` 4.4). Plan and engine ask here, so that what a start accepts is what a task gets.

use std::fmt;

use serde_json::{Map, Value};

use crate::kubernetes::{ClusterAccess, ClusterSignIn};

/// `type` of the cloud provider that stands for a cluster.
pub const PROVIDER: &str = "KUBERNETES_CLUSTER";
/// Type of the infrastructure item that lies on one.
pub const ITEM: &str = "DIRECT_KUBERNETES";
/// Key of the API server.
const URL: &str = "masterUrl";
/// How PEM text begins.
const PEM: &str = "-----BEGIN";

/// Why nobody can sign in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AccessFault {
    /// There is no URL, and the delegate's own access is not asked for.
    NoUrl,
    /// What is needed to sign in is missing: these keys.
    NoSignIn(&'static str),
    /// A way that is not known here.
    Unsupported(String),
}

impl fmt::Display for AccessFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoUrl => f.write_str("it has no masterUrl and does not set useKubernetesDelegate"),
            Self::NoSignIn(keys) => write!(f, "it has no {keys}"),
            Self::Unsupported(way) => {
                write!(f, "it signs in by {way}, which cannot be done yet")
            }
        }
    }
}

/// The keys that count, those of the item before those of the provider. An item with an API server of its own (as service infrastructures of
/// old trees have) gets nothing from the provider: credentials go to their own server only.
struct Keys<'k> {
    item: &'k Map<String, Value>,
    provider: Option<&'k Map<String, Value>>,
}

impl<'k> Keys<'k> {
    fn text(&self, key: &str) -> Option<&'k str> {
        text(self.item, key).or_else(|| text(self.provider?, key))
    }

    fn owned(&self, key: &str) -> Option<String> {
        self.text(key).map(str::to_owned)
    }

    fn flag(&self, key: &str) -> bool {
        flag(self.item, key).or_else(|| flag(self.provider?, key)).unwrap_or(false)
    }
}

/// How the cluster of an infrastructure item is reached. Without `authType`, or with `NONE`, what is set decides: a token, then a certificate,
/// then a password.
///
/// # Errors
/// Something without which nobody can sign in is missing, or the way is not known.
pub fn access(
    provider: &Map<String, Value>,
    item: &Map<String, Value>,
) -> Result<ClusterAccess, AccessFault> {
    let keys = Keys { item, provider: text(item, URL).is_none().then_some(provider) };
    let url = keys.owned(URL);
    if keys.flag("useKubernetesDelegate") && text(item, URL).is_none() {
        return Ok(ClusterAccess::Delegate {});
    }
    let url = url.ok_or(AccessFault::NoUrl)?;
    let sign_in = sign_in(&keys)?;
    Ok(ClusterAccess::Url {
        url,
        ca: keys.owned("caCert"),
        sign_in,
        insecure: keys.flag("insecureSkipTlsVerify"),
    })
}

fn sign_in(keys: &Keys<'_>) -> Result<ClusterSignIn, AccessFault> {
    let kind = keys.text("authType").unwrap_or_default().to_ascii_uppercase();
    match kind.as_str() {
        "SERVICE_ACCOUNT" => token(keys).ok_or(AccessFault::NoSignIn("serviceAccountToken")),
        "USER_PASSWORD" => password(keys).ok_or(AccessFault::NoSignIn("username and password")),
        "CLIENT_KEY_CERT" => certificate(keys).ok_or(AccessFault::NoSignIn("clientCert and clientKey")),
        "" | "NONE" => match token(keys).or_else(|| certificate(keys)).or_else(|| password(keys)) {
            Some(sign_in) => Ok(sign_in),
            None if kind == "NONE" => Ok(ClusterSignIn::Anonymous {}),
            None => Err(AccessFault::NoSignIn(
                "serviceAccountToken, no clientCert with clientKey and no username with password",
            )),
        },
        _ => Err(AccessFault::Unsupported(kind)),
    }
}

fn token(keys: &Keys<'_>) -> Option<ClusterSignIn> {
    Some(ClusterSignIn::Token { token: keys.owned("serviceAccountToken")? })
}

fn password(keys: &Keys<'_>) -> Option<ClusterSignIn> {
    let encrypted = keys.flag("useEncryptedUsername");
    let (user, user_is_secret) = match (keys.owned("usernameSecretId"), keys.owned("username")) {
        (Some(secret), _) if encrypted || keys.text("username").is_none() => (secret, true),
        (_, Some(name)) => (name, encrypted),
        (secret, None) => (secret?, true),
    };
    Some(ClusterSignIn::Password { user, user_is_secret, password: keys.owned("password")? })
}

fn certificate(keys: &Keys<'_>) -> Option<ClusterSignIn> {
    Some(ClusterSignIn::Certificate {
        certificate: keys.owned("clientCert")?,
        key: keys.owned("clientKey")?,
        passphrase: keys.owned("clientKeyPassPhrase").or_else(|| keys.owned("clientKeyPassphrase")),
    })
}

impl ClusterAccess {
    /// The references to secrets in it, as configuration writes them ([`crate::view::secret_name`]).
    #[must_use]
    pub fn secrets(&self) -> Vec<&str> {
        let Self::Url { ca, sign_in, .. } = self else { return Vec::new() };
        let mut found: Vec<&str> = ca.as_deref().filter(|text| !is_pem(text)).into_iter().collect();
        match sign_in {
            ClusterSignIn::Token { token } => found.push(token),
            ClusterSignIn::Password { user, user_is_secret, password } => {
                found.extend(user_is_secret.then_some(user.as_str()));
                found.push(password);
            }
            ClusterSignIn::Certificate { certificate, key, passphrase } => {
                found.extend(Some(certificate.as_str()).filter(|text| !is_pem(text)));
                found.extend(Some(key.as_str()).filter(|text| !is_pem(text)));
                found.extend(passphrase.as_deref());
            }
            ClusterSignIn::Anonymous {} => {}
        }
        found
    }
}

/// Selectors of the delegate that reaches the cluster: `delegateSelectors`, and `delegateName` for a cluster that only its delegate reaches.
#[must_use]
pub fn selectors(provider: &Map<String, Value>, access: &ClusterAccess) -> Vec<String> {
    let mut found = Vec::new();
    if matches!(access, ClusterAccess::Delegate {}) {
        found.extend(text(provider, "delegateName").map(str::to_owned));
    }
    let split = |text: &str| {
        text.split(',').map(str::trim).filter(|one| !one.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    match provider.get("delegateSelectors") {
        Some(Value::Array(items)) => found.extend(items.iter().filter_map(Value::as_str).flat_map(split)),
        Some(Value::String(text)) => found.extend(split(text)),
        _ => {}
    }
    found.dedup();
    found
}

/// Whether a text is PEM itself, not a reference to a secret that holds it.
#[must_use]
pub fn is_pem(text: &str) -> bool {
    text.contains(PEM)
}

fn text<'m>(map: &'m Map<String, Value>, key: &str) -> Option<&'m str> {
    map.get(key).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty())
}

fn flag(map: &Map<String, Value>, key: &str) -> Option<bool> {
    match map.get(key)? {
        Value::Bool(flag) => Some(*flag),
        Value::String(text) => text.trim().to_ascii_lowercase().parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
    use serde_json::json;

    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn way(provider: Value, item: Value) -> String {
        match access(&map(provider), &map(item)) {
            Ok(ClusterAccess::Delegate {}) => "delegate".to_owned(),
            Ok(ClusterAccess::Url { url, sign_in, .. }) => {
                let how = match sign_in {
                    ClusterSignIn::Token { token } => format!("token {token}"),
                    ClusterSignIn::Password { user, user_is_secret, password } => {
                        format!("{}{user}/{password}", if user_is_secret { "secret " } else { "" })
                    }
                    ClusterSignIn::Certificate { certificate, key, passphrase } => {
                        format!("{certificate}+{key}+{}", passphrase.unwrap_or_default())
                    }
                    ClusterSignIn::Anonymous {} => "nobody".to_owned(),
                };
                format!("{url} as {how}")
            }
            Err(fault) => fault.to_string(),
        }
    }

    #[test]
    fn ways_into_a_cluster() {
        let token = json!({"masterUrl": "u", "serviceAccountToken": "safeharness:t", "username": "n", "password": "p"});
        for (provider, item, expected) in [
            (json!({"useKubernetesDelegate": true}), json!({}), "delegate"),
            (json!({"useKubernetesDelegate": "true", "masterUrl": "u"}), json!({}), "delegate"),
            (json!({}), json!({}), "it has no masterUrl and does not set useKubernetesDelegate"),
            (token.clone(), json!({}), "u as token safeharness:t"),
            (
                json!({"masterUrl": "u", "authType": "USER_PASSWORD", "serviceAccountToken": "t",
                "username": "n", "password": "p"}),
                json!({}),
                "u as n/p",
            ),
            (
                json!({"masterUrl": "u", "username": "n", "password": "p"}),
                json!({"password": "q"}),
                "u as n/q",
            ),
            (
                json!({"masterUrl": "u", "usernameSecretId": "n", "password": "p"}),
                json!({}),
                "u as secret n/p",
            ),
            (
                json!({"masterUrl": "u", "username": "n", "useEncryptedUsername": true, "password": "p"}),
                json!({}),
                "u as secret n/p",
            ),
            (
                json!({"masterUrl": "u", "clientCert": "c", "clientKey": "k", "clientKeyPassphrase": "s"}),
                json!({}),
                "u as c+k+s",
            ),
            (json!({"masterUrl": "u", "authType": "NONE"}), json!({}), "u as nobody"),
            (
                json!({"masterUrl": "u", "authType": "SERVICE_ACCOUNT"}),
                json!({}),
                "it has no serviceAccountToken",
            ),
            (
                json!({"masterUrl": "u", "authType": "OIDC"}),
                json!({}),
                "it signs in by OIDC, which cannot be done yet",
            ),
            (
                json!({"masterUrl": "u"}),
                json!({}),
                "it has no serviceAccountToken, no clientCert with clientKey and no username with password",
            ),
            (token, json!({"masterUrl": "own", "username": "a", "password": "b"}), "own as a/b"),
            (
                json!({"masterUrl": "u", "serviceAccountToken": "t"}),
                json!({"masterUrl": "own"}),
                "it has no serviceAccountToken, no clientCert with clientKey and no username with password",
            ),
        ] {
            assert_eq!(way(provider.clone(), item.clone()), expected, "{provider} {item}");
        }
    }

    #[test]
    fn selectors_and_secrets() {
        let provider =
            map(json!({"useKubernetesDelegate": true, "delegateName": "d", "delegateSelectors": ["a", "b"]}));
        let delegate = access(&provider, &Map::new()).unwrap();
        assert_eq!(selectors(&provider, &delegate), ["d", "a", "b"]);
        let provider = map(json!({"masterUrl": "u", "delegateName": "d", "delegateSelectors": "a, b",
            "caCert": "secretName:ca", "clientCert": "-----BEGIN CERTIFICATE-----", "clientKey": "vault:key"}));
        let manual = access(&provider, &Map::new()).unwrap();
        assert_eq!(selectors(&provider, &manual), ["a", "b"]);
        let names: Vec<&str> = manual.secrets().into_iter().map(crate::view::secret_name).collect();
        assert_eq!(names, ["ca", "key"]);
    }
}
