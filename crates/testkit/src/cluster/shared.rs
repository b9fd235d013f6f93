//! Clusters that all tests share: those of the test run, else those of this process.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};

use super::{Cluster, Description};

/// Names the file that describes the clusters of a test run.
pub const DESCRIPTIONS: &str = "MANIFOLD_TEST_CLUSTERS";

/// The first one; the second is [`pair`]'s.
const EAST: &str = "east";
const WEST: &str = "west";

/// A cluster that this process has, by place.
type Place = Mutex<Option<Arc<Cluster>>>;
static EAST_IS: Place = Mutex::new(None);
static WEST_IS: Place = Mutex::new(None);

/// The clusters `east` and `west`: those of the test run, or started now and kept as long as the process lives.
///
/// # Errors
/// One does not start.
pub fn pair() -> Result<(Arc<Cluster>, Arc<Cluster>)> {
    std::thread::scope(|scope| {
        let west = scope.spawn(|| shared(WEST, &WEST_IS));
        let east = shared(EAST, &EAST_IS);
        let west = west.join().map_err(|_| anyhow::anyhow!("the start of {WEST} has panicked"))?;
        Ok((east?, west?))
    })
}

/// The cluster `east` of [`pair`] alone.
///
/// # Errors
/// It does not start.
pub fn one() -> Result<Arc<Cluster>> {
    shared(EAST, &EAST_IS)
}

fn shared(name: &str, place: &Place) -> Result<Arc<Cluster>> {
    let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(cluster) = place.as_ref() {
        return Ok(Arc::clone(cluster));
    }
    let cluster = match std::env::var_os(DESCRIPTIONS) {
        Some(file) => attach(name, Path::new(&file))?,
        None => Cluster::start(name)?,
    };
    let cluster = Arc::new(cluster);
    *place = Some(Arc::clone(&cluster));
    Ok(cluster)
}

fn attach(name: &str, file: &Path) -> Result<Cluster> {
    let text = std::fs::read(file).with_context(|| format!("read {}", file.display()))?;
    let descriptions: Vec<Description> = serde_json::from_slice(&text)?;
    let found = descriptions.into_iter().find(|description| description.name == name);
    let description = found.with_context(|| format!("the test run has no cluster {name}"))?;
    Ok(Cluster { description, _parts: None })
}

/// Writes the file for [`DESCRIPTIONS`] into the folder of the first cluster; its path.
///
/// # Errors
/// It cannot be written.
pub fn describe(clusters: &[&Cluster]) -> Result<PathBuf> {
    let descriptions: Vec<&Description> = clusters.iter().map(|cluster| &cluster.description).collect();
    let folder = &descriptions.first().context("no cluster")?.folder;
    let file = folder.join("clusters.json");
    std::fs::write(&file, serde_json::to_vec(&descriptions)?)?;
    Ok(file)
}
