//! Legs that meet on one target or one host (D25, `behaviour.md` 4 and 8.1).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use manifold_expression::{Lookup, Mode, Scope, Value, references, render};
use manifold_model::catalog::Catalog;
use manifold_model::entity::{Application, InfrastructureDefinition};
use manifold_model::target::{Target, host_names};
use manifold_model::{Problem, code};
use serde_json::{Map, Value as Json};

use crate::commands;
use crate::complaints::Complaints;
use crate::course::Run;
use crate::facts::Facts;
use crate::resolve::Resolved;
use crate::steps::{self, Planned};

/// What an expression says of the one definition, beside its name.
const OWN: [&str; 2] = ["infra.kubernetes.infraId", "infra.helm.shortId"];

/// Names shown in one message.
const MAX_SHOWN: usize = 10;

/// Legs of one target.
pub(crate) struct Group {
    title: String,
    /// Whether every expression of the target is known by now, so that equal texts are equal targets.
    certain: bool,
    hosts: Vec<String>,
    pub(crate) legs: Vec<usize>,
    /// Per leg the release name, with what is known by now.
    releases: Vec<Option<String>>,
}

/// Complains about legs that meet.
pub(crate) fn check(
    catalog: &Catalog,
    facts: &Facts<'_>,
    run: &Run,
    resolved: &Resolved,
    planned: &Planned,
    complaints: &mut Complaints,
) {
    let Some(variable) = resolved.fan_out.as_deref().filter(|_| resolved.legs.len() > 1) else { return };
    let definitions: Vec<&Arc<InfrastructureDefinition>> = resolved.legs.iter().flatten().collect();
    let groups = groups(&definitions, |definition| Known::of(catalog, run, resolved, variable, definition));
    let names = |group: &Group| {
        shown(group.legs.iter().filter_map(|leg| definitions.get(*leg)).map(|one| one.name.clone()))
    };
    for group in groups.iter().filter(|group| group.legs.len() > 1) {
        let meeting = Meeting { facts, run, planned, group, names: names(group) };
        meeting.check(complaints);
        meeting.check_release_names(&definitions, complaints);
    }
    if planned.needs.iter().any(|needs| needs.hosts) {
        check_hosts(&groups, &definitions, catalog.applications.get(&run.workflow.application), complaints);
    }
}

/// Definitions by target, in order of their first leg.
pub(crate) fn groups(
    definitions: &[&Arc<InfrastructureDefinition>],
    known: impl Fn(&InfrastructureDefinition) -> Known,
) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut by_key: HashMap<String, usize> = HashMap::new();
    for (leg, definition) in definitions.iter().enumerate() {
        let properties = rendered(definition, &known);
        let target =
            Target::of(&definition.item_type, definition.cloud_provider_name.as_deref(), &properties);
        let index = *by_key.entry(target.key).or_insert_with(|| {
            groups.push(Group {
                title: target.title,
                certain: !properties.values().any(has_expression),
                hosts: host_names(&properties),
                legs: Vec::new(),
                releases: Vec::new(),
            });
            groups.len() - 1
        });
        if let Some(group) = groups.get_mut(index) {
            group.legs.push(leg);
            group.releases.push(steps::text(&properties, "releaseName").map(str::to_owned));
        }
    }
    groups
}

/// An item's properties with what is known by now.
fn rendered(
    definition: &InfrastructureDefinition,
    known: impl Fn(&InfrastructureDefinition) -> Known,
) -> Map<String, Json> {
    if !definition.properties.values().any(has_expression) {
        return definition.properties.clone();
    }
    let scope = known(definition);
    definition.properties.iter().map(|(key, value)| (key.clone(), fill(value, &scope))).collect()
}

fn fill(value: &Json, scope: &Known) -> Json {
    match value {
        Json::String(text) => {
            match render(text, scope, Mode::Keep).map(|rendering| rendering.rendered.masked()) {
                Ok(text) => Json::String(text),
                // What is wrong with the text is told when it is used.
                Err(_) => value.clone(),
            }
        }
        Json::Array(items) => Json::Array(items.iter().map(|item| fill(item, scope)).collect()),
        other => other.clone(),
    }
}

fn has_expression(value: &Json) -> bool {
    match value {
        Json::String(text) => text.contains("${"),
        Json::Array(items) => items.iter().any(has_expression),
        _ => false,
    }
}

/// What is known of a leg at start.
pub(crate) struct Known(BTreeMap<&'static str, Value>);

impl Known {
    /// Of a leg of a run.
    fn of(
        catalog: &Catalog,
        run: &Run,
        resolved: &Resolved,
        variable: &str,
        definition: &InfrastructureDefinition,
    ) -> Self {
        let variables = resolved
            .variables
            .iter()
            .map(|(name, value)| (name.clone(), Value::from_json(&Json::String(value.clone()))))
            .chain([(variable.to_owned(), Value::from_json(&Json::String(definition.name.clone())))]);
        let mut known = Self::of_definition(definition);
        known.0.insert("workflow", Value::map([("variables", Value::map(variables))]));
        if let Some(environment) = &resolved.environment {
            known.0.insert("env", named(&environment.name));
        }
        if let Some(application) = catalog.applications.get(&run.workflow.application) {
            known.0.insert("app", named(&application.name));
        }
        known
    }

    /// Of a definition alone.
    pub(crate) fn of_definition(definition: &InfrastructureDefinition) -> Self {
        Self(BTreeMap::from([("infra", named(&definition.name))]))
    }
}

fn named(name: &str) -> Value {
    Value::map([("name", Value::from_json(&Json::String(name.to_owned())))])
}

impl Scope for Known {
    fn lookup(&self, root: &str) -> Lookup {
        self.0.get(root).map_or(Lookup::Missing, |value| Lookup::Found(value.clone()))
    }
}

/// Several legs on one target.
struct Meeting<'m> {
    facts: &'m Facts<'m>,
    run: &'m Run,
    planned: &'m Planned,
    group: &'m Group,
    names: String,
}

impl Meeting<'_> {
    fn check(&self, complaints: &mut Complaints) {
        let Self { group, names, .. } = self;
        let problem = |code, message: String| {
            Problem::new(code, message).item(names.clone()).detail(self.run.title.clone())
        };
        complaints.warn(
            problem(
                code!("TARGET_SHARED"),
                format!("{} legs have one target ({}): {names}", group.legs.len(), group.title),
            )
            .hint("legs that lock their target run one after another there"),
        );
        if !self.planned.workflow.locks || !group.certain {
            return;
        }
        if self.planned.barrier_in_lock {
            complaints.refuse(
                problem(
                    code!("TARGET_SHARED_BARRIER"),
                    format!(
                        "{names} have one target ({}), and the workflow {} has a barrier: one leg would wait at the barrier for another that waits for its lock",
                        group.title, self.run.workflow.name
                    ),
                )
                .hint("select one of them, or take the barrier out of the workflow"),
            );
        }
        let room = self.facts.lock_queue_limit.saturating_add(1);
        if group.legs.len() > room {
            complaints.refuse(
                problem(
                    code!("TARGET_QUEUE_FULL"),
                    format!(
                        "{} legs have one target ({}), and its lock takes one with {} waiting",
                        group.legs.len(),
                        group.title,
                        self.facts.lock_queue_limit
                    ),
                )
                .hint("select fewer definitions of that target"),
            );
        }
    }

    /// Two legs with one cluster, namespace and release name would overwrite each other's release. Of what is known only later, just what is of
    /// the definition's own makes names differ.
    fn check_release_names(
        &self,
        definitions: &[&Arc<InfrastructureDefinition>],
        complaints: &mut Complaints,
    ) {
        if !self.planned.needs.iter().any(|needs| !needs.infrastructure.is_empty()) {
            return;
        }
        let mut legs: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (leg, release) in self.group.legs.iter().zip(&self.group.releases) {
            let (Some(definition), Some(name)) = (definitions.get(*leg), release) else { continue };
            if !references(name).iter().any(|reference| OWN.contains(&reference.as_str())) {
                legs.entry(name).or_default().push(definition.name.clone());
            }
        }
        for (release, names) in legs.into_iter().filter(|(_, names)| names.len() > 1) {
            let names = shown(names.into_iter());
            complaints.refuse(
                Problem::new(
                    code!("RELEASE_NAME_SHARED"),
                    format!("{names} have one target ({}) and one release name {release}", self.group.title),
                )
                .item(names)
                .hint("put ${infra.kubernetes.infraId} into the release name"),
            );
        }
    }
}

/// Host lists that overlap without being equal, and a runtime path that legs share on a host.
fn check_hosts(
    groups: &[Group],
    definitions: &[&Arc<InfrastructureDefinition>],
    application: Option<&Arc<Application>>,
    complaints: &mut Complaints,
) {
    let mut by_host: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
    for (index, group) in groups.iter().enumerate() {
        for host in &group.hosts {
            by_host.entry(host).or_default().insert(index);
        }
    }
    let overlapping: Vec<&str> =
        by_host.iter().filter(|(_, groups)| groups.len() > 1).map(|(host, _)| *host).collect();
    if !overlapping.is_empty() {
        let meeting: BTreeSet<usize> =
            by_host.values().filter(|groups| groups.len() > 1).flatten().copied().collect();
        let names = meeting
            .iter()
            .filter_map(|index| groups.get(*index))
            .flat_map(|group| &group.legs)
            .filter_map(|leg| definitions.get(*leg))
            .map(|definition| definition.name.clone());
        let names = shown(names);
        let hosts = shown(overlapping.iter().map(|host| (*host).to_owned()));
        complaints.warn(
            Problem::new(
                code!("HOSTS_OVERLAP"),
                format!("{names} have hosts in common ({hosts}) without being one target"),
            )
            .item(names)
            .hint("their locks do not keep the legs apart; give each host to one definition"),
        );
    }
    let shares =
        !overlapping.is_empty() || groups.iter().any(|group| group.legs.len() > 1 && !group.hosts.is_empty());
    let path = application.and_then(|one| one.defaults.get("RUNTIME_PATH")).map_or("", String::as_str);
    if shares && !commands::mentions(path, "infra") {
        complaints.warn(
            Problem::new(
                code!("RUNTIME_PATH_SHARED"),
                "legs share a host, and RUNTIME_PATH has no part of the infrastructure in it, so that they write to the same folders",
            )
            .item("RUNTIME_PATH")
            .hint("put ${infra.name} into the application default RUNTIME_PATH"),
        );
    }
}

/// Names for a message, the first few of many.
pub(crate) fn shown(names: impl Iterator<Item = String>) -> String {
    let names: Vec<String> = names.collect();
    match names.len().checked_sub(MAX_SHOWN).filter(|more| *more > 0) {
        Some(more) => {
            let first: Vec<String> = names.into_iter().take(MAX_SHOWN).collect();
            format!("{} and {more} more", first.join(", "))
        }
        None => names.join(", "),
    }
}
