//! Config-as-code (`wire.md` 4).

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::HeaderMap;
use axum::routing::{delete, get, post};
use manifold_control::import::{FileReport, Incoming, Report, Source, Written};
use manifold_control::model::{EntityId, Problem, code};
use manifold_control::{Control, Error};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{node, upload};
use crate::error::{RestError, envelope};
use crate::{Api, access};

/// Paths that one deletion names at most.
const PATHS: usize = 10_000;

/// The routes.
pub fn routes() -> Router<Api> {
    let yaml = |name: &str| format!("/api/setup-as-code/yaml/{name}");
    Router::new()
        .route(&yaml("directory"), get(directory))
        .route(&yaml("upsert-entity"), post(upsert_entity))
        .route(
            &yaml("upsert-entities"),
            post(upsert_entities).layer(DefaultBodyLimit::max(upload::ARCHIVE_BYTES)),
        )
        .route(&yaml("delete-entities"), delete(delete_entities))
        .route(&yaml("delete-entities-v2"), delete(delete_entities_v2))
        .route(&yaml("yaml-content"), get(yaml_content))
        .route(&yaml("{restName}/{uuid}"), get(item))
}

type Answer = Result<Json<Value>, RestError>;

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Arguments {
    app_id: Option<String>,
    yaml_file_path: Option<String>,
    file_paths: Option<String>,
    reason: Option<String>,
    seed: bool,
}

impl Arguments {
    fn path(&self) -> Result<&str, Problem> {
        self.yaml_file_path.as_deref().filter(|path| !path.is_empty()).ok_or_else(|| {
            Problem::new(code!("INPUT_MISSING"), "the query parameter yamlFilePath is missing")
                .item("yamlFilePath")
        })
    }

    fn reason(&self) -> &str {
        self.reason.as_deref().unwrap_or_default()
    }
}

async fn directory(State(api): State<Api>, headers: HeaderMap, Query(arguments): Query<Arguments>) -> Answer {
    let actor = access::actor_of(&api.control, &headers).await?;
    let application = arguments.app_id.filter(|id| !id.is_empty()).map(EntityId::from);
    let tree = api.control.tree(&actor, application.as_ref()).await?;
    Ok(envelope(node::node(api.control.account(), &tree)))
}

async fn item(
    State(api): State<Api>,
    headers: HeaderMap,
    Path((_rest_name, uuid)): Path<(String, String)>,
) -> Answer {
    let actor = access::actor_of(&api.control, &headers).await?;
    let row = api.control.document(&actor, &EntityId::from(uuid)).await?;
    Ok(envelope(content(&row.path, &row.body)))
}

async fn yaml_content(
    State(api): State<Api>,
    headers: HeaderMap,
    Query(arguments): Query<Arguments>,
) -> Answer {
    let actor = access::actor_of(&api.control, &headers).await?;
    let row = api.control.document_at(&actor, arguments.path()?).await?;
    Ok(envelope(content(&row.path, &row.body)))
}

/// The canonical text as it is kept; bytes that are no text are shown as far as they are.
fn content(path: &str, body: &[u8]) -> Value {
    let name = path.rsplit('/').next().unwrap_or_default();
    json!({"name": name, "path": path, "yaml": String::from_utf8_lossy(body)})
}

async fn upsert_entity(
    State(api): State<Api>,
    Query(arguments): Query<Arguments>,
    request: Request,
) -> Answer {
    let actor = access::actor_of(&api.control, request.headers()).await?;
    let path = arguments.path()?.to_owned();
    let content = upload::part(request, &["yamlContent", "file"]).await?.ok_or_else(|| {
        Problem::new(code!("INPUT_MISSING"), "the multipart body has no part named yamlContent")
            .item("yamlContent")
    })?;
    let file = Incoming { path: path.clone(), bytes: content.to_vec() };
    let report = api.control.upsert(&actor, file, Source::ConfigAsCode, arguments.reason()).await?;
    let entity = match report.files.iter().find_map(|file| file.id.clone()).filter(|_| report.ok) {
        Some(id) => Some(api.control.document(&actor, &id).await?),
        None => None,
    };
    let problems = all(&report);
    Ok(envelope(json!({
        "yamlFilePath": path,
        "status": if report.ok { "SUCCESS" } else { "FAILED" },
        "errorMssg": (!report.ok).then(|| sentence(&problems)),
        "entityId": entity.as_ref().map(|row| &row.id),
        "entityYaml": entity.as_ref().map(|row| String::from_utf8_lossy(&row.body)),
        "problems": problems,
        "revision": report.revision,
    })))
}

async fn upsert_entities(
    State(api): State<Api>,
    Query(arguments): Query<Arguments>,
    request: Request,
) -> Answer {
    let actor = access::actor_of(&api.control, request.headers()).await?;
    let archive = upload::part(request, &["file"]).await?.ok_or_else(|| {
        Problem::new(code!("INPUT_MISSING"), "the multipart body has no part named file").item("file")
    })?;
    let unpacked = tokio::task::spawn_blocking(move || upload::unzip(&archive)).await.map_err(|error| {
        tracing::error!(%error, "unpacking an archive broke off");
        Error::unavailable(Problem::new(code!("IMPORT_BROKE_OFF"), "unpacking the archive broke off"))
    })?;
    let source = if arguments.seed { Source::Seed } else { Source::Import };
    let report = api.control.import(&actor, unpacked?, source, arguments.reason()).await?;
    let problems = all(&report);
    Ok(envelope(json!({
        "responseStatus": if report.ok { "SUCCESS" } else { "FAILED" },
        "status": if report.ok { "SUCCESS" } else { "FAILED" },
        "errorMessage": (!report.ok).then(|| sentence(&problems)),
        "filesStatus": report.files.iter().map(file_status).collect::<Vec<Value>>(),
        "problems": report.problems,
        "revision": report.revision,
    })))
}

fn file_status(file: &FileReport) -> Value {
    let status = match file.written {
        Written::Created | Written::Updated | Written::Unchanged => "SUCCESS",
        Written::Failed => "FAILED",
        Written::Skipped => "SKIPPED",
    };
    let change = match file.written {
        Written::Created => "CREATED",
        Written::Updated => "UPDATED",
        Written::Unchanged => "UNCHANGED",
        Written::Failed | Written::Skipped => "NONE",
    };
    let failed = file.written == Written::Failed;
    json!({
        "yamlFilePath": file.path,
        "status": status,
        "change": change,
        "errorMssg": failed.then(|| sentence(&file.problems)),
        "entityId": file.id,
        "problems": file.problems,
    })
}

async fn delete_entities(
    State(api): State<Api>,
    headers: HeaderMap,
    Query(arguments): Query<Arguments>,
) -> Answer {
    let actor = access::actor_of(&api.control, &headers).await?;
    let given = arguments.file_paths.as_deref().unwrap_or_default();
    // A path may hold a comma itself: then it is taken as it is when something lies there.
    let whole = api.control.document_at(&actor, given).await.is_ok();
    let paths: Vec<String> = if whole {
        vec![given.to_owned()]
    } else {
        given.split(',').map(str::trim).filter(|path| !path.is_empty()).map(str::to_owned).collect()
    };
    deleted(&api.control, &actor, paths, arguments.reason()).await
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FileToDelete {
    file_path: String,
}

async fn delete_entities_v2(
    State(api): State<Api>,
    headers: HeaderMap,
    Query(arguments): Query<Arguments>,
    body: Bytes,
) -> Answer {
    let actor = access::actor_of(&api.control, &headers).await?;
    let files: Vec<FileToDelete> = serde_json::from_slice(&body).map_err(|error| {
        Problem::new(code!("REQUEST_UNREADABLE"), format!("the body is no list of files: {error}"))
            .hint("send [{\"filePath\": \"Setup/…\"}]")
    })?;
    let paths = files.into_iter().map(|file| file.file_path).collect();
    deleted(&api.control, &actor, paths, arguments.reason()).await
}

async fn deleted(
    control: &Control,
    actor: &manifold_control::Actor,
    paths: Vec<String>,
    reason: &str,
) -> Answer {
    if paths.is_empty() || paths.len() > PATHS {
        return Err(Problem::new(code!("INPUT_MISSING"), format!("name 1 to {PATHS} paths to delete")).into());
    }
    let outcome = control.delete_paths(actor, &paths, Source::ConfigAsCode, reason).await;
    let (problems, missing) = match outcome {
        Ok(missing) => (Vec::new(), missing),
        Err(Error::Refused { problems }) => (problems, Vec::new()),
        Err(other) => return Err(other.into()),
    };
    let ok = problems.is_empty();
    let status = |path: &String| match (ok, missing.contains(path)) {
        (false, _) => "FAILED",
        (true, true) => "SKIPPED",
        (true, false) => "SUCCESS",
    };
    let message = (!ok).then(|| sentence(&problems));
    Ok(envelope(json!({
        "responseStatus": if ok { "SUCCESS" } else { "FAILED" },
        "status": if ok { "SUCCESS" } else { "FAILED" },
        "errorMessage": message,
        "filesStatus": paths
            .iter()
            .map(|path| json!({"yamlFilePath": path, "status": status(path), "errorMssg": message}))
            .collect::<Vec<Value>>(),
        "problems": problems,
    })))
}

fn all(report: &Report) -> Vec<Problem> {
    let of_files = report.files.iter().flat_map(|file| &file.problems);
    report.problems.iter().chain(of_files).cloned().collect()
}

fn sentence(problems: &[Problem]) -> String {
    let error = Error::Refused { problems: problems.to_vec() };
    match problems {
        [only] => only.to_string(),
        _ => error.to_string(),
    }
}
