//! Cloud providers (`wire.md` 2.5): configuration documents like every other, here as GraphQL knows them.

use std::sync::Arc;

use async_graphql::{Enum, InputObject, Interface, Object, SimpleObject};
use manifold_control::Snapshot;
use manifold_control::cloud_providers::{CloudProviderChange, Value as Setting};
use manifold_control::model::entity::Connector;
use manifold_control::model::{Problem, code};

use super::application::User;
use super::filter::{EnumOperator, IdFilter, TimeFilter};
use super::scalar::DateTime;
use super::secret::UsageScope;

/// Types of cloud providers.
#[derive(Enum, Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "names of platforms")]
pub enum CloudProviderType {
    Aws,
    Azure,
    Gcp,
    KubernetesCluster,
    Pcf,
    PhysicalDataCenter,
    SpotInst,
    Rancher,
}

impl CloudProviderType {
    /// As in YAML.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Aws => "AWS",
            Self::Azure => "AZURE",
            Self::Gcp => "GCP",
            Self::KubernetesCluster => "KUBERNETES_CLUSTER",
            Self::Pcf => "PCF",
            Self::PhysicalDataCenter => "PHYSICAL_DATA_CENTER",
            Self::SpotInst => "SPOT_INST",
            Self::Rancher => "RANCHER",
        }
    }
}

/// A cluster's health; always absent, as costs are not watched.
#[derive(SimpleObject, Clone, Debug)]
pub struct CeHealthStatus {
    /// Whether costs are watched.
    #[graphql(name = "isCEConnector")]
    pub is_ce_connector: bool,
    /// Whether all is well.
    pub is_healthy: bool,
    /// What is to be said.
    pub messages: Vec<String>,
    /// Per cluster.
    pub cluster_health_status_list: Vec<CeClusterHealth>,
}

/// A cluster's health.
#[derive(SimpleObject, Clone, Debug)]
pub struct CeClusterHealth {
    /// Cluster.
    pub cluster_id: String,
    /// Its name.
    pub cluster_name: String,
    /// What is wrong.
    pub errors: Vec<String>,
    /// When it last said something.
    pub last_event_timestamp: Option<DateTime>,
    /// What is to be said.
    pub messages: Vec<String>,
}

/// A cloud provider.
#[derive(Interface, Clone, Debug)]
#[graphql(
    field(name = "id", ty = "String"),
    field(name = "name", ty = "String"),
    field(name = "description", ty = "Option<String>"),
    field(name = "created_at", ty = "DateTime"),
    field(name = "created_by", ty = "Option<User>"),
    field(name = "type", method = "kind", ty = "String"),
    field(name = "is_continuous_efficiency_enabled", ty = "bool")
)]
pub enum CloudProvider {
    /// AWS.
    Aws(AwsCloudProvider),
    /// Azure.
    Azure(AzureCloudProvider),
    /// GCP.
    Gcp(GcpCloudProvider),
    /// Kubernetes.
    Kubernetes(KubernetesCloudProvider),
    /// Cloud Foundry.
    Pcf(PcfCloudProvider),
    /// Hosts.
    PhysicalDataCenter(PhysicalDataCenterCloudProvider),
    /// Spot.
    SpotInst(SpotInstCloudProvider),
    /// Any other.
    Other(OtherCloudProvider),
}

impl CloudProvider {
    /// The connector as a cloud provider of its type.
    #[must_use]
    pub fn of(snapshot: &Arc<Snapshot>, entity: &Arc<Connector>) -> Self {
        let common = Common { snapshot: Arc::clone(snapshot), entity: Arc::clone(entity) };
        match entity.kind.as_str() {
            "AWS" => Self::Aws(AwsCloudProvider(common)),
            "AZURE" => Self::Azure(AzureCloudProvider(common)),
            "GCP" => Self::Gcp(GcpCloudProvider(common)),
            "KUBERNETES_CLUSTER" => Self::Kubernetes(KubernetesCloudProvider(common)),
            "PCF" => Self::Pcf(PcfCloudProvider(common)),
            "PHYSICAL_DATA_CENTER" => Self::PhysicalDataCenter(PhysicalDataCenterCloudProvider(common)),
            "SPOT_INST" => Self::SpotInst(SpotInstCloudProvider(common)),
            _ => Self::Other(OtherCloudProvider(common)),
        }
    }
}

/// What all cloud providers have in common.
#[derive(Clone, Debug)]
pub struct Common {
    snapshot: Arc<Snapshot>,
    entity: Arc<Connector>,
}

impl Common {
    fn strings(&self, key: &str) -> Option<Vec<String>> {
        match self.entity.properties.get(key)? {
            serde_json::Value::Array(items) => {
                Some(items.iter().filter_map(serde_json::Value::as_str).map(str::to_owned).collect())
            }
            serde_json::Value::String(one) => Some(vec![one.clone()]),
            _ => None,
        }
    }
}

macro_rules! provider {
    ($(#[$doc:meta])* $name:ident { $($extra:tt)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name(Common);

        $(#[$doc])*
        #[Object]
        impl $name {
            async fn id(&self) -> String {
                self.0.entity.id.to_string()
            }

            async fn name(&self) -> String {
                self.0.entity.name.clone()
            }

            async fn description(&self) -> Option<String> {
                self.0.entity.properties.get("description").and_then(serde_json::Value::as_str).map(str::to_owned)
            }

            async fn created_at(&self) -> DateTime {
                DateTime(self.0.snapshot.created_at(&self.0.entity.id))
            }

            async fn created_by(&self) -> Option<User> {
                None
            }

            /// As in YAML.
            #[graphql(name = "type")]
            async fn kind(&self) -> String {
                self.0.entity.kind.clone()
            }

            async fn is_continuous_efficiency_enabled(&self) -> bool {
                false
            }

            $($extra)*
        }
    };
}

provider!(
    /// AWS.
    AwsCloudProvider {
        async fn ce_health_status(&self) -> Option<CeHealthStatus> {
            None
        }
    }
);
provider!(
    /// Azure.
    AzureCloudProvider {}
);
provider!(
    /// Google Cloud.
    GcpCloudProvider {
        async fn delegate_selectors(&self) -> Option<Vec<String>> {
            self.0.strings("delegateSelectors")
        }
    }
);
provider!(
    /// A Kubernetes cluster.
    KubernetesCloudProvider {
        async fn ce_health_status(&self) -> Option<CeHealthStatus> {
            None
        }

        #[graphql(name = "skipK8sEventCollection")]
        async fn skip_k8s_event_collection(&self) -> bool {
            true
        }
    }
);
provider!(
    /// Cloud Foundry.
    PcfCloudProvider {}
);
provider!(
    /// Hosts of a data centre.
    PhysicalDataCenterCloudProvider {}
);
provider!(
    /// Spot.
    SpotInstCloudProvider {}
);
provider!(
    /// Any other type that a document may hold.
    OtherCloudProvider {}
);

/// A condition on the type of a cloud provider.
#[derive(InputObject, Clone, Debug)]
pub struct CloudProviderTypeFilter {
    /// How.
    pub operator: EnumOperator,
    /// With what.
    pub values: Option<Vec<Option<CloudProviderType>>>,
}

/// Which cloud providers.
#[derive(InputObject, Clone, Debug)]
pub struct CloudProviderFilter {
    /// Cloud provider.
    pub cloud_provider: Option<IdFilter>,
    /// Type.
    pub cloud_provider_type: Option<CloudProviderTypeFilter>,
    /// Whether costs are watched: never.
    #[graphql(name = "isCEEnabled")]
    pub is_ce_enabled: Option<bool>,
    /// When it was made.
    pub created_at: Option<TimeFilter>,
}

impl CloudProviderFilter {
    /// Whether a cloud provider passes.
    #[must_use]
    pub fn admits(&self, snapshot: &Snapshot, provider: &Connector) -> bool {
        super::filter::admits(self.cloud_provider.as_ref(), provider.id.as_str())
            && self.cloud_provider_type.as_ref().is_none_or(|filter| {
                filter.values.iter().flatten().flatten().any(|wanted| wanted.name() == provider.kind)
            })
            && self.is_ce_enabled != Some(true)
            && self.created_at.is_none_or(|filter| {
                let made = snapshot.created_at(&provider.id);
                match filter.operator {
                    super::filter::TimeOperator::Equals => made == filter.value.0,
                    super::filter::TimeOperator::Before => made < filter.value.0,
                    super::filter::TimeOperator::After => made > filter.value.0,
                }
            })
    }
}

/// Hosts of a data centre.
#[derive(InputObject, Clone, Debug)]
pub struct PhysicalDataCenterCloudProviderInput {
    /// Name.
    pub name: Option<String>,
    /// Scopes.
    pub usage_scope: Option<UsageScope>,
}

/// Another account's role.
#[derive(InputObject, Clone, Debug)]
pub struct AwsCrossAccountAttributesInput {
    /// Whether it is assumed.
    pub assume_cross_account_role: Option<bool>,
    /// Role.
    pub cross_account_role_arn: Option<String>,
    /// External id.
    pub external_id: Option<String>,
}

/// By the instance's role.
#[derive(InputObject, Clone, Debug)]
pub struct Ec2IamCredentialsInput {
    /// Delegate.
    pub delegate_selector: Option<String>,
    /// Scopes.
    pub usage_scope: Option<UsageScope>,
}

/// By access key.
#[derive(InputObject, Clone, Debug)]
pub struct AwsManualCredentialsInput {
    /// Key.
    pub access_key: Option<String>,
    /// Secret with the key.
    pub access_key_secret_id: Option<String>,
    /// Secret with the secret key.
    pub secret_key_secret_id: Option<String>,
}

/// How AWS is signed in to.
#[derive(Enum, Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum AwsCredentialsType {
    #[graphql(name = "EC2_IAM")]
    Ec2Iam,
    #[graphql(name = "MANUAL")]
    Manual,
    #[graphql(name = "IRSA")]
    Irsa,
}

/// AWS.
#[derive(InputObject, Clone, Debug)]
pub struct AwsCloudProviderInput {
    /// Name.
    pub name: Option<String>,
    /// How it is signed in to.
    pub credentials_type: Option<AwsCredentialsType>,
    /// Region.
    pub default_region: Option<String>,
    /// Another account's role.
    pub cross_account_attributes: Option<AwsCrossAccountAttributesInput>,
    /// By the instance's role.
    pub ec2_iam_credentials: Option<Ec2IamCredentialsInput>,
    /// By the pod's role.
    pub irsa_credentials: Option<Ec2IamCredentialsInput>,
    /// By access key.
    pub manual_credentials: Option<AwsManualCredentialsInput>,
}

/// Azure.
#[derive(InputObject, Clone, Debug)]
pub struct AzureCloudProviderInput {
    /// Name.
    pub name: Option<String>,
    /// Client.
    pub client_id: Option<String>,
    /// Tenant.
    pub tenant_id: Option<String>,
    /// Secret with the key.
    pub key_secret_id: Option<String>,
}

/// Google Cloud.
#[derive(InputObject, Clone, Debug)]
pub struct GcpCloudProviderInput {
    /// Name.
    pub name: Option<String>,
    /// Delegate.
    pub delegate_selector: Option<String>,
    /// Delegates.
    pub delegate_selectors: Option<Vec<String>>,
    /// Secret with the key file.
    pub service_account_key_secret_id: Option<String>,
    /// Not checked.
    pub skip_validation: Option<bool>,
    /// By the delegate's account.
    pub use_delegate: Option<bool>,
    /// Misspelling that a client sends; ignored.
    pub use_delgate: Option<bool>,
    /// By these delegates.
    pub use_delegate_selectors: Option<bool>,
}

/// How a cluster is signed in to.
#[derive(Enum, Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum ClusterDetailsType {
    InheritClusterDetails,
    ManualClusterDetails,
}

/// As the delegate does.
#[derive(InputObject, Clone, Debug)]
pub struct InheritClusterDetailsInput {
    /// Delegate.
    pub delegate_name: Option<String>,
    /// Delegates.
    pub delegate_selectors: Option<Vec<String>>,
    /// Scopes.
    pub usage_scope: Option<UsageScope>,
}

/// Ways to sign in to a cluster.
#[derive(Enum, Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum ManualClusterDetailsAuthenticationType {
    ClientKeyAndCertificate,
    Custom,
    OidcToken,
    ServiceAccountToken,
    UsernameAndPassword,
}

/// By service account.
#[derive(InputObject, Clone, Debug)]
pub struct ServiceAccountTokenInput {
    /// Secret with the token.
    pub service_account_token_secret_id: Option<String>,
}

/// By user and password.
#[derive(InputObject, Clone, Debug)]
pub struct UsernameAndPasswordInput {
    /// User.
    pub user_name: Option<String>,
    /// Secret with the user.
    pub user_name_secret_id: Option<String>,
    /// Secret with the password.
    pub password_secret_id: Option<String>,
}

/// By hand.
#[derive(InputObject, Clone, Debug)]
pub struct ManualClusterDetailsInput {
    /// API server.
    pub master_url: Option<String>,
    /// How.
    #[graphql(name = "type")]
    pub kind: Option<ManualClusterDetailsAuthenticationType>,
    /// By service account.
    pub service_account_token: Option<ServiceAccountTokenInput>,
    /// By user and password.
    pub username_and_password: Option<UsernameAndPasswordInput>,
}

/// A Kubernetes cluster.
#[derive(InputObject, Clone, Debug)]
pub struct K8sCloudProviderInput {
    /// Name.
    pub name: Option<String>,
    /// Not checked.
    pub skip_validation: Option<bool>,
    /// How it is signed in to.
    pub cluster_details_type: Option<ClusterDetailsType>,
    /// As the delegate does.
    pub inherit_cluster_details: Option<InheritClusterDetailsInput>,
    /// By hand.
    pub manual_cluster_details: Option<ManualClusterDetailsInput>,
}

/// Cloud Foundry.
#[derive(InputObject, Clone, Debug)]
pub struct PcfCloudProviderInput {
    /// Name.
    pub name: Option<String>,
    /// API.
    pub endpoint_url: Option<String>,
    /// User.
    pub user_name: Option<String>,
    /// Secret with the user.
    pub user_name_secret_id: Option<String>,
    /// Secret with the password.
    pub password_secret_id: Option<String>,
    /// Not checked.
    pub skip_validation: Option<bool>,
}

/// Spot.
#[derive(InputObject, Clone, Debug)]
pub struct SpotInstCloudProviderInput {
    /// Name.
    pub name: Option<String>,
    /// Account.
    pub account_id: Option<String>,
    /// Secret with the token.
    pub token_secret_id: Option<String>,
}

/// The one detail object of a create or update.
#[derive(Debug, Default)]
pub struct Details {
    /// AWS.
    pub aws: Option<AwsCloudProviderInput>,
    /// Azure.
    pub azure: Option<AzureCloudProviderInput>,
    /// Google Cloud.
    pub gcp: Option<GcpCloudProviderInput>,
    /// Kubernetes.
    pub k8s: Option<K8sCloudProviderInput>,
    /// Cloud Foundry.
    pub pcf: Option<PcfCloudProviderInput>,
    /// Hosts.
    pub hosts: Option<PhysicalDataCenterCloudProviderInput>,
    /// Spot.
    pub spot: Option<SpotInstCloudProviderInput>,
}

impl Details {
    /// As the use case takes it.
    ///
    /// # Errors
    /// When the object for this type is missing, or the type is not known here.
    pub fn change(self, kind: CloudProviderType) -> Result<CloudProviderChange, Problem> {
        let missing =
            |part: &str| Problem::new(code!("INPUT_MISSING"), format!("{part} is missing")).item(part);
        let mut change =
            CloudProviderChange { kind: kind.name().to_owned(), ..CloudProviderChange::default() };
        match kind {
            CloudProviderType::PhysicalDataCenter => {
                let hosts = self.hosts.ok_or_else(|| missing("physicalDataCenterCloudProvider"))?;
                change.name = hosts.name;
                change.usage_scope = hosts.usage_scope.map(|scope| scope.stored());
            }
            CloudProviderType::Aws => aws(self.aws.ok_or_else(|| missing("awsCloudProvider"))?, &mut change),
            CloudProviderType::Azure => {
                let azure = self.azure.ok_or_else(|| missing("azureCloudProvider"))?;
                change.name = azure.name;
                change.text("clientId", azure.client_id);
                change.text("tenantId", azure.tenant_id);
                change.secret("key", azure.key_secret_id);
            }
            CloudProviderType::Gcp => gcp(self.gcp.ok_or_else(|| missing("gcpCloudProvider"))?, &mut change),
            CloudProviderType::KubernetesCluster => {
                k8s(self.k8s.ok_or_else(|| missing("k8sCloudProvider"))?, &mut change);
            }
            CloudProviderType::Pcf => {
                let pcf = self.pcf.ok_or_else(|| missing("pcfCloudProvider"))?;
                change.name = pcf.name;
                change.skip_validation = pcf.skip_validation.unwrap_or(false);
                change.flag("skipValidation", pcf.skip_validation);
                change.text("endpointUrl", pcf.endpoint_url);
                change.text("username", pcf.user_name);
                change.secret("usernameSecretId", pcf.user_name_secret_id);
                change.secret("password", pcf.password_secret_id);
            }
            CloudProviderType::SpotInst => {
                let spot = self.spot.ok_or_else(|| missing("spotInstCloudProvider"))?;
                change.name = spot.name;
                change.text("spotInstAccountId", spot.account_id);
                change.secret("spotInstToken", spot.token_secret_id);
            }
            CloudProviderType::Rancher => {
                return Err(Problem::new(
                    code!("INPUT_UNSUPPORTED"),
                    "RANCHER cloud providers cannot be made here",
                )
                .item("RANCHER"));
            }
        }
        Ok(change)
    }
}

fn aws(aws: AwsCloudProviderInput, change: &mut CloudProviderChange) {
    change.name = aws.name;
    change.text("defaultRegion", aws.default_region);
    match aws.credentials_type {
        Some(AwsCredentialsType::Ec2Iam) => change.flag("useEc2IamCredentials", Some(true)),
        Some(AwsCredentialsType::Irsa) => change.flag("useIRSA", Some(true)),
        Some(AwsCredentialsType::Manual) | None => {}
    }
    if let Some(role) = aws.ec2_iam_credentials.or(aws.irsa_credentials) {
        change.text("tag", role.delegate_selector);
        change.usage_scope = role.usage_scope.map(|scope| scope.stored());
    }
    if let Some(manual) = aws.manual_credentials {
        change.text("accessKey", manual.access_key);
        change.secret("accessKeySecretId", manual.access_key_secret_id);
        change.secret("secretKey", manual.secret_key_secret_id);
    }
    if let Some(cross) = aws.cross_account_attributes {
        change.flag("assumeCrossAccountRole", cross.assume_cross_account_role);
        let mut attributes = serde_json::Map::new();
        let texts =
            [("crossAccountRoleArn", cross.cross_account_role_arn), ("externalId", cross.external_id)];
        for (key, value) in texts {
            if let Some(value) = value {
                attributes.insert(key.to_owned(), value.into());
            }
        }
        change.set("crossAccountAttributes", Setting::Plain(attributes.into()));
    }
}

fn gcp(gcp: GcpCloudProviderInput, change: &mut CloudProviderChange) {
    change.name = gcp.name;
    change.skip_validation = gcp.skip_validation.unwrap_or(false);
    change.flag("skipValidation", gcp.skip_validation);
    change.flag("useDelegate", gcp.use_delegate);
    change.flag("useDelegateSelectors", gcp.use_delegate_selectors);
    let selectors = gcp.delegate_selectors.or_else(|| gcp.delegate_selector.map(|one| vec![one]));
    change.list("delegateSelectors", selectors);
    change.secret("serviceAccountKeyFileContent", gcp.service_account_key_secret_id);
}

fn k8s(k8s: K8sCloudProviderInput, change: &mut CloudProviderChange) {
    change.name = k8s.name;
    change.skip_validation = k8s.skip_validation.unwrap_or(false);
    change.flag("skipValidation", k8s.skip_validation);
    if let Some(details) = k8s.cluster_details_type {
        change.flag("useKubernetesDelegate", Some(details == ClusterDetailsType::InheritClusterDetails));
    }
    if let Some(inherit) = k8s.inherit_cluster_details {
        let selectors = inherit.delegate_selectors.or_else(|| inherit.delegate_name.map(|one| vec![one]));
        change.list("delegateSelectors", selectors);
        change.usage_scope = inherit.usage_scope.map(|scope| scope.stored());
    }
    if let Some(manual) = k8s.manual_cluster_details {
        change.text("masterUrl", manual.master_url);
        match manual.kind {
            Some(ManualClusterDetailsAuthenticationType::ServiceAccountToken) => {
                change.text("authType", Some("SERVICE_ACCOUNT".to_owned()));
            }
            Some(ManualClusterDetailsAuthenticationType::UsernameAndPassword) => {
                change.text("authType", Some("USER_PASSWORD".to_owned()));
            }
            Some(ManualClusterDetailsAuthenticationType::OidcToken) => {
                change.text("authType", Some("OIDC".to_owned()));
            }
            _ => {}
        }
        if let Some(account) = manual.service_account_token {
            change.secret("serviceAccountToken", account.service_account_token_secret_id);
        }
        if let Some(user) = manual.username_and_password {
            change.text("username", user.user_name);
            change.secret("usernameSecretId", user.user_name_secret_id);
            change.secret("password", user.password_secret_id);
        }
    }
}
