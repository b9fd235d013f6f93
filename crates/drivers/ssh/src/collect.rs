//! The kind `COLLECT_ARTIFACTS`: lists the builds of an artifact source. CUSTOM: a script writes them as JSON; SFTP: files that match a
//! pattern; HTTP: files that are there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use manifold_driver::clock::now;
use manifold_driver::command::{self, Attempt, CommandSpec, Directory, Ended, Language, Settings, Shell};
use manifold_driver::local::Runner;
use manifold_driver::script::{self, cancellable, deadline, fill};
use manifold_driver::{Context, Driver, Found, wrong_payload};
use manifold_model::kind::{Class, KindSpec, Player};
use manifold_model::task::{Build, CollectTask, Outcome, Payload, Task, TaskResult};
use manifold_model::{Failure, FailureClass, code};
use russh_sftp::client::SftpSession;
use serde_json::{Map, Value};
use tokio::io::AsyncReadExt;
use zeroize::Zeroizing;

use crate::artifact::{Location, ServerAccess, answered, failed, unreachable};
use crate::connection::{Dialer, expanded};
use crate::known_hosts::glob;

/// Builds that one collection gives; older ones are left out.
pub const BUILDS_LIMIT: usize = 1000;
/// Directory entries that one pattern looks at.
const ENTRIES_LIMIT: usize = 20_000;
/// Bytes of the JSON that a script writes.
const RESULT_LIMIT: u64 = 16 * 1024 * 1024;
/// For the answer to one HEAD request.
const HEAD_LIMIT: Duration = Duration::from_secs(30);

/// Collects builds.
pub struct ArtifactDriver {
    dialer: Arc<Dialer>,
    runner: Runner,
    settings: Arc<Settings>,
}

impl ArtifactDriver {
    /// A driver that reaches SFTP servers with a dialler and runs scripts with these settings.
    #[must_use]
    pub fn new(dialer: Arc<Dialer>, settings: Settings) -> Self {
        Self { dialer, runner: Runner::new(settings.clone()), settings: Arc::new(settings) }
    }

    async fn collect(&self, task: &Task, collect: &CollectTask, context: &Context) -> Outcome {
        let source = &collect.source;
        let listed = match source.kind.to_ascii_uppercase().as_str() {
            "CUSTOM" => return self.by_script(task, collect, context).await,
            "SFTP" => cancellable(context, deadline(task), self.by_sftp(collect, context)).await,
            "HTTP" => cancellable(context, deadline(task), by_http(collect, context)).await,
            kind => {
                let message = format!("builds of {kind} sources ({}) cannot be listed", source.name);
                return Outcome::failed(failed(FailureClass::Application, message));
            }
        };
        match listed {
            Ok(Ok(builds)) => listed_builds(builds),
            Ok(Err(failure)) => Outcome::failed(failure),
            Err(ended) => Outcome::of(script::result(
                &ended,
                "the collection",
                &self.runner.place(),
                FailureClass::Application,
                task.timeout_ms,
            )),
        }
    }

    async fn by_script(&self, task: &Task, collect: &CollectTask, context: &Context) -> Outcome {
        let deadline = deadline(task);
        let attempt = self.runner.attempt(task);
        let ended = match cancellable(context, deadline, self.spec(attempt, collect, context)).await {
            Ok(Ok(spec)) => command::run(&self.runner, &spec, context, deadline).await,
            Ok(Err(failure)) => Ended::Failed(failure),
            Err(ended) => ended,
        };
        let place = self.runner.place();
        let result = script::result(&ended, "the script", &place, FailureClass::Application, task.timeout_ms);
        if result != TaskResult::Succeeded {
            return Outcome::of(result);
        }
        match self.read_result(task, collect).await {
            Ok(builds) => listed_builds(builds),
            Err(failure) => Outcome::failed(failure),
        }
    }

    async fn spec(
        &self,
        attempt: Attempt,
        collect: &CollectTask,
        context: &Context,
    ) -> Result<CommandSpec, Failure> {
        let Some(text) = &collect.script else {
            let message = format!("the source {} has no script that fetches versions", collect.source.name);
            return Err(failed(FailureClass::Application, message));
        };
        let result = self.result_file(&attempt);
        Ok(CommandSpec {
            attempt,
            unit: script::UNIT.to_owned(),
            log_unit: script::LOG_UNIT.to_owned(),
            script: Zeroizing::new(fill(context, text).await?.text),
            language: Language::Bash,
            directory: Directory::Attempt,
            environment: vec![("ARTIFACT_RESULT_PATH".to_owned(), Zeroizing::new(result))],
            kubeconfig: None,
            outputs: Vec::new(),
            keeps_environment: false,
            last: true,
        })
    }

    fn result_file(&self, attempt: &Attempt) -> String {
        format!("{}/{}/artifacts.json", self.settings.root, attempt.folder)
    }

    async fn read_result(&self, task: &Task, collect: &CollectTask) -> Result<Vec<Build>, Failure> {
        let file = self.result_file(&self.runner.attempt(task));
        let unreadable = |why: String| {
            Failure::new(
                FailureClass::Application,
                code!("ARTIFACT_LIST_UNREADABLE"),
                format!("the script of {} did not list builds: {why}", collect.source.name),
            )
            .hint("it must write JSON to the file that $ARTIFACT_RESULT_PATH names")
        };
        let open =
            tokio::fs::File::open(expanded(&file)).await.map_err(|error| unreadable(error.to_string()))?;
        let mut text = Vec::new();
        open.take(RESULT_LIMIT + 1)
            .read_to_end(&mut text)
            .await
            .map_err(|error| unreadable(error.to_string()))?;
        if text.len() as u64 > RESULT_LIMIT {
            return Err(unreadable(format!("it wrote more than {RESULT_LIMIT} bytes")));
        }
        let json: Value = serde_json::from_slice(&text).map_err(|error| unreadable(error.to_string()))?;
        Mapping::of(&collect.source.properties).builds(&json).map_err(unreadable)
    }

    async fn by_sftp(&self, collect: &CollectTask, context: &Context) -> Result<Vec<Build>, Failure> {
        let access = ServerAccess::open(&collect.source.server, context.resolver.as_ref()).await?;
        let url = access.url.clone().ok_or_else(|| {
            failed(
                FailureClass::Application,
                format!("the SFTP server of {} has no url", collect.source.name),
            )
        })?;
        let mut builds: Vec<(u32, Build)> = Vec::new();
        for pattern in patterns(collect)? {
            let Location::Sftp { server, path } = Location::read(&pattern, Some(&url))? else {
                return Err(failed(FailureClass::Application, format!("{url} is not an SFTP server")));
            };
            let (_connection, session) = access.sftp(&self.dialer, &server).await?;
            for file in matching(&session, &path).await.map_err(|error| {
                failed(FailureClass::Application, format!("cannot list {path} on {server}: {error}"))
            })? {
                builds.push((file.modified, file.build(&server)));
            }
        }
        builds.sort_by(|(one, first), (other, second)| {
            other.cmp(one).then(second.build_no.cmp(&first.build_no))
        });
        Ok(builds.into_iter().map(|(_, build)| build).collect())
    }
}

/// Newest first, each build number once, bounded.
fn listed_builds(builds: Vec<Build>) -> Outcome {
    let mut seen = std::collections::BTreeSet::new();
    let mut outcome = Outcome::succeeded();
    outcome.builds =
        builds.into_iter().filter(|build| seen.insert(build.build_no.clone())).take(BUILDS_LIMIT).collect();
    outcome
}

/// `artifactPaths` of a source: a list or one text.
fn patterns(collect: &CollectTask) -> Result<Vec<String>, Failure> {
    let patterns: Vec<String> = match collect.source.properties.get("artifactPaths") {
        Some(Value::Array(items)) => {
            items.iter().filter_map(Value::as_str).map(|text| text.trim().to_owned()).collect()
        }
        Some(Value::String(text)) => text.split(',').map(|text| text.trim().to_owned()).collect(),
        _ => Vec::new(),
    };
    if patterns.iter().all(String::is_empty) {
        let message = format!("the source {} has no artifactPaths", collect.source.name);
        return Err(failed(FailureClass::Application, message));
    }
    Ok(patterns.into_iter().filter(|pattern| !pattern.is_empty()).collect())
}

struct RemoteFile {
    path: String,
    size: Option<u64>,
    modified: u32,
    /// What the wildcards of the directories stood for.
    captured: Vec<String>,
    /// Whether the file's own name was a pattern.
    named_by_pattern: bool,
}

impl RemoteFile {
    fn build(&self, server: &str) -> Build {
        let name = self.path.rsplit('/').next().unwrap_or_default().to_owned();
        let build_no = if self.named_by_pattern || self.captured.is_empty() {
            name.clone()
        } else {
            self.captured.join("-")
        };
        let path = if self.path.starts_with('/') { self.path.clone() } else { format!("/~/{}", self.path) };
        let mut metadata = BTreeMap::from([
            ("url".to_owned(), format!("sftp://{server}{path}")),
            ("artifactPath".to_owned(), self.path.clone()),
            ("fileName".to_owned(), name),
        ]);
        if let Some(size) = self.size {
            metadata.insert("size".to_owned(), size.to_string());
        }
        Build { build_no, metadata }
    }
}

/// Files whose path matches a pattern with `*` and `?` in any of its parts.
async fn matching(
    session: &SftpSession,
    pattern: &str,
) -> Result<Vec<RemoteFile>, russh_sftp::client::error::Error> {
    let root = if pattern.starts_with('/') { "/" } else { "" };
    let parts: Vec<&str> = pattern.split('/').filter(|part| !part.is_empty()).collect();
    // Paths still to look at: path, how many parts it has, what wildcards stood for.
    let mut open: Vec<(String, usize, Vec<String>)> = vec![(root.to_owned(), 0, Vec::new())];
    let (mut files, mut looked_at) = (Vec::new(), 0);
    while let Some((path, depth, captured)) = open.pop() {
        let Some(part) = parts.get(depth) else { continue };
        let last = depth + 1 == parts.len();
        let join = |name: &str| {
            if path.is_empty() || path.ends_with('/') {
                format!("{path}{name}")
            } else {
                format!("{path}/{name}")
            }
        };
        let wild = part.contains(['*', '?']);
        let candidates: Vec<String> = if wild {
            let folder = if path.is_empty() { "." } else { path.as_str() };
            session
                .read_dir(folder)
                .await?
                .map(|entry| entry.file_name())
                .filter(|name| glob(part, name))
                .collect()
        } else {
            vec![(*part).to_owned()]
        };
        for name in candidates {
            looked_at += 1;
            if looked_at > ENTRIES_LIMIT {
                return Ok(files);
            }
            let below = join(&name);
            let mut captured = captured.clone();
            if wild && !last {
                captured.push(name);
            }
            if !last {
                open.push((below, depth + 1, captured));
            } else if let Ok(facts) = session.metadata(below.as_str()).await
                && !facts.is_dir()
            {
                let (size, modified) = (facts.size, facts.mtime.unwrap_or_default());
                files.push(RemoteFile { path: below, size, modified, captured, named_by_pattern: wild });
            }
        }
    }
    Ok(files)
}

async fn by_http(collect: &CollectTask, context: &Context) -> Result<Vec<Build>, Failure> {
    let access = ServerAccess::open(&collect.source.server, context.resolver.as_ref()).await?;
    let mut builds = Vec::new();
    for path in patterns(collect)? {
        if path.contains('*') {
            let message = format!("{path}: a web server cannot be asked for all files of a pattern");
            return Err(failed(FailureClass::Application, message).hint("name the files"));
        }
        let Location::Http(url) = Location::read(&path, access.url.as_deref())? else {
            return Err(failed(FailureClass::Application, format!("{path} is not on a web server")));
        };
        let request = access.request(reqwest::Method::HEAD, &url)?.timeout(HEAD_LIMIT);
        let response = request.send().await.map_err(|error| unreachable(&url, &error))?;
        let response = answered(&url, response)?;
        let name = Location::Http(url.clone()).file_name().unwrap_or_else(|| path.clone());
        let header = |name: &str| {
            response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let mut metadata = BTreeMap::from([
            ("url".to_owned(), url.clone()),
            ("artifactPath".to_owned(), path.clone()),
            ("fileName".to_owned(), name.clone()),
        ]);
        metadata.extend(header("content-length").map(|size| ("size".to_owned(), size)));
        metadata.extend(header("etag").map(|etag| ("etag".to_owned(), etag)));
        builds.push(Build { build_no: name, metadata });
    }
    Ok(builds)
}

/// How the JSON of a script is read (`customRepositoryMapping`).
struct Mapping {
    root: String,
    build_no: String,
    attributes: Vec<(String, String)>,
}

impl Mapping {
    fn of(properties: &Map<String, Value>) -> Self {
        let scripts = properties.get("scripts").and_then(Value::as_array);
        let mapping = scripts
            .and_then(|scripts| scripts.iter().find_map(|script| script.get("customRepositoryMapping")))
            .or_else(|| properties.get("customRepositoryMapping"));
        let text = |key: &str, otherwise: &str| {
            let value = mapping.and_then(|mapping| mapping.get(key)).and_then(Value::as_str);
            value.map(str::trim).filter(|text| !text.is_empty()).unwrap_or(otherwise).to_owned()
        };
        let attributes =
            mapping.and_then(|mapping| mapping.get("artifactAttributes")).and_then(Value::as_array);
        let pair = |attribute: &Value| {
            let path = attribute.get("relativePath")?.as_str()?.trim().to_owned();
            let name =
                attribute.get("mappedAttribute").and_then(Value::as_str).unwrap_or(&path).trim().to_owned();
            Some((path, name))
        };
        Self {
            root: text("artifactRoot", "$.results"),
            build_no: text("buildNoPath", "buildNo"),
            attributes: attributes.map(|all| all.iter().filter_map(pair).collect()).unwrap_or_default(),
        }
    }

    fn builds(&self, json: &Value) -> Result<Vec<Build>, String> {
        let found = at_path(json, &self.root)?;
        let items: Vec<&Value> = match found.as_slice() {
            [Value::Array(items)] => items.iter().collect(),
            _ => found,
        };
        items.iter().map(|item| self.build(item)).collect()
    }

    fn build(&self, item: &Value) -> Result<Build, String> {
        let build_no = at_path(item, &self.build_no)?.first().and_then(|value| as_text(value));
        let build_no = build_no
            .filter(|text| !text.is_empty())
            .ok_or_else(|| format!("an item has no build number at {}: {}", self.build_no, short(item)))?;
        let mut metadata = BTreeMap::new();
        if let Some(Value::Object(given)) = item.get("metadata") {
            metadata.extend(given.iter().filter_map(|(key, value)| Some((key.clone(), as_text(value)?))));
        }
        for (path, name) in &self.attributes {
            if let Some(value) = at_path(item, path)?.first().and_then(|value| as_text(value)) {
                metadata.insert(name.clone(), value);
            }
        }
        Ok(Build { build_no, metadata })
    }
}

fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(100).collect()
}

/// The values at a JSON path of the plain sort: `$.a.b[*].c`, `a[0]`, `['a']`.
fn at_path<'a>(json: &'a Value, path: &str) -> Result<Vec<&'a Value>, String> {
    let mut found = vec![json];
    let mut rest = path.trim().trim_start_matches('$');
    while !rest.is_empty() {
        let (step, after) = next_step(rest).ok_or_else(|| format!("the path {path:?} cannot be read"))?;
        found = match step {
            "" => found,
            "*" => found.into_iter().flat_map(children).collect(),
            key => found.into_iter().filter_map(|value| child(value, key)).collect(),
        };
        rest = after;
    }
    Ok(found)
}

fn next_step(path: &str) -> Option<(&str, &str)> {
    if let Some(bracketed) = path.strip_prefix('[') {
        let (inner, rest) = bracketed.split_once(']')?;
        return Some((inner.trim_matches(['\'', '"']), rest));
    }
    let path = path.trim_start_matches('.');
    path.split_at_checked(path.find(['.', '[']).unwrap_or(path.len()))
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(fields) => fields.values().collect(),
        _ => Vec::new(),
    }
}

fn child<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    match value {
        Value::Array(items) => items.get(key.parse::<usize>().ok()?),
        _ => value.get(key),
    }
}

#[async_trait]
impl Driver for ArtifactDriver {
    fn kinds(&self) -> Vec<KindSpec> {
        vec![KindSpec {
            name: "COLLECT_ARTIFACTS".into(),
            class: Class::Idempotent,
            class_by: Vec::new(),
            rolled_back_by: None,
            player: Player::Delegate,
            stands: Vec::new(),
            properties: Vec::new(),
            capabilities: Vec::new(),
            touches_infrastructure: false,
            infrastructure_types: Vec::new(),
            reads_manifests: false,
            deploys: false,
            test_only: false,
        }]
    }

    async fn perform(&self, task: &Task, context: &Context) -> Outcome {
        let started_at = now();
        let mut outcome = match &task.payload {
            Payload::Collect(collect) => self.collect(task, collect, context).await,
            _ => Outcome::failed(wrong_payload(task)),
        };
        (outcome.started_at, outcome.ended_at) = (started_at, now());
        outcome
    }

    async fn probe(&self, _task: &Task, _context: &Context) -> Found {
        // Listing changes nothing: it is done again, and a script that runs still is attached to.
        Found::NotStarted
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn builds(properties: Value, json: &Value) -> Result<Vec<Build>, String> {
        Mapping::of(properties.as_object().unwrap()).builds(json)
    }

    #[test]
    fn a_script_says_its_builds_in_its_own_words() {
        let properties = json!({"scripts": [{"action": "FETCH_VERSIONS", "customRepositoryMapping": {
            "artifactRoot": "$.items[*]", "buildNoPath": "version",
            "artifactAttributes": [{"relativePath": "assets.downloadUrl", "mappedAttribute": "url"}, {"relativePath": "$.size", "mappedAttribute": "size"}]
        }}]});
        let json = json!({"items": [{"version": 2, "assets": {"downloadUrl": "http://x"}, "size": 7}, {"version": "1"}]});
        let found = builds(properties, &json).unwrap();
        assert_eq!(found[0].build_no, "2");
        assert_eq!(
            found[0].metadata,
            BTreeMap::from([("url".into(), "http://x".into()), ("size".into(), "7".into())])
        );
        assert_eq!((found[1].build_no.as_str(), found[1].metadata.len()), ("1", 0));
        let found =
            builds(json!({}), &json!({"results": [{"buildNo": "9", "metadata": {"path": "/a"}}]})).unwrap();
        assert_eq!((found[0].build_no.as_str(), found[0].metadata["path"].as_str()), ("9", "/a"));
        assert!(builds(json!({}), &json!({"results": [{}]})).unwrap_err().contains("build number"));
    }

    proptest! {
        #[test]
        fn any_path_is_read_without_panic(path in "[$.*a\\[\\]'0]{0,20}") {
            let _ = at_path(&json!({"a": [{"a": 1}]}), &path);
        }
    }
}
