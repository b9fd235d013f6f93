//! Checks a tree of files before it is written: reads, complains with file, line and column, and makes canonical text. No I/O.
//!
//! **Ids.** A seed may bring ids (`wire.md` 5). FirstGen documents have no key for them, so they come from a document `Setup/ids.yaml`:
//!
//! ```yaml
//! harnessApiVersion: '1.0'
//! type: IDS
//! ids:
//!   Setup/Applications/shop/Index.yaml: naNJXkEuTUWGKVHFIx1x4g
//! ```
//!
//! A document may also carry its own as a top-level key `id`. Either way the id is taken out: neither `Setup/ids.yaml` nor the key is stored,
//! so an export has FirstGen's vocabulary only.
//!
//! **Files** that do not end in `.yaml` or `.yml` and lie where nothing belongs, and everything hidden (`.git`), are passed over with a warning; foreign
//! `.yaml` files are errors, as in FirstGen's sync.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::assemble::orphan;
use crate::canonical;
use crate::document::Document;
use crate::name::{comma, shown};
use crate::newer;
use crate::node::{Content, Node};
use crate::path::{DocumentKind, DocumentPath, is_inside_setup};
use crate::references::{NameReference, ReferenceKind, Target, of_path, references};
use crate::unused::{self, Offer};
use crate::view::{self, View};
use crate::yaml::{self, ENTITY_BUDGET, Parsed};
use crate::{EntityId, Place, Problem, code};

/// Files of one import.
pub const FILE_LIMIT: usize = 50_000;
/// Bytes of one import: 256 MiB.
pub const TOTAL_LIMIT: usize = 256 << 20;
/// Bytes of one file document (manifest, values, config file): 16 MiB.
pub const CONTENT_LIMIT: usize = 16 << 20;
/// Errors, and warnings, that one check lists; more are counted.
pub const PROBLEM_LIMIT: usize = 10_000;
/// Characters of an id that a seed brings.
pub const ID_LIMIT: usize = 128;

/// One file of the tree.
#[derive(Clone, Copy, Debug)]
pub struct SourceFile<'a> {
    /// Path relative to the folder that holds `Setup`, with `/` between folders; a path inside `Setup` is understood too.
    pub path: &'a str,
    /// Content.
    pub bytes: &'a [u8],
}

/// One document that is ready to be written.
#[derive(Clone, PartialEq, Debug)]
pub struct PreparedDocument {
    /// Where it goes.
    pub path: DocumentPath,
    /// Where it lies in the tree that it comes from: another place for what is written as the newer generation writes it.
    pub came_as: String,
    /// `type` of an entity document, empty for files.
    pub type_name: String,
    /// Canonical text of an entity document, the bytes of a file.
    pub body: Arc<[u8]>,
    /// File document.
    pub is_file: bool,
    /// The id that the seed brings.
    pub id: Option<EntityId>,
    /// Names in it that stand for entities.
    pub references: Vec<NameReference>,
}

impl PreparedDocument {
    /// Writes names where ids stand (`behaviour.md` 18.1) and makes the text anew. Returns how many there were.
    ///
    /// # Errors
    /// When its own text cannot be read again, which would be a bug.
    pub fn names_for_ids(
        &mut self,
        name_of: &dyn Fn(&NameReference) -> Option<String>,
    ) -> Result<usize, Box<Problem>> {
        if self.is_file || !self.references.iter().any(|reference| name_of(reference).is_some()) {
            return Ok(0);
        }
        let mut document = Document::parse(EntityId::from(""), self.path.clone(), &self.body)?;
        let count = crate::references::names_for_ids(&self.path, &mut document.root, name_of);
        self.body = document.canonical().into_bytes().into();
        self.references = references(&self.path, &document.root);
        Ok(count)
    }
}

/// What a check found.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ImportCheck {
    /// What can be written, by path.
    pub documents: Vec<PreparedDocument>,
    /// What keeps the tree from being written.
    pub errors: Vec<Problem>,
    /// What its author should know.
    pub warnings: Vec<Problem>,
    /// Names that nothing in the tree has: the caller looks whether the catalog does, and reports [`unresolved`] otherwise.
    pub unresolved: Vec<NameReference>,
    /// `Index.yaml` paths that the tree lacks above its documents, each with the complaint to make when the catalog lacks it too.
    pub missing_parents: Vec<(String, Problem)>,
}

/// Checks a tree. `offer` is what somebody can run: what is kept and not run is said then.
#[must_use]
pub fn check(files: &[SourceFile<'_>], offer: Option<&Offer>) -> ImportCheck {
    let mut import = Import { offer, ..Import::default() };
    if !import.fits(files) {
        return import.check;
    }
    let sorted = import.paths(files);
    import.ids(&sorted);
    for (path, (kind_path, bytes)) in &sorted {
        match kind_path {
            Some(kind_path) if kind_path.kind == DocumentKind::Ids => {}
            Some(kind_path) if sorted.contains_key(&format!("{path}.yaml")) => {
                // `x.yaml` beside `x.yaml.yaml` is the content of a config file that happens to end in `.yaml`.
                let file = DocumentPath { kind: DocumentKind::File, ..kind_path.clone() };
                import.file(file, bytes);
            }
            Some(kind_path) if kind_path.is_file() => import.file(kind_path.clone(), bytes),
            Some(kind_path) => import.document(kind_path, bytes),
            None => {}
        }
    }
    import.finish()
}

/// Checks a tree that must be complete in itself: names that nothing in it has are errors, names of the account's connectors warnings, for
/// they may be on the server.
#[must_use]
pub fn lint(files: &[SourceFile<'_>], offer: Option<&Offer>) -> ImportCheck {
    let mut check = check(files, offer);
    for reference in std::mem::take(&mut check.unresolved) {
        let of_account = reference.application.is_none();
        let list = if of_account || reference.templated { &mut check.warnings } else { &mut check.errors };
        push(list, unresolved(&reference));
    }
    for (_, problem) in std::mem::take(&mut check.missing_parents) {
        push(&mut check.errors, problem);
    }
    missing_indexes(&check.documents).into_iter().for_each(|p| push(&mut check.warnings, p));
    sort(&mut check);
    check
}

/// Checks one document that is written alone, as config-as-code does. Its own `id` key, if any, is an unknown key and stays.
#[must_use]
pub fn check_one(path: &str, bytes: &[u8], offer: Option<&Offer>) -> ImportCheck {
    let mut import = Import { offer, alone: true, ..Import::default() };
    match DocumentPath::parse(path) {
        Ok(path) if path.is_file() => import.file(path, bytes),
        Ok(path) if path.kind == DocumentKind::Ids => {
            let problem =
                Problem::new(code!("PATH_UNKNOWN"), "ids are read by an import only").item(&path.path);
            push(&mut import.check.errors, problem);
        }
        Ok(path) => import.document(&path, bytes),
        Err(problem) => push(&mut import.check.errors, *problem),
    }
    import.finish()
}

/// The complaint about a name that nothing has.
#[must_use]
pub fn unresolved(reference: &NameReference) -> Problem {
    let noun = reference.kind.noun();
    let home = match (&reference.owner, &reference.application) {
        (Some(owner), _) => format!(" in {owner}"),
        (None, Some(application)) => format!(" in application {application}"),
        (None, None) => String::new(),
    };
    Problem::new(code!("REFERENCE_UNKNOWN"), format!("there is no {noun} {}{home}", shown(&reference.name)))
        .item(shown(&reference.name))
        .hint(format!("add the {noun}, or name one that exists"))
        .at(reference.place.clone())
}

/// The complaint about a Service Infrastructure whose name the environment has given to something else.
#[must_use]
pub fn name_taken(document: &PreparedDocument, detail: &str) -> Problem {
    let environment = document.path.owner.as_deref().unwrap_or_default();
    Problem::new(
        code!("NAME_TAKEN"),
        format!("the environment {environment} has this infrastructure already"),
    )
    .item(&document.path.name)
    .detail(detail)
    .hint("rename the service infrastructure, and the phases that name it")
    .at(Place { path: document.came_as.clone(), line: 1, column: 1 })
}

type Sorted<'a> = BTreeMap<String, (Option<DocumentPath>, &'a [u8])>;

#[derive(Default)]
struct Import<'k> {
    offer: Option<&'k Offer>,
    /// One document by itself: no `id` key.
    alone: bool,
    check: ImportCheck,
    /// Ids by path, as `Setup/ids.yaml` gives them.
    ids: HashMap<String, (EntityId, Place)>,
    /// Environment of each workflow, for names of infrastructure definitions.
    environments: HashMap<(String, String), String>,
}

impl Import<'_> {
    fn fits(&mut self, files: &[SourceFile<'_>]) -> bool {
        let bytes: usize = files.iter().map(|file| file.bytes.len()).sum();
        let mut fits = true;
        for (what, found, limit) in [("files", files.len(), FILE_LIMIT), ("bytes", bytes, TOTAL_LIMIT)] {
            if found > limit {
                let message = format!("the tree has {found} {what}, an import takes {limit}");
                let hint = "import it in parts";
                push(&mut self.check.errors, Problem::new(code!("IMPORT_LIMIT"), message).hint(hint));
                fits = false;
            }
        }
        fits
    }

    /// Understands every path. Those that are wrong or passed over are reported and have no [`DocumentPath`].
    fn paths<'a>(&mut self, files: &[SourceFile<'a>]) -> Sorted<'a> {
        let mut sorted = Sorted::new();
        for file in files {
            let path = rooted(file.path);
            let found = match DocumentPath::parse(&path) {
                Ok(found) => Some(found),
                Err(problem) => {
                    self.strange(&path, *problem);
                    None
                }
            };
            if sorted.insert(path.clone(), (found, file.bytes)).is_some() {
                let problem = Problem::new(code!("IMPORT_DUPLICATE"), "the tree has this path twice")
                    .item(shown(&path));
                push(&mut self.check.errors, problem);
            }
        }
        sorted
    }

    /// A path where nothing belongs: an error for YAML, a warning for what tools leave behind.
    fn strange(&mut self, path: &str, problem: Problem) {
        let hidden =
            path.split('/').any(|segment| segment.starts_with('.') && !matches!(segment, "." | ".."));
        let yaml = path.ends_with(".yaml") || path.ends_with(".yml");
        let place = Place { path: shown(path), line: 1, column: 1 };
        if problem.code == code!("PATH_INVALID") && !hidden
            || problem.code == code!("NAME_INVALID")
            || (yaml && !hidden)
        {
            push(&mut self.check.errors, problem.at(place));
        } else {
            let message = "the file is not part of the configuration tree and is passed over";
            push(
                &mut self.check.warnings,
                Problem::new(code!("IMPORT_PASSED_OVER"), message).item(shown(path)).at(place),
            );
        }
    }

    fn ids(&mut self, sorted: &Sorted<'_>) {
        let Some((path, (_, bytes))) = sorted
            .iter()
            .find(|(_, (path, _))| path.as_ref().is_some_and(|path| path.kind == DocumentKind::Ids))
        else {
            return;
        };
        let root = match yaml::parse(path, bytes, &IDS_BUDGET) {
            Ok(parsed) => parsed.root,
            Err(problem) => return push(&mut self.check.errors, *problem),
        };
        let Some(ids) = root.get("ids").and_then(Node::as_mapping) else {
            let problem =
                Problem::new(code!("IMPORT_IDS"), "the document has no mapping `ids` of paths to ids");
            return push(&mut self.check.errors, problem.at(place(path, &root)));
        };
        for entry in &ids.entries {
            let target = rooted(&entry.key.text);
            let at = Place { path: path.clone(), line: entry.line.max(1), column: entry.column.max(1) };
            if !sorted.contains_key(&target) {
                let problem = Problem::new(code!("IMPORT_IDS"), "the tree has no document at this path");
                push(&mut self.check.errors, problem.item(shown(&target)).at(at));
                continue;
            }
            match id_of(&entry.value) {
                Some(id) => {
                    self.ids.insert(target, (id, at));
                }
                None => push(&mut self.check.errors, bad_id(place(path, &entry.value))),
            }
        }
    }

    fn file(&mut self, path: DocumentPath, bytes: &[u8]) {
        if bytes.len() > CONTENT_LIMIT {
            let message = format!("the file has {} bytes, {CONTENT_LIMIT} are allowed", bytes.len());
            let at = Place { path: path.path.clone(), line: 1, column: 1 };
            return push(&mut self.check.errors, Problem::new(code!("IMPORT_LIMIT"), message).at(at));
        }
        let id = self.ids.get(&path.path).map(|(id, _)| id.clone());
        self.check.documents.push(PreparedDocument {
            came_as: path.path.clone(),
            type_name: String::new(),
            body: bytes.into(),
            is_file: true,
            id,
            references: of_path(&path).into_iter().collect(),
            path,
        });
    }

    fn document(&mut self, path: &DocumentPath, bytes: &[u8]) {
        let Parsed { mut root, comments } = match yaml::parse(&path.path, bytes, &ENTITY_BUDGET) {
            Ok(parsed) => parsed,
            Err(problem) => return push(&mut self.check.errors, *problem),
        };
        if let Some(comments) = comments {
            let lines = if comments.count == 1 { "a comment" } else { "comments" };
            let message = format!("the document has {lines}, which are not kept");
            let at =
                Place { path: path.path.clone(), line: comments.first_line, column: comments.first_column };
            push(&mut self.check.warnings, Problem::new(code!("COMMENTS_DROPPED"), message).at(at));
        }
        let id = if self.alone { None } else { self.take_id(path, &mut root) };
        canonical::normalise(&mut root);
        let came_as = path;
        let path = self.newer(came_as, &mut root);
        let document = Document { id: EntityId::from(""), path, root };
        let before = (self.check.errors.len(), self.check.warnings.len());
        self.look(&document);
        let Document { path, root, .. } = document;
        let own = |place: &mut Place| {
            if place.path == path.path {
                place.path.clone_from(&came_as.path);
            }
        };
        // What is wrong stands in the tree that comes in, wherever the document goes.
        let errors = self.check.errors.iter_mut().skip(before.0);
        let found = errors.chain(self.check.warnings.iter_mut().skip(before.1));
        found.filter_map(|problem| problem.place.as_mut()).for_each(own);
        if self.check.errors.len() > before.0 {
            return;
        }
        let body = canonical::print(&root).into_bytes();
        // What becomes a definition lies deeper in it and may have been as deep as a document may be.
        if path.path != came_as.path
            && let Err(problem) = yaml::parse(&came_as.path, &body, &ENTITY_BUDGET)
        {
            return push(&mut self.check.errors, *problem);
        }
        let mut references = references(&path, &root);
        references.iter_mut().map(|reference| &mut reference.place).for_each(own);
        self.check.documents.push(PreparedDocument {
            came_as: came_as.path.clone(),
            type_name: view::root_text(&root, "type").unwrap_or_default().to_owned(),
            body: body.into(),
            is_file: false,
            id,
            references,
            path,
        });
    }

    /// Writes a document of the older generation as the newer does, and says so. Gives where it goes.
    fn newer(&mut self, path: &DocumentPath, root: &mut Node) -> DocumentPath {
        if let Some(newer) = newer::path(path).filter(|_| newer::definition(root)) {
            let message = "the service infrastructure becomes the infrastructure definition of its name, for its service only";
            let problem = Problem::new(code!("SERVICE_INFRASTRUCTURE"), message)
                .item(&path.name)
                .detail(format!("it is kept as {}", newer.path))
                .at(place(&path.path, root));
            push(&mut self.check.warnings, problem);
            return newer;
        }
        if path.kind == DocumentKind::Workflow
            && let Some((line, column)) = newer::workflow(root)
        {
            let message = "the workflow names service infrastructures; it is kept with the keys of infrastructure definitions";
            let at = Place { path: path.path.clone(), line: line.max(1), column: column.max(1) };
            let problem = Problem::new(code!("WRITTEN_NEWER"), message).item(&path.name).at(at);
            push(&mut self.check.warnings, problem);
        }
        path.clone()
    }

    /// The id that a document brings, by its own key or by `Setup/ids.yaml`. The key is taken out.
    fn take_id(&mut self, path: &DocumentPath, root: &mut Node) -> Option<EntityId> {
        let listed = self.ids.get(&path.path).map(|(id, _)| id.clone());
        let Some(node) = root.as_mapping_mut().and_then(|mapping| mapping.remove("id")) else {
            return listed;
        };
        let Some(own) = id_of(&node) else {
            push(&mut self.check.errors, bad_id(place(&path.path, &node)));
            return None;
        };
        if listed.as_ref().is_some_and(|listed| *listed != own) {
            let message = "the document's `id` and Setup/ids.yaml give it different ids";
            let problem = Problem::new(code!("IMPORT_IDS"), message).at(place(&path.path, &node));
            push(&mut self.check.errors, problem);
        }
        Some(own)
    }

    /// Reads the view and everything that is worth saying about the document.
    fn look(&mut self, document: &Document) {
        let path = &document.path;
        let reading = view::read(document);
        reading.errors.into_iter().chain(reading.refusals).for_each(|p| push(&mut self.check.errors, p));
        reading.warnings.into_iter().for_each(|p| push(&mut self.check.warnings, p));
        let top = place(&path.path, &document.root);
        if let (Some(_), Some(problem)) = (Target::of(path), comma(&path.name)) {
            push(&mut self.check.warnings, problem.at(top.clone()));
        }
        if !path.is_used() {
            let message = format!("nothing acts on a {} yet; it is kept", path.kind);
            push(&mut self.check.warnings, Problem::new(code!("DOCUMENT_NOT_USED"), message).at(top));
        }
        if let Some(View::Workflow(workflow)) = &reading.view
            && let (Some(application), Some(environment)) = (&path.application, &workflow.environment_name)
        {
            self.environments.insert((application.clone(), path.name.clone()), environment.clone());
        }
        if let Some(offer) = self.offer {
            unused::told(document, offer).into_iter().for_each(|p| push(&mut self.check.warnings, p));
        }
    }

    fn finish(mut self) -> ImportCheck {
        self.taken_names();
        self.duplicate_ids();
        let targets: BTreeSet<Target> =
            self.check.documents.iter().filter_map(|document| Target::of(&document.path)).collect();
        let environment_of = |application: &str, workflow: &str| {
            self.environments.get(&(application.to_owned(), workflow.to_owned())).cloned()
        };
        let mut names: HashMap<(ReferenceKind, Option<&str>, &str), Vec<&Target>> = HashMap::new();
        for target in &targets {
            let key = (target.kind, target.application.as_deref(), target.name.as_str());
            names.entry(key).or_default().push(target);
        }
        let mut unresolved = Vec::new();
        for reference in self.check.documents.iter().flat_map(|document| &document.references) {
            let key = (reference.kind, reference.application.as_deref(), reference.name.as_str());
            let same = names.get(&key).map_or(&[][..], Vec::as_slice);
            if !same.iter().any(|target| reference.means(target, &environment_of)) {
                unresolved.push(reference.clone());
            }
        }
        self.check.unresolved = unresolved;
        self.check.missing_parents = missing_parents(&self.check.documents);
        if !self.alone {
            missing_contents(&self.check.documents)
                .into_iter()
                .for_each(|p| push(&mut self.check.warnings, p));
        }
        sort(&mut self.check);
        self.check
    }

    /// Complains about an infrastructure definition that the tree has in the newer and in the older folder, unless both say the same: an export was
    /// written over an old tree.
    fn taken_names(&mut self) {
        let documents = std::mem::take(&mut self.check.documents);
        let (mut own, older): (Vec<_>, Vec<_>) =
            documents.into_iter().partition(|document| document.came_as == document.path.path);
        let bodies: HashMap<&str, &Arc<[u8]>> =
            own.iter().map(|document| (document.path.path.as_str(), &document.body)).collect();
        let mut alone = Vec::new();
        for document in older {
            match bodies.get(document.path.path.as_str()) {
                None => alone.push(document),
                Some(body) if **body == document.body => {}
                Some(_) => {
                    let detail =
                        "the tree has an infrastructure definition of this name that says something else";
                    push(&mut self.check.errors, name_taken(&document, detail));
                }
            }
        }
        own.extend(alone);
        own.sort_by(|a, b| a.path.path.cmp(&b.path.path));
        self.check.documents = own;
    }

    fn duplicate_ids(&mut self) {
        let mut seen: HashMap<EntityId, String> = HashMap::new();
        for document in &self.check.documents {
            let Some(id) = &document.id else { continue };
            if let Some(first) = seen.insert(id.clone(), document.came_as.clone()) {
                let at = Place { path: document.came_as.clone(), line: 1, column: 1 };
                let problem = Problem::new(code!("IMPORT_IDS"), "two documents have the same id");
                push(
                    &mut self.check.errors,
                    problem.item(id.as_str()).detail(format!("the other is {first}")).at(at),
                );
            }
        }
    }
}

/// `Setup/ids.yaml` may name every file of the largest tree.
const IDS_BUDGET: yaml::Budget =
    yaml::Budget { bytes: 64 << 20, depth: 4, nodes: 4 * FILE_LIMIT, key: crate::path::PATH_LIMIT };

/// The `Index.yaml` of every application, service and environment that has documents in the tree and is not in it.
fn missing_parents(documents: &[PreparedDocument]) -> Vec<(String, Problem)> {
    let present: BTreeSet<&str> = documents.iter().map(|document| document.path.path.as_str()).collect();
    let mut missing: BTreeMap<String, Problem> = BTreeMap::new();
    for document in documents {
        let path = &document.path;
        let Some(application) = path.application.as_deref() else { continue };
        let mut need = |index: String, noun: &str, name: &str| {
            if !present.contains(index.as_str()) {
                let at = Place { path: document.came_as.clone(), line: 1, column: 1 };
                missing.entry(index).or_insert_with(|| orphan(&at, path, noun, name));
            }
        };
        need(DocumentPath::of_application(application), "application", application);
        if let (Some(owner), Some((kind, noun))) = (path.owner.as_deref(), home_of(&path.path)) {
            need(DocumentPath::of_part(kind, application, owner).unwrap_or_default(), noun, owner);
        }
    }
    missing.into_iter().collect()
}

/// Warnings of config files whose content the tree lacks.
fn missing_contents(documents: &[PreparedDocument]) -> Vec<Problem> {
    let present: BTreeSet<&str> = documents.iter().map(|document| document.path.path.as_str()).collect();
    let described = |kind| matches!(kind, DocumentKind::ConfigFile | DocumentKind::ConfigFileOverride);
    let mut found = Vec::new();
    for document in documents.iter().filter(|document| described(document.path.kind)) {
        let path = &document.path;
        let text = String::from_utf8_lossy(&document.body);
        if contents(path, &text).iter().any(|content| present.contains(content.as_str())) {
            continue;
        }
        let message = "the config file has no content in the tree: it is encrypted, or was never synced";
        let problem = Problem::new(code!("CONFIG_FILE_CONTENT"), message)
            .item(&path.name)
            .hint("put the content beside the document, under its file name")
            .at(Place { path: path.path.clone(), line: 1, column: 1 });
        found.push(problem);
    }
    found
}

/// Warnings of manifests without the document that says where manifests come from, one per service.
fn missing_indexes(documents: &[PreparedDocument]) -> Vec<Problem> {
    let present: BTreeSet<&str> = documents.iter().map(|document| document.path.path.as_str()).collect();
    let mut found = BTreeMap::new();
    for path in documents.iter().filter(|document| document.is_file).map(|document| &document.path) {
        let Some((service, _)) = path.path.split_once("/Manifests/Files/") else { continue };
        let index = format!("{service}/Manifests/Index.yaml");
        if present.contains(index.as_str()) {
            continue;
        }
        let message = "the service has manifests and no Manifests/Index.yaml; they are taken as Local";
        let problem = Problem::new(code!("MANIFEST_INDEX_MISSING"), message)
            .item(path.owner.as_deref().unwrap_or_default())
            .at(Place { path: path.path.clone(), line: 1, column: 1 });
        found.entry(index).or_insert(problem);
    }
    found.into_values().collect()
}

/// Where the content of a config file may lie: under its document's name without `.yaml`, or under its `fileName`.
fn contents(path: &DocumentPath, text: &str) -> Vec<String> {
    let beside = path.path.strip_suffix(".yaml").map(str::to_owned);
    let parsed = Document::parse(EntityId::from(""), path.clone(), text.as_bytes()).ok();
    let name = parsed.and_then(|parsed| Some(view::root_text(&parsed.root, "fileName")?.to_owned()));
    let named = name.and_then(|name| Some(format!("{}/{name}", path.path.rsplit_once('/')?.0)));
    beside.into_iter().chain(named).collect()
}

/// Whether a path lies under a service or an environment.
fn home_of(path: &str) -> Option<(DocumentKind, &'static str)> {
    match path.split('/').nth(3)? {
        "Services" => Some((DocumentKind::Service, "service")),
        "Environments" => Some((DocumentKind::Environment, "environment")),
        _ => None,
    }
}

/// A path from `Setup` on: one inside `Setup` gets it put before.
fn rooted(path: &str) -> String {
    let path = path.strip_prefix("./").unwrap_or(path);
    let first = path.split('/').next().unwrap_or_default();
    if is_inside_setup(first) { format!("Setup/{path}") } else { path.to_owned() }
}

fn place(path: &str, node: &Node) -> Place {
    Place { path: path.to_owned(), line: node.line.max(1), column: node.column.max(1) }
}

fn id_of(node: &Node) -> Option<EntityId> {
    let Content::Scalar(scalar) = &node.content else { return None };
    let good = !scalar.text.is_empty()
        && scalar.text.chars().count() <= ID_LIMIT
        && scalar.text.chars().all(|c| c.is_ascii_graphic());
    good.then(|| EntityId::from(scalar.text.as_str()))
}

fn bad_id(place: Place) -> Problem {
    let message = format!("an id is 1 to {ID_LIMIT} printable ASCII characters without blanks");
    Problem::new(code!("IMPORT_IDS"), message).at(place)
}

/// Adds to a list that does not grow without bound.
fn push(list: &mut Vec<Problem>, problem: Problem) {
    if list.len() < PROBLEM_LIMIT {
        list.push(problem);
    } else if list.len() == PROBLEM_LIMIT {
        list.push(Problem::new(
            code!("IMPORT_LIMIT"),
            format!("there are more than {PROBLEM_LIMIT} problems"),
        ));
    }
}

/// By path and line, as people read them.
fn sort(check: &mut ImportCheck) {
    for list in [&mut check.errors, &mut check.warnings] {
        list.sort_by(|a, b| (a.place.is_none(), &a.place).cmp(&(b.place.is_none(), &b.place)));
    }
}
