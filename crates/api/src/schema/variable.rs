//! Inputs of workflows and pipelines (`wire.md` 3.1).

use async_graphql::SimpleObject;

/// An input that a deployment offers.
#[derive(SimpleObject, Clone, Debug)]
pub struct Variable {
    /// Name.
    pub name: String,
    /// `Environment`, `Service`, `Infrastructure definition`, `Text`, ….
    #[graphql(name = "type")]
    pub kind: String,
    /// Whether a value must be given.
    pub required: bool,
    /// Values that are allowed; empty: any.
    pub allowed_values: Vec<String>,
    /// Value when none is given.
    pub default_value: Option<String>,
    /// Whether it cannot be changed at deploy.
    pub fixed: bool,
    /// Whether several infrastructures may be given, comma-separated.
    pub allow_multiple_values: bool,
}

impl From<manifold_control::inputs::InputVariable> for Variable {
    fn from(input: manifold_control::inputs::InputVariable) -> Self {
        Self {
            name: input.name,
            kind: input.kind,
            required: input.required,
            allowed_values: input.allowed_values,
            default_value: input.default_value,
            fixed: input.fixed,
            allow_multiple_values: input.allow_multiple_values,
        }
    }
}
