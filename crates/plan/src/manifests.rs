//! The manifests of services, and the values that environments add: what a plan must know of them (`behaviour.md` 22, "Decided"). Their content
//! stays in the catalog.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use manifold_expression::{Segment, scan};
use manifold_model::entity::{Environment, Service};
use manifold_model::plan::{FilePlan, ManifestsPlan, ValuesPlan};
use manifold_model::view::LOCAL;
use manifold_model::{EntityId, Problem, code};

use crate::commands;
use crate::complaints::Complaints;
use crate::facts::{Facts, FileState};

/// Largest manifest or values file, bytes.
const MAX_FILE: usize = 16 * 1024 * 1024;

/// Different `${…}` spans in the manifests and values of one service, and in the values of one environment for it.
const MAX_SPANS: usize = 5_000;

/// Bytes of those spans, each counted once: they are kept in the plan and travel with every task.
const MAX_SPAN_BYTES: usize = 512 * 1024;

/// How a file says in its first line that it is not deployed with the others (`behaviour.md` 22).
const SKIPPED: &str = "harness.io/skip-file-for-deploy";

/// How a Go template begins.
const TEMPLATE: &str = "{{";

/// The manifests of one service.
#[derive(Default)]
pub(crate) struct Manifests {
    pub(crate) plan: ManifestsPlan,
    /// Files that are Go templates: path, and whether the file is deployed with the others.
    templates: Vec<(String, bool)>,
    /// Whether something in them, or in the values, refers to the artifact.
    pub(crate) needs_artifact: bool,
}

impl Manifests {
    /// A Go template among the files that are deployed, or among those that a list names: paths of files or of their folders.
    pub(crate) fn template(&self, named: Option<&[String]>) -> Option<&str> {
        let counts = |(path, deployed): &&(String, bool)| match named {
            Some(named) => named.iter().any(|one| one.contains("${") || names(one, path)),
            None => *deployed,
        };
        self.templates.iter().find(counts).map(|(path, _)| path.as_str())
    }
}

/// Whether an item of a list of paths means this file.
fn names(item: &str, path: &str) -> bool {
    let item = item.trim_start_matches("./").trim_matches('/');
    path == item || path.strip_prefix(item).is_some_and(|rest| rest.starts_with('/'))
}

/// Everything that was looked at, each service and each values file once.
pub(crate) struct Shelf<'q> {
    facts: &'q Facts<'q>,
    services: HashMap<EntityId, Rc<Manifests>>,
    /// By environment and path of the document.
    values: BTreeMap<(EntityId, String), (ValuesPlan, bool)>,
}

impl<'q> Shelf<'q> {
    pub(crate) fn new(facts: &'q Facts<'q>) -> Self {
        Self { facts, services: HashMap::new(), values: BTreeMap::new() }
    }

    /// The manifests of a service; what is wrong with them is complained about.
    pub(crate) fn manifests(&mut self, service: &Service, complaints: &mut Complaints) -> Rc<Manifests> {
        if let Some(known) = self.services.get(&service.id) {
            return Rc::clone(known);
        }
        let made = Rc::new(self.look(service, complaints));
        self.services.insert(service.id.clone(), Rc::clone(&made));
        made
    }

    /// What the plan keeps of a service's manifests, if a step acts with them.
    pub(crate) fn plan_of(&self, service: &EntityId) -> Option<ManifestsPlan> {
        self.services.get(service).map(|manifests| manifests.plan.clone())
    }

    /// What the plan keeps of an environment's values, low precedence first.
    pub(crate) fn values_of(&self, environment: &Environment) -> Vec<ValuesPlan> {
        let kept = |document: &String| self.values.get(&(environment.id.clone(), document.clone()));
        environment.values.iter().filter_map(|one| Some(kept(&one.document)?.0.clone())).collect()
    }

    /// Looks at the values of an environment for a service; whether they refer to the artifact.
    pub(crate) fn values(
        &mut self,
        environment: &Environment,
        service: &Service,
        complaints: &mut Complaints,
    ) -> bool {
        let mut finder = Finder::new(self.facts, service);
        let mut needs_artifact = false;
        for one in &environment.values {
            if one.service_name.as_ref().is_some_and(|name| *name != service.name) {
                continue;
            }
            let key = (environment.id.clone(), one.document.clone());
            if let Some((_, needs)) = self.values.get(&key) {
                needs_artifact |= needs;
                continue;
            }
            let Some((file, needs)) = finder.values(&one.document, complaints) else { continue };
            needs_artifact |= needs;
            self.values.insert(key, (ValuesPlan { service_name: one.service_name.clone(), file }, needs));
        }
        needs_artifact
    }

    fn look(&self, service: &Service, complaints: &mut Complaints) -> Manifests {
        let store = service.manifest_store.as_deref().unwrap_or(LOCAL);
        if !store.eq_ignore_ascii_case(LOCAL) {
            complaints.refuse(
                Problem::new(
                    code!("MANIFESTS_UNSUPPORTED"),
                    format!(
                        "the manifests of the service {} come from {store}, which cannot be done yet",
                        service.name
                    ),
                )
                .item(service.name.clone())
                .hint("put them into the configuration, below Manifests/Files of the service, with storeType Local"),
            );
            return Manifests::default();
        }
        if service.manifests.is_empty() {
            complaints.refuse(
                Problem::new(
                    code!("MANIFESTS_MISSING"),
                    format!("the service {} has no manifests", service.name),
                )
                .item(service.name.clone())
                .hint("import them below Manifests/Files of the service"),
            );
            return Manifests::default();
        }
        let mut finder = Finder::new(self.facts, service);
        let mut made = Manifests::default();
        made.plan.skip_versioning = service.manifest_skip_versioning;
        for file in &service.manifests {
            let Some((text, spans)) = finder.spans(&file.document, complaints) else { continue };
            let deployed = !text.lines().next().unwrap_or_default().contains(SKIPPED);
            if text.contains(TEMPLATE) {
                made.templates.push((file.path.clone(), deployed));
                made.plan.templated |= deployed;
            }
            let (document, path) = (file.document.clone(), file.path.clone());
            made.plan.files.push(FilePlan { document, path, spans });
        }
        for document in &service.values {
            made.plan.values.extend(finder.values(document, complaints).map(|(file, _)| file));
        }
        made.plan.files.sort_by(|a, b| a.path.cmp(&b.path));
        made.needs_artifact = finder.needs_artifact;
        made
    }
}

/// Finds the spans of the files of one service, together bounded.
struct Finder<'f> {
    facts: &'f Facts<'f>,
    service: &'f Service,
    /// Whether a variable of the service stands for something of the artifact.
    variables: bool,
    seen: BTreeSet<String>,
    bytes: usize,
    needs_artifact: bool,
}

impl<'f> Finder<'f> {
    fn new(facts: &'f Facts<'f>, service: &'f Service) -> Self {
        let variables = service.variables.iter().any(|one| commands::mentions_artifact(&one.value));
        Self { facts, service, variables, seen: BTreeSet::new(), bytes: 0, needs_artifact: false }
    }

    /// A values file, and whether something up to it refers to the artifact.
    fn values(&mut self, document: &str, complaints: &mut Complaints) -> Option<(FilePlan, bool)> {
        let before = std::mem::take(&mut self.needs_artifact);
        let (_, spans) = self.spans(document, complaints)?;
        let needs = std::mem::replace(&mut self.needs_artifact, false);
        self.needs_artifact = before || needs;
        Some((FilePlan { document: document.to_owned(), path: document.to_owned(), spans }, needs))
    }

    /// The text of a file with its outermost spans, each once and in their order; `None` when it cannot be used, which is complained about.
    fn spans(&mut self, document: &str, complaints: &mut Complaints) -> Option<(&'f str, Vec<String>)> {
        let text = match self.text(document) {
            Ok(text) => text,
            Err(problem) => {
                complaints.refuse(*problem);
                return None;
            }
        };
        let mut spans = Vec::new();
        let mut here = BTreeSet::new();
        for segment in scan(text) {
            let Segment::Span { outer, .. } = segment else { continue };
            let Some(span) = text.get(outer).filter(|span| here.insert(*span)) else { continue };
            if self.seen.insert(span.to_owned()) {
                self.bytes += span.len();
                self.needs_artifact |= self.mentions_artifact(span);
            }
            spans.push(span.to_owned());
        }
        if self.seen.len() > MAX_SPANS || self.bytes > MAX_SPAN_BYTES {
            complaints.refuse(self.too_many());
            return None;
        }
        Some((text, spans))
    }

    fn text(&self, document: &str) -> Result<&'f str, Box<Problem>> {
        let of = format!("of the service {}", self.service.name);
        let problem = |code, message: String| Box::new(Problem::new(code, message).item(document));
        let bytes = match self.facts.files.text(document) {
            FileState::Known(bytes) => bytes,
            FileState::Missing => {
                return Err(problem(
                    code!("FILE_MISSING"),
                    format!("the file {document} {of} is not in the configuration"),
                ));
            }
        };
        if bytes.len() > MAX_FILE {
            let (size, most) = (bytes.len(), MAX_FILE / 1024 / 1024);
            let message = format!("the file {document} {of} has {size} bytes, and {most} MiB are allowed");
            return Err(problem(code!("MANIFEST_TOO_LARGE"), message));
        }
        std::str::from_utf8(bytes).map_err(|error| {
            let at = error.valid_up_to();
            let message =
                format!("the file {document} {of} is not UTF-8 text: byte {at} begins no character");
            Box::new(problem(code!("FILE_NOT_TEXT"), message).hint("save the file as UTF-8"))
        })
    }

    fn mentions_artifact(&self, span: &str) -> bool {
        commands::mentions_artifact(span)
            || commands::mentions(span, "artifacts")
            || (self.variables && commands::mentions(span, "serviceVariable"))
    }

    fn too_many(&self) -> Problem {
        let (name, size) = (&self.service.name, MAX_SPAN_BYTES / 1024);
        let message = format!(
            "the manifests and values of the service {name} hold more than {MAX_SPANS} different expressions, or more than {size} KiB of them"
        );
        Problem::new(code!("MANIFEST_TOO_LARGE"), message)
            .item(name.clone())
            .hint("compute values once in a values file, or split the service")
    }
}
