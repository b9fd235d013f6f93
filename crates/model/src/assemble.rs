//! Puts documents together into one [`Catalog`]. Views are read once per (id, revision); entities whose documents did not change are the same
//! `Arc` as in the catalog before.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use crate::catalog::Catalog;
use crate::document::Document;
use crate::entity::{Application, ConfigFile, Environment, InfrastructureDefinition, Service};
use crate::files;
use crate::path::{DocumentKind, DocumentPath};
use crate::view::{self, View};
use crate::{EntityId, Place, Problem, code};

/// One stored document or file, as the assembly needs it.
#[derive(Clone, Debug)]
pub struct Row<'a> {
    /// Id.
    pub id: EntityId,
    /// Path.
    pub path: &'a str,
    /// Whether it is a file: bytes, never parsed.
    pub is_file: bool,
    /// Text of a document; not looked at for files.
    pub body: &'a [u8],
    /// Catalog revision that wrote it last.
    pub revision: u64,
}

/// Builds a catalog from all rows at once.
pub fn build_catalog<'a>(
    account: &str,
    revision: u64,
    rows: impl IntoIterator<Item = Row<'a>>,
) -> (Arc<Catalog>, Vec<Problem>) {
    CatalogBuilder::new(account).apply(revision, rows, &[])
}

/// Keeps the views of all documents between revisions.
#[derive(Debug)]
pub struct CatalogBuilder {
    pieces: BTreeMap<String, Piece>,
    paths: HashMap<EntityId, String>,
    /// What each entity of the catalog was made of.
    made_of: HashMap<EntityId, Parts>,
    catalog: Arc<Catalog>,
}

/// Ids and revisions of the documents of an entity, and the ids of what it lies under.
type Parts = Vec<(EntityId, u64)>;

/// One document with its view.
#[derive(Debug)]
struct Piece {
    id: EntityId,
    revision: u64,
    is_file: bool,
    /// Of entity documents that can be read.
    path: Option<DocumentPath>,
    view: Option<View>,
    problems: Vec<Problem>,
}

impl CatalogBuilder {
    /// A builder of an empty catalog.
    #[must_use]
    pub fn new(account: &str) -> Self {
        let catalog = Catalog { account: account.into(), ..Catalog::default() };
        Self {
            pieces: BTreeMap::new(),
            paths: HashMap::new(),
            made_of: HashMap::new(),
            catalog: Arc::new(catalog),
        }
    }

    /// The catalog as it was built last.
    #[must_use]
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// Takes in what changed and gives the catalog of that revision, with everything that is wrong with its documents. A document that cannot be
    /// used is left out and reported. Rows that are known at their revision cost nothing.
    pub fn apply<'a>(
        &mut self,
        revision: u64,
        changed: impl IntoIterator<Item = Row<'a>>,
        deleted: &[EntityId],
    ) -> (Arc<Catalog>, Vec<Problem>) {
        for id in deleted {
            self.forget(id);
        }
        let changed: Vec<Row<'a>> = changed.into_iter().filter(|row| !self.knows(row)).collect();
        // All old places first: two documents may have changed places.
        for row in &changed {
            self.forget(&row.id);
        }
        for row in changed {
            self.paths.insert(row.id.clone(), row.path.to_owned());
            self.pieces.insert(row.path.to_owned(), piece(&row));
        }
        let (catalog, problems) = self.assemble(revision);
        self.catalog = Arc::new(catalog);
        (Arc::clone(&self.catalog), problems)
    }

    fn knows(&self, row: &Row<'_>) -> bool {
        self.pieces.get(row.path).is_some_and(|piece| piece.id == row.id && piece.revision == row.revision)
    }

    fn forget(&mut self, id: &EntityId) {
        if let Some(path) = self.paths.remove(id) {
            self.pieces.remove(&path);
        }
    }

    fn assemble(&mut self, revision: u64) -> (Catalog, Vec<Problem>) {
        let mut assembly = Assembly::new(&self.pieces, &self.catalog, &self.made_of);
        assembly.catalog.revision = revision;
        assembly.parents();
        assembly.children();
        assembly.catalog.index();
        let (catalog, problems) = (assembly.catalog, assembly.problems);
        self.made_of = assembly.made_of;
        (catalog, problems)
    }
}

fn piece(row: &Row<'_>) -> Piece {
    let mut piece = Piece {
        id: row.id.clone(),
        revision: row.revision,
        is_file: row.is_file,
        path: None,
        view: None,
        problems: Vec::new(),
    };
    if row.is_file {
        return piece;
    }
    let parsed =
        DocumentPath::parse(row.path).and_then(|path| Document::parse(row.id.clone(), path, row.body));
    match parsed {
        Ok(document) => {
            let reading = view::read(&document);
            piece.view = reading.view;
            piece.problems = reading.errors;
            piece.path = Some(document.path);
        }
        Err(problem) => piece.problems.push(*problem),
    }
    piece
}

/// One run over all pieces.
struct Assembly<'a> {
    pieces: &'a BTreeMap<String, Piece>,
    before: &'a Catalog,
    made_before: &'a HashMap<EntityId, Parts>,
    made_of: HashMap<EntityId, Parts>,
    catalog: Catalog,
    problems: Vec<Problem>,
    /// Application name → id.
    applications: HashMap<&'a str, EntityId>,
    /// (application, environment) → id.
    environments: HashMap<(&'a str, &'a str), EntityId>,
    /// Parts of services and environments by the path of their `Index.yaml`.
    parts: HashMap<String, Vec<&'a Piece>>,
    /// (environment, name) of infrastructure definitions seen.
    infrastructures: HashMap<(EntityId, &'a str), &'a str>,
}

impl<'a> Assembly<'a> {
    fn new(
        pieces: &'a BTreeMap<String, Piece>,
        before: &'a Catalog,
        made_before: &'a HashMap<EntityId, Parts>,
    ) -> Self {
        Self {
            pieces,
            before,
            made_before,
            made_of: HashMap::new(),
            catalog: Catalog { account: Arc::clone(&before.account), ..Catalog::default() },
            problems: Vec::new(),
            applications: HashMap::new(),
            environments: HashMap::new(),
            parts: HashMap::new(),
            infrastructures: HashMap::new(),
        }
    }

    /// Finds what others lie under, and gathers the documents that belong to a service, environment or application.
    fn parents(&mut self) {
        for piece in self.pieces.values() {
            self.problems.extend(piece.problems.iter().cloned());
            let (Some(path), Some(view)) = (&piece.path, &piece.view) else { continue };
            let application = path.application.as_deref().unwrap_or_default();
            match view {
                View::AccountDefaults(defaults) => self.catalog.account_defaults = defaults.clone(),
                View::Application(_) => {
                    self.applications.insert(application, piece.id.clone());
                }
                View::Environment(environment) => {
                    self.environments.insert((application, &path.name), piece.id.clone());
                    debug_assert_eq!(environment.name, path.name);
                }
                _ => {}
            }
            if let Some(owner) = owner_of(path) {
                self.parts.entry(owner).or_default().push(piece);
            }
        }
    }

    fn children(&mut self) {
        for piece in self.pieces.values() {
            if let (Some(path), Some(view)) = (&piece.path, &piece.view) {
                self.place(piece, path, view);
            }
        }
    }

    fn place(&mut self, piece: &'a Piece, path: &'a DocumentPath, view: &'a View) {
        match view {
            View::Application(application) => self.application(piece, path, application),
            View::Service(service) => self.service(piece, path, service),
            View::Environment(environment) => self.environment(piece, path, environment),
            View::Infrastructure(infrastructure) => self.infrastructure(piece, path, infrastructure),
            View::Workflow(workflow) => {
                let Some(application) = self.application_of(path) else { return };
                let made = self.kept(
                    piece,
                    &[&application],
                    |catalog| &catalog.workflows,
                    |_| {
                        let mut workflow = (**workflow).clone();
                        workflow.application = application.clone();
                        workflow
                    },
                );
                self.catalog.workflows.insert(piece.id.clone(), made);
            }
            View::Pipeline(pipeline) => {
                let Some(application) = self.application_of(path) else { return };
                let made = self.kept(
                    piece,
                    &[&application],
                    |catalog| &catalog.pipelines,
                    |_| {
                        let mut pipeline = (**pipeline).clone();
                        pipeline.application = application.clone();
                        pipeline
                    },
                );
                self.catalog.pipelines.insert(piece.id.clone(), made);
            }
            View::CloudProvider(connector) => {
                let made = self.kept(piece, &[], |catalog| &catalog.cloud_providers, |_| connector.clone());
                self.catalog.cloud_providers.insert(piece.id.clone(), made);
            }
            View::ArtifactServer(connector) => {
                let made = self.kept(piece, &[], |catalog| &catalog.artifact_servers, |_| connector.clone());
                self.catalog.artifact_servers.insert(piece.id.clone(), made);
            }
            View::ArtifactSource(_) | View::Command(_) | View::ConfigFile(_) | View::ManifestSource(_) => {
                self.part(path);
            }
            View::AccountDefaults(_) | View::ApplicationDefaults(_) | View::Kept => {}
        }
    }

    /// The entity as it was when nothing that it is made of changed, else made anew.
    fn kept<T>(
        &mut self,
        piece: &Piece,
        above: &[&EntityId],
        list: impl Fn(&Catalog) -> &HashMap<EntityId, Arc<T>>,
        make: impl FnOnce(&[&'a Piece]) -> T,
    ) -> Arc<T> {
        let parts =
            piece.path.as_ref().and_then(|path| self.parts.get(&path.path)).cloned().unwrap_or_default();
        let made_of: Parts = std::iter::once((piece.id.clone(), piece.revision))
            .chain(above.iter().map(|id| ((*id).clone(), 0)))
            .chain(parts.iter().map(|part| (part.id.clone(), part.revision)))
            .chain(parts.iter().filter_map(|part| content(part, self.pieces)))
            .chain(below(piece, self.pieces).map(|(path, file)| (EntityId::from(path), file.revision)))
            .collect();
        let same = self.made_before.get(&piece.id) == Some(&made_of);
        let old = list(self.before).get(&piece.id).filter(|_| same).cloned();
        self.made_of.insert(piece.id.clone(), made_of);
        old.unwrap_or_else(|| Arc::new(make(&parts)))
    }

    fn application_of(&mut self, path: &DocumentPath) -> Option<EntityId> {
        let name = path.application.as_deref()?;
        let found = self.applications.get(name).cloned();
        if found.is_none() {
            self.problems.push(orphan(&piece_place(path), path, "application", name));
        }
        found
    }

    fn application(&mut self, piece: &Piece, path: &DocumentPath, application: &Application) {
        debug_assert_eq!(application.name, path.name);
        let made = self.kept(
            piece,
            &[],
            |catalog| &catalog.applications,
            |parts| {
                let mut application = application.clone();
                for part in parts {
                    if let Some(View::ApplicationDefaults(defaults)) = &part.view {
                        application.defaults = defaults.clone();
                    }
                }
                application
            },
        );
        self.catalog.applications.insert(piece.id.clone(), made);
    }

    fn service(&mut self, piece: &Piece, path: &DocumentPath, service: &Service) {
        let Some(application) = self.application_of(path) else { return };
        let pieces = self.pieces;
        let made = self.kept(
            piece,
            &[&application],
            |catalog| &catalog.services,
            |parts| {
                let mut service = service.clone();
                service.application = application.clone();
                for part in parts {
                    match &part.view {
                        Some(View::ArtifactSource(source)) => service.sources.push(source.clone()),
                        Some(View::Command(command)) => service.commands.push(command.clone()),
                        Some(View::ConfigFile(file)) => service.config_files.push(with_content(file, pieces)),
                        Some(View::ManifestSource(source)) => {
                            service.manifest_store = Some(source.store.clone());
                            service.manifest_skip_versioning = source.skip_versioning;
                        }
                        _ => {}
                    }
                }
                let folder = path.folder().unwrap_or_default();
                let files = below(piece, pieces).map(|(path, _)| path);
                (service.manifests, service.values) = files::of_service(folder, files);
                service
            },
        );
        self.catalog.services.insert(piece.id.clone(), made);
    }

    fn environment(&mut self, piece: &Piece, path: &DocumentPath, environment: &Environment) {
        let Some(application) = self.application_of(path) else { return };
        let pieces = self.pieces;
        let made = self.kept(
            piece,
            &[&application],
            |catalog| &catalog.environments,
            |parts| {
                let mut environment = environment.clone();
                environment.application = application.clone();
                for part in parts {
                    if let Some(View::ConfigFile(file)) = &part.view {
                        environment.config_files.push(with_content(file, pieces));
                    }
                }
                let files = below(piece, pieces).map(|(path, _)| path);
                environment.values = files::of_environment(path.folder().unwrap_or_default(), files);
                environment
            },
        );
        self.catalog.environments.insert(piece.id.clone(), made);
    }

    fn infrastructure(
        &mut self,
        piece: &'a Piece,
        path: &'a DocumentPath,
        infrastructure: &InfrastructureDefinition,
    ) {
        let Some(application) = self.application_of(path) else { return };
        let names = (path.application.as_deref(), path.owner.as_deref());
        let (Some(application_name), Some(environment_name)) = names else { return };
        let Some(environment) = self.environments.get(&(application_name, environment_name)).cloned() else {
            self.problems.push(orphan(&piece_place(path), path, "environment", environment_name));
            return;
        };
        // In path order, definitions come before the service infrastructures of old trees.
        if let Some(first) = self.infrastructures.insert((environment.clone(), &path.name), &path.path) {
            self.infrastructures.insert((environment, &path.name), first);
            let message = format!("the environment {environment_name} has this infrastructure twice");
            let problem = Problem::new(code!("NAME_TAKEN"), message)
                .item(&path.name)
                .detail(format!("{first} is used"))
                .hint("rename one of them")
                .at(piece_place(path));
            self.problems.push(problem);
            return;
        }
        let made = self.kept(
            piece,
            &[&application, &environment],
            |catalog| &catalog.infrastructures,
            |_| {
                let mut infrastructure = infrastructure.clone();
                infrastructure.application = application.clone();
                infrastructure.environment = environment.clone();
                infrastructure
            },
        );
        self.catalog.infrastructures.insert(piece.id.clone(), made);
    }

    /// Reports a part whose service or environment is not there.
    fn part(&mut self, path: &DocumentPath) {
        let Some(owner) = owner_of(path) else { return };
        if self.pieces.get(&owner).is_none_or(|piece| piece.view.is_none()) {
            let noun = if path.kind == DocumentKind::ConfigFileOverride { "environment" } else { "service" };
            let name = path.owner.as_deref().unwrap_or_default();
            self.problems.push(orphan(&piece_place(path), path, noun, name));
        }
    }
}

/// The path of the `Index.yaml` of what a document is a part of.
fn owner_of(path: &DocumentPath) -> Option<String> {
    let application = path.application.as_deref()?;
    let kind = match path.kind {
        DocumentKind::ApplicationDefaults => return Some(DocumentPath::of_application(application)),
        DocumentKind::ArtifactSource
        | DocumentKind::Command
        | DocumentKind::ConfigFile
        | DocumentKind::Manifest => DocumentKind::Service,
        DocumentKind::ConfigFileOverride => DocumentKind::Environment,
        _ => return None,
    };
    DocumentPath::of_part(kind, application, path.owner.as_deref()?)
}

/// Files below a service or an environment that it is made of, in the order of their paths.
fn below<'a>(
    piece: &'a Piece,
    pieces: &'a BTreeMap<String, Piece>,
) -> impl Iterator<Item = (&'a str, &'a Piece)> {
    let path = piece
        .path
        .as_ref()
        .filter(|path| matches!(path.kind, DocumentKind::Service | DocumentKind::Environment));
    path.and_then(DocumentPath::folder).into_iter().flat_map(move |folder| {
        pieces
            .range::<str, _>((Bound::Excluded(folder), Bound::Unbounded))
            .map(|(path, piece)| (path.as_str(), piece))
            .take_while(move |(path, _)| path.starts_with(folder))
            .filter(move |(path, piece)| {
                piece.is_file && path.strip_prefix(folder).is_some_and(files::counts)
            })
    })
}

/// Which file holds the content of a config file: it counts among the file's parts, for it may come later or go.
fn content(part: &Piece, pieces: &BTreeMap<String, Piece>) -> Option<(EntityId, u64)> {
    match &part.view {
        Some(View::ConfigFile(file)) => Some((EntityId::from(with_content(file, pieces).content_path), 0)),
        _ => None,
    }
}

/// A config file's content lies under its document's name without `.yaml`, or under its `fileName`.
fn with_content(file: &ConfigFile, pieces: &BTreeMap<String, Piece>) -> ConfigFile {
    let mut file = file.clone();
    if !pieces.contains_key(&file.content_path)
        && let Some((folder, _)) = file.content_path.rsplit_once('/')
    {
        let named = format!("{folder}/{}", file.name);
        if pieces.contains_key(&named) {
            file.content_path = named;
        }
    }
    file
}

fn piece_place(path: &DocumentPath) -> Place {
    Place { path: path.path.clone(), line: 1, column: 1 }
}

/// The complaint about a document whose application, service or environment is not there.
pub(crate) fn orphan(place: &Place, path: &DocumentPath, noun: &str, name: &str) -> Problem {
    let message = format!("the {} lies under {noun} {name}, which has no Index.yaml", path.kind);
    Problem::new(code!("DOCUMENT_ORPHAN"), message)
        .item(&path.name)
        .hint(format!("add the {noun}, or remove what lies under it"))
        .at(place.clone())
}
