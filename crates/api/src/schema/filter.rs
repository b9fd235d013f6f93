//! Filters of lists (`wire.md` 2.4, 3.4, 6).

use async_graphql::{Enum, InputObject};
use manifold_control::Error;
use manifold_control::executions::{Comparison, Operator};
use manifold_control::model::{Problem, code};

use super::scalar::{DateTime, Number};

/// How ids are compared.
#[derive(Enum, Clone, Copy, PartialEq, Eq, Debug)]
#[graphql(name = "IdOperator")]
pub enum IdOperator {
    /// Is the value.
    Equals,
    /// Is one of the values.
    In,
    /// Contains the value, without regard to case.
    Like,
    /// Is none of the values.
    NotIn,
    /// There is a value.
    NotNull,
}

impl IdOperator {
    /// As the store takes it; EQUALS with several values is IN.
    #[must_use]
    pub fn operator(self, values: usize) -> Operator {
        match self {
            Self::Equals if values == 1 => Operator::Equals,
            Self::Equals | Self::In => Operator::In,
            Self::Like => Operator::Like,
            Self::NotIn => Operator::NotIn,
            Self::NotNull => Operator::NotNull,
        }
    }
}

/// A condition on an id.
#[derive(InputObject, Clone, Debug)]
pub struct IdFilter {
    /// How.
    pub operator: IdOperator,
    /// With what.
    pub values: Option<Vec<Option<String>>>,
}

impl IdFilter {
    /// The values given.
    #[must_use]
    pub fn values(&self) -> Vec<String> {
        self.values.iter().flatten().flatten().cloned().collect()
    }

    /// Whether a value passes.
    #[must_use]
    pub fn admits(&self, value: &str) -> bool {
        let mut values = self.values.iter().flatten().flatten();
        match self.operator {
            IdOperator::Equals | IdOperator::In => values.any(|wanted| wanted == value),
            IdOperator::NotIn => !values.any(|unwanted| unwanted == value),
            IdOperator::Like => {
                let value = value.to_lowercase();
                values.any(|part| value.contains(&part.to_lowercase()))
            }
            IdOperator::NotNull => !value.is_empty(),
        }
    }
}

/// Whether a value passes a filter that may be absent.
#[must_use]
pub fn admits(filter: Option<&IdFilter>, value: &str) -> bool {
    filter.is_none_or(|filter| filter.admits(value))
}

/// How enumerated values are compared.
#[derive(Enum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum EnumOperator {
    /// Is the value.
    Equals,
    /// Is one of the values.
    In,
}

/// How times are compared.
#[derive(Enum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimeOperator {
    /// At.
    Equals,
    /// Before.
    Before,
    /// After.
    After,
}

/// A condition on a time.
#[derive(InputObject, Clone, Copy, Debug)]
pub struct TimeFilter {
    /// How.
    pub operator: TimeOperator,
    /// With what.
    pub value: DateTime,
}

impl TimeFilter {
    /// As the store takes it.
    #[must_use]
    pub fn comparison(self) -> Comparison {
        match self.operator {
            TimeOperator::Equals => Comparison::Equals,
            TimeOperator::Before => Comparison::Before,
            TimeOperator::After => Comparison::After,
        }
    }
}

/// How numbers are compared.
#[derive(Enum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum NumericOperator {
    /// =
    Equals,
    /// >
    GreaterThan,
    /// >=
    GreaterThanOrEquals,
    /// One of.
    In,
    /// <
    LessThan,
    /// <=
    LessThanOrEquals,
    /// !=
    NotEquals,
}

/// A condition on a number.
#[derive(InputObject, Clone, Debug)]
pub struct NumberFilter {
    /// How.
    pub operator: NumericOperator,
    /// With what.
    pub values: Option<Vec<Option<Number>>>,
}

/// Production or not.
#[derive(Enum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum EnvironmentType {
    /// Production.
    Prod,
    /// Non-production.
    NonProd,
}

impl From<manifold_control::model::entity::EnvironmentType> for EnvironmentType {
    fn from(kind: manifold_control::model::entity::EnvironmentType) -> Self {
        match kind {
            manifold_control::model::entity::EnvironmentType::Prod => Self::Prod,
            manifold_control::model::entity::EnvironmentType::NonProd => Self::NonProd,
        }
    }
}

/// A condition on the type of an environment.
#[derive(InputObject, Clone, Debug)]
pub struct EnvironmentTypeFilter {
    /// How.
    pub operator: EnumOperator,
    /// With what.
    pub values: Option<Vec<Option<EnvironmentType>>>,
}

impl EnvironmentTypeFilter {
    /// Whether a type passes.
    #[must_use]
    pub fn admits(&self, kind: EnvironmentType) -> bool {
        self.values.iter().flatten().flatten().any(|wanted| *wanted == kind)
    }
}

/// A condition on a deployment type. Names are compared without regard to case, as `Custom` and `CUSTOM` are both written.
#[derive(InputObject, Clone, Debug)]
pub struct DeploymentTypeFilter {
    /// How.
    pub operator: EnumOperator,
    /// With what.
    pub values: Option<Vec<Option<DeploymentType>>>,
}

impl DeploymentTypeFilter {
    /// Whether a type passes.
    #[must_use]
    pub fn admits(&self, kind: &str) -> bool {
        let kind = DeploymentType::of(kind);
        kind.is_some() && self.values.iter().flatten().any(|wanted| *wanted == kind)
    }
}

/// Deployment types.
#[derive(Enum, Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "names of platforms")]
pub enum DeploymentType {
    #[graphql(name = "AMI")]
    Ami,
    #[graphql(name = "AWS_CODEDEPLOY")]
    AwsCodedeploy,
    #[graphql(name = "AWS_LAMBDA")]
    AwsLambda,
    #[graphql(name = "AZURE_VMSS")]
    AzureVmss,
    #[graphql(name = "AZURE_WEBAPP")]
    AzureWebapp,
    #[graphql(name = "Custom")]
    Custom,
    #[graphql(name = "ECS")]
    Ecs,
    #[graphql(name = "HELM")]
    Helm,
    #[graphql(name = "KUBERNETES")]
    Kubernetes,
    #[graphql(name = "PCF")]
    Pcf,
    #[graphql(name = "SSH")]
    Ssh,
    #[graphql(name = "WINRM")]
    Winrm,
}

impl DeploymentType {
    /// Reads the name that documents use; `None` for one nobody knows.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Some(match name.to_ascii_uppercase().as_str() {
            "AMI" => Self::Ami,
            "AWS_CODEDEPLOY" => Self::AwsCodedeploy,
            "AWS_LAMBDA" => Self::AwsLambda,
            "AZURE_VMSS" => Self::AzureVmss,
            "AZURE_WEBAPP" => Self::AzureWebapp,
            "CUSTOM" => Self::Custom,
            "ECS" => Self::Ecs,
            "HELM" => Self::Helm,
            "KUBERNETES" => Self::Kubernetes,
            "PCF" => Self::Pcf,
            "SSH" => Self::Ssh,
            "WINRM" => Self::Winrm,
            _ => return None,
        })
    }
}

/// On what a tag stands.
#[derive(Enum, Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "names of entities")]
pub enum TagEntityType {
    Application,
    Environment,
    Pipeline,
    Provisioner,
    Service,
    Workflow,
}

/// A condition on tags.
#[derive(InputObject, Clone, Debug)]
pub struct TagInput {
    /// Key.
    pub name: String,
    /// Value; any when absent.
    pub value: Option<String>,
}

/// Whether tags hold one of the wanted ones.
#[must_use]
pub fn tagged(wanted: &[Option<TagInput>], tags: &[manifold_control::model::entity::Tag]) -> bool {
    wanted.iter().flatten().any(|wanted| {
        tags.iter().any(|tag| {
            tag.name == wanted.name
                && wanted.value.as_ref().is_none_or(|value| value.is_empty() || *value == tag.value)
        })
    })
}

/// A filter that is in the schema for existing clients and cannot be answered.
#[must_use]
pub fn unanswerable(filter: &str) -> Error {
    Error::refused(
        Problem::new(code!("FILTER_UNSUPPORTED"), format!("the filter {filter} cannot be answered here"))
            .item(filter)
            .hint("leave it out and filter the result"),
    )
}
