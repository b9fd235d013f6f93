//! The demonstration on clusters that somebody already has: a namespace of its own for each infrastructure, plain manifests, and a second release
//! whose image one of them cannot pull. The namespaces are removed whatever happens.

mod kubeconfig;
mod namespaces;
mod provider;
mod sites;
mod story;

use std::path::Path;

use anyhow::{Context, Result};
use manifold_cli::client::Client;
use serde_json::json;

use super::{DemoFlags, Ending, Interrupts, client, settings};
use crate::server::{self, Server};
use namespaces::Namespaces;
use provider::Provider;
use sites::Cluster;

/// A document of the tree with its path.
macro_rules! tree {
    ($path:literal) => {
        (
            concat!("Setup/Applications/Shop/", $path),
            include_str!(concat!("clusters/tree/Setup/Applications/Shop/", $path)),
        )
    };
}

/// The image of the cart: small, and to be had everywhere.
const IMAGE: &str = "busybox";
/// The configuration tree, but for cloud providers and infrastructure definitions: those name the clusters.
const TREE: &[(&str, &str)] = &[
    tree!("Index.yaml"),
    tree!("Services/cart/Index.yaml"),
    tree!("Services/cart/Artifact Servers/releases.yaml"),
    tree!("Services/cart/Manifests/Index.yaml"),
    tree!("Services/cart/Manifests/Files/templates/deployment.yaml"),
    tree!("Services/cart/Manifests/Files/templates/page.yaml"),
    tree!("Services/cart/Manifests/Files/templates/service.yaml"),
    tree!("Environments/production/Index.yaml"),
    tree!("Workflows/roll-cart.yaml"),
    tree!("Pipelines/ship.yaml"),
];
/// An infrastructure definition.
const INFRASTRUCTURE: &str = include_str!("clusters/tree/infrastructure.yaml");
/// Folder of the infrastructure definitions.
const DEFINITIONS: &str = "Setup/Applications/Shop/Environments/production/Infrastructure Definitions";

/// Makes the namespaces, deploys twice, serves on unless told otherwise, and removes them.
pub async fn demonstrate(flags: &DemoFlags) -> Result<Ending> {
    let (clusters, sites) = sites::read(&flags.kubeconfig)?;
    clusters.iter().for_each(warn);
    let providers: Vec<Provider> = clusters.iter().map(Provider::new).collect();
    let namespaces = Namespaces::new(clusters, &providers, sites)?;
    let place = tempfile::Builder::new().prefix("manifold-demo-").tempdir().context("make a folder")?;
    let mut interrupts = Interrupts::listen()?;
    let mut server = None;
    let mut ending = tokio::select! {
        as_told = play(flags, &providers, &namespaces, place.path(), &mut server) => as_told.map(Ending::told),
        () = interrupts.next() => Ok(Ending::Interrupted),
    };
    if let (Some(server), Ok(Ending::AsTold | Ending::NotAsTold), false) = (&mut server, &ending, flags.once)
    {
        tokio::select! {
            ended = server.ended() => ending = ended.and(ending),
            () = interrupts.next() => {}
        }
    }
    if let Some(server) = server {
        server.stop().await;
    }
    let removed = tokio::select! {
        removed = namespaces.remove() => removed,
        () = interrupts.next() => {
            namespaces.tell_all_left("interrupted; it may be going already");
            false
        }
    };
    match ending {
        Ok(Ending::AsTold) if !removed => Ok(Ending::NotAsTold),
        ending => ending,
    }
}

/// Makes the namespaces, starts a server, deploys twice; whether all went as told.
async fn play(
    flags: &DemoFlags,
    providers: &[Provider],
    namespaces: &Namespaces,
    place: &Path,
    server: &mut Option<Server>,
) -> Result<bool> {
    namespaces.make().await?;
    let settings = settings(flags, place, Vec::new())?;
    let server = server.insert(server::start(settings).await.context("start the server")?);
    say!("the server listens on http://{}", server.address);
    let as_told = deploy(server, providers, namespaces).await?;
    say!("{}", if as_told { "\nall went as told" } else { "\nnot all went as told" });
    if !flags.once {
        where_to_look(server, namespaces);
    }
    Ok(as_told)
}

fn warn(cluster: &Cluster) {
    if cluster.access.insecure {
        let (name, server) = (&cluster.name, &cluster.access.server);
        eprintln!(
            "warning: {name}: the certificate of {server} is not looked at, as the kubeconfig says (insecure-skip-tls-verify)"
        );
    }
}

/// Secrets, configuration, and the two deployments.
async fn deploy(server: &Server, providers: &[Provider], namespaces: &Namespaces) -> Result<bool> {
    let client = client(server)?;
    for (name, value) in providers.iter().flat_map(|provider| &provider.secrets) {
        make_secret(&client, name, value).await.with_context(|| format!("make the secret {name}"))?;
    }
    let files = documents(providers, namespaces);
    let report = manifold_cli::import::import(&client, files).await.context("import the application")?;
    say!("{} documents of the application Shop are imported", report.written);
    story::tell(&client, namespaces).await
}

async fn make_secret(client: &Client, name: &str, value: &str) -> Result<()> {
    const CREATE: &str =
        "mutation($input: CreateSecretInput!) { createSecret(input: $input) { secret { id } } }";
    let text = json!({ "secretType": "ENCRYPTED_TEXT", "encryptedText": { "name": name, "value": value } });
    client.graphql(CREATE, json!({ "input": text })).await?;
    Ok(())
}

fn documents(providers: &[Provider], namespaces: &Namespaces) -> Vec<(String, Vec<u8>)> {
    let sites = &namespaces.sites;
    let name = |site: Option<&sites::Site>| site.map(|site| site.name.clone()).unwrap_or_default();
    let (first, laggard) = (name(sites.first()), name(sites.last()));
    let filled = |text: &str| text.replace("{{first}}", &first).replace("{{laggard}}", &laggard);
    let mut files: Vec<(String, Vec<u8>)> =
        TREE.iter().map(|(path, text)| ((*path).to_owned(), filled(text).into_bytes())).collect();
    files.extend(providers.iter().map(Provider::document));
    for site in sites {
        let provider = providers.get(site.cluster).map(|provider| provider.name.as_str()).unwrap_or_default();
        let text = INFRASTRUCTURE.replace("{{cluster}}", provider).replace("{{namespace}}", &site.namespace);
        files.push((format!("{DEFINITIONS}/{}.yaml", site.name), text.into_bytes()));
    }
    files
}

/// Says where to look at what happened.
fn where_to_look(server: &Server, namespaces: &Namespaces) {
    let names: Vec<&str> = namespaces.sites.iter().map(|site| site.name.as_str()).collect();
    super::where_to_look(server, &names);
    say!("\nand at the clusters:\n");
    for site in &namespaces.sites {
        say!("  {} get deployments,pods,configmaps", namespaces.kubectl(site));
    }
    say!("\nCtrl-C ends it and removes the namespaces.");
}
