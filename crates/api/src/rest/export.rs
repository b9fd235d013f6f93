//! `GET /api/setup-as-code/export`: the configuration tree as a zip archive, for `manifold export`.

use std::io::{Cursor, Write};

use axum::Router;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use manifold_control::Error;
use manifold_control::model::{Problem, code};
use serde::Deserialize;

use crate::error::RestError;
use crate::{Api, access};

/// The routes.
pub fn routes() -> Router<Api> {
    Router::new().route("/api/setup-as-code/export", get(export))
}

#[derive(Debug, Deserialize)]
struct Which {
    app: Option<String>,
}

async fn export(
    State(api): State<Api>,
    headers: HeaderMap,
    Query(which): Query<Which>,
) -> Result<Response, RestError> {
    let actor = access::actor_of(&api.control, &headers).await?;
    let rows = api.control.export(&actor, which.app.as_deref().filter(|app| !app.is_empty())).await?;
    let packed = tokio::task::spawn_blocking(move || {
        let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for row in rows {
            archive.start_file(row.path.as_str(), zip::write::SimpleFileOptions::default())?;
            archive.write_all(&row.body)?;
        }
        Ok::<_, zip::result::ZipError>(archive.finish()?.into_inner())
    })
    .await;
    let broken = |cause: &dyn std::fmt::Display| {
        tracing::error!(%cause, "an export cannot be packed");
        Error::unavailable(Problem::new(code!("EXPORT_BROKE_OFF"), "the export cannot be packed"))
    };
    let bytes = packed.map_err(|error| broken(&error))?.map_err(|error| broken(&error))?;
    let headers =
        [(CONTENT_TYPE, "application/zip"), (CONTENT_DISPOSITION, "attachment; filename=\"setup.zip\"")];
    Ok((headers, bytes).into_response())
}
