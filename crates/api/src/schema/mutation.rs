//! Mutations.

use async_graphql::{Context, Enum, InputObject, Object, Result, SimpleObject};
use bytes::Bytes;
use manifold_control::Error;
use manifold_control::model::entity::RepairAction as Repair;
use manifold_control::model::{ConstraintId, EntityId, ExecutionId, SecretId};

use super::application::Application;
use super::cloud_provider::{
    AwsCloudProviderInput, AzureCloudProviderInput, CloudProvider, CloudProviderType, Details,
    GcpCloudProviderInput, K8sCloudProviderInput, PcfCloudProviderInput,
    PhysicalDataCenterCloudProviderInput, SpotInstCloudProviderInput,
};
use super::constraint::{
    CreateResourceConstraintInput, DeleteResourceConstraintInput, ResourceConstraint,
    UpdateResourceConstraintInput,
};
use super::execution::Execution;
use super::secret::{
    EncryptedFileInput, EncryptedTextInput, Secret, SecretInput, SecretType, SshCredentialInput,
    WinRmCredentialInput,
};
use super::start::StartExecutionInput;
use super::{actor_of, application_of, control_of, snapshot_of};
use crate::error;

/// The file of a multipart request.
#[derive(Clone, Debug)]
pub struct Upload(pub Bytes);

macro_rules! payload {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $kind:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(SimpleObject, Clone, Debug)]
        pub struct $name {
            /// As given.
            pub client_mutation_id: Option<String>,
            $($(#[$field_doc])* pub $field: $kind,)*
        }
    };
}

payload!(
    /// What was started.
    StartExecutionPayload {
        /// It.
        execution: Option<Execution>,
        /// What the starter should know.
        warning_message: Option<String>,
    }
);
payload!(
    /// The execution as it was when asked.
    ExecutionPayload {
        /// It.
        execution: Option<Execution>,
    }
);
payload!(
    /// The new run.
    ResumeExecutionPayload {
        /// It.
        execution: Option<Execution>,
    }
);
payload!(
    /// The application.
    CreateApplicationPayload {
        /// It.
        application: Option<Application>,
    }
);
payload!(
    /// The application.
    UpdateApplicationPayload {
        /// It.
        application: Option<Application>,
    }
);
payload!(
    /// Done.
    DeleteApplicationPayload {}
);
payload!(
    /// The secret.
    CreateSecretPayload {
        /// It.
        secret: Option<Secret>,
    }
);
payload!(
    /// The secret.
    UpdateSecretPayload {
        /// It.
        secret: Option<Secret>,
    }
);
payload!(
    /// Done.
    DeleteSecretPayload {}
);
payload!(
    /// The cloud provider.
    CreateCloudProviderPayload {
        /// It.
        cloud_provider: Option<CloudProvider>,
    }
);
payload!(
    /// The cloud provider.
    UpdateCloudProviderPayload {
        /// It.
        cloud_provider: Option<CloudProvider>,
    }
);
payload!(
    /// Done.
    DeleteCloudProviderPayload {}
);

payload!(
    /// The resource constraint.
    CreateResourceConstraintPayload {
        /// It.
        resource_constraint: Option<ResourceConstraint>,
    }
);
payload!(
    /// The resource constraint.
    UpdateResourceConstraintPayload {
        /// It.
        resource_constraint: Option<ResourceConstraint>,
    }
);
payload!(
    /// Done.
    DeleteResourceConstraintPayload {}
);

payload!(
    /// The document at its new place.
    RenameDocumentPayload {
        /// Its new path.
        path: String,
    }
);

/// A document of the configuration to rename; its id stays.
#[derive(InputObject, Clone, Debug)]
pub struct RenameDocumentInput {
    /// Id of the entity.
    pub id: String,
    /// New name.
    pub name: String,
    /// Echoed.
    pub client_mutation_id: Option<String>,
}

/// Which run is to be resumed from where.
#[derive(InputObject, Clone, Debug)]
pub struct ResumeExecutionInput {
    /// Application.
    pub application_id: String,
    /// Pipeline execution.
    pub pipeline_execution_id: String,
    /// Stage, like `STAGE 3`.
    pub pipeline_stage_name: String,
    /// Echoed.
    pub client_mutation_id: Option<String>,
}

/// Which execution, and why.
#[derive(InputObject, Clone, Debug)]
pub struct ExecutionRequestInput {
    /// Execution.
    pub execution_id: String,
    /// Why.
    pub reason: Option<String>,
    /// Echoed.
    pub client_mutation_id: Option<String>,
}

/// Answers to manual interventions, as failure strategies name them.
#[derive(Enum, Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum RepairAction {
    RollbackWorkflow,
    RollbackPhase,
    RollbackProvisionerAfterPhases,
    Ignore,
    Retry,
    EndExecution,
    AbortWorkflowExecution,
    MarkAsSuccess,
}

impl From<RepairAction> for Repair {
    fn from(action: RepairAction) -> Self {
        match action {
            RepairAction::RollbackWorkflow => Self::RollbackWorkflow,
            RepairAction::RollbackPhase => Self::RollbackPhase,
            RepairAction::RollbackProvisionerAfterPhases => Self::RollbackProvisionerAfterPhases,
            RepairAction::Ignore => Self::Ignore,
            RepairAction::Retry => Self::Retry,
            RepairAction::EndExecution => Self::EndExecution,
            RepairAction::AbortWorkflowExecution => Self::AbortWorkflowExecution,
            RepairAction::MarkAsSuccess => Self::MarkAsSuccess,
        }
    }
}

/// Answer to a manual intervention.
#[derive(InputObject, Clone, Debug)]
pub struct AnswerInterventionInput {
    /// Execution.
    pub execution_id: String,
    /// Step, as `waits` names it.
    pub step: u32,
    /// Answer.
    pub answer: RepairAction,
    /// Why.
    pub reason: Option<String>,
    /// Echoed.
    pub client_mutation_id: Option<String>,
}

/// Word about an unknown outcome.
#[derive(InputObject, Clone, Debug)]
pub struct AnswerUnknownOutcomeInput {
    /// Execution.
    pub execution_id: String,
    /// Step, as `waits` names it.
    pub step: u32,
    /// Host, when the task had one.
    pub instance: Option<String>,
    /// It ran (counts as succeeded), or it did not (is run).
    pub ran: bool,
    /// Why.
    pub reason: Option<String>,
    /// Echoed.
    pub client_mutation_id: Option<String>,
}

/// A new application.
#[derive(InputObject, Clone, Debug)]
pub struct CreateApplicationInput {
    /// Name.
    pub name: String,
    /// Description.
    pub description: Option<String>,
    /// Kept for clients that send it.
    pub is_manual_trigger_authorized: Option<bool>,
    /// Kept for clients that send it.
    pub are_web_hook_secrets_mandated: Option<bool>,
    /// Echoed.
    pub client_mutation_id: Option<String>,
}

/// Changes of an application; an empty name is no change.
#[derive(InputObject, Clone, Debug)]
pub struct UpdateApplicationInput {
    /// Application.
    pub application_id: String,
    /// New name.
    pub name: Option<String>,
    /// New description.
    pub description: Option<String>,
    /// Kept for clients that send it.
    pub is_manual_trigger_authorized: Option<bool>,
    /// Kept for clients that send it.
    pub are_web_hook_secrets_mandated: Option<bool>,
    /// Echoed.
    pub client_mutation_id: Option<String>,
}

/// An application to delete.
#[derive(InputObject, Clone, Debug)]
pub struct DeleteApplicationInput {
    /// Application.
    pub application_id: String,
    /// Echoed.
    pub client_mutation_id: Option<String>,
}

/// A new secret.
#[derive(InputObject, Clone, Debug)]
pub struct CreateSecretInput {
    /// Type.
    pub secret_type: SecretType,
    /// A text.
    pub encrypted_text: Option<EncryptedTextInput>,
    /// A file.
    pub encrypted_file: Option<EncryptedFileInput>,
    /// An SSH credential.
    pub ssh_credential: Option<SshCredentialInput>,
    /// A WinRM credential.
    #[graphql(name = "winRMCredential")]
    pub winrm_credential: Option<WinRmCredentialInput>,
    /// Echoed.
    pub client_mutation_id: Option<String>,
}

/// Changes of a secret.
#[derive(InputObject, Clone, Debug)]
pub struct UpdateSecretInput {
    /// Secret.
    pub secret_id: String,
    /// Its type.
    pub secret_type: SecretType,
    /// A text.
    pub encrypted_text: Option<EncryptedTextInput>,
    /// A file.
    pub encrypted_file: Option<EncryptedFileInput>,
    /// An SSH credential.
    pub ssh_credential: Option<SshCredentialInput>,
    /// A WinRM credential.
    #[graphql(name = "winRMCredential")]
    pub winrm_credential: Option<WinRmCredentialInput>,
    /// Echoed.
    pub client_mutation_id: Option<String>,
}

/// A secret to delete.
#[derive(InputObject, Clone, Debug)]
pub struct DeleteSecretInput {
    /// Secret.
    pub secret_id: String,
    /// Its type.
    pub secret_type: SecretType,
    /// Echoed.
    pub client_mutation_id: Option<String>,
}

macro_rules! provider_input {
    ($(#[$doc:meta])* $name:ident { $($id:ident)? }) => {
        $(#[$doc])*
        #[derive(InputObject, Clone, Debug)]
        pub struct $name {
            $(
                /// Cloud provider.
                pub $id: String,
            )?
            /// Type.
            pub cloud_provider_type: CloudProviderType,
            /// AWS.
            pub aws_cloud_provider: Option<AwsCloudProviderInput>,
            /// Azure.
            pub azure_cloud_provider: Option<AzureCloudProviderInput>,
            /// Google Cloud.
            pub gcp_cloud_provider: Option<GcpCloudProviderInput>,
            /// Kubernetes.
            pub k8s_cloud_provider: Option<K8sCloudProviderInput>,
            /// Cloud Foundry.
            pub pcf_cloud_provider: Option<PcfCloudProviderInput>,
            /// Hosts.
            pub physical_data_center_cloud_provider: Option<PhysicalDataCenterCloudProviderInput>,
            /// Spot.
            pub spot_inst_cloud_provider: Option<SpotInstCloudProviderInput>,
            /// Echoed.
            pub client_mutation_id: Option<String>,
        }

        impl $name {
            fn details(self) -> Details {
                Details {
                    aws: self.aws_cloud_provider,
                    azure: self.azure_cloud_provider,
                    gcp: self.gcp_cloud_provider,
                    k8s: self.k8s_cloud_provider,
                    pcf: self.pcf_cloud_provider,
                    hosts: self.physical_data_center_cloud_provider,
                    spot: self.spot_inst_cloud_provider,
                }
            }
        }
    };
}

provider_input!(
    /// A new cloud provider.
    CreateCloudProviderInput {}
);
provider_input!(
    /// Changes of a cloud provider.
    UpdateCloudProviderInput { cloud_provider_id }
);

/// A cloud provider to delete.
#[derive(InputObject, Clone, Debug)]
pub struct DeleteCloudProviderInput {
    /// Cloud provider.
    pub cloud_provider_id: String,
    /// Echoed.
    pub client_mutation_id: Option<String>,
}

/// The mutation root.
#[derive(Debug)]
pub struct Mutation;

/// What can be changed.
#[Object(name = "CoreMutation")]
impl Mutation {
    /// Starts a workflow or a pipeline. Refused as a whole, with every reason, or started.
    async fn start_execution(
        &self,
        ctx: &Context<'_>,
        input: StartExecutionInput,
    ) -> Result<Option<StartExecutionPayload>> {
        let mutation = input.client_mutation_id.clone();
        let request = input.request().map_err(|problems| error::graphql(Error::Refused { problems }))?;
        let started = control_of(ctx)?
            .start(actor_of(ctx)?, request, mutation.as_deref())
            .await
            .map_err(error::graphql)?;
        let warnings: Vec<String> = started.warnings.iter().map(ToString::to_string).collect();
        Ok(Some(StartExecutionPayload {
            client_mutation_id: mutation,
            execution: Some(execution(ctx, &started.execution).await?),
            warning_message: (!warnings.is_empty()).then(|| warnings.join("; ")),
        }))
    }

    /// Runs a pipeline that did not end well again, from a stage on.
    async fn resume_execution(
        &self,
        ctx: &Context<'_>,
        input: ResumeExecutionInput,
    ) -> Result<Option<ResumeExecutionPayload>> {
        let id = ExecutionId::from(input.pipeline_execution_id);
        let mutation = input.client_mutation_id;
        let new = control_of(ctx)?
            .resume(actor_of(ctx)?, &id, &input.pipeline_stage_name, mutation.as_deref())
            .await
            .map_err(error::graphql)?;
        let execution = Some(execution(ctx, &new).await?);
        Ok(Some(ResumeExecutionPayload { client_mutation_id: mutation, execution }))
    }

    /// Starts nothing new in an execution.
    async fn pause_execution(
        &self,
        ctx: &Context<'_>,
        input: ExecutionRequestInput,
    ) -> Result<Option<ExecutionPayload>> {
        let (id, reason) = (ExecutionId::from(input.execution_id), input.reason.unwrap_or_default());
        control_of(ctx)?.pause(actor_of(ctx)?, &id, &reason).await.map_err(error::graphql)?;
        asked(ctx, &id, input.client_mutation_id).await
    }

    /// Ends a pause.
    async fn continue_execution(
        &self,
        ctx: &Context<'_>,
        input: ExecutionRequestInput,
    ) -> Result<Option<ExecutionPayload>> {
        let (id, reason) = (ExecutionId::from(input.execution_id), input.reason.unwrap_or_default());
        control_of(ctx)?.resume_paused(actor_of(ctx)?, &id, &reason).await.map_err(error::graphql)?;
        asked(ctx, &id, input.client_mutation_id).await
    }

    /// Stops an execution without rollback.
    async fn abort_execution(
        &self,
        ctx: &Context<'_>,
        input: ExecutionRequestInput,
    ) -> Result<Option<ExecutionPayload>> {
        let (id, reason) = (ExecutionId::from(input.execution_id), input.reason.unwrap_or_default());
        control_of(ctx)?.abort(actor_of(ctx)?, &id, &reason).await.map_err(error::graphql)?;
        asked(ctx, &id, input.client_mutation_id).await
    }

    /// Stops a workflow execution and rolls it back.
    async fn rollback_execution(
        &self,
        ctx: &Context<'_>,
        input: ExecutionRequestInput,
    ) -> Result<Option<ExecutionPayload>> {
        let (id, reason) = (ExecutionId::from(input.execution_id), input.reason.unwrap_or_default());
        control_of(ctx)?.rollback(actor_of(ctx)?, &id, &reason).await.map_err(error::graphql)?;
        asked(ctx, &id, input.client_mutation_id).await
    }

    /// Answers a manual intervention.
    async fn answer_intervention(
        &self,
        ctx: &Context<'_>,
        input: AnswerInterventionInput,
    ) -> Result<Option<ExecutionPayload>> {
        let (id, reason) = (ExecutionId::from(input.execution_id), input.reason.unwrap_or_default());
        control_of(ctx)?
            .answer_intervention(actor_of(ctx)?, &id, input.step, input.answer.into(), &reason)
            .await
            .map_err(error::graphql)?;
        asked(ctx, &id, input.client_mutation_id).await
    }

    /// Says whether a task ran whose outcome nobody knows.
    async fn answer_unknown_outcome(
        &self,
        ctx: &Context<'_>,
        input: AnswerUnknownOutcomeInput,
    ) -> Result<Option<ExecutionPayload>> {
        let (id, reason) = (ExecutionId::from(input.execution_id), input.reason.unwrap_or_default());
        control_of(ctx)?
            .answer_unknown_outcome(actor_of(ctx)?, &id, input.step, input.instance, input.ran, &reason)
            .await
            .map_err(error::graphql)?;
        asked(ctx, &id, input.client_mutation_id).await
    }

    /// Makes an application.
    async fn create_application(
        &self,
        ctx: &Context<'_>,
        input: CreateApplicationInput,
    ) -> Result<Option<CreateApplicationPayload>> {
        let id = control_of(ctx)?
            .create_application(actor_of(ctx)?, &input.name, input.description.as_deref().unwrap_or_default())
            .await
            .map_err(error::graphql)?;
        let application = application_of(ctx, &id).await?;
        Ok(Some(CreateApplicationPayload { client_mutation_id: input.client_mutation_id, application }))
    }

    /// Renames an application, with all that lies in it, or changes its description.
    async fn update_application(
        &self,
        ctx: &Context<'_>,
        input: UpdateApplicationInput,
    ) -> Result<Option<UpdateApplicationPayload>> {
        let id = EntityId::from(input.application_id);
        control_of(ctx)?
            .update_application(actor_of(ctx)?, &id, input.name.as_deref(), input.description.as_deref())
            .await
            .map_err(error::graphql)?;
        let application = application_of(ctx, &id).await?;
        Ok(Some(UpdateApplicationPayload { client_mutation_id: input.client_mutation_id, application }))
    }

    /// Deletes an application with all that lies in it.
    async fn delete_application(
        &self,
        ctx: &Context<'_>,
        input: DeleteApplicationInput,
    ) -> Result<Option<DeleteApplicationPayload>> {
        let id = EntityId::from(input.application_id);
        control_of(ctx)?.delete_application(actor_of(ctx)?, &id).await.map_err(error::graphql)?;
        Ok(Some(DeleteApplicationPayload { client_mutation_id: input.client_mutation_id }))
    }

    /// Renames an entity, with everything below it and every name in the configuration that means it, at once.
    async fn rename_document(
        &self,
        ctx: &Context<'_>,
        input: RenameDocumentInput,
    ) -> Result<Option<RenameDocumentPayload>> {
        let id = EntityId::from(input.id);
        let (control, actor) = (control_of(ctx)?, actor_of(ctx)?);
        control.rename(actor, &id, &input.name).await.map_err(error::graphql)?;
        let path = control.document(actor, &id).await.map_err(error::graphql)?.path.clone();
        Ok(Some(RenameDocumentPayload { client_mutation_id: input.client_mutation_id, path }))
    }

    /// Makes a secret. The content of a file comes as the part `file` of a multipart body.
    async fn create_secret(
        &self,
        ctx: &Context<'_>,
        input: CreateSecretInput,
    ) -> Result<Option<CreateSecretPayload>> {
        let kind = input.secret_type.into();
        let change = SecretInput {
            text: input.encrypted_text,
            file: input.encrypted_file,
            ssh: input.ssh_credential,
            winrm: input.winrm_credential,
            upload: upload(ctx),
        }
        .change(kind)
        .map_err(|problem| error::graphql(Error::refused(problem)))?;
        let record =
            control_of(ctx)?.create_secret(actor_of(ctx)?, kind, change).await.map_err(error::graphql)?;
        Ok(Some(CreateSecretPayload {
            client_mutation_id: input.client_mutation_id,
            secret: Some(record.into()),
        }))
    }

    /// Changes a secret.
    async fn update_secret(
        &self,
        ctx: &Context<'_>,
        input: UpdateSecretInput,
    ) -> Result<Option<UpdateSecretPayload>> {
        let kind = input.secret_type.into();
        let id = SecretId::from(input.secret_id);
        let change = SecretInput {
            text: input.encrypted_text,
            file: input.encrypted_file,
            ssh: input.ssh_credential,
            winrm: input.winrm_credential,
            upload: upload(ctx),
        }
        .change(kind)
        .map_err(|problem| error::graphql(Error::refused(problem)))?;
        let record = control_of(ctx)?
            .update_secret(actor_of(ctx)?, &id, kind, change)
            .await
            .map_err(error::graphql)?;
        Ok(Some(UpdateSecretPayload {
            client_mutation_id: input.client_mutation_id,
            secret: Some(record.into()),
        }))
    }

    /// Deletes a secret that nothing uses.
    async fn delete_secret(
        &self,
        ctx: &Context<'_>,
        input: DeleteSecretInput,
    ) -> Result<Option<DeleteSecretPayload>> {
        let id = SecretId::from(input.secret_id);
        control_of(ctx)?
            .delete_secret(actor_of(ctx)?, &id, input.secret_type.into())
            .await
            .map_err(error::graphql)?;
        Ok(Some(DeleteSecretPayload { client_mutation_id: input.client_mutation_id }))
    }

    /// Makes a cloud provider.
    async fn create_cloud_provider(
        &self,
        ctx: &Context<'_>,
        input: CreateCloudProviderInput,
    ) -> Result<Option<CreateCloudProviderPayload>> {
        let (kind, mutation) = (input.cloud_provider_type, input.client_mutation_id.clone());
        let change =
            input.details().change(kind).map_err(|problem| error::graphql(Error::refused(problem)))?;
        let id =
            control_of(ctx)?.create_cloud_provider(actor_of(ctx)?, change).await.map_err(error::graphql)?;
        let cloud_provider = provider(ctx, &id).await?;
        Ok(Some(CreateCloudProviderPayload { client_mutation_id: mutation, cloud_provider }))
    }

    /// Changes a cloud provider; what is not given stays.
    async fn update_cloud_provider(
        &self,
        ctx: &Context<'_>,
        input: UpdateCloudProviderInput,
    ) -> Result<Option<UpdateCloudProviderPayload>> {
        let (kind, mutation) = (input.cloud_provider_type, input.client_mutation_id.clone());
        let id = EntityId::from(input.cloud_provider_id.clone());
        let change =
            input.details().change(kind).map_err(|problem| error::graphql(Error::refused(problem)))?;
        control_of(ctx)?.update_cloud_provider(actor_of(ctx)?, &id, change).await.map_err(error::graphql)?;
        let cloud_provider = provider(ctx, &id).await?;
        Ok(Some(UpdateCloudProviderPayload { client_mutation_id: mutation, cloud_provider }))
    }

    /// Deletes a cloud provider that nothing uses.
    async fn delete_cloud_provider(
        &self,
        ctx: &Context<'_>,
        input: DeleteCloudProviderInput,
    ) -> Result<Option<DeleteCloudProviderPayload>> {
        let id = EntityId::from(input.cloud_provider_id);
        control_of(ctx)?.delete_cloud_provider(actor_of(ctx)?, &id).await.map_err(error::graphql)?;
        Ok(Some(DeleteCloudProviderPayload { client_mutation_id: input.client_mutation_id }))
    }

    /// Makes a resource constraint.
    async fn create_resource_constraint(
        &self,
        ctx: &Context<'_>,
        input: CreateResourceConstraintInput,
    ) -> Result<Option<CreateResourceConstraintPayload>> {
        let client_mutation_id = input.client_mutation_id.clone();
        let record = control_of(ctx)?
            .create_constraint(actor_of(ctx)?, input.change())
            .await
            .map_err(error::graphql)?;
        let resource_constraint = Some(record.into());
        Ok(Some(CreateResourceConstraintPayload { client_mutation_id, resource_constraint }))
    }

    /// Changes a resource constraint. Those who wait and fit then get their permits at once.
    async fn update_resource_constraint(
        &self,
        ctx: &Context<'_>,
        input: UpdateResourceConstraintInput,
    ) -> Result<Option<UpdateResourceConstraintPayload>> {
        let client_mutation_id = input.client_mutation_id.clone();
        let id = ConstraintId::from(input.resource_constraint_id.as_str());
        let record = control_of(ctx)?
            .update_constraint(actor_of(ctx)?, &id, input.change())
            .await
            .map_err(error::graphql)?;
        let resource_constraint = Some(record.into());
        Ok(Some(UpdateResourceConstraintPayload { client_mutation_id, resource_constraint }))
    }

    /// Deletes a resource constraint that no workflow names and whose permits nobody holds or waits for.
    async fn delete_resource_constraint(
        &self,
        ctx: &Context<'_>,
        input: DeleteResourceConstraintInput,
    ) -> Result<Option<DeleteResourceConstraintPayload>> {
        let id = ConstraintId::from(input.resource_constraint_id);
        control_of(ctx)?.delete_constraint(actor_of(ctx)?, &id).await.map_err(error::graphql)?;
        Ok(Some(DeleteResourceConstraintPayload { client_mutation_id: input.client_mutation_id }))
    }
}

async fn execution(ctx: &Context<'_>, id: &ExecutionId) -> Result<Execution> {
    let row = control_of(ctx)?.execution(actor_of(ctx)?, id).await.map_err(error::graphql)?;
    Ok(Execution::of(&snapshot_of(ctx).await?, row))
}

async fn asked(
    ctx: &Context<'_>,
    id: &ExecutionId,
    client_mutation_id: Option<String>,
) -> Result<Option<ExecutionPayload>> {
    Ok(Some(ExecutionPayload { client_mutation_id, execution: Some(execution(ctx, id).await?) }))
}

async fn provider(ctx: &Context<'_>, id: &EntityId) -> Result<Option<CloudProvider>> {
    let snapshot = snapshot_of(ctx).await?;
    Ok(snapshot.catalog.cloud_providers.get(id).map(|entity| CloudProvider::of(&snapshot, entity)))
}

fn upload(ctx: &Context<'_>) -> Option<Vec<u8>> {
    ctx.data_opt::<Upload>().map(|upload| upload.0.to_vec())
}
