//! Keys, certificates, tokens and configuration of a cluster, as files in its folder.

use std::path::Path;

use anyhow::{Context, Result};
use data_encoding::BASE64;

use super::Description;
use crate::certificates::{Authority, Purpose};

/// Name of the administrator.
pub const ADMINISTRATOR: &str = "administrator";

/// Writes what the programs are told by file.
pub fn write(description: &Description) -> Result<()> {
    let folder = &description.folder;
    let authority = Authority::new(&format!("authority of {}", description.name))?;
    put(folder, "ca.pem", authority.pem())?;
    let client = Purpose::Client { user: ADMINISTRATOR, group: "system:masters" };
    for (name, purpose) in [("server", Purpose::Server), ("client", client)] {
        let (certificate, key) = authority.sign(purpose)?;
        put(folder, &format!("{name}.pem"), &certificate)?;
        put(folder, &format!("{name}-key.pem"), &key)?;
    }
    let tokens = format!(
        "{},{ADMINISTRATOR},1,system:masters\n{},powerless,2\n",
        description.token, description.powerless
    );
    put(folder, "tokens.csv", &tokens)?;
    put(folder, "kubeconfig", &kubeconfig(description, authority.pem()))
}

fn kubeconfig(description: &Description, ca: &str) -> String {
    let Description { name, url, token, .. } = description;
    let ca = BASE64.encode(ca.as_bytes());
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: {name}\n\
         clusters:\n- name: {name}\n  cluster:\n    server: {url}\n    certificate-authority-data: {ca}\n\
         users:\n- name: {ADMINISTRATOR}\n  user:\n    token: {token}\n\
         contexts:\n- name: {name}\n  context:\n    cluster: {name}\n    user: {ADMINISTRATOR}\n"
    )
}

fn put(folder: &Path, name: &str, text: &str) -> Result<()> {
    std::fs::write(folder.join(name), text).with_context(|| format!("write {name}"))
}
