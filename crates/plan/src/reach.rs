//! Whether the infrastructures of a run can be acted on by the steps that touch them (`design.md` 2).

use std::collections::HashSet;
use std::sync::Arc;

use manifold_model::catalog::Catalog;
use manifold_model::entity::InfrastructureDefinition;
use manifold_model::target::host_names;
use manifold_model::view::secret_name;
use manifold_model::{Problem, code};
use manifold_model::{cluster, kubernetes};
use serde_json::Map;

use crate::complaints::Complaints;
use crate::course::Run;
use crate::facts::Facts;
use crate::resolve::Resolved;
use crate::steps::{self, Needs, Planned};
use crate::values;

/// Key that names the SSH credential of an infrastructure.
const CREDENTIAL: &str = "hostConnectionAttrsName";

/// Complains about every infrastructure that a step of its phase cannot act on. Phases that leave the infrastructure alone (scripts on the
/// delegate, HTTP) may run anywhere.
pub(crate) fn check(
    catalog: &Catalog,
    facts: &Facts<'_>,
    run: &Run,
    resolved: &Resolved,
    planned: &Planned,
    complaints: &mut Complaints,
) {
    for (index, needs) in planned.needs.iter().enumerate() {
        if needs.infrastructure.is_empty() && !needs.hosts && !needs.credential {
            continue;
        }
        let phase = run.settings.phases.get(index).map_or("", |phase| phase.name.as_str());
        let fixed = resolved.fixed.get(index).and_then(Option::as_ref);
        let legs = resolved.legs.iter().flatten().filter(|_| resolved.fan_out.is_some());
        let mut seen = HashSet::new();
        for definition in fixed.into_iter().chain(legs) {
            if seen.insert(&definition.id) {
                Reach { catalog, facts, run, phase, needs, definition }.check(complaints);
            }
        }
    }
}

/// Complains about specific hosts that no infrastructure of the plan has; expressions in host lists may still give any host.
pub(crate) fn check_specific_hosts(
    hosts: &[String],
    definitions: &[Arc<InfrastructureDefinition>],
    complaints: &mut Complaints,
) {
    if hosts.is_empty() {
        complaints.refuse(
            Problem::new(code!("SPECIFIC_HOST_UNKNOWN"), "specific hosts are asked for, and none is named")
                .item("specificHosts"),
        );
    }
    let known: HashSet<String> =
        definitions.iter().flat_map(|definition| host_names(&definition.properties)).collect();
    if definitions.is_empty() || known.iter().any(|host| host.contains("${")) {
        return;
    }
    for host in hosts.iter().filter(|host| !known.contains(*host)) {
        complaints.refuse(
            Problem::new(
                code!("SPECIFIC_HOST_UNKNOWN"),
                format!("no selected infrastructure definition has the host {host}"),
            )
            .item(host.clone())
            .hint("name hosts as the infrastructure definitions do"),
        );
    }
}

struct Reach<'r> {
    catalog: &'r Catalog,
    facts: &'r Facts<'r>,
    run: &'r Run,
    phase: &'r str,
    needs: &'r Needs,
    definition: &'r InfrastructureDefinition,
}

impl Reach<'_> {
    fn check(&self, complaints: &mut Complaints) {
        let definition = self.definition;
        for (kind, types) in &self.needs.infrastructure {
            if !types.is_empty() && !types.contains(&definition.item_type) {
                complaints.refuse(
                    self.problem(
                        code!("INFRASTRUCTURE_TYPE_UNSUPPORTED"),
                        format!(
                            "steps of the type {kind} cannot act on the infrastructure definition {}, which is of the type {}",
                            definition.name, definition.item_type
                        ),
                    )
                    .hint(format!("{kind} acts on {}", types.join(", "))),
                );
            }
        }
        if let Some(provisioner) = definition.provisioner.as_deref().filter(|name| !name.is_empty()) {
            complaints.refuse(self.problem(
                code!("INFRASTRUCTURE_PROVISIONED"),
                format!(
                    "the infrastructure definition {} is mapped to the provisioner {provisioner}, which cannot run yet",
                    definition.name
                ),
            ));
        }
        self.check_provider(complaints);
        if definition.item_type == "PHYSICAL_DATA_CENTER_SSH" {
            self.check_hosts(complaints);
        }
        if definition.item_type == cluster::ITEM && !self.needs.infrastructure.is_empty() {
            self.check_cluster(complaints);
        }
        if self.needs.credential {
            self.check_credential(complaints);
        }
    }

    fn problem(&self, code: manifold_model::Code, message: String) -> Problem {
        Problem::new(code, message)
            .item(self.definition.name.clone())
            .detail(format!("phase {} of the workflow {}", self.phase, self.run.workflow.name))
    }

    /// A physical data center's provider holds nothing, so that its absence stops nobody; nor does that of one beside a definition with an API
    /// server of its own, as those have that were service infrastructures.
    fn check_provider(&self, complaints: &mut Complaints) {
        let definition = self.definition;
        let Some(name) = definition.cloud_provider_name.as_deref().filter(|name| !name.contains("${")) else {
            return;
        };
        if self.catalog.cloud_provider_named(name).is_some() {
            return;
        }
        let problem = self
            .problem(
                code!("CLOUD_PROVIDER_UNKNOWN"),
                format!(
                    "the infrastructure definition {} uses the cloud provider {name}, which does not exist",
                    definition.name
                ),
            )
            .hint("create the cloud provider, or name one that exists");
        let on_its_own = definition.item_type.starts_with("PHYSICAL_DATA_CENTER")
            || steps::text(&definition.properties, "masterUrl").is_some();
        if on_its_own {
            complaints.warn(problem);
        } else {
            complaints.refuse(problem);
        }
    }

    /// A namespace, names that Kubernetes takes, and a way into the cluster.
    fn check_cluster(&self, complaints: &mut Complaints) {
        let definition = self.definition;
        if steps::text(&definition.properties, "namespace").is_none() {
            complaints.refuse(
                self.problem(
                    code!("INFRASTRUCTURE_INCOMPLETE"),
                    format!("the infrastructure definition {} has no namespace", definition.name),
                )
                .hint("name a namespace that exists in the cluster"),
            );
        }
        for key in ["namespace", "releaseName"] {
            let literal = steps::text(&definition.properties, key).filter(|text| !text.contains("${"));
            if let Some(text) = literal.filter(|text| !kubernetes::is_dns_label(text)) {
                complaints.refuse(
                    self.problem(
                        code!("KUBERNETES_NAME_INVALID"),
                        format!(
                            "the infrastructure definition {} has the {key} {:?}, which Kubernetes does not take",
                            definition.name,
                            values::shortened(text)
                        ),
                    )
                    .hint("use at most 63 of a-z, 0-9 and -, with a letter or digit at both ends"),
                );
            }
        }
        self.check_access(complaints);
    }

    fn check_access(&self, complaints: &mut Complaints) {
        let definition = self.definition;
        let empty = Map::new();
        let on_its_own = steps::text(&definition.properties, "masterUrl").is_some();
        let named = definition.cloud_provider_name.as_deref().filter(|_| !on_its_own);
        let provider = named.and_then(|name| self.catalog.cloud_provider_named(name));
        if let Some(provider) = provider.filter(|provider| provider.kind != cluster::PROVIDER) {
            complaints.refuse(
                self.problem(
                    code!("CLOUD_PROVIDER_WRONG_TYPE"),
                    format!(
                        "the infrastructure definition {} lies on the cloud provider {}, which is of the type {}",
                        definition.name, provider.name, provider.kind
                    ),
                )
                .hint(format!("name a cloud provider of the type {}", cluster::PROVIDER)),
            );
            return;
        }
        if provider.is_none() && named.is_some() {
            // That it does not exist was said; one that an expression names is seen when it runs.
            return;
        }
        let properties = provider.map_or(&empty, |provider| &provider.properties);
        let place = match provider {
            Some(provider) => format!("the cloud provider {}", provider.name),
            None => format!("the infrastructure definition {}", definition.name),
        };
        match cluster::access(properties, &definition.properties) {
            Ok(access) => {
                for name in access.secrets().into_iter().map(secret_name) {
                    if steps::missing_secret(self.facts, name) {
                        let message = format!("{place} uses the secret {name}, which does not exist");
                        complaints.refuse(
                            self.problem(code!("SECRET_MISSING"), message)
                                .hint("create the secret, or name one that exists"),
                        );
                    }
                }
            }
            Err(fault) => {
                let message = format!("nobody can sign in to the cluster of {place}: {fault}");
                complaints.refuse(
                    self.problem(code!("CLOUD_PROVIDER_INCOMPLETE"), message)
                        .hint("set useKubernetesDelegate, or masterUrl with serviceAccountToken, clientCert and clientKey, or username and password"),
                );
            }
        }
    }

    fn check_hosts(&self, complaints: &mut Complaints) {
        let definition = self.definition;
        let touched = self.needs.hosts || !self.needs.infrastructure.is_empty();
        if touched && host_names(&definition.properties).is_empty() {
            complaints.refuse(
                self.problem(
                    code!("INFRASTRUCTURE_INCOMPLETE"),
                    format!("the infrastructure definition {} has no hosts", definition.name),
                )
                .hint("list its hosts under hostNames"),
            );
        }
    }

    fn check_credential(&self, complaints: &mut Complaints) {
        let definition = self.definition;
        match steps::text(&definition.properties, CREDENTIAL) {
            None => complaints.refuse(
                self.problem(
                    code!("INFRASTRUCTURE_INCOMPLETE"),
                    format!("the infrastructure definition {} has no SSH credential", definition.name),
                )
                .hint("name one under hostConnectionAttrsName"),
            ),
            Some(name) if steps::missing_secret(self.facts, name) => complaints.refuse(
                self.problem(
                    code!("CREDENTIAL_UNKNOWN"),
                    format!(
                        "the infrastructure definition {} uses the SSH credential {name}, which does not exist",
                        definition.name
                    ),
                )
                .hint("create the SSH credential, or name one that exists"),
            ),
            Some(_) => {}
        }
    }
}
