//! Who may use whom (`docs/architecture.md`). Development dependencies are free.

use std::path::Path;

use anyhow::{Context, Result};
use toml::{Table, Value};

/// Crate → crates that it may use; all may use `model`.
const EDGES: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("expression", &[]),
    ("plan", &["expression"]),
    ("engine", &["expression"]),
    ("store", &[]),
    ("link", &[]),
    ("driver", &[]),
    ("secrets", &[]),
    ("drivers/http", &["driver"]),
    ("drivers/kubernetes", &["driver"]),
    ("drivers/script", &["driver"]),
    ("drivers/ssh", &["driver"]),
    (
        "delegate",
        &[
            "link",
            "driver",
            "driver-artifact",
            "driver-http",
            "driver-kubernetes",
            "driver-script",
            "driver-ssh",
            "expression",
            "secrets",
        ],
    ),
    ("control", &["plan", "store", "secrets", "expression"]),
    ("runtime", &["engine", "store", "link", "control"]),
    ("api", &["control"]),
    ("cli", &[]),
    ("testkit", &[]),
    ("sim", &["control", "delegate", "driver", "engine", "link", "runtime", "secrets", "store"]),
];

/// Complaints about edges that are not in the table.
pub fn check(root: &Path) -> Result<Vec<String>> {
    let mut complaints = Vec::new();
    for (name, allowed) in EDGES {
        let path = root.join("crates").join(name).join("Cargo.toml");
        if !path.exists() {
            continue;
        }
        for used in uses(&path)? {
            if used != "model" && !allowed.contains(&used.as_str()) {
                complaints.push(format!("crates/{name} uses {used}, which the edges do not allow"));
            }
        }
    }
    complaints.extend(strangers(root)?);
    Ok(complaints)
}

/// Crates of the workspace that another crate's manifest names under `[dependencies]`.
fn uses(manifest: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(manifest).with_context(|| format!("read {}", manifest.display()))?;
    let manifest: Table = text.parse().with_context(|| format!("parse {}", manifest.display()))?;
    let dependencies = manifest.get("dependencies").and_then(Value::as_table);
    Ok(dependencies
        .into_iter()
        .flat_map(Table::keys)
        .filter_map(|name| name.strip_prefix("manifold-"))
        .map(str::to_owned)
        .collect())
}

/// Crates that the table does not know.
fn strangers(root: &Path) -> Result<Vec<String>> {
    let mut complaints = Vec::new();
    for (folder, prefix) in [("crates", ""), ("crates/drivers", "drivers/")] {
        for entry in std::fs::read_dir(root.join(folder)).with_context(|| format!("read {folder}"))? {
            let entry = entry?;
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            let known = EDGES.iter().any(|(known, _)| *known == name);
            if entry.path().join("Cargo.toml").exists() && !known {
                complaints.push(format!("crates/{name} has no line in the table of edges"));
            }
        }
    }
    Ok(complaints)
}
