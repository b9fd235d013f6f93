//! The kind `HTTP` (`behaviour.md` 23).

use manifold_model::kind::{ANYWHERE, Class, ClassRule, KindName, KindSpec, Player, PropertySpec};

/// Name of the kind.
pub const HTTP: &str = "HTTP";

/// Methods that may be repeated: twice is as good as once (RFC 9110 9.2.2).
const IDEMPOTENT: [&str; 5] = ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"];

/// Properties: name, required, strict (`behaviour.md` 12.1: what names a target or a condition must resolve).
const PROPERTIES: [(&str, bool, bool); 17] = [
    ("method", true, true),
    ("url", true, true),
    ("header", false, false),
    ("headers", false, false),
    ("body", false, false),
    ("assertion", false, true),
    ("timeoutMillis", false, true),
    ("socketTimeoutMillis", false, true),
    ("responseProcessingExpressions", false, false),
    ("useProxy", false, false),
    ("publishAsVar", false, false),
    ("sweepingOutputName", false, false),
    ("sweepingOutputScope", false, false),
    ("delegateSelectors", false, true),
    ("executeWithPreviousSteps", false, false),
    ("templateUuid", false, false),
    ("templateVariables", false, false),
];

/// What the kind is.
#[must_use]
pub fn spec() -> KindSpec {
    KindSpec {
        name: KindName::from(HTTP),
        class: Class::Unsafe,
        class_by: IDEMPOTENT
            .iter()
            .map(|method| ClassRule {
                property: "method".to_owned(),
                value: (*method).to_owned(),
                class: Class::Idempotent,
            })
            .collect(),
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
        reads_manifests: false,
        deploys: false,
        test_only: false,
    }
}
