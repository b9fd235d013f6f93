//! Manifests → objects in the order in which they are installed, and the text of the rendering, for export.

use std::collections::{BTreeMap, BTreeSet};

use manifold_driver::{Filled, Resolver};
use manifold_model::kubernetes::{Manifests, TextFile};
use manifold_model::{Failure, FailureClass, code};
use serde_json::Value;
use tokio::time::Instant;

use crate::helm::{Chart, Helm, source_of};
use crate::limits::TEXT_LIMIT;
use crate::object::{Object, Resource};
use crate::parse::{Document, documents, parse, parse_document};
use crate::values::values;

/// Objects of one deployment.
pub const OBJECTS_LIMIT: usize = 1_000;

/// On the first line of a file, as a comment: the file is not deployed (but it can be applied by its path).
const SKIP_FILE: &str = "harness.io/skip-file-for-deploy";

/// Names that a message lists.
const NAMED: usize = 10;

/// Which files are rendered, and how.
#[derive(Clone, Copy, Debug)]
pub enum Files<'a> {
    /// All that are deployed; or what an earlier step exported.
    Deployed,
    /// These, by path, whether or not they are deployed otherwise.
    Named {
        /// Paths.
        paths: &'a [String],
        /// Take them as they are, without templates.
        plain: bool,
    },
}

/// What is to be rendered.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Manifests.
    pub manifests: &'a Manifests,
    /// Which of their files.
    pub files: Files<'a>,
    /// Release name, for templates.
    pub release: &'a str,
    /// Namespace, for templates.
    pub namespace: &'a str,
    /// Helm, where it is installed.
    pub helm: Option<&'a Helm>,
    /// When the task must have ended.
    pub deadline: Instant,
}

/// What came of it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Rendering {
    /// The objects, in the order in which they are installed; names and namespaces as written.
    pub objects: Vec<Object>,
    /// The text, expressions and templates replaced: YAML documents with a comment that names their file.
    pub text: String,
    /// Whether a secret is in the text.
    pub secret: bool,
    /// What is worth a line in the log.
    pub notes: Vec<String>,
}

/// A file with its expressions replaced.
struct Source<'a> {
    path: &'a str,
    text: String,
}

/// Renders.
///
/// # Errors
/// A file cannot be had or read, a template is wrong, something is too large; see the codes `K8S_MANIFEST_*`, `K8S_TEMPLATE_*`.
pub async fn render(request: &Request<'_>, resolver: &dyn Resolver) -> Result<Rendering, Failure> {
    let mut rendering = Rendering::default();
    if let (Files::Deployed, Some(inherited)) = (request.files, &request.manifests.inherited) {
        let filled = resolver.render(inherited, &BTreeMap::new()).await?;
        rendering.notes.push("the manifests are those that an earlier step exported".to_owned());
        exported(&mut rendering, filled)?;
        return Ok(rendering);
    }
    let sources = sources(request, resolver, &mut rendering).await?;
    let plain = matches!(request.files, Files::Named { plain: true, .. });
    if request.manifests.templated && !plain {
        templates(request, &sources, resolver, &mut rendering).await?;
    } else {
        for source in sources.iter().filter(|source| is_manifest(source.path)) {
            rendering.text.push_str(&format!("---\n# Source: {}\n{}", source.path, source.text));
            if !source.text.ends_with('\n') {
                rendering.text.push('\n');
            }
            rendering.objects.extend(parse(source.path, &source.text)?);
        }
    }
    finish(&mut rendering)?;
    Ok(rendering)
}

/// Reads what [`Rendering::text`] held when it was exported.
fn exported(rendering: &mut Rendering, filled: Filled) -> Result<(), Failure> {
    if filled.text.len() > TEXT_LIMIT {
        return Err(too_large(&format!("the exported manifests have {} bytes", filled.text.len())));
    }
    rendering.objects = parse("the exported manifests", &filled.text)?;
    (rendering.text, rendering.secret) = (filled.text, filled.secret);
    finish(rendering)
}

fn finish(rendering: &mut Rendering) -> Result<(), Failure> {
    if rendering.objects.len() > OBJECTS_LIMIT {
        return Err(too_large(&format!("the manifests hold {} objects", rendering.objects.len())));
    }
    in_install_order(&mut rendering.objects);
    Ok(())
}

/// The texts of the files that count.
async fn sources<'a>(
    request: &Request<'a>,
    resolver: &dyn Resolver,
    rendering: &mut Rendering,
) -> Result<Vec<Source<'a>>, Failure> {
    let manifests = request.manifests;
    let mut sources = Vec::new();
    let mut size = 0;
    for file in chosen(manifests, request.files)? {
        let filled = resolver.text_file(&file.source, &manifests.spans).await?;
        size += filled.text.len();
        if size > TEXT_LIMIT {
            return Err(too_large(&format!("with {} the manifests have {size} bytes", file.path)));
        }
        if !is_template_only(&file.path) && !is_manifest(&file.path) {
            rendering
                .notes
                .push(format!("{} is no manifest (.yaml, .yml or .json) and is left out", file.path));
        } else if matches!(request.files, Files::Deployed) && is_skipped(&filled.text) {
            rendering.notes.push(format!("{} is not deployed: its first line says {SKIP_FILE}", file.path));
        } else {
            rendering.secret |= filled.secret;
            sources.push(Source { path: &file.path, text: filled.text });
        }
    }
    Ok(sources)
}

/// The files that are asked for; with templates also those that only define some.
fn chosen<'a>(manifests: &'a Manifests, files: Files<'_>) -> Result<Vec<&'a TextFile>, Failure> {
    let Files::Named { paths, .. } = files else { return Ok(manifests.files.iter().collect()) };
    let wanted: BTreeSet<&str> =
        paths.iter().map(|path| bare(path)).filter(|path| !path.is_empty()).collect();
    let known: BTreeSet<&str> = manifests.files.iter().map(|file| bare(&file.path)).collect();
    let names_one = |wanted: &&str| known.iter().any(|path| means(wanted, path));
    let missing: Vec<&str> = wanted.iter().copied().filter(|one| !names_one(one)).take(NAMED).collect();
    if !missing.is_empty() || wanted.is_empty() {
        let what = if missing.is_empty() {
            "the step names no file".to_owned()
        } else {
            format!("there is no {}", missing.join(", "))
        };
        let there: Vec<&str> = known.into_iter().take(NAMED).collect();
        let message = format!("{what} among the manifests of the service");
        return Err(Failure::new(FailureClass::Application, code!("K8S_MANIFEST_MISSING"), message).hint(
            format!("the files are {}", if there.is_empty() { "none".to_owned() } else { there.join(", ") }),
        ));
    }
    Ok(manifests
        .files
        .iter()
        .filter(|file| wanted.iter().any(|one| means(one, bare(&file.path))) || is_template_only(&file.path))
        .collect())
}

fn bare(path: &str) -> &str {
    let path = path.trim();
    path.strip_prefix("./").unwrap_or(path).trim_matches('/')
}

/// Whether a path that a step names is that of a file, or of a folder that it is in.
fn means(wanted: &str, path: &str) -> bool {
    path.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn is_manifest(path: &str) -> bool {
    let ending = path.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    matches!(ending.as_str(), "yaml" | "yml" | "json")
}

/// A file that only defines templates for others.
fn is_template_only(path: &str) -> bool {
    path.ends_with(".tpl")
}

fn is_skipped(text: &str) -> bool {
    let first = text.trim_start_matches('\u{feff}').lines().next().unwrap_or_default().trim_start();
    first.starts_with('#') && first.contains(SKIP_FILE)
}

async fn templates(
    request: &Request<'_>,
    sources: &[Source<'_>],
    resolver: &dyn Resolver,
    rendering: &mut Rendering,
) -> Result<(), Failure> {
    let Some(helm) = request.helm else {
        let message = "the manifests are Go templates and this delegate has no helm";
        return Err(Failure::new(FailureClass::Delegate, code!("K8S_HELM_MISSING"), message).hint(
            "install helm 3 or 4 where the delegate runs, or say in the service that its manifests are plain",
        ));
    };
    let values = values(request.manifests, resolver).await?;
    rendering.secret |= values.secret;
    let templates: Vec<(&str, &str)> =
        sources.iter().map(|source| (bare(source.path), source.text.as_str())).collect();
    if let Some((path, _)) = templates.iter().find(|(path, _)| !is_inside(path)) {
        let message = format!("{path:?} is not the path of a template");
        return Err(Failure::new(FailureClass::Application, code!("K8S_TEMPLATE_FAILED"), message));
    }
    let chart = Chart {
        release: request.release,
        namespace: request.namespace,
        templates: &templates,
        values: &values.values,
    };
    rendering.text = helm.template(&chart, request.deadline).await?;
    rendering.objects = rendered(&rendering.text)?;
    Ok(())
}

/// Whether a path stays in the folder of templates.
fn is_inside(path: &str) -> bool {
    !path.contains(['\\', '\0', ':']) && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// The objects of what helm wrote. Lines count in the document, as helm splits files into documents.
fn rendered(text: &str) -> Result<Vec<Object>, Failure> {
    let mut objects = Vec::new();
    let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
    for document in documents(text) {
        match source_of(document.text) {
            Some((path, text)) => {
                let number = numbers.entry(path).or_default();
                *number += 1;
                let document = Document { number: *number, line: 1, text };
                objects.extend(parse_document(&format!("{path} as rendered"), &document)?);
            }
            None => objects.extend(parse_document("the rendered manifests", &document)?),
        }
    }
    Ok(objects)
}

fn too_large(what: &str) -> Failure {
    let message = format!("{what}; {OBJECTS_LIMIT} objects and {TEXT_LIMIT} bytes are allowed");
    Failure::new(FailureClass::Application, code!("K8S_MANIFESTS_TOO_LARGE"), message)
        .hint("split the service, or leave what is generated out of its manifests")
}

/// The order in which kinds are installed: what others need comes first (that of helm, with custom resource definitions before all that may
/// be of them).
const ORDER: &[&str] = &[
    "Namespace",
    "PriorityClass",
    "CustomResourceDefinition",
    "NetworkPolicy",
    "ResourceQuota",
    "LimitRange",
    "PodDisruptionBudget",
    "ServiceAccount",
    "Secret",
    "ConfigMap",
    "StorageClass",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "Service",
    "DaemonSet",
    "Pod",
    "ReplicationController",
    "ReplicaSet",
    "Deployment",
    "HorizontalPodAutoscaler",
    "StatefulSet",
    "Job",
    "CronJob",
    "IngressClass",
    "Ingress",
    "APIService",
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
];

/// Puts objects into the order in which they are installed; those of one kind stay as they are written, unknown kinds come last.
pub fn in_install_order(objects: &mut [Object]) {
    objects.sort_by_key(|object| rank(object.kind()));
}

/// The place of a kind in the order of installation.
#[must_use]
pub fn rank(kind: &str) -> usize {
    ORDER.iter().position(|known| *known == kind).unwrap_or(ORDER.len())
}

/// Kinds that live in no namespace, for when the cluster cannot be asked.
const CLUSTER_WIDE: &[&str] = &[
    "APIService",
    "CSIDriver",
    "CSINode",
    "CertificateSigningRequest",
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "FlowSchema",
    "IngressClass",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
    "MutatingWebhookConfiguration",
    "Namespace",
    "Node",
    "PersistentVolume",
    "PriorityClass",
    "PriorityLevelConfiguration",
    "RuntimeClass",
    "StorageClass",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "ValidatingWebhookConfiguration",
    "VolumeAttachment",
];

/// Gives every object its namespace: what names none gets the task's, what lives in none loses it. `namespaced` is what the cluster says of
/// a kind; custom resource definitions among the objects are asked before it, for the cluster may not know them yet.
///
/// # Errors
/// Two objects are the same.
pub fn place(
    objects: &mut [Object],
    namespace: &str,
    namespaced: impl Fn(&Object) -> Option<bool>,
) -> Result<(), Failure> {
    let defined = definitions(objects);
    let mut seen: BTreeSet<(String, Resource)> = BTreeSet::new();
    for object in objects.iter_mut() {
        let kind = (object.group().to_owned(), object.kind().to_owned());
        let lives = defined
            .get(&kind)
            .copied()
            .or_else(|| namespaced(object))
            .unwrap_or_else(|| !CLUSTER_WIDE.contains(&object.kind()));
        if !lives {
            object.mapping(&["metadata"]).remove("namespace");
        } else if object.namespace().is_none() {
            object.set_namespace(namespace);
        }
        let mut resource = object.resource();
        resource.api_version.clear();
        if !seen.insert((kind.0, resource)) {
            let message = format!("the manifests hold {} twice", object.resource());
            return Err(Failure::new(FailureClass::Application, code!("K8S_MANIFEST_INVALID"), message)
                .hint("leave one of them out, or name it otherwise"));
        }
    }
    Ok(())
}

/// Group and kind → whether it lives in a namespace, of the custom resource definitions among the objects.
fn definitions(objects: &[Object]) -> BTreeMap<(String, String), bool> {
    objects
        .iter()
        .filter(|object| object.kind() == "CustomResourceDefinition")
        .filter_map(|object| {
            let text = |path: &[&str]| object.at(path).and_then(Value::as_str);
            let group = text(&["spec", "group"])?;
            let kind = text(&["spec", "names", "kind"])?;
            Some(((group.to_owned(), kind.to_owned()), text(&["spec", "scope"])? == "Namespaced"))
        })
        .collect()
}
