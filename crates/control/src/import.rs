//! Writing documents: one by one or a whole tree. Reading, checking and canonical text happen outside; the transaction only inserts
//! (`design.md` 3). All documents of a call are written, or none.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use manifold_model::document::Document;
use manifold_model::import::{self, ImportCheck, PreparedDocument, SourceFile, unresolved};
use manifold_model::path::{DocumentKind, DocumentPath};
use manifold_model::references::{NameReference, ReferenceKind, Target, name_of_id};
use manifold_model::view::{self, View, root_text};
use manifold_model::{EntityId, Place, Problem, code};
use manifold_store::{CatalogChange, DocumentPut, StoreError};

use crate::authorise::{Action, Resource, authorise};
use crate::{Actor, Control, Error, Result, Snapshot};

/// How often a write is tried again because somebody else changed the catalog in between.
const TRIES: u32 = 5;

/// A file that comes in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Incoming {
    /// Path.
    pub path: String,
    /// Content.
    pub bytes: Vec<u8>,
}

/// Through what a change comes, for the history.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// A GraphQL mutation.
    Graphql,
    /// The config-as-code calls.
    ConfigAsCode,
    /// `manifold import`.
    Import,
    /// `manifold server --seed`.
    Seed,
}

impl Source {
    /// As the history names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Graphql => "graphql",
            Self::ConfigAsCode => "config-as-code",
            Self::Import => "import",
            Self::Seed => "seed",
        }
    }
}

/// What became of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Written {
    /// It is new.
    Created,
    /// It changed.
    Updated,
    /// It was there already, just so.
    Unchanged,
    /// It is wrong; nothing was written.
    Failed,
    /// It is right, but another one is wrong; nothing was written.
    Skipped,
}

/// What became of one file.
#[derive(Clone, PartialEq, Debug)]
pub struct FileReport {
    /// Path.
    pub path: String,
    /// What became of it.
    pub written: Written,
    /// Its id, when it was written.
    pub id: Option<EntityId>,
    /// What is wrong with it, or what its author should know.
    pub problems: Vec<Problem>,
}

/// What became of an import.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Report {
    /// Per file, by path.
    pub files: Vec<FileReport>,
    /// Problems of no file in particular.
    pub problems: Vec<Problem>,
    /// Whether it was written.
    pub ok: bool,
    /// Catalog revision afterwards.
    pub revision: u64,
}

impl Control {
    /// Writes a tree of files in one transaction, or nothing.
    ///
    /// # Errors
    /// When the store fails; what is wrong with the files is in the report.
    pub async fn import(
        &self,
        actor: &Actor,
        files: Vec<Incoming>,
        source: Source,
        reason: &str,
    ) -> Result<Report> {
        authorise(actor, Action::Configure, Resource::Account)?;
        let (files, check) = self
            .checked(files, |files| {
                let sources: Vec<SourceFile<'_>> =
                    files.iter().map(|file| SourceFile { path: &file.path, bytes: &file.bytes }).collect();
                import::check(&sources, None)
            })
            .await?;
        self.write(actor, &files, check, source, reason).await
    }

    /// Writes one document; its entity is made when the path is new.
    ///
    /// # Errors
    /// When it is wrong, or the store fails.
    pub(crate) async fn write_one(&self, actor: &Actor, file: Incoming, source: Source) -> Result<EntityId> {
        let report = self.upsert(actor, file, source, "").await?;
        let mut problems = report.problems;
        for file in report.files {
            match (report.ok, file.id) {
                (true, Some(id)) => return Ok(id),
                _ => problems.extend(file.problems),
            }
        }
        Err(Error::Refused { problems })
    }

    /// Checks files on a thread of its own: it is pure work that may take a second.
    pub(crate) async fn checked(
        &self,
        files: Vec<Incoming>,
        check: impl FnOnce(&[Incoming]) -> ImportCheck + Send + 'static,
    ) -> Result<(Vec<Incoming>, ImportCheck)> {
        tokio::task::spawn_blocking(move || {
            let checked = check(&files);
            (files, checked)
        })
        .await
        .map_err(|error| {
            tracing::error!(%error, "the check of an import broke off");
            Error::unavailable(Problem::new(code!("IMPORT_BROKE_OFF"), "the check of the files broke off"))
        })
    }

    /// Writes what was checked.
    pub(crate) async fn write(
        &self,
        actor: &Actor,
        files: &[Incoming],
        check: ImportCheck,
        source: Source,
        reason: &str,
    ) -> Result<Report> {
        for _ in 0..TRIES {
            let snapshot = self.snapshot().await?;
            let mut draft = Draft::new(&snapshot, check.clone());
            draft.resolve();
            if !draft.errors.is_empty() {
                return Ok(draft.refused(files, snapshot.revision()));
            }
            let puts = draft.puts();
            if puts.is_empty() {
                return Ok(draft.report(files, snapshot.revision()));
            }
            let change = CatalogChange {
                expected: Some(snapshot.revision()),
                puts,
                deletes: Vec::new(),
                author: actor.name().to_owned(),
                source: source.name().to_owned(),
                reason: reason.to_owned(),
                at: self.now(),
            };
            match self.store.commit_catalog(change).await {
                Ok(revision) => return Ok(draft.report(files, revision)),
                Err(StoreError::Conflict { .. }) => {}
                Err(other) => return Err(other.into()),
            }
        }
        Err(Error::Conflict {
            message: "the configuration keeps changing; try again when others have finished".to_owned(),
        })
    }
}

/// A change on the way from checked documents to rows, against one revision.
struct Draft<'s> {
    snapshot: &'s Snapshot,
    check: ImportCheck,
    /// Ids by path.
    ids: HashMap<String, EntityId>,
    /// New and changed entities by kind and name.
    targets: HashMap<(ReferenceKind, String), Vec<(Target, EntityId)>>,
    /// Environments of workflows that come in.
    environments: HashMap<(String, String), String>,
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl<'s> Draft<'s> {
    fn new(snapshot: &'s Snapshot, mut check: ImportCheck) -> Self {
        let errors = std::mem::take(&mut check.errors);
        let warnings = std::mem::take(&mut check.warnings);
        Self {
            snapshot,
            check,
            ids: HashMap::new(),
            targets: HashMap::new(),
            environments: HashMap::new(),
            errors,
            warnings,
        }
    }

    fn resolve(&mut self) {
        self.identify();
        let catalog = &self.snapshot.catalog;
        for document in &mut self.check.documents {
            if let Err(problem) = document.names_for_ids(&|reference| name_of_id(catalog, reference)) {
                self.errors.push(*problem);
            }
        }
        self.taken_names();
        let is_stored = |place: &Place| {
            place
                .path
                .strip_suffix(".yaml")
                .is_some_and(|content| self.snapshot.documents.contains_key(content))
        };
        self.warnings.retain(|warning| {
            warning.code != code!("CONFIG_FILE_CONTENT") || !warning.place.as_ref().is_some_and(is_stored)
        });
        for (path, problem) in &self.check.missing_parents {
            if !self.snapshot.documents.contains_key(path) {
                self.errors.push(problem.clone());
            }
        }
        for reference in &self.check.unresolved {
            if name_of_id(catalog, reference).is_some() || self.id_of(reference).is_some() {
                continue;
            }
            // Connectors may be configured later, and a templated setting is replaced at start: a start refuses what is still missing.
            let lenient = reference.application.is_none() || reference.templated;
            let list = if lenient { &mut self.warnings } else { &mut self.errors };
            list.push(unresolved(reference));
        }
    }

    /// Complains about service infrastructures of old trees whose place another infrastructure definition has: one of another kind, or for other
    /// services. What an earlier import of the same tree made of it is written anew.
    fn taken_names(&mut self) {
        for document in self.check.documents.iter().filter(|one| one.came_as != one.path.path) {
            let row = self.snapshot.documents.get(&document.path.path);
            let Some(known) = row.and_then(|row| self.snapshot.catalog.infrastructures.get(&row.id)) else {
                continue;
            };
            let parsed = Document::parse(known.id.clone(), document.path.clone(), &document.body);
            let view = parsed.ok().and_then(|parsed| view::read(&parsed).view);
            let Some(View::Infrastructure(coming)) = view else { continue };
            let same = coming.item_type == known.item_type && coming.scoped_services == known.scoped_services;
            if !same {
                let detail = format!("{} is of another kind or for other services", document.path.path);
                self.errors.push(import::name_taken(document, &detail));
            }
        }
    }

    /// Gives every document its id: that of the path, that of the seed, or a new one.
    fn identify(&mut self) {
        let mut seen = HashMap::<EntityId, String>::new();
        for document in &self.check.documents {
            let path = &document.path.path;
            let known = self.snapshot.documents.get(path).map(|row| row.id.clone());
            let id = match (known, &document.id) {
                (Some(known), Some(wanted)) if known != *wanted => {
                    self.errors.push(taken(document, &format!("the document has the id {known} already")));
                    known
                }
                (Some(known), _) => known,
                (None, Some(wanted)) => {
                    if let Some(other) = self.snapshot.by_id.get(wanted) {
                        self.errors.push(taken(document, &format!("{} has it", other.path)));
                    }
                    wanted.clone()
                }
                (None, None) => EntityId::random(),
            };
            if let Some(other) = seen.insert(id.clone(), path.clone()) {
                self.errors.push(taken(document, &format!("{other} has it too")));
            }
            if let Some(target) = Target::of(&document.path) {
                let key = (target.kind, target.name.clone());
                self.targets.entry(key).or_default().push((target, id.clone()));
            }
            self.ids.insert(path.clone(), id);
        }
        self.read_environments();
    }

    fn read_environments(&mut self) {
        if !self
            .check
            .documents
            .iter()
            .any(|document| document.references.iter().any(|one| one.through_workflow.is_some()))
        {
            return;
        }
        for document in self.check.documents.iter().filter(|one| one.path.kind == DocumentKind::Workflow) {
            let parsed = Document::parse(EntityId::from(""), document.path.clone(), &document.body);
            let Ok(parsed) = parsed else { continue };
            if let (Some(application), Some(environment)) =
                (&document.path.application, root_text(&parsed.root, "envName"))
            {
                self.environments
                    .insert((application.clone(), document.path.name.clone()), environment.to_owned());
            }
        }
    }

    /// A stored provisioner; the catalog has no view of them.
    fn provisioner(&self, reference: &NameReference) -> Option<EntityId> {
        let application =
            reference.application.as_deref().filter(|_| reference.kind == ReferenceKind::Provisioner)?;
        let mut paths = DocumentPath::of_provisioner(application, &reference.name).into_iter();
        paths.find_map(|path| Some(self.snapshot.documents.get(&path)?.id.clone()))
    }

    /// The entity that a name stands for: among what comes in, else in the catalog.
    fn id_of(&self, reference: &NameReference) -> Option<EntityId> {
        let environment_of = |application: &str, workflow: &str| {
            self.environments.get(&(application.to_owned(), workflow.to_owned())).cloned().or_else(|| {
                let application = &self.snapshot.catalog.application_named(application)?.id;
                self.snapshot.catalog.workflow_named(application, workflow)?.environment_name.clone()
            })
        };
        let coming = self.targets.get(&(reference.kind, reference.name.clone()));
        coming
            .into_iter()
            .flatten()
            .find(|(target, _)| reference.means(target, &environment_of))
            .map(|(_, id)| id.clone())
            .or_else(|| reference.resolve(&self.snapshot.catalog))
            .or_else(|| self.provisioner(reference))
    }

    /// Rows of what is new or differs.
    fn puts(&self) -> Vec<DocumentPut> {
        self.check
            .documents
            .iter()
            .filter(|document| self.written(document) != Written::Unchanged)
            .filter_map(|document| {
                let refs: BTreeSet<EntityId> =
                    document.references.iter().filter_map(|reference| self.id_of(reference)).collect();
                Some(DocumentPut {
                    id: self.ids.get(&document.path.path)?.clone(),
                    path: document.path.path.clone(),
                    application: self.application_of(document),
                    kind: document.type_name.clone(),
                    body: Arc::clone(&document.body),
                    is_file: document.is_file,
                    refs: refs.into_iter().collect(),
                })
            })
            .collect()
    }

    fn application_of(&self, document: &PreparedDocument) -> Option<EntityId> {
        let index = format!("Setup/Applications/{}/Index.yaml", document.path.application.as_ref()?);
        self.ids.get(&index).or_else(|| self.snapshot.documents.get(&index).map(|row| &row.id)).cloned()
    }

    fn written(&self, document: &PreparedDocument) -> Written {
        match self.snapshot.documents.get(&document.path.path) {
            None => Written::Created,
            Some(row) if row.body == document.body && row.is_file == document.is_file => Written::Unchanged,
            Some(_) => Written::Updated,
        }
    }

    fn report(&self, files: &[Incoming], revision: u64) -> Report {
        let mut report = self.blank(files, revision);
        report.ok = true;
        for document in &self.check.documents {
            with_entry(&mut report.files, &document.came_as, |file| {
                file.written = self.written(document);
                file.id = self.ids.get(&document.path.path).cloned();
            });
        }
        let warnings = self.warnings.clone();
        spread(&mut report, warnings, None);
        report
    }

    fn refused(&self, files: &[Incoming], revision: u64) -> Report {
        let mut report = self.blank(files, revision);
        let (errors, warnings) = (self.errors.clone(), self.warnings.clone());
        spread(&mut report, errors, Some(Written::Failed));
        spread(&mut report, warnings, None);
        report
    }

    fn blank(&self, files: &[Incoming], revision: u64) -> Report {
        let paths: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
        let files = paths
            .into_iter()
            .map(|path| FileReport {
                path: path.to_owned(),
                written: Written::Skipped,
                id: None,
                problems: Vec::new(),
            })
            .collect();
        Report { files, problems: Vec::new(), ok: false, revision }
    }
}

fn taken(document: &PreparedDocument, detail: &str) -> Problem {
    let id = document.id.as_ref().map_or("", EntityId::as_str);
    Problem::new(code!("ID_TAKEN"), format!("{} cannot have the id {id}", document.path.path))
        .item(id)
        .detail(detail)
        .hint("ids never change and are used once")
}

/// Does something to the report of a path; a path that a client wrote differently from ours gets an entry of its own.
/// `files` is in the order of the paths and stays so: an upload may hold ten thousand.
fn with_entry(files: &mut Vec<FileReport>, path: &str, change: impl FnOnce(&mut FileReport)) {
    let is_below =
        |file: &FileReport| path.strip_suffix(file.path.as_str()).is_some_and(|above| above.ends_with('/'));
    let found = files.binary_search_by(|file| file.path.as_str().cmp(path));
    let at = found.or_else(|place| files.iter().position(is_below).ok_or(place)).unwrap_or_else(|place| {
        let new =
            FileReport { path: path.to_owned(), written: Written::Skipped, id: None, problems: Vec::new() };
        files.insert(place, new);
        place
    });
    if let Some(file) = files.get_mut(at) {
        change(file);
    }
}

/// Puts problems to the files they are about.
fn spread(report: &mut Report, problems: Vec<Problem>, written: Option<Written>) {
    let mut by_path = BTreeMap::<String, Vec<Problem>>::new();
    for problem in problems {
        let about = problem.place.as_ref().map(|place| place.path.clone()).or_else(|| {
            problem.item.clone().filter(|item| report.files.iter().any(|file| file.path == *item))
        });
        match about {
            Some(path) => by_path.entry(path).or_default().push(problem),
            None => report.problems.push(problem),
        }
    }
    for (path, problems) in by_path {
        with_entry(&mut report.files, &path, |file| {
            file.problems.extend(problems);
            file.written = written.unwrap_or(file.written);
        });
    }
}
