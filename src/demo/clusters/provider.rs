//! A cloud provider from a kubeconfig: the document, and the secrets that it names.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::kubeconfig::SignIn;
use super::sites::Cluster;

/// A cloud provider with its secrets.
pub struct Provider {
    /// Its name.
    pub name: String,
    /// What the document says.
    pub keys: Map<String, Value>,
    /// Values of the secrets that it names.
    pub secrets: BTreeMap<String, String>,
}

impl Provider {
    /// The cloud provider of a cluster.
    pub fn new(cluster: &Cluster) -> Self {
        let access = &cluster.access;
        let mut provider = Self { name: cluster.name.clone(), keys: Map::new(), secrets: BTreeMap::new() };
        provider.set("masterUrl", &access.server);
        if let Some(authority) = &access.authority {
            provider.keep("caCert", "ca", authority);
        }
        if access.insecure {
            provider.keys.insert("insecureSkipTlsVerify".to_owned(), json!(true));
        }
        match &access.sign_in {
            SignIn::Token(token) => {
                provider.set("authType", "SERVICE_ACCOUNT");
                provider.keep("serviceAccountToken", "token", token);
            }
            SignIn::Certificate { certificate, key } => {
                provider.set("authType", "CLIENT_KEY_CERT");
                provider.keep("clientCert", "certificate", certificate);
                provider.keep("clientKey", "key", key);
            }
            SignIn::Password { user, password } => {
                provider.set("authType", "USER_PASSWORD");
                provider.set("username", user);
                provider.keep("password", "password", password);
            }
            SignIn::Anonymous => provider.set("authType", "NONE"),
        }
        provider
    }

    /// The document with its path in the tree.
    pub fn document(&self) -> (String, Vec<u8>) {
        let mut text = "harnessApiVersion: '1.0'\ntype: KUBERNETES_CLUSTER\n".to_owned();
        for (key, value) in &self.keys {
            // A JSON scalar is a YAML scalar.
            text.push_str(&format!("{key}: {value}\n"));
        }
        (format!("Setup/Cloud Providers/{}.yaml", self.name), text.into_bytes())
    }

    fn set(&mut self, key: &str, value: &str) {
        self.keys.insert(key.to_owned(), json!(value));
    }

    fn keep(&mut self, key: &str, secret: &str, value: &str) {
        let secret = format!("{}-{secret}", self.name);
        self.set(key, &format!("secretName:{secret}"));
        self.secrets.insert(secret, value.to_owned());
    }
}
