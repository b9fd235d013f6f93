//! What all trials share: hosts, a web server, and a store with the application in it, which every trial gets a copy of.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use manifold_cli::client::Client;
use manifold_store::scratch::Scratch;
use serde_json::{Value, json};

use super::life::{Home, Life, Start};
use super::pages::Pages;
use super::scene::{Ids, Scene};
use super::tree::{APPLICATION, CONSTRAINT, CREDENTIAL, FLEET, HOSTS, documents};
use crate::fleet::{self, Fleet};
use crate::folder;

/// The stage of all scenes.
pub struct Stage {
    /// Where trials have their folders.
    pub place: PathBuf,
    /// The web server.
    pub pages: Pages,
    /// Ids of what is started.
    pub ids: Ids,
    home: Home,
    databases: Option<Databases>,
}

/// Databases of the trials on a PostgreSQL server.
struct Databases {
    server: Scratch,
    /// Head of their names.
    head: String,
    made: Mutex<Vec<String>>,
}

impl Stage {
    /// Makes it: the fleet runs in this process until it ends.
    ///
    /// # Errors
    /// Something cannot be made; the application is refused.
    pub async fn make(place: &Path, database_url: Option<&str>) -> Result<Self> {
        let fleet = Fleet::start(&place.join("hosts"), &FLEET, HOSTS).await.context("start the fleet")?;
        let known_hosts = place.join("known_hosts");
        folder::private_file(&known_hosts, fleet.known_hosts.as_bytes()).context("write the known hosts")?;
        let pages = Pages::start().await?;
        let databases = match database_url {
            Some(url) => Some(Databases::on(url).await?),
            None => None,
        };
        let mut home = Home { folder: place.join("stage"), known_hosts, database: None };
        folder::private(&home.folder).context("make a folder")?;
        if let Some(databases) = &databases {
            home.database = Some(databases.create(STAGE, None).await?);
        }
        let stage = Self { place: place.to_owned(), pages, ids: Ids::default(), home, databases };
        match stage.prepared(&fleet).await {
            Ok(ids) => Ok(Self { ids, ..stage }),
            Err(error) => {
                stage.leave().await;
                Err(error)
            }
        }
    }

    /// Imports the application into the store that is copied; ids of what is started.
    async fn prepared(&self, fleet: &Fleet) -> Result<Ids> {
        let Start::Serving(life) = Life::start(&self.home, None).await? else {
            anyhow::bail!("the server died at its start");
        };
        let ids = prepare(&life.client, fleet).await.context("prepare the application")?;
        // In order, so that the whole store is in its file, and nobody is connected to it.
        life.stop().await?;
        Ok(ids)
    }

    /// A home of a trial's own: as if the application had just been imported.
    ///
    /// # Errors
    /// It cannot be made.
    pub async fn home(&self, name: &str) -> Result<Home> {
        let mut home = Home { folder: self.place.join(name), ..self.home.clone() };
        copy(&self.home.data(), &home.data()).with_context(|| format!("make {}", home.folder.display()))?;
        if let Some(databases) = &self.databases {
            home.database = Some(databases.create(name, Some(STAGE)).await?);
        }
        Ok(home)
    }

    /// The trial is over: its requests and its database are forgotten.
    pub async fn close(&self, name: &str) {
        self.pages.close(name);
        if let Some(databases) = &self.databases {
            databases.drop(&databases.name(name)).await;
        }
    }

    /// Nobody needs the databases any more.
    pub async fn leave(&self) {
        if let Some(databases) = &self.databases {
            let left: Vec<String> = databases.made().clone();
            for name in left {
                databases.drop(&name).await;
            }
        }
    }
}

/// Name of the store that is copied.
const STAGE: &str = "stage";

impl Databases {
    async fn on(url: &str) -> Result<Self> {
        let server = Scratch::connect(url).await.context("connect to PostgreSQL")?;
        let head = format!("manifold_verify_{}", std::process::id());
        Ok(Self { server, head, made: Mutex::default() })
    }

    fn name(&self, of: &str) -> String {
        format!("{}_{}", self.head, of.replace('-', "_"))
    }

    async fn create(&self, name: &str, copy_of: Option<&str>) -> Result<String> {
        let (name, copy_of) = (self.name(name), copy_of.map(|of| self.name(of)));
        self.made().push(name.clone());
        Ok(self.server.create(&name, copy_of.as_deref()).await?)
    }

    async fn drop(&self, name: &str) {
        match self.server.drop(name).await {
            Ok(()) => self.made().retain(|made| made != name),
            Err(error) => say!("the database {name} is left behind: {error}"),
        }
    }

    fn made(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Copies a folder that nobody writes to.
fn copy(from: &Path, to: &Path) -> Result<()> {
    folder::private(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

async fn prepare(client: &Client, fleet: &Fleet) -> Result<Ids> {
    const SECRET: &str = "mutation($i: CreateSecretInput!) { createSecret(input: $i) { secret { id } } }";
    const PERMITS: &str =
        "mutation($i: CreateResourceConstraintInput!) { createResourceConstraint(input: $i) {
        resourceConstraint { id } } }";
    let key = json!({ "secretType": "ENCRYPTED_TEXT",
        "encryptedText": { "name": format!("{CREDENTIAL}-key"), "value": fleet.user_key } });
    let made = client.graphql(SECRET, json!({ "i": key })).await?;
    let id = text(&made, "/createSecret/secret/id")?;
    let credential = json!({ "secretType": "SSH_CREDENTIAL", "sshCredential": {
        "name": CREDENTIAL, "authenticationScheme": "SSH",
        "sshAuthentication": { "userName": fleet::USER, "port": fleet.port, "sshAuthenticationMethod": {
            "sshCredentialType": "SSH_KEY", "inlineSSHKey": { "sshKeySecretFileId": id } } } } });
    client.graphql(SECRET, json!({ "i": credential })).await?;
    let (name, capacity) = CONSTRAINT;
    client.graphql(PERMITS, json!({ "i": { "name": name, "capacity": capacity } })).await?;
    manifold_cli::import::import(client, documents(fleet)).await?;
    ids(client).await
}

/// Ids of the application and of everything that is started.
async fn ids(client: &Client) -> Result<Ids> {
    let found = client
        .graphql("query($n: String!) { applicationByName(name: $n) { id } }", json!({ "n": APPLICATION }))
        .await?;
    let mut ids = Ids { application: text(&found, "/applicationByName/id")?, ..Ids::default() };
    for (kind, name) in Scene::entities() {
        let query = format!(
            "query($a: String!, $n: String!) {{ entity: {kind}ByName(applicationId: $a, {kind}Name: $n) {{ id }} }}"
        );
        let found = client.graphql(&query, json!({ "a": ids.application, "n": name })).await?;
        ids.entities.insert((kind, name), text(&found, "/entity/id")?);
    }
    Ok(ids)
}

fn text(value: &Value, pointer: &str) -> Result<String> {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found.map(str::to_owned).with_context(|| format!("no text at {pointer} in {value}"))
}
