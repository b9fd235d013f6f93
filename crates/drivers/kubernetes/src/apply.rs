//! Applying objects under our manager: each is looked at first, tried by a server-side dry run, and only when all may be applied the first one is
//! (`behaviour.md` 22, "Decided for Kubernetes").

use std::collections::{BTreeSet, HashMap};

use futures::FutureExt;
use futures::stream::{self, StreamExt, TryStreamExt};
use kube::api::{Patch, PatchParams};
use manifold_driver::Context;
use manifold_model::{Failure, FailureClass, code};
use serde_json::Value;
use tokio::time::sleep;

use crate::cluster::{Cluster, How, MANAGER, pause_after};
use crate::label::RELEASE;
use crate::limits::{AT_ONCE, WRITE_TRIES};
use crate::object::Object;
use crate::ownership::{Conflict, client_side_managers, conflicts, migration};
use crate::render;
use crate::rollout_status::{Progress, progress};
use crate::section::{APPLY, INITIALIZE};
use crate::trouble::{Trouble, without_content};

/// Conflicts told of one object.
const CONFLICTS_TOLD: usize = 8;
/// What the server adds and never takes back.
const OF_THE_SERVER: [&str; 6] =
    ["managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "selfLink"];

/// An object that may be applied.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The object.
    pub object: Object,
    /// Whether it was there.
    pub existed: bool,
    /// Whether it carries a release's label, so that fields are taken from others.
    ours: bool,
    /// Whether `kubectl apply` owns fields of it that become ours first.
    migrate: bool,
}

/// What the objects of one task make themselves: they cannot be tried before that is there.
#[derive(Default, Debug)]
struct Made {
    namespaces: BTreeSet<String>,
    /// Group and kind of CustomResourceDefinitions, and whether the kind is namespaced.
    kinds: Vec<(String, String, bool)>,
}

impl Made {
    fn by(objects: &[Object]) -> Self {
        let mut made = Self::default();
        for object in objects {
            let text = |path: &[&str]| object.at(path).and_then(Value::as_str).unwrap_or_default().to_owned();
            match object.kind() {
                "Namespace" if object.group().is_empty() => {
                    made.namespaces.insert(object.name().to_owned());
                }
                "CustomResourceDefinition" => {
                    let namespaced = text(&["spec", "scope"]) == "Namespaced";
                    made.kinds.push((text(&["spec", "group"]), text(&["spec", "names", "kind"]), namespaced));
                }
                _ => {}
            }
        }
        made
    }

    fn scope(&self, object: &Object) -> Option<bool> {
        let of =
            |(group, kind, _): &&(String, String, bool)| group == object.group() && kind == object.kind();
        self.kinds.iter().find(of).map(|(_, _, namespaced)| *namespaced)
    }
}

/// Gives every object its namespace (objects of the cluster have none), and takes away what only the server writes.
///
/// # Errors
/// A kind is unknown; a namespace does not exist and is not among the objects (`K8S_NAMESPACE_MISSING`); an object is there twice.
pub async fn place(cluster: &Cluster, objects: &mut [Object], namespace: &str) -> Result<(), Failure> {
    let made = Made::by(objects);
    let mut scopes: HashMap<(String, String), bool> = HashMap::new();
    for object in objects.iter_mut() {
        clean(object);
        let kind = (object.api_version().to_owned(), object.kind().to_owned());
        if made.scope(object).is_none() && !scopes.contains_key(&kind) {
            let found = cluster.kind(&kind.0, &kind.1).await?;
            scopes.insert(kind, found.namespaced);
        }
    }
    render::place(objects, namespace, |object| {
        scopes.get(&(object.api_version().to_owned(), object.kind().to_owned())).copied()
    })?;
    let mut wanted: BTreeSet<&str> = objects.iter().filter_map(Object::namespace).collect();
    wanted.insert(namespace);
    wanted.retain(|namespace| !made.namespaces.contains(*namespace));
    let wanted: Vec<&str> = wanted.into_iter().collect();
    require_namespaces(cluster, &wanted).await
}

/// Refuses namespaces that do not exist.
///
/// # Errors
/// `K8S_NAMESPACE_MISSING`, or the cluster cannot be asked.
pub async fn require_namespaces(cluster: &Cluster, namespaces: &[&str]) -> Result<(), Failure> {
    for namespace in namespaces {
        if cluster.has_namespace(namespace).await? == Some(false) {
            return Err(Failure::new(
                FailureClass::Application,
                code!("K8S_NAMESPACE_MISSING"),
                format!("cluster {} has no namespace {namespace:?}", cluster.name()),
            )
            .hint("create the namespace, or correct the infrastructure definition or the manifest"));
        }
    }
    Ok(())
}

fn clean(object: &mut Object) {
    if let Some(map) = object.0.as_object_mut() {
        map.remove("status");
    }
    let metadata = object.mapping(&["metadata"]);
    for key in OF_THE_SERVER {
        metadata.remove(key);
    }
}

/// Looks at every object and tries it by a dry run unless that is left out; nothing is changed.
///
/// # Errors
/// One may not be applied: it belongs to another manager (`K8S_OWNED_BY_OTHERS`), or the server refuses it.
pub async fn check(
    cluster: &Cluster,
    objects: &[Object],
    release: &str,
    skip_dry_run: bool,
    context: &Context,
) -> Result<Vec<Checked>, Failure> {
    let made = Made::by(objects);
    let one = |object| check_one(cluster, object, &made, release, skip_dry_run).boxed();
    let checks: Vec<_> = objects.iter().map(one).collect();
    let mut results = stream::iter(checks).buffered(AT_ONCE);
    let mut all = Vec::with_capacity(objects.len());
    while let Some((checked, notes)) = results.try_next().await? {
        for note in notes {
            context.log.note(INITIALIZE, &note).await;
        }
        all.push(checked);
    }
    drop(results);
    if !skip_dry_run {
        context.log.note(INITIALIZE, &format!("the server takes all {} objects (dry run)", all.len())).await;
    }
    Ok(all)
}

/// Looks at one object; what is worth a line in the log comes with it.
async fn check_one(
    cluster: &Cluster,
    object: &Object,
    made: &Made,
    release: &str,
    skip_dry_run: bool,
) -> Result<(Checked, Vec<String>), Failure> {
    let unborn = object.namespace().is_some_and(|namespace| made.namespaces.contains(namespace))
        || made.scope(object).is_some();
    let live = match cluster.get(&object.resource()).await {
        // Its definition is among the objects and not there yet.
        Err(failure) if unborn && failure.code == code!("K8S_KIND_UNKNOWN") => None,
        live => live?,
    };
    let mut notes = Vec::new();
    let checked = look(object, live.as_ref(), release, &mut notes);
    if !skip_dry_run {
        try_it(cluster, &checked, live.as_ref(), unborn, &mut notes).await?;
    }
    Ok((checked, notes))
}

fn look(object: &Object, live: Option<&Object>, release: &str, notes: &mut Vec<String>) -> Checked {
    let label = live.and_then(|live| live.label(RELEASE));
    if let Some(other) = label.filter(|label| *label != release) {
        notes.push(format!("{}: was of release {other}, is taken over by {release}", object.resource()));
    }
    Checked {
        object: object.clone(),
        existed: live.is_some(),
        ours: label.is_some(),
        migrate: live.is_some_and(|live| !client_side_managers(live).is_empty()),
    }
}

/// The dry run of one object.
async fn try_it(
    cluster: &Cluster,
    checked: &Checked,
    live: Option<&Object>,
    unborn: bool,
    notes: &mut Vec<String>,
) -> Result<(), Failure> {
    let object = &checked.object;
    let status = match cluster.apply(object, How { force: false, dry_run: true }).await {
        Ok(_) => return Ok(()),
        Err(Trouble::Failed(failure)) if unborn && failure.code == code!("K8S_KIND_UNKNOWN") => return Ok(()),
        Err(Trouble::Status(status)) if unborn && status.code == 404 => return Ok(()),
        Err(Trouble::Status(status)) if status.code == 409 => status,
        Err(trouble) => return Err(refusal(cluster, object, trouble)),
    };
    let found = conflicts(&status);
    let past = live.map(client_side_managers).unwrap_or_default();
    let past = |manager: &String| manager == MANAGER || past.contains(manager);
    let foreign: Vec<&Conflict> = found.iter().filter(|one| !past(&one.manager)).collect();
    if found.is_empty() {
        return Err(refusal(cluster, object, Trouble::Status(status)));
    }
    if !foreign.is_empty() && !checked.ours {
        return Err(owned(cluster, object, &foreign));
    }
    if !foreign.is_empty() {
        notes.push(format!("{}: takes {}", object.resource(), told(&foreign)));
    }
    // Past the conflicts: whether the server takes it otherwise.
    let forced = cluster.apply(object, How { force: true, dry_run: true }).await;
    forced.map(drop).map_err(|trouble| refusal(cluster, object, trouble))
}

/// Applies an object that was checked; the object as it is then.
///
/// # Errors
/// The server refuses it, or it belongs to somebody else since it was checked.
pub async fn apply(cluster: &Cluster, checked: &Checked, context: &Context) -> Result<Object, Failure> {
    let object = &checked.object;
    let resource = object.resource();
    if checked.migrate {
        take_over(cluster, object).await?;
        context.log.note(APPLY, &format!("{resource}: what `kubectl apply` owned is ours now")).await;
    }
    let applied = match cluster.apply(object, How { force: false, dry_run: false }).await {
        Err(Trouble::Status(status)) if status.code == 409 && !conflicts(&status).is_empty() => {
            let found = conflicts(&status);
            // What we changed ourselves otherwise than by applying (a scale) is ours too.
            let foreign: Vec<&Conflict> = found.iter().filter(|one| one.manager != MANAGER).collect();
            if !checked.ours && !foreign.is_empty() {
                return Err(owned(cluster, object, &foreign));
            }
            if !foreign.is_empty() {
                context.log.note(APPLY, &format!("{resource}: takes {}", told(&foreign))).await;
            }
            cluster.apply(object, How { force: true, dry_run: false }).await
        }
        other => other,
    };
    let applied = applied.map_err(|trouble| refusal(cluster, object, trouble))?;
    let word = if checked.existed { "applied" } else { "created" };
    context.log.note(APPLY, &format!("{resource} {word}")).await;
    if resource.kind == "CustomResourceDefinition" {
        established(cluster, &applied).await?;
    }
    Ok(applied)
}

/// Makes us the owner of what client-side applies own of an object.
async fn take_over(cluster: &Cluster, object: &Object) -> Result<(), Failure> {
    let resource = object.resource();
    for tries in 1..=WRITE_TRIES {
        let Some(live) = cluster.get(&resource).await? else { return Ok(()) };
        let Some(patch) = migration(&live) else { return Ok(()) };
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        match cluster.patch(&resource, &params, &Patch::Merge(&patch)).await {
            Ok(_) => return Ok(()),
            // Changed by somebody meanwhile: look again.
            Err(Trouble::Status(status)) if status.code == 409 => sleep(pause_after(tries)).await,
            Err(trouble) => return Err(cluster.explain(trouble, &format!("take over {resource}"))),
        }
    }
    Err(Failure::new(
        FailureClass::Application,
        code!("K8S_OBJECT_BUSY"),
        format!("{resource} is changed by others all the time"),
    )
    .hint("find out who writes it, then try again"))
}

/// Waits until a kind that was just defined is served.
async fn established(cluster: &Cluster, definition: &Object) -> Result<(), Failure> {
    let resource = definition.resource();
    let mut now = Some(definition.clone());
    for _ in 0..crate::limits::KIND_LOOKS {
        match now.as_ref().map(progress) {
            Some(Progress::Steady) => return Ok(()),
            Some(Progress::Failed(why)) => return Err(not_served(&resource.name, &why)),
            _ => {}
        }
        sleep(crate::limits::KIND_PAUSE).await;
        now = cluster.get(&resource).await?;
    }
    Err(not_served(&resource.name, "the server does not serve it yet"))
}

fn not_served(name: &str, why: &str) -> Failure {
    Failure::new(
        FailureClass::Application,
        code!("K8S_KIND_NOT_SERVED"),
        format!("the CustomResourceDefinition {name} was applied, but its kind cannot be used: {why}"),
    )
}

/// The failure of an object that the server does not take.
fn refusal(cluster: &Cluster, object: &Object, trouble: Trouble) -> Failure {
    let trouble = match trouble {
        Trouble::Status(status) if object.kind() == "Secret" => Trouble::Status(without_content(status)),
        trouble => trouble,
    };
    cluster.explain(trouble, &format!("apply {}", object.resource()))
}

fn told(conflicts: &[&Conflict]) -> String {
    let some = conflicts.iter().take(CONFLICTS_TOLD);
    let mut text: Vec<String> = some.map(|one| format!("{} from {:?}", one.field, one.manager)).collect();
    if conflicts.len() > CONFLICTS_TOLD {
        text.push(format!("and {} more", conflicts.len() - CONFLICTS_TOLD));
    }
    text.join(", ")
}

fn owned(cluster: &Cluster, object: &Object, conflicts: &[&Conflict]) -> Failure {
    let managers: BTreeSet<&str> = conflicts.iter().map(|one| one.manager.as_str()).collect();
    let managers: Vec<String> = managers.into_iter().map(|manager| format!("{manager:?}")).collect();
    let fields: BTreeSet<&str> = conflicts.iter().map(|one| one.field.as_str()).collect();
    let told: Vec<&str> = fields.iter().copied().take(CONFLICTS_TOLD).collect();
    Failure::new(
        FailureClass::Application,
        code!("K8S_OWNED_BY_OTHERS"),
        format!(
            "{} on cluster {} belongs to {}, which owns {}{}",
            object.resource(),
            cluster.name(),
            managers.join(", "),
            told.join(", "),
            if fields.len() > told.len() { " and more" } else { "" },
        ),
    )
    .hint("deploy under another name, take these fields out of the manifest, or label the object harness.io/release-name to hand it over")
}
