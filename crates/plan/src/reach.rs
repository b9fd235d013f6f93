//! Whether the infrastructures of a run can be acted on by the steps that touch them (`design.md` 2).

use std::collections::HashSet;
use std::sync::Arc;

use manifold_model::catalog::Catalog;
use manifold_model::entity::InfrastructureDefinition;
use manifold_model::target::host_names;
use manifold_model::{Problem, code};

use crate::complaints::Complaints;
use crate::course::Run;
use crate::facts::Facts;
use crate::resolve::Resolved;
use crate::steps::{self, Needs, Planned};

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
