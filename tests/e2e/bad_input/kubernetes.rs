//! Clusters that refuse, hang, break off or are not who they should be; manifests that are wrong, huge or never end. Each case is a leg of its own
//! beside others that succeed, in a namespace of its own, and nothing is left there that a failed leg made.

mod clusters;
mod manifests;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use manifold_testkit::cluster::Cluster;
use manifold_testkit::server::Server;
use serde_json::json;

use crate::kubernetes::cluster_tree::ENVIRONMENT;
use crate::kubernetes::world::{SHIP, Shipped, Shop};
use crate::tree::{Application, fan_out};

/// A leg and how it must end.
struct Case {
    /// Name of its definition.
    leg: &'static str,
    /// Failure class; empty for one that succeeds.
    class: &'static str,
    /// Stable code.
    code: &'static str,
    /// What its text says.
    says: &'static [&'static str],
}

/// A leg that succeeds.
const fn good(leg: &'static str) -> Case {
    Case { leg, class: "", code: "", says: &[] }
}

/// A leg that fails so.
const fn bad(
    leg: &'static str,
    class: &'static str,
    code: &'static str,
    says: &'static [&'static str],
) -> Case {
    Case { leg, class, code, says }
}

/// Namespaces of one cluster, one for each leg, named after it.
struct Street {
    cluster: Arc<Cluster>,
    base: String,
}

impl Street {
    fn new(cluster: &Arc<Cluster>, prefix: &str, cases: &[Case]) -> Result<Self> {
        let base = cluster.namespace(prefix)?;
        let street = Self { cluster: Arc::clone(cluster), base };
        let mut text = String::new();
        for case in cases {
            let name = street.namespace(case.leg);
            write!(text, "---\napiVersion: v1\nkind: Namespace\nmetadata: {{ name: {name} }}\n")?;
        }
        cluster.kubectl_with(&["create", "-f", "-"], &text)?;
        Ok(street)
    }

    fn namespace(&self, leg: &str) -> String {
        format!("{}-{leg}", self.base)
    }

    /// The definitions of all legs, on this cluster.
    fn definitions(&self, application: Application, cases: &[Case]) -> Application {
        cases.iter().fold(application, |application, case| {
            application.definition(case.leg, &self.cluster, &self.namespace(case.leg))
        })
    }

    /// `Kind/name` of what stands in each leg's namespace, without what every namespace has and the history of its release.
    fn left(&self) -> Result<BTreeMap<String, Vec<String>>> {
        const COLUMNS: &str = "custom-columns=NAMESPACE:.metadata.namespace,KIND:.kind,NAME:.metadata.name";
        let kinds = "deployments,replicasets,pods,services,configmaps,secrets";
        let text = self.cluster.kubectl(&["get", kinds, "-A", "--no-headers", "-o", COLUMNS])?;
        let mut left: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let (Some(namespace), Some(kind), Some(name)) = (words.next(), words.next(), words.next()) else {
                bail!("an object without a name: {line}");
            };
            let Some(leg) = namespace.strip_prefix(&format!("{}-", self.base)) else { continue };
            if name != "kube-root-ca.crt" && !name.starts_with("release-") {
                left.entry(leg.to_owned()).or_default().push(format!("{kind}/{name}"));
            }
        }
        Ok(left)
    }
}

/// Keeps a secret text on the server.
async fn keep(server: &Server, name: &str, value: &str) -> Result<()> {
    let secret = json!({ "secretType": "ENCRYPTED_TEXT", "encryptedText": { "name": name, "value": value } });
    let query = "mutation($i: CreateSecretInput!) { createSecret(input: $i) { secret { id } } }";
    server.data_of(query, json!({ "i": secret })).await?;
    Ok(())
}

/// The application with an environment and the pipeline, without service.
fn application(shop: &Shop) -> Application {
    shop.application().environment(ENVIRONMENT, &[]).pipeline(SHIP, &[fan_out("clusters")])
}

/// Runs all cases as legs of one execution, and holds each against what must become of it. `before`: what stands there since before the run, of
/// legs that fail.
async fn ensure_cases(
    shop: &Shop,
    street: &Street,
    cases: &[Case],
    before: &[(&str, &str)],
) -> Result<Shipped> {
    let all: Vec<&str> = cases.iter().map(|case| case.leg).collect();
    let shipped = shop.ship_to(&all.join(","), "").await?;
    let left = street.left()?;
    let mut wrong = String::new();
    for case in cases {
        let leg = shipped.legs.iter().find(|leg| leg.infrastructure == case.leg).context(case.leg)?;
        let reason = shop.failure(&leg.id).await?;
        let ended = if case.class.is_empty() { "SUCCESS" } else { "FAILED" };
        let is = leg.status == ended
            && reason.class == case.class
            && reason.code == case.code
            && case.says.iter().all(|word| reason.message.contains(word));
        if !is {
            writeln!(
                wrong,
                "{} ended {} with {reason:?}; expected {ended} {} {} {:?}\n{}",
                case.leg,
                leg.status,
                case.class,
                case.code,
                case.says,
                shop.log(&leg.id).await?
            )?;
        }
        let expected: Vec<&str> =
            before.iter().filter(|(leg, _)| *leg == case.leg).map(|(_, object)| *object).collect();
        let found = left.get(case.leg).cloned().unwrap_or_default();
        if ended == "FAILED" && found != expected {
            writeln!(
                wrong,
                "{} left {found:?}, expected {expected:?}\n{}",
                case.leg,
                shop.log(&leg.id).await?
            )?;
        }
    }
    ensure!(wrong.is_empty(), "{wrong}");
    Ok(shipped)
}
