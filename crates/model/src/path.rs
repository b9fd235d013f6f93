//! Paths of the configuration tree (`wire.md` 4.3, `behaviour.md` 18.2): which document lies where, and what it is called.

use std::fmt;

use crate::name::{check_entity_name, shown};
use crate::{Problem, code};

/// Bytes of a path.
pub const PATH_LIMIT: usize = 1024;
/// Segments of a path; template folders and manifest files are the only deep ones.
pub const SEGMENT_LIMIT: usize = 32;

/// Which segment names the service in `Setup/Applications/<app>/Environments/<env>/Values/Services/<svc>/…`, from 0.
const SERVICE_SEGMENT: usize = 7;

/// What lies at a path.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum DocumentKind {
    /// `Setup/Defaults.yaml`.
    AccountDefaults,
    /// `Setup/Tags.yaml`.
    Tags,
    /// `Setup/ids.yaml`: ids for the entities of a seed; never stored.
    Ids,
    /// `Setup/Cloud Providers/…`.
    CloudProvider,
    /// `Setup/Artifact Servers/…`.
    ArtifactServer,
    /// `Setup/Source Repo Providers/…`.
    SourceRepoProvider,
    /// `Setup/Collaboration Providers/…`.
    CollaborationProvider,
    /// `Setup/Verification Providers/…`.
    VerificationProvider,
    /// `Setup/Notification Groups/…`.
    NotificationGroup,
    /// `Setup/Governance/…`.
    Governance,
    /// `Setup/Template Library/…` and the one of an application.
    Template,
    /// `Setup/Applications/<app>/Index.yaml`.
    Application,
    /// `Setup/Applications/<app>/Defaults.yaml`.
    ApplicationDefaults,
    /// `Services/<svc>/Index.yaml`.
    Service,
    /// `Services/<svc>/Artifact Servers/…`.
    ArtifactSource,
    /// `Services/<svc>/Commands/…`.
    Command,
    /// `Services/<svc>/Config Files/…`.
    ConfigFile,
    /// `Services/<svc>/Deployment Specifications/…`.
    DeploymentSpecification,
    /// `Services/<svc>/Manifests/Index.yaml`.
    Manifest,
    /// `Index.yaml` in `Values` and the like of a service.
    ServiceOverride,
    /// `Environments/<env>/Index.yaml`.
    Environment,
    /// `Environments/<env>/Infrastructure Definitions/…`.
    InfrastructureDefinition,
    /// `Environments/<env>/Service Infrastructure/…`: what old trees had instead of infrastructure definitions.
    ServiceInfrastructure,
    /// `Environments/<env>/Config Files/…`.
    ConfigFileOverride,
    /// `Environments/<env>/Service Verification/…`.
    ServiceVerification,
    /// `Index.yaml` in `Values`, `PCF Overrides` and the like of an environment.
    EnvironmentOverride,
    /// `Workflows/…`.
    Workflow,
    /// `Pipelines/…`.
    Pipeline,
    /// `Triggers/…`.
    Trigger,
    /// `Infrastructure Provisioners/…`.
    Provisioner,
    /// Bytes, never parsed: manifests, values, config file contents.
    File,
}

impl DocumentKind {
    /// The noun for messages.
    #[must_use]
    pub fn noun(self) -> &'static str {
        match self {
            Self::AccountDefaults => "account defaults",
            Self::Tags => "tags",
            Self::Ids => "ids",
            Self::CloudProvider => "cloud provider",
            Self::ArtifactServer => "artifact server",
            Self::SourceRepoProvider => "source repo provider",
            Self::CollaborationProvider => "collaboration provider",
            Self::VerificationProvider => "verification provider",
            Self::NotificationGroup => "notification group",
            Self::Governance => "governance document",
            Self::Template => "template",
            Self::Application => "application",
            Self::ApplicationDefaults => "application defaults",
            Self::Service => "service",
            Self::ArtifactSource => "artifact source",
            Self::Command => "service command",
            Self::ConfigFile => "config file",
            Self::DeploymentSpecification => "deployment specification",
            Self::Manifest => "manifest",
            Self::ServiceOverride => "service override",
            Self::Environment => "environment",
            Self::InfrastructureDefinition => "infrastructure definition",
            Self::ServiceInfrastructure => "service infrastructure",
            Self::ConfigFileOverride => "config file override",
            Self::ServiceVerification => "service verification",
            Self::EnvironmentOverride => "environment override",
            Self::Workflow => "workflow",
            Self::Pipeline => "pipeline",
            Self::Trigger => "trigger",
            Self::Provisioner => "infrastructure provisioner",
            Self::File => "file",
        }
    }
}

impl fmt::Display for DocumentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.noun())
    }
}

/// A path that was understood.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DocumentPath {
    /// The path itself.
    pub path: String,
    /// What lies there.
    pub kind: DocumentKind,
    /// The application it lies under.
    pub application: Option<String>,
    /// The service or environment it lies under.
    pub owner: Option<String>,
    /// What it is called: the folder of an `Index.yaml`, else the file's stem; of files the file name.
    pub name: String,
}

/// Folders of overrides: an `Index.yaml` in them (or in `Services/<svc>/` below) is a document, everything else a file.
const OVERRIDES: [&str; 8] = [
    "Values",
    "PCF Overrides",
    "Helm Chart Overrides",
    "OC Params",
    "Kustomize Patches",
    "App Settings Overrides",
    "App Services",
    "PCF Manifests",
];

/// Folders of the account whose documents lie directly in them.
const ACCOUNT_FOLDERS: [(&str, DocumentKind); 7] = [
    ("Cloud Providers", DocumentKind::CloudProvider),
    ("Artifact Servers", DocumentKind::ArtifactServer),
    ("Source Repo Providers", DocumentKind::SourceRepoProvider),
    ("Collaboration Providers", DocumentKind::CollaborationProvider),
    ("Verification Providers", DocumentKind::VerificationProvider),
    ("Notification Groups", DocumentKind::NotificationGroup),
    ("Governance", DocumentKind::Governance),
];

/// Whether a folder or file of this name lies directly in `Setup`.
#[must_use]
pub fn is_inside_setup(name: &str) -> bool {
    matches!(name, "Applications" | "Template Library" | "Defaults.yaml" | "Tags.yaml" | "ids.yaml")
        || ACCOUNT_FOLDERS.iter().any(|(folder, _)| *folder == name)
}

/// Folders of an application whose documents lie directly in them. The first name of a kind is the one that is written.
const APPLICATION_FOLDERS: [(&str, DocumentKind); 5] = [
    ("Workflows", DocumentKind::Workflow),
    ("Pipelines", DocumentKind::Pipeline),
    ("Triggers", DocumentKind::Trigger),
    ("Infrastructure Provisioners", DocumentKind::Provisioner),
    ("Provisioners", DocumentKind::Provisioner),
];

const SERVICE_FOLDERS: [(&str, DocumentKind); 3] = [
    ("Artifact Servers", DocumentKind::ArtifactSource),
    ("Commands", DocumentKind::Command),
    ("Deployment Specifications", DocumentKind::DeploymentSpecification),
];

const ENVIRONMENT_FOLDERS: [(&str, DocumentKind); 3] = [
    ("Infrastructure Definitions", DocumentKind::InfrastructureDefinition),
    ("Service Infrastructure", DocumentKind::ServiceInfrastructure),
    ("Service Verification", DocumentKind::ServiceVerification),
];

type Outcome<T> = Result<T, Box<Problem>>;

impl DocumentPath {
    /// Understands a path.
    ///
    /// # Errors
    /// `PATH_INVALID` for paths that are unsafe or too long, `NAME_INVALID` for a name in it, `PATH_UNKNOWN` for a place where nothing belongs,
    /// `PATH_EXTENSION` for `.yml` where a document belongs.
    pub fn parse(path: &str) -> Outcome<Self> {
        check(path)?;
        let segments: Vec<&str> = path.split('/').collect();
        let found = match segments.as_slice() {
            ["Setup", rest @ ..] => account(rest)?,
            _ => None,
        };
        let Some(found) = found else {
            return Err(unknown(path).into());
        };
        if found.kind != DocumentKind::File {
            check_entity_name(&found.name)?;
        }
        Ok(Self {
            path: path.to_owned(),
            kind: found.kind,
            application: found.application.map(str::to_owned),
            owner: found.owner.map(str::to_owned),
            name: found.name,
        })
    }

    /// Whether anything acts on the document; others are kept and given back.
    #[must_use]
    pub fn is_used(&self) -> bool {
        match self.kind {
            DocumentKind::ServiceOverride | DocumentKind::EnvironmentOverride => {
                self.overrides() == Some("Values")
            }
            kind => !matches!(
                kind,
                DocumentKind::Tags
                    | DocumentKind::SourceRepoProvider
                    | DocumentKind::CollaborationProvider
                    | DocumentKind::VerificationProvider
                    | DocumentKind::NotificationGroup
                    | DocumentKind::Governance
                    | DocumentKind::Template
                    | DocumentKind::DeploymentSpecification
                    | DocumentKind::ServiceVerification
                    | DocumentKind::Trigger
                    | DocumentKind::Provisioner
            ),
        }
    }

    /// The service that an override of an environment is for, when it lies in a folder of that name: `Environments/<env>/Values/Services/<svc>/…`.
    #[must_use]
    pub fn overridden_service(&self) -> Option<&str> {
        let mut segments = self.path.split('/').skip(3);
        let (home, folder) = (segments.next()?, segments.nth(1)?);
        let is_override = folder == "Config Files" || OVERRIDES.contains(&folder);
        let service = (home == "Environments" && is_override && segments.next()? == "Services")
            .then(|| segments.next())??;
        // What lies directly in `Services` is named after no service.
        segments.next().map(|_| service)
    }

    /// The path that an override has when its service is called otherwise.
    #[must_use]
    pub fn for_service(&self, name: &str) -> Option<String> {
        self.overridden_service()?;
        let mut segments: Vec<&str> = self.path.split('/').collect();
        *segments.get_mut(SERVICE_SEGMENT)? = name;
        Some(segments.join("/"))
    }

    /// The folder of overrides (`Values`, `PCF Overrides`, …) that it lies in.
    fn overrides(&self) -> Option<&str> {
        let folder = self.path.split('/').nth(5)?;
        OVERRIDES.contains(&folder).then_some(folder)
    }

    /// Whether it is a file document: bytes, never parsed.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.kind == DocumentKind::File
    }

    /// The folder that holds everything below this document: for an `Index.yaml` its folder with a slash at the end; `None` for others.
    #[must_use]
    pub fn folder(&self) -> Option<&str> {
        let folder = self.path.strip_suffix("Index.yaml")?;
        matches!(self.kind, DocumentKind::Application | DocumentKind::Service | DocumentKind::Environment)
            .then_some(folder)
    }

    /// The path that this document has under another name. What lies below an `Index.yaml` moves with [`DocumentPath::folder`].
    #[must_use]
    pub fn renamed(&self, name: &str) -> Option<String> {
        if let Some(folder) = self.folder() {
            let parent = folder.strip_suffix('/')?.rsplit_once('/')?.0;
            return Some(format!("{parent}/{name}/Index.yaml"));
        }
        let parent = self.path.rsplit_once('/')?.0;
        (!self.is_file() && !self.path.ends_with("/Index.yaml")).then(|| format!("{parent}/{name}.yaml"))
    }

    /// The path of an entity of the account.
    #[must_use]
    pub fn of_account(kind: DocumentKind, name: &str) -> Option<String> {
        let folder = ACCOUNT_FOLDERS.iter().find(|(_, known)| *known == kind)?.0;
        Some(format!("Setup/{folder}/{name}.yaml"))
    }

    /// The path of an application.
    #[must_use]
    pub fn of_application(name: &str) -> String {
        format!("Setup/Applications/{name}/Index.yaml")
    }

    /// The path of a service, environment, workflow, pipeline, trigger or provisioner.
    #[must_use]
    pub fn of_part(kind: DocumentKind, application: &str, name: &str) -> Option<String> {
        let root = format!("Setup/Applications/{application}");
        match kind {
            DocumentKind::Service => Some(format!("{root}/Services/{name}/Index.yaml")),
            DocumentKind::Environment => Some(format!("{root}/Environments/{name}/Index.yaml")),
            _ => {
                let folder = APPLICATION_FOLDERS.iter().find(|(_, known)| *known == kind)?.0;
                Some(format!("{root}/{folder}/{name}.yaml"))
            }
        }
    }

    /// Where a provisioner may lie: its folder has two names.
    #[must_use]
    pub fn of_provisioner(application: &str, name: &str) -> [String; 2] {
        ["Infrastructure Provisioners", "Provisioners"]
            .map(|folder| format!("Setup/Applications/{application}/{folder}/{name}.yaml"))
    }

    /// The path of a part of a service (artifact source, command, config file, …) or of an environment (infrastructure definition, …).
    #[must_use]
    pub fn of_owned(kind: DocumentKind, application: &str, owner: &str, name: &str) -> Option<String> {
        let named = |folders: &[(&'static str, DocumentKind)]| {
            folders.iter().find(|(_, known)| *known == kind).map(|(folder, _)| *folder)
        };
        let (home, folder) = match kind {
            DocumentKind::ConfigFile => ("Services", "Config Files"),
            DocumentKind::ConfigFileOverride => ("Environments", "Config Files"),
            _ => match named(&SERVICE_FOLDERS) {
                Some(folder) => ("Services", folder),
                None => ("Environments", named(&ENVIRONMENT_FOLDERS)?),
            },
        };
        Some(format!("Setup/Applications/{application}/{home}/{owner}/{folder}/{name}.yaml"))
    }
}

/// What the shape of a path says.
struct Found<'a> {
    kind: DocumentKind,
    application: Option<&'a str>,
    owner: Option<&'a str>,
    name: String,
}

impl<'a> Found<'a> {
    fn new(kind: DocumentKind, name: &str) -> Self {
        Self { kind, application: None, owner: None, name: name.to_owned() }
    }

    fn owned(mut self, owner: &'a str) -> Self {
        self.owner = Some(owner);
        self
    }
}

/// Checks that a path is safe to use, whatever lies there.
fn check(path: &str) -> Outcome<()> {
    let wrong = |what: &str| {
        Err(Problem::new(code!("PATH_INVALID"), format!("the path {what}"))
            .item(shown(path))
            .hint("paths look like Setup/Applications/<application>/Workflows/<workflow>.yaml")
            .into())
    };
    if path.len() > PATH_LIMIT {
        return wrong("has more than 1024 bytes");
    }
    if path.split('/').count() > SEGMENT_LIMIT {
        return wrong("has more than 32 folders");
    }
    for segment in path.split('/') {
        if segment.is_empty() {
            return wrong("has an empty folder name or begins with a slash");
        }
        if check_entity_name(segment).is_err() {
            return wrong(
                "holds a name that is too long, `.`, `..`, a backslash, a control character or a blank at its end",
            );
        }
    }
    Ok(())
}

fn unknown(path: &str) -> Problem {
    Problem::new(code!("PATH_UNKNOWN"), "nothing in the configuration tree belongs at this path")
        .item(shown(path))
        .hint("see the folder layout in the documentation of the configuration tree")
}

/// The stem of a document's file name. Only called where a document, not a file, belongs.
fn stem(file: &str) -> Outcome<&str> {
    if let Some(stem) = file.strip_suffix(".yaml").filter(|stem| !stem.is_empty()) {
        return Ok(stem);
    }
    if file.ends_with(".yml") {
        let message = "documents end in .yaml, not in .yml";
        return Err(Problem::new(code!("PATH_EXTENSION"), message)
            .item(shown(file))
            .hint("rename it to .yaml")
            .into());
    }
    let message = "only .yaml documents belong here";
    Err(Problem::new(code!("PATH_EXTENSION"), message).item(shown(file)).into())
}

fn in_folder<'a>(folders: &[(&str, DocumentKind)], folder: &str, file: &str) -> Outcome<Option<Found<'a>>> {
    match folders.iter().find(|(name, _)| *name == folder) {
        Some((_, kind)) => Ok(Some(Found::new(*kind, stem(file)?))),
        None => Ok(None),
    }
}

fn account<'a>(rest: &[&'a str]) -> Outcome<Option<Found<'a>>> {
    Ok(match rest {
        ["Defaults.yaml"] => Some(Found::new(DocumentKind::AccountDefaults, "Defaults")),
        ["Tags.yaml"] => Some(Found::new(DocumentKind::Tags, "Tags")),
        ["ids.yaml"] => Some(Found::new(DocumentKind::Ids, "ids")),
        ["Defaults.yml" | "Tags.yml"] => {
            stem(rest.last().copied().unwrap_or_default())?;
            None
        }
        ["Template Library", .., file] if rest.len() > 1 => {
            Some(Found::new(DocumentKind::Template, stem(file)?))
        }
        ["Applications", application, rest @ ..] => {
            let mut found = self::application(application, rest)?;
            if let Some(found) = &mut found {
                found.application = Some(application);
            }
            found
        }
        [folder, file] => in_folder(&ACCOUNT_FOLDERS, folder, file)?,
        _ => None,
    })
}

fn application<'a>(application: &str, rest: &[&'a str]) -> Outcome<Option<Found<'a>>> {
    Ok(match rest {
        ["Index.yaml"] => Some(Found::new(DocumentKind::Application, application)),
        ["Defaults.yaml"] => Some(Found::new(DocumentKind::ApplicationDefaults, "Defaults")),
        ["Index.yml" | "Defaults.yml"] => {
            stem(rest.last().copied().unwrap_or_default())?;
            None
        }
        ["Services", service, rest @ ..] => self::service(service, rest)?.map(|found| found.owned(service)),
        ["Environments", environment, rest @ ..] => {
            self::environment(environment, rest)?.map(|found| found.owned(environment))
        }
        ["Template Library", .., file] if rest.len() > 1 => {
            Some(Found::new(DocumentKind::Template, stem(file)?))
        }
        [folder, file] => in_folder(&APPLICATION_FOLDERS, folder, file)?,
        _ => None,
    })
}

fn service<'a>(service: &str, rest: &[&'a str]) -> Outcome<Option<Found<'a>>> {
    Ok(match rest {
        ["Index.yaml"] => Some(Found::new(DocumentKind::Service, service)),
        ["Index.yml"] => {
            stem("Index.yml")?;
            None
        }
        ["Manifests", "Index.yaml"] => Some(Found::new(DocumentKind::Manifest, "Manifests")),
        ["Manifests", .., file] => Some(Found::new(DocumentKind::File, file)),
        ["Config Files", below @ .., file] => Some(config_file(DocumentKind::ConfigFile, below, file)),
        [folder, below @ .., file] if OVERRIDES.contains(folder) => {
            Some(override_file(DocumentKind::ServiceOverride, folder, below, file))
        }
        [folder, file] => in_folder(&SERVICE_FOLDERS, folder, file)?,
        _ => None,
    })
}

fn environment<'a>(environment: &str, rest: &[&'a str]) -> Outcome<Option<Found<'a>>> {
    Ok(match rest {
        ["Index.yaml"] => Some(Found::new(DocumentKind::Environment, environment)),
        ["Index.yml"] => {
            stem("Index.yml")?;
            None
        }
        ["Config Files", below @ .., file] => {
            Some(config_file(DocumentKind::ConfigFileOverride, below, file))
        }
        [folder, below @ .., file] if OVERRIDES.contains(folder) => {
            Some(override_file(DocumentKind::EnvironmentOverride, folder, below, file))
        }
        [folder, file] => in_folder(&ENVIRONMENT_FOLDERS, folder, file)?,
        _ => None,
    })
}

/// `<file>.yaml` describes a config file, whatever else lies there is content. A content that ends in `.yaml` itself is known by the document
/// `<content>.yaml` beside it, which only who sees the whole folder can tell.
fn config_file<'a>(kind: DocumentKind, below: &[&str], file: &str) -> Found<'a> {
    // Overrides for one service lie in a folder of its name; nothing else nests.
    match file.strip_suffix(".yaml").filter(|stem| !stem.is_empty() && below.len() <= 2) {
        Some(stem) => Found::new(kind, stem),
        None => Found::new(DocumentKind::File, file),
    }
}

fn override_file<'a>(kind: DocumentKind, folder: &str, below: &[&str], file: &str) -> Found<'a> {
    match (below, file) {
        ([], "Index.yaml") => Found::new(kind, folder),
        (["Services", service], "Index.yaml") => Found::new(kind, service),
        _ => Found::new(DocumentKind::File, file),
    }
}
