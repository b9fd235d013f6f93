//! The kinds that the engine plays itself: no delegate is asked.

use manifold_model::constraint::RESOURCE_CONSTRAINT;
use manifold_model::kind::{ANYWHERE, Class, KindName, KindSpec, Player, PropertySpec, Stand};

/// `ARTIFACT_CHECK`.
pub(crate) const ARTIFACT_CHECK: &str = "ARTIFACT_CHECK";
/// `BARRIER`.
pub(crate) const BARRIER: &str = "BARRIER";
/// `DC_NODE_SELECT`.
pub(crate) const NODE_SELECT: &str = "DC_NODE_SELECT";

/// The kinds offered without any delegate. `AWS_NODE_SELECT` is not among them: it needs a cloud's list of hosts.
#[must_use]
pub fn kinds() -> Vec<KindSpec> {
    let property = |name: &str, required| PropertySpec { name: name.to_owned(), required, strict: true };
    let spec = |name: &str, stands: Vec<Stand>, properties: Vec<PropertySpec>| KindSpec {
        name: KindName::from(name),
        class: Class::Idempotent,
        class_by: Vec::new(),
        rolled_back_by: None,
        player: Player::Engine,
        stands,
        properties,
        capabilities: Vec::new(),
        touches_infrastructure: false,
        infrastructure_types: Vec::new(),
        reads_manifests: false,
        deploys: false,
        test_only: false,
    };
    vec![
        spec(ARTIFACT_CHECK, ANYWHERE.to_vec(), Vec::new()),
        spec(
            BARRIER,
            vec![Stand::PreDeployment, Stand::Phase, Stand::PostDeployment],
            vec![property("identifier", true), property("timeoutMillis", false)],
        ),
        // Not before the phases, where service and infrastructure are not known (`behaviour.md` 8.2).
        spec(
            RESOURCE_CONSTRAINT,
            vec![Stand::Phase, Stand::Rollback, Stand::PostDeployment, Stand::Build],
            vec![
                property("resourceConstraintName", false),
                property("resourceConstraintId", false),
                property("permits", false),
                property("holdingScope", false),
                property("resourceUnit", false),
                property("timeoutMillis", false),
                property("acquireMode", false),
            ],
        ),
        KindSpec {
            touches_infrastructure: true,
            infrastructure_types: vec!["PHYSICAL_DATA_CENTER_SSH".to_owned()],
            ..spec(
                NODE_SELECT,
                vec![Stand::Phase],
                vec![
                    property("instanceCount", false),
                    property("instanceUnitType", false),
                    property("specificHosts", false),
                    property("hostNames", false),
                    property("excludeSelectedHostsFromFuturePhases", false),
                ],
            )
        },
    ]
}
