//! Service commands on hosts: units in order, nested commands flattened (`yaml-vocabulary`, command units).

use manifold_model::artifact::Artifact;
use manifold_model::entity::{CommandUnit, ConfigFile, ServiceCommand};
use manifold_model::plan::{ServicePlan, StepPlan};
use manifold_model::task::{ArtifactFile, CommandTask, FileContent, FileSource, Unit, UnitAction};
use manifold_model::{Failure, FailureClass, Rendered, code};

use crate::render::{Renderer, text};

/// How deep commands may call each other.
const MAX_DEPTH: usize = 10;
/// Most units of one command, nested ones counted.
const MAX_UNITS: usize = 500;

/// The task of a `COMMAND` step on the renderer's host.
pub(crate) fn command(step: &StepPlan, renderer: &mut Renderer<'_>) -> Result<CommandTask, Failure> {
    let part = renderer.scope.part;
    let service = renderer.scope.map.service(part.phase()).ok_or_else(|| {
        failure("this part of the workflow has no service, so no service command can run".to_owned())
    })?;
    let name = text(&step.properties, "commandName").filter(|name| !name.is_empty()).unwrap_or(&step.name);
    let artifact = renderer.scope.map.artifact(renderer.scope.state, part);
    let host = renderer
        .host(step)?
        .ok_or_else(|| crate::hosts::no_hosts("a service command needs a host to run on".to_owned()))?;
    let artifact = artifact.and_then(|artifact| {
        let source = renderer.scope.map.source(part.phase(), artifact)?.clone();
        Some(ArtifactFile { artifact: artifact.clone(), source })
    });
    let mut units = Flattening { service, has_artifact: artifact.is_some(), units: Vec::new() };
    units.add(named(service, name)?, "", 0, renderer)?;
    let units = units.units;
    let mut environment = renderer.environment()?;
    if let Some(file) = &artifact {
        environment.extend(artifact_environment(&file.artifact));
    }
    Ok(CommandTask { host, units, environment, artifact })
}

fn named<'s>(service: &'s ServicePlan, name: &str) -> Result<&'s ServiceCommand, Failure> {
    service
        .commands
        .iter()
        .find(|command| command.name == name)
        .ok_or_else(|| failure(format!("service `{}` has no command `{name}`", service.name)))
}

fn failure(message: String) -> Failure {
    Failure::new(FailureClass::Application, code!("COMMAND_INVALID"), message)
        .hint("check the service command and the step that calls it")
}

/// What scripts are told of the artifact.
fn artifact_environment(artifact: &Artifact) -> Vec<(String, Rendered)> {
    let metadata = |key: &str| artifact.metadata.get(key).cloned();
    let path = metadata("path").or_else(|| metadata("artifactPath")).or_else(|| metadata("url"));
    let file = metadata("fileName").or_else(|| Some(path.as_ref()?.rsplit('/').next()?.to_owned()));
    [
        ("ARTIFACT_FILE_NAME", file),
        ("ARTIFACT_BUILD_NO", Some(artifact.build_no.clone())),
        ("ARTIFACT_PATH", path),
        ("ARTIFACT_URL", metadata("url")),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), Rendered::text(value?))))
    .collect()
}

struct Flattening<'a> {
    service: &'a ServicePlan,
    /// Whether there is an artifact, with a source from which it can be fetched.
    has_artifact: bool,
    units: Vec<Unit>,
}

impl Flattening<'_> {
    fn add(
        &mut self,
        command: &ServiceCommand,
        prefix: &str,
        depth: usize,
        renderer: &mut Renderer<'_>,
    ) -> Result<(), Failure> {
        if depth > MAX_DEPTH {
            let message =
                format!("command `{}` calls itself, or commands nest deeper than {MAX_DEPTH}", command.name);
            return Err(failure(message));
        }
        for unit in &command.units {
            let name = format!("{prefix}{}", unit.name);
            if unit.kind == "COMMAND" {
                let service = self.service;
                self.add(named(service, &unit.name)?, &format!("{name} / "), depth + 1, renderer)?;
                continue;
            }
            if self.units.len() >= MAX_UNITS {
                return Err(failure(format!("the command has more than {MAX_UNITS} units")));
            }
            let action = self.action(unit, &name, renderer)?;
            self.units.push(Unit { name, action });
        }
        Ok(())
    }

    fn action(
        &self,
        unit: &CommandUnit,
        name: &str,
        renderer: &mut Renderer<'_>,
    ) -> Result<UnitAction, Failure> {
        let property = |key: &str| text(&unit.properties, key).unwrap_or_default();
        match unit.kind.as_str() {
            "SCP" => {
                let source = property("source");
                if !source.is_empty() && source != "ARTIFACTS" {
                    let message =
                        format!("unit `{name}` copies from `{source}`; only ARTIFACTS is supported");
                    return Err(failure(message));
                }
                if !self.has_artifact {
                    return Err(artifact_missing(&self.service.name));
                }
                let directory = property("destinationDirectoryPath");
                Ok(UnitAction::CopyArtifact { directory: renderer.strict(name, directory)? })
            }
            "COPY_CONFIGS" => {
                let directory = renderer.strict(name, property("destinationParentPath"))?;
                Ok(UnitAction::CopyFiles { directory, files: self.files(renderer)? })
            }
            kind if is_script(kind) => {
                if kind == "DOWNLOAD_ARTIFACT" && !self.has_artifact {
                    return Err(artifact_missing(&self.service.name));
                }
                let check = kind.starts_with("PROCESS_CHECK") || kind.starts_with("PORT_CHECK");
                Ok(UnitAction::Exec {
                    script: renderer.script(name, property("command"))?,
                    directory: renderer.strict(name, property("workingDirectory"))?,
                    keeps_environment: kind == "SETUP_ENV",
                    failure: if check { FailureClass::Verification } else { FailureClass::Application },
                })
            }
            kind => Err(failure(format!("unit `{name}` is a {kind}, which no driver plays"))),
        }
    }

    /// Config files of the service; an environment's override of the same target path wins, one for this service over one for all.
    fn files(&self, renderer: &mut Renderer<'_>) -> Result<Vec<FileContent>, Failure> {
        let mut files: Vec<&ConfigFile> = self.service.config_files.iter().collect();
        if let Some(environment) = renderer.scope.map.environment() {
            let general = environment.config_files.iter().filter(|file| file.service_name.is_none());
            let own = |file: &&ConfigFile| file.service_name.as_ref() == Some(&self.service.name);
            for file in general.chain(environment.config_files.iter().filter(own)) {
                match files.iter_mut().find(|old| old.target_path == file.target_path) {
                    Some(old) => *old = file,
                    None => files.push(file),
                }
            }
        }
        let revision = renderer.scope.map.plan.catalog_revision;
        let mut contents = Vec::new();
        for file in files {
            let path =
                renderer.known(&format!("the path of config file `{}`", file.name), &file.target_path)?;
            let content = if file.encrypted {
                // The content is the encrypted-file secret of the file's name.
                FileSource::Secret { name: file.name.clone() }
            } else {
                FileSource::Document { path: file.content_path.clone(), revision }
            };
            contents.push(FileContent { path, content });
        }
        Ok(contents)
    }
}

fn is_script(kind: &str) -> bool {
    matches!(kind, "EXEC" | "SETUP_ENV" | "DOWNLOAD_ARTIFACT" | "DOCKER_START" | "DOCKER_STOP")
        || kind.starts_with("PROCESS_CHECK")
        || kind.starts_with("PORT_CHECK")
}

/// A service has no artifact where one is needed.
pub(crate) fn artifact_missing(service: &str) -> Failure {
    let message = format!("service `{service}` has no artifact in this execution, or its source is gone");
    Failure::new(FailureClass::Application, code!("ARTIFACT_MISSING"), message)
        .hint("name an artifact for the service when starting")
}
