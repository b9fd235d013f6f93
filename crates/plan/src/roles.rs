//! What a variable stands for.

use manifold_model::entity::VariableType;

/// What a variable stands for, by where it is used and how it is declared.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// The environment.
    Environment,
    /// A service.
    Service,
    /// An infrastructure definition.
    Infrastructure,
    /// Plain text.
    Text,
    /// An e-mail address.
    Email,
    /// A number.
    Number,
    /// Another entity (`USER_GROUP`, `ARTIFACT_STREAM`, …), kept as text.
    Other(String),
}

impl Role {
    /// From `entityType`.
    pub(crate) fn of_entity_type(entity_type: &str) -> Self {
        match entity_type {
            "ENVIRONMENT" => Self::Environment,
            "SERVICE" => Self::Service,
            "INFRASTRUCTURE_DEFINITION" | "INFRASTRUCTURE_MAPPING" => Self::Infrastructure,
            other => Self::Other(other.to_owned()),
        }
    }

    /// From the declared type of a variable that no setting uses.
    pub(crate) fn of_type(kind: VariableType) -> Self {
        match kind {
            VariableType::Entity => Self::Other("ENTITY".to_owned()),
            VariableType::Text => Self::Text,
            VariableType::Email => Self::Email,
            VariableType::Number => Self::Number,
        }
    }

    /// Whether the value names an entity that the plan resolves.
    pub(crate) fn is_resolved(&self) -> bool {
        matches!(self, Self::Environment | Self::Service | Self::Infrastructure)
    }

    /// As the API prints it (`behaviour.md` 16.2).
    pub(crate) fn printed(&self) -> String {
        match self {
            Self::Environment => "Environment".to_owned(),
            Self::Service => "Service".to_owned(),
            Self::Infrastructure => "Infrastructure definition".to_owned(),
            Self::Text => "Text".to_owned(),
            Self::Email => "Email".to_owned(),
            Self::Number => "Number".to_owned(),
            Self::Other(entity_type) => {
                let words = entity_type.replace('_', " ").to_lowercase();
                let mut letters = words.chars();
                letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
            }
        }
    }

    /// For messages: `an environment`.
    pub(crate) fn noun(&self) -> &'static str {
        match self {
            Self::Environment => "environment",
            Self::Service => "service",
            Self::Infrastructure => "infrastructure definition",
            Self::Text | Self::Email | Self::Number | Self::Other(_) => "value",
        }
    }
}
