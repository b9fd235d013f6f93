//! The kind `SHELL_SCRIPT` (`behaviour.md` 23).

use manifold_model::kind::{ANYWHERE, Class, KindName, KindSpec, Player, PropertySpec};

/// Name of the kind.
pub const SHELL_SCRIPT: &str = "SHELL_SCRIPT";

/// Properties: name, required, strict. In the script itself what has no value stays: `${a:-b}` belongs to the shell (`behaviour.md` 12.1).
const PROPERTIES: [(&str, bool, bool); 20] = [
    ("scriptType", false, true),
    ("scriptString", true, false),
    ("executeOnDelegate", false, true),
    ("timeoutMillis", false, true),
    ("outputVars", false, true),
    ("secretOutputVars", false, true),
    ("publishAsVar", false, false),
    ("sweepingOutputName", false, false),
    ("sweepingOutputScope", false, false),
    ("delegateSelectors", false, true),
    ("includeInfraSelectors", false, false),
    ("host", false, true),
    ("commandPath", false, true),
    ("connectionType", false, true),
    ("connectionAttributes", false, true),
    ("connectionAttributeName", false, true),
    ("sshKeyRef", false, true),
    ("sshKeyRefName", false, true),
    ("templateUuid", false, false),
    ("templateVariables", false, false),
];

/// What the kind is.
#[must_use]
pub fn spec() -> KindSpec {
    KindSpec {
        name: KindName::from(SHELL_SCRIPT),
        class: Class::Probeable,
        class_by: Vec::new(),
        rolled_back_by: None,
        player: Player::Delegate,
        stands: ANYWHERE.to_vec(),
        properties: PROPERTIES
            .iter()
            .map(|(name, required, strict)| PropertySpec {
                name: (*name).to_owned(),
                required: *required,
                strict: *strict,
            })
            .collect(),
        capabilities: Vec::new(),
        touches_infrastructure: false,
        infrastructure_types: Vec::new(),
        // Nobody knows what a script does, so END_EXECUTION assumes the worst.
        reads_manifests: false,
        deploys: true,
        test_only: false,
    }
}
