//! The kinds of steps on clusters (`behaviour.md` 18.3, 22; `yaml-vocabulary.md` 4).

use manifold_model::kind::{Class, KindSpec, Player, PropertySpec, Stand};

/// Rollout Deployment.
pub const ROLLOUT: &str = "K8S_DEPLOYMENT_ROLLING";
/// Rollback Deployment.
pub const ROLLBACK: &str = "K8S_DEPLOYMENT_ROLLING_ROLLBACK";
/// Canary Deployment.
pub const CANARY: &str = "K8S_CANARY_DEPLOY";
/// Delete, Canary Delete.
pub const DELETE: &str = "K8S_DELETE";
/// Stage Deployment.
pub const BLUE_GREEN: &str = "K8S_BLUE_GREEN_DEPLOY";
/// Swap Primary with Stage, Swap Service Selectors.
pub const SWAP: &str = "KUBERNETES_SWAP_SERVICE_SELECTORS";
/// Apply.
pub const APPLY: &str = "K8S_APPLY";
/// Scale.
pub const SCALE: &str = "K8S_SCALE";

/// The infrastructure on which they act: a cluster and a namespace in it.
const INFRASTRUCTURE: &str = "DIRECT_KUBERNETES";

/// Properties of every kind.
const COMMON: [&str; 5] =
    ["stateTimeoutInMinutes", "delegateSelectors", "templateUuid", "templateVariables", "templateVersion"];

/// All kinds.
#[must_use]
pub fn specs() -> Vec<KindSpec> {
    let manifests = ["skipDryRun", "exportManifests", "inheritManifests", "inlineOverride"];
    let probeable = Class::Probeable;
    vec![
        KindSpec { rolled_back_by: Some(ROLLBACK.into()), ..spec(ROLLOUT, probeable, true, &[], &manifests) },
        spec(ROLLBACK, probeable, false, &[], &[]),
        spec(CANARY, probeable, true, &["instances", "instanceUnitType"], &manifests),
        KindSpec { rolled_back_by: Some(SWAP.into()), ..spec(BLUE_GREEN, probeable, true, &[], &manifests) },
        KindSpec {
            rolled_back_by: Some(SWAP.into()),
            ..spec(SWAP, probeable, false, &["service1", "service2"], &[])
        },
        spec(
            APPLY,
            Class::Idempotent,
            true,
            &["filePaths"],
            &["skipSteadyStateCheck", "skipDryRun", "skipRendering", "inlineOverride"],
        ),
        spec(
            SCALE,
            Class::Idempotent,
            false,
            &["workload", "instances", "instanceUnitType"],
            &["skipSteadyStateCheck"],
        ),
        spec(
            DELETE,
            Class::Idempotent,
            false,
            &[],
            &["resources", "filePaths", "instanceUnitType", "deleteNamespacesForRelease"],
        ),
    ]
}

fn spec(name: &str, class: Class, reads_manifests: bool, required: &[&str], optional: &[&str]) -> KindSpec {
    let property = |name: &&str, required: bool| PropertySpec {
        name: (*name).to_owned(),
        required,
        // Values for templates and the variables of a template may hold spans that nobody resolves.
        strict: !matches!(*name, "inlineOverride" | "templateVariables"),
    };
    // An instance count without a unit is a count.
    let needed = |name: &&str| *name != "instanceUnitType";
    let mut properties: Vec<PropertySpec> =
        required.iter().map(|name| property(name, needed(name))).collect();
    properties.extend(optional.iter().chain(&COMMON).map(|name| property(name, false)));
    KindSpec {
        name: name.into(),
        class,
        class_by: Vec::new(),
        rolled_back_by: None,
        player: Player::Delegate,
        stands: vec![Stand::Phase, Stand::Rollback],
        properties,
        capabilities: Vec::new(),
        touches_infrastructure: true,
        infrastructure_types: vec![INFRASTRUCTURE.to_owned()],
        reads_manifests,
        deploys: true,
        test_only: false,
    }
}
