//! The history of a release in the cluster: read and written with optimistic concurrency, keys of others in its `ConfigMap` untouched.

use manifold_model::{Failure, FailureClass, code};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::cluster::{Cluster, pause_after};
use crate::history::{HISTORY_KEY, History, HistoryError};
use crate::label::RELEASE;
use crate::limits::WRITE_TRIES;
use crate::object::{Object, Resource};
use crate::trouble::Trouble;

/// Where the history of a release is.
#[derive(Clone, Debug)]
pub struct Place {
    resource: Resource,
}

impl Place {
    /// The `ConfigMap` that is named as the release, in its namespace.
    #[must_use]
    pub fn of(namespace: &str, release: &str) -> Self {
        Self {
            resource: Resource {
                api_version: "v1".to_owned(),
                kind: "ConfigMap".to_owned(),
                namespace: Some(namespace.to_owned()),
                name: release.to_owned(),
            },
        }
    }

    /// The `ConfigMap`.
    #[must_use]
    pub fn resource(&self) -> &Resource {
        &self.resource
    }
}

/// The history as it was when it was looked at, and the `ConfigMap` that it is in.
#[derive(Debug)]
pub struct Seen {
    history: History,
    found: Option<Object>,
}

impl Seen {
    /// The history.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.history
    }
}

/// The history as it is now, to be changed soon.
///
/// # Errors
/// The cluster cannot be asked, or what is there is no history.
pub async fn look(cluster: &Cluster, place: &Place) -> Result<Seen, Failure> {
    let found = cluster.get(&place.resource).await?;
    Ok(Seen { history: decode(found.as_ref(), place)?, found })
}

/// The history as it is now.
///
/// # Errors
/// As [`look`].
pub async fn read(cluster: &Cluster, place: &Place) -> Result<History, Failure> {
    Ok(look(cluster, place).await?.history)
}

/// Changes the history: `change` gets it as it is, again when somebody else wrote meanwhile, and says whether there is something to write.
///
/// # Errors
/// As [`read`]; what `change` says; others write all the time.
pub async fn update<T>(
    cluster: &Cluster,
    place: &Place,
    change: impl Fn(&mut History) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let seen = look(cluster, place).await?;
    update_seen(cluster, place, seen, change).await
}

/// Changes the history as [`update`], which was looked at before: it is looked at again only when somebody else wrote since.
///
/// # Errors
/// As [`update`].
pub async fn update_seen<T>(
    cluster: &Cluster,
    place: &Place,
    seen: Seen,
    change: impl Fn(&mut History) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut seen = seen;
    for tries in 1..=WRITE_TRIES {
        let Seen { mut history, found } = seen;
        let before = history.clone();
        let result = change(&mut history)?;
        if history == before {
            return Ok(result);
        }
        let text = history.encode().map_err(|error| unusable(place, &error))?;
        let written = match found {
            Some(object) => cluster.replace(&with(object, text)).await,
            None => cluster.create(&fresh(place, text)).await,
        };
        match written {
            Ok(_) => return Ok(result),
            // Changed by somebody, or deleted meanwhile.
            Err(Trouble::Status(status)) if matches!(status.code, 404 | 409) => {
                sleep(pause_after(tries)).await;
                seen = look(cluster, place).await?;
            }
            Err(trouble) => {
                return Err(cluster.explain(trouble, &format!("write the history {}", place.resource)));
            }
        }
    }
    Err(Failure::new(
        FailureClass::Application,
        code!("K8S_HISTORY_BUSY"),
        format!("others write the history {} all the time", place.resource),
    )
    .hint("make sure that no other deployment uses the same release name"))
}

fn decode(found: Option<&Object>, place: &Place) -> Result<History, Failure> {
    let text = found.and_then(|object| object.at(&["data", HISTORY_KEY])).and_then(Value::as_str);
    History::decode(text).map_err(|error| unusable(place, &error))
}

fn with(mut object: Object, text: String) -> Object {
    object.mapping(&["data"]).insert(HISTORY_KEY.to_owned(), Value::from(text));
    object
}

fn fresh(place: &Place, text: String) -> Object {
    let Resource { api_version, kind, namespace, name } = &place.resource;
    Object(json!({
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace, "labels": {RELEASE: name}},
        "data": {HISTORY_KEY: text},
    }))
}

fn unusable(place: &Place, error: &HistoryError) -> Failure {
    Failure::new(
        FailureClass::Application,
        code!("K8S_HISTORY_UNUSABLE"),
        format!("the history of the release, {}, cannot be used: {error}", place.resource),
    )
    .hint("upgrade the delegate when a newer one wrote it; else delete the key `history` of the ConfigMap: rollback then knows no earlier release")
}
