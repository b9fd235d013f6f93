//! A cluster as a task sees it: objects read, written, listed and watched by name, every request with a limit of its own, tried again where
//! that can help, and every failure in the words and the class that people and failure strategies need.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchParams};
use kube::client::Body;
use kube::core::{Request as Build, Status, WatchEvent};
use manifold_driver::Resolver;
use manifold_model::kubernetes::ClusterTarget;
use manifold_model::{Failure, FailureClass, code};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use crate::connect::{Clusters, Link};
use crate::discovery::{ApiKind, GroupList, ResourceList, root, well_known};
use crate::limits::{
    ANSWER_LIMIT, AT_ONCE, FIRST_PAUSE, LIST_LIMIT, LONGEST_PAUSE, LONGEST_RETRY_AFTER, PAGE, REQUEST_LIMIT,
    SILENT_TRIES, TRIES,
};
use crate::object::{Object, Resource, is_name};
use crate::trouble::{Trouble, broken};

/// The one field manager of everything that is applied (`behaviour.md` 22).
pub const MANAGER: &str = "manifold";

/// A cluster, for one task.
#[derive(Clone)]
pub struct Cluster {
    name: Arc<str>,
    clusters: Arc<Clusters>,
    link: Arc<Link>,
    deadline: Instant,
    grace: Duration,
}

/// How an object is applied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct How {
    /// Take fields from other managers.
    pub force: bool,
    /// Only say what would come of it.
    pub dry_run: bool,
}

/// How dependents of a deleted object go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dependents {
    /// After it.
    Background,
    /// Before it.
    Foreground,
}

/// One answer, whatever it says.
struct Answer {
    code: StatusCode,
    retry_after: Option<Duration>,
    body: Vec<u8>,
}

/// What happens to an object.
pub type Events = BoxStream<'static, Result<WatchEvent<Value>, kube::Error>>;

/// A request whose body is JSON.
type Ask = Request<Vec<u8>>;

impl Cluster {
    /// Connects: credentials are opened, connections shared with other tasks. The first request tells what is wrong with the way to it.
    /// No request is waited for beyond the deadline; the grace behind it is for a last word ([`Cluster::past_its_time`]).
    ///
    /// # Errors
    /// The credentials cannot be opened, or are not what they should be.
    pub async fn connect(
        clusters: &Arc<Clusters>,
        target: &ClusterTarget,
        resolver: &dyn Resolver,
        (deadline, grace): (Instant, Duration),
    ) -> Result<Self, Failure> {
        let link = clusters.link(target, resolver).await?;
        let (name, clusters) = (target.name.as_str().into(), Arc::clone(clusters));
        Ok(Self { name, clusters, link, deadline, grace })
    }

    /// The moment by which the task must have ended.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The same cluster for a last word after the task's time: that it failed.
    #[must_use]
    pub fn past_its_time(&self) -> Self {
        let deadline = self.deadline.max(Instant::now() + self.grace);
        Self { deadline, ..self.clone() }
    }

    /// For messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The kind of an object; the cluster is asked once more when it does not know it.
    ///
    /// # Errors
    /// There is no such kind (`K8S_KIND_UNKNOWN`), or the cluster cannot be asked.
    pub async fn kind(&self, api_version: &str, kind: &str) -> Result<ApiKind, Failure> {
        if api_version.is_empty() {
            return self.kind_named(kind).await;
        }
        let of = |kinds: &[ApiKind]| kinds.iter().find(|known| known.kind == kind).cloned();
        if let Some(found) = self.link.discovery.known(api_version).and_then(|kinds| of(&kinds)) {
            return Ok(found);
        }
        of(&self.ask_kinds(api_version).await?)
            .ok_or_else(|| self.unknown_kind(&format!("{kind} of {api_version}")))
    }

    /// The kind that a person calls by its name only.
    async fn kind_named(&self, kind: &str) -> Result<ApiKind, Failure> {
        if let Some((kind, api_version)) = well_known(kind) {
            return Box::pin(self.kind(api_version, kind)).await;
        }
        let of =
            |kinds: &[ApiKind]| kinds.iter().find(|known| known.kind.eq_ignore_ascii_case(kind)).cloned();
        for fresh in [false, true] {
            for api_version in self.groups(fresh).await?.iter() {
                let kinds = match self.link.discovery.known(api_version).filter(|_| !fresh) {
                    Some(kinds) => kinds,
                    None => self.ask_kinds(api_version).await?,
                };
                if let Some(found) = of(&kinds) {
                    return Ok(found);
                }
            }
        }
        Err(self.unknown_kind(kind))
    }

    /// Every kind whose objects can be listed and deleted, for what holds "everything of the release".
    ///
    /// # Errors
    /// The cluster cannot be asked.
    pub async fn all_kinds(&self) -> Result<Vec<ApiKind>, Failure> {
        let groups = self.groups(true).await?;
        let asked: Vec<_> = groups.iter().map(|version| self.kinds_of(version).boxed()).collect();
        let all: Vec<_> = stream::iter(asked).buffered(AT_ONCE).try_collect().await?;
        let can = |kind: &ApiKind, verb: &str| kind.verbs.iter().any(|known| known == verb);
        let of_use = |kind: &&ApiKind| can(kind, "list") && can(kind, "delete");
        Ok(all.iter().flat_map(|kinds| kinds.iter().filter(of_use).cloned()).collect())
    }

    async fn groups(&self, fresh: bool) -> Result<Arc<Vec<String>>, Failure> {
        if let Some(groups) = self.link.discovery.known_groups().filter(|_| !fresh) {
            return Ok(groups);
        }
        let list: GroupList = self.fetch("/apis", "list its kinds").await?;
        let mut groups = vec!["v1".to_owned()];
        groups.extend(list.preferred());
        Ok(self.link.discovery.keep_groups(Some(groups)))
    }

    async fn kinds_of(&self, api_version: &str) -> Result<Arc<Vec<ApiKind>>, Failure> {
        match self.link.discovery.known(api_version) {
            Some(kinds) => Ok(kinds),
            None => self.ask_kinds(api_version).await,
        }
    }

    /// Asks for the kinds of a group version; a version that the cluster does not have has none.
    async fn ask_kinds(&self, api_version: &str) -> Result<Arc<Vec<ApiKind>>, Failure> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '/');
        if api_version.matches('/').count() > 1 || !api_version.chars().all(plain) {
            return Err(self.unknown_kind(&format!("version {api_version:?}")));
        }
        let before = self.link.discovery.known(api_version);
        let turn = self.link.discovery.turn(api_version);
        // A thousand tasks that begin at once ask once. When whoever asks gets no answer, the others ask for themselves.
        let _turn = timeout(self.limit(), turn.lock()).await;
        let now = self.link.discovery.known(api_version);
        if let Some(kinds) = now.filter(|now| before.is_none_or(|before| !Arc::ptr_eq(&before, now))) {
            return Ok(kinds);
        }
        let request = self.get_request(&root(api_version), "list its kinds")?;
        let kinds = match self.call(request).await {
            Ok(body) => self.read::<ResourceList>(&body, "its kinds")?.kinds(api_version),
            // An aggregated API whose server is away is as if it were not there, for kinds of others.
            Err(Trouble::Status(status)) if matches!(status.code, 404 | 503) => Vec::new(),
            Err(trouble) => return Err(self.explain(trouble, &format!("list the kinds of {api_version}"))),
        };
        Ok(self.link.discovery.keep(api_version, kinds))
    }

    fn unknown_kind(&self, what: &str) -> Failure {
        Failure::new(
            FailureClass::Application,
            code!("K8S_KIND_UNKNOWN"),
            format!("cluster {} has no kind {what}", self.name),
        )
        .hint("check apiVersion and kind; install the CustomResourceDefinition first")
    }

    /// An object; `None` when it does not exist.
    ///
    /// # Errors
    /// The kind is unknown, or the cluster cannot be asked.
    pub async fn get(&self, resource: &Resource) -> Result<Option<Object>, Failure> {
        let path = self.path(resource).await?;
        let request = self.get_request(&path, "read an object")?;
        match self.call(request).await {
            Ok(body) => Ok(Some(Object(self.read(&body, &resource.to_string())?))),
            Err(Trouble::Status(status)) if status.code == 404 => Ok(None),
            Err(trouble) => Err(self.explain(trouble, &format!("read {resource}"))),
        }
    }

    /// The objects of a kind with these labels and fields (selectors; empty: all); `namespace` `None`: of all namespaces.
    ///
    /// # Errors
    /// The cluster cannot be asked, or there are more than [`LIST_LIMIT`].
    pub async fn list(
        &self,
        kind: &ApiKind,
        namespace: Option<&str>,
        labels: &str,
        fields: &str,
    ) -> Result<Vec<Object>, Failure> {
        let doing = format!("list {}", kind.plural);
        let mut params = ListParams { limit: Some(PAGE), ..ListParams::default() };
        params.label_selector = Some(labels.to_owned()).filter(|labels| !labels.is_empty());
        params.field_selector = Some(fields.to_owned()).filter(|fields| !fields.is_empty());
        let mut found = Vec::new();
        loop {
            let built = Build::new(kind.path(namespace)).list(&params);
            let request = built.map_err(|error| self.bug(&doing, &error.to_string()))?;
            let body = self.call(request).await.map_err(|trouble| self.explain(trouble, &doing))?;
            let mut page: Value = self.read(&body, &doing)?;
            let items = match page.get_mut("items").map(Value::take) {
                Some(Value::Array(items)) => items,
                _ => Vec::new(),
            };
            // Items of a list do not say what they are.
            found.extend(items.into_iter().map(|mut item| {
                let map = crate::object::as_mapping(&mut item);
                map.insert("apiVersion".to_owned(), Value::from(kind.api_version.as_str()));
                map.insert("kind".to_owned(), Value::from(kind.kind.as_str()));
                Object(item)
            }));
            if found.len() > LIST_LIMIT {
                return Err(self.too_many(&doing));
            }
            let next =
                page.pointer("/metadata/continue").and_then(Value::as_str).filter(|next| !next.is_empty());
            match next {
                Some(next) => params.continue_token = Some(next.to_owned()),
                None => return Ok(found),
            }
        }
    }

    /// The newest of a kind's objects with these fields, one page at most: for explaining, not for deciding.
    ///
    /// # Errors
    /// The cluster cannot be asked.
    pub async fn glance(
        &self,
        kind: &ApiKind,
        namespace: Option<&str>,
        (labels, fields): (&str, &str),
        limit: u32,
    ) -> Result<Vec<Object>, Failure> {
        let doing = format!("list {}", kind.plural);
        let params = ListParams {
            limit: Some(limit),
            label_selector: Some(labels.to_owned()).filter(|labels| !labels.is_empty()),
            field_selector: Some(fields.to_owned()).filter(|fields| !fields.is_empty()),
            ..ListParams::default()
        };
        let built = Build::new(kind.path(namespace)).list(&params);
        let request = built.map_err(|error| self.bug(&doing, &error.to_string()))?;
        let body = self.call(request).await.map_err(|trouble| self.explain(trouble, &doing))?;
        let mut page: Value = self.read(&body, &doing)?;
        match page.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => Ok(items.into_iter().map(Object).collect()),
            _ => Ok(Vec::new()),
        }
    }

    /// Applies an object under our manager (server-side apply); the object as it is then. What the server itself says no to comes as
    /// [`Trouble::Status`].
    ///
    /// # Errors
    /// The kind is unknown, the server refuses, or cannot be asked.
    pub async fn apply(&self, object: &Object, how: How) -> Result<Object, Trouble> {
        let resource = object.resource();
        let mut params = PatchParams::apply(MANAGER);
        params.force = how.force;
        params.dry_run = how.dry_run;
        self.patch(&resource, &params, &Patch::Apply(&object.0)).await
    }

    /// Merges into an object, or changes it by a JSON patch.
    ///
    /// # Errors
    /// As [`Cluster::apply`].
    pub async fn patch(
        &self,
        resource: &Resource,
        params: &PatchParams,
        patch: &Patch<&Value>,
    ) -> Result<Object, Trouble> {
        let path = self.collection(resource).await?;
        let built = Build::new(path).patch(&resource.name, params, patch);
        let request = built.map_err(|error| self.bug(&format!("write {resource}"), &error.to_string()))?;
        let body = self.call(request).await?;
        Ok(Object(self.read(&body, &resource.to_string())?))
    }

    /// Creates an object; [`Trouble::Status`] with 409 when it is there.
    ///
    /// # Errors
    /// As [`Cluster::apply`].
    pub async fn create(&self, object: &Object) -> Result<Object, Trouble> {
        let resource = object.resource();
        let path = self.collection(&resource).await?;
        let doing = format!("create {resource}");
        let body = serde_json::to_vec(&object.0).map_err(|error| self.bug(&doing, &error.to_string()))?;
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        let built = Build::new(path).create(&params, body);
        let request = built.map_err(|error| self.bug(&doing, &error.to_string()))?;
        let body = self.call(request).await?;
        Ok(Object(self.read(&body, &doing)?))
    }

    /// Replaces an object; [`Trouble::Status`] with 409 when it has changed since its `resourceVersion`.
    ///
    /// # Errors
    /// As [`Cluster::apply`].
    pub async fn replace(&self, object: &Object) -> Result<Object, Trouble> {
        let resource = object.resource();
        let path = self.collection(&resource).await?;
        let doing = format!("write {resource}");
        let body = serde_json::to_vec(&object.0).map_err(|error| self.bug(&doing, &error.to_string()))?;
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        let built = Build::new(path).replace(&resource.name, &params, body);
        let request = built.map_err(|error| self.bug(&doing, &error.to_string()))?;
        let body = self.call(request).await?;
        Ok(Object(self.read(&body, &doing)?))
    }

    /// Deletes an object; whether it was there.
    ///
    /// # Errors
    /// The cluster refuses or cannot be asked.
    pub async fn delete(&self, resource: &Resource, dependents: Dependents) -> Result<bool, Failure> {
        let path = self.collection(resource).await?;
        let params = match dependents {
            Dependents::Background => DeleteParams::background(),
            Dependents::Foreground => DeleteParams::foreground(),
        };
        let doing = format!("delete {resource}");
        let built = Build::new(path).delete(&resource.name, &params);
        let request = built.map_err(|error| self.bug(&doing, &error.to_string()))?;
        match self.call(request).await {
            Ok(_) => Ok(true),
            Err(Trouble::Status(status)) if status.code == 404 => Ok(false),
            // A namespace that is already going answers so.
            Err(Trouble::Status(status)) if status.code == 409 && resource.kind == "Namespace" => Ok(true),
            Err(trouble) => Err(self.explain(trouble, &doing)),
        }
    }

    /// What happens to one object from a version on, until the server ends the watch.
    ///
    /// # Errors
    /// The watch cannot be opened.
    pub async fn watch(&self, resource: &Resource, version: &str) -> Result<Events, Failure> {
        let doing = format!("watch {resource}");
        let path = self.collection(resource).await?;
        let params = WatchParams::default().fields(&format!("metadata.name={}", resource.name));
        let built = Build::new(path).watch(&params, version);
        let request = built.map_err(|error| self.bug(&doing, &error.to_string()))?;
        let line = self.link.watcher().map_err(|error| self.bug(&doing, &error.to_string()))?;
        let asked = line.through(async |client| client.request_events::<Value>(request).await);
        let opened = timeout(self.limit(), asked).await;
        let events = match opened {
            Ok(Ok(events)) => events,
            Ok(Err(error)) => return Err(self.explain(Trouble::Failed(broken(&self.name, &error)), &doing)),
            Err(_) => return Err(self.silent()),
        };
        // The connection is held as long as the stream is.
        Ok(Box::pin(StreamExt::map(events, move |event| {
            let _held = &line;
            event
        })))
    }

    /// Whether a namespace exists; `None` when the credentials may not look.
    ///
    /// # Errors
    /// The cluster cannot be asked.
    pub async fn has_namespace(&self, namespace: &str) -> Result<Option<bool>, Failure> {
        if !is_name(namespace) {
            return Ok(Some(false));
        }
        let request = self.get_request(&format!("/api/v1/namespaces/{namespace}"), "read a namespace")?;
        match self.call(request).await {
            Ok(_) => Ok(Some(true)),
            Err(Trouble::Status(status)) if status.code == 404 => Ok(Some(false)),
            Err(Trouble::Status(status)) if status.code == 403 => Ok(None),
            Err(trouble) => Err(self.explain(trouble, &format!("read the namespace {namespace}"))),
        }
    }

    async fn fetch<T: DeserializeOwned>(&self, path: &str, doing: &str) -> Result<T, Failure> {
        let request = self.get_request(path, doing)?;
        let body = self.call(request).await.map_err(|trouble| self.explain(trouble, doing))?;
        self.read(&body, doing)
    }

    fn get_request(&self, path: &str, doing: &str) -> Result<Ask, Failure> {
        Request::get(path).body(Vec::new()).map_err(|error| self.bug(doing, &error.to_string()))
    }

    /// The path of an object.
    async fn path(&self, resource: &Resource) -> Result<String, Failure> {
        Ok(format!("{}/{}", self.collection(resource).await?, resource.name))
    }

    /// The path of the objects beside an object.
    async fn collection(&self, resource: &Resource) -> Result<String, Failure> {
        let names = [Some(&resource.name), resource.namespace.as_ref()];
        if let Some(name) = names.into_iter().flatten().find(|name| !is_name(name)) {
            return Err(Failure::new(
                FailureClass::Application,
                code!("K8S_NAME_INVALID"),
                format!("{name:?} cannot be the name of an object or of a namespace"),
            ));
        }
        let kind = self.kind(&resource.api_version, &resource.kind).await?;
        Ok(kind.path(resource.namespace.as_deref()))
    }

    fn read<T: DeserializeOwned>(&self, body: &[u8], what: &str) -> Result<T, Failure> {
        serde_json::from_slice(body).map_err(|error| self.bug(what, &error.to_string()))
    }
}

// Requests.
impl Cluster {
    /// Asks until there is an answer that counts: what the server refuses comes as [`Trouble::Status`].
    async fn call(&self, request: Ask) -> Result<Vec<u8>, Trouble> {
        let (mut tries, mut silent) = (0, 0);
        loop {
            tries += 1;
            let (failure, pause) = match timeout(self.limit(), self.attempt(request.clone())).await {
                Ok(Ok(answer)) if answer.code.is_success() => return Ok(answer.body),
                Ok(Ok(answer)) if busy(&answer) => (self.busy(&answer), answer.retry_after),
                Ok(Ok(answer)) => return Err(self.refused(&answer)),
                Ok(Err(Broken { failure, lasting: true })) => return Err(Trouble::Failed(failure)),
                Ok(Err(Broken { failure, lasting: false })) => (failure, None),
                Err(_) => {
                    silent += 1;
                    (self.silent(), None)
                }
            };
            let pause = pause.unwrap_or_else(|| pause_after(tries)).min(LONGEST_RETRY_AFTER);
            if Instant::now() >= self.deadline {
                return Err(Trouble::Failed(self.late(&failure)));
            }
            if tries >= TRIES || silent >= SILENT_TRIES || Instant::now() + pause >= self.deadline {
                return Err(Trouble::Failed(failure));
            }
            sleep(pause).await;
        }
    }

    async fn attempt(&self, request: Ask) -> Result<Answer, Broken> {
        let lost = |error: &kube::Error| Broken::of(broken(&self.name, error));
        let response = self
            .link
            .line()
            .through(async |client| client.send(request.map(Body::from)).await)
            .await
            .map_err(|error| lost(&error))?;
        let (parts, body) = response.into_parts();
        let read = Limited::new(body, ANSWER_LIMIT).collect().await;
        let retry_after = parts.headers.get(http::header::RETRY_AFTER);
        let seconds =
            retry_after.and_then(|value| value.to_str().ok()).and_then(|text| text.trim().parse().ok());
        match read {
            Ok(body) => Ok(Answer {
                code: parts.status,
                retry_after: seconds.map(Duration::from_secs),
                body: body.to_bytes().to_vec(),
            }),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                let failure = self.too_many("read an answer");
                Err(Broken { failure, lasting: true })
            }
            Err(error) => Err(lost(&kube::Error::Service(error))),
        }
    }

    /// Time for one try: less than [`REQUEST_LIMIT`] when the task has little left, so that a server that never answers is told as such.
    fn limit(&self) -> Duration {
        let left = self.deadline.saturating_duration_since(Instant::now());
        REQUEST_LIMIT.min((left / 3).max(Duration::from_millis(500))).min(left)
    }

    fn refused(&self, answer: &Answer) -> Trouble {
        let read = serde_json::from_slice::<Status>(&answer.body).ok();
        let mut status = read.unwrap_or_else(|| {
            let text = String::from_utf8_lossy(&answer.body);
            Status::failure(&text.chars().take(300).collect::<String>(), "")
        });
        status.code = answer.code.as_u16();
        if answer.code == StatusCode::UNAUTHORIZED {
            self.clusters.forget(&self.link);
            return Trouble::Failed(
                Failure::new(
                    FailureClass::Authentication,
                    code!("K8S_UNAUTHORIZED"),
                    format!("cluster {} does not accept the credentials of its cloud provider", self.name),
                )
                .hint("check the cloud provider's secrets: the token or certificate may have expired"),
            );
        }
        Trouble::Status(Box::new(status))
    }

    fn busy(&self, answer: &Answer) -> Failure {
        let status = serde_json::from_slice::<Status>(&answer.body).ok();
        let text = status.map(|status| status.message).filter(|text| !text.is_empty());
        let text = text.map(|text| format!(": {}", crate::trouble::short(&text))).unwrap_or_default();
        Failure::new(
            FailureClass::Connectivity,
            code!("K8S_SERVER_BUSY"),
            format!("cluster {} answers {}{text}", self.name, answer.code),
        )
        .hint("the API server is overloaded or broken: look at it, then try again")
    }

    fn silent(&self) -> Failure {
        Failure::new(
            FailureClass::Connectivity,
            code!("K8S_NO_ANSWER"),
            format!("cluster {} does not answer", self.name),
        )
        .hint("check the API server's address and what is between it and the delegate")
    }

    /// The failure of a request that the task's deadline cut off.
    fn late(&self, last: &Failure) -> Failure {
        Failure::new(
            FailureClass::Timeout,
            code!("K8S_TIMEOUT"),
            format!("the step's time is over; last: {}", last.message),
        )
        .hint("give the step a longer timeout, or find out what it waits for")
    }

    fn too_many(&self, doing: &str) -> Failure {
        Failure::new(
            FailureClass::Application,
            code!("K8S_TOO_MUCH"),
            format!("cluster {} has more than can be taken to {doing}", self.name),
        )
    }

    fn bug(&self, doing: &str, what: &str) -> Failure {
        Failure::new(
            FailureClass::Application,
            code!("K8S_ANSWER_UNREADABLE"),
            format!("cluster {} answers what cannot be understood: {doing}: {what}", self.name),
        )
        .hint("check that the cloud provider's URL is that of a Kubernetes API server")
    }

    /// The failure of something that was refused.
    #[must_use]
    pub fn explain(&self, trouble: Trouble, doing: &str) -> Failure {
        crate::trouble::explain(&self.name, trouble, doing)
    }
}

/// A connection that did not bring an answer.
struct Broken {
    failure: Failure,
    /// Whether trying again cannot help (a certificate).
    lasting: bool,
}

impl Broken {
    fn of(failure: Failure) -> Self {
        let lasting = failure.code != code!("K8S_UNREACHABLE");
        Self { failure, lasting }
    }
}

/// What a server says of an object that does not fit its kind's schema: a refusal, though it comes as 500.
const NO_FIT: &[u8] = b"failed to create typed";

/// Whether an answer is about the server's own state, so that asking again can help.
fn busy(answer: &Answer) -> bool {
    let is_refusal = || answer.body.windows(NO_FIT.len()).any(|part| part == NO_FIT);
    match answer.code {
        StatusCode::TOO_MANY_REQUESTS => true,
        StatusCode::INTERNAL_SERVER_ERROR => !is_refusal(),
        code => code.is_server_error(),
    }
}

/// Doubles with each try, up to a half off at random, so that a thousand tasks do not come back at once.
#[must_use]
pub fn pause_after(tries: u32) -> Duration {
    let full = FIRST_PAUSE.saturating_mul(1 << tries.saturating_sub(1).min(8)).min(LONGEST_PAUSE);
    let chance = RandomState::new().build_hasher().finish() % 512;
    full.mul_f64(0.5 + chance as f64 / 1024.0)
}
