//! The GraphQL endpoint: one POST for queries and mutations, one socket for subscriptions.

use std::sync::Arc;

use async_graphql::futures_util::stream::BoxStream;
use async_graphql::{Data, Executor, ServerError, Variables};
use async_graphql_axum::{GraphQLProtocol, GraphQLWebSocket};
use axum::Json;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use manifold_control::model::{Problem, code};
use manifold_control::{Actor, Control, Error};

use crate::request::{self, Sent};
use crate::schema::ApiSchema;
use crate::schema::mutation::Upload;
use crate::{Api, access, error, guard, shape};

/// Bytes of one message on the socket; queries only, so less than a body.
const SOCKET_BYTES: usize = 2 << 20;
/// Protocols spoken on the socket.
const PROTOCOLS: [&str; 2] = ["graphql-transport-ws", "graphql-ws"];

/// `POST /api/graphql`. The key is checked before the body is read.
pub async fn post(State(api): State<Api>, request: Request) -> Response {
    let actor = match access::actor_of(&api.control, request.headers()).await {
        Ok(actor) => actor,
        Err(Error::InvalidToken) => return error::invalid_token(),
        Err(other) => return failed(&[error::server_error(first(&other))], StatusCode::OK),
    };
    match request::read(request).await {
        Ok(sent) => execute(&api, actor, sent).await,
        Err(unreadable) => {
            let status = if unreadable.too_large { StatusCode::PAYLOAD_TOO_LARGE } else { StatusCode::OK };
            failed(&[error::server_error(unreadable.problem)], status)
        }
    }
}

fn first(error: &Error) -> Problem {
    error.problems().into_iter().next().unwrap_or_else(|| Problem::new(error.code(), error.to_string()))
}

fn failed(errors: &[ServerError], status: StatusCode) -> Response {
    (status, Json(serde_json::json!({"data": null, "errors": errors}))).into_response()
}

async fn execute(api: &Api, actor: Actor, sent: Sent) -> Response {
    let query = guard::without_stray_dots(&sent.query).into_owned();
    // Parsing a large text takes a while; the other requests of this thread must not wait for it.
    let parsed = tokio::task::spawn_blocking(move || (guard::parse(&query), query)).await;
    let (mut document, query) = match parsed {
        Ok((Ok(document), query)) => (document, query),
        Ok((Err(problem), _)) => return failed(&[error::server_error(problem)], StatusCode::OK),
        Err(_) => {
            let problem = Problem::new(code!("QUERY_SYNTAX"), "the query cannot be read");
            return failed(&[error::server_error(problem)], StatusCode::OK);
        }
    };
    let several = guard::has_several(&document);
    let mut request = async_graphql::Request::new(query)
        .variables(Variables::from_json(serde_json::Value::Object(sent.variables)))
        .data(actor)
        .data(api.shutdown.clone());
    // A name is only needed to choose among several; clients send one for an anonymous query too.
    if let Some(name) = sent.operation.filter(|_| several) {
        request = request.operation_name(name);
    }
    if let Some(file) = sent.file {
        request = request.data(Upload(file));
    }
    let marked = shape::mark(&mut document);
    request.set_parsed_query(document);
    let mut response = api.schema.execute(request).await;
    if marked {
        shape::unmark(&mut response.data);
    }
    shape::null_where_failed(&mut response.data, &response.errors);
    for error in &mut response.errors {
        name_code(error);
    }
    Json(response).into_response()
}

/// Gives an error that GraphQL itself found (validation, coercion) a stable code too.
fn name_code(error: &mut ServerError) {
    let extensions = error.extensions.get_or_insert_with(Default::default);
    if extensions.get("code").is_none() {
        extensions.set("code", code!("QUERY_INVALID").0.as_ref());
    }
}

/// `GET /api/graphql` with an upgrade: subscriptions. The key comes as a header or in the payload of `connection_init`.
pub async fn socket(State(api): State<Api>, request: Request) -> Response {
    let (mut parts, _) = request.into_parts();
    let known = match access::key_of(&parts.headers) {
        None => None,
        Some(key) => match api.control.authenticate(key).await {
            Ok(actor) => Some(actor),
            Err(_) => return error::invalid_token(),
        },
    };
    let Ok(protocol) = GraphQLProtocol::from_request_parts(&mut parts, &()).await else {
        let problem = Problem::new(code!("REQUEST_UNREADABLE"), "subscriptions need a WebSocket")
            .hint("ask for the protocol graphql-transport-ws, or send queries by POST");
        return failed(&[error::server_error(problem)], StatusCode::BAD_REQUEST);
    };
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(upgrade) => upgrade.max_message_size(SOCKET_BYTES).protocols(PROTOCOLS),
        Err(rejection) => return rejection.into_response(),
    };
    let shutdown = api.shutdown.clone();
    upgrade.on_upgrade(move |stream| async move {
        let executor = Guarded { schema: api.schema.clone(), shutdown: api.shutdown.clone() };
        let control = Arc::clone(&api.control);
        let socket = GraphQLWebSocket::new(stream, executor, protocol)
            .on_connection_init(move |payload| admit(control, known, payload))
            .serve();
        tokio::select! {
            () = socket => {}
            () = shutdown.cancelled() => {}
        }
    })
}

async fn admit(
    control: Arc<Control>,
    known: Option<Actor>,
    payload: serde_json::Value,
) -> async_graphql::Result<Data> {
    let actor = match known {
        Some(actor) => actor,
        None => {
            let key = ["x-api-key", "X-Api-Key", "apiKey"]
                .iter()
                .find_map(|name| payload.get(name).and_then(serde_json::Value::as_str))
                .unwrap_or_default();
            control.authenticate(key).await.map_err(error::graphql)?
        }
    };
    let mut data = Data::default();
    data.insert(actor);
    Ok(data)
}

/// The schema behind the same guard as the POST.
#[derive(Clone)]
struct Guarded {
    schema: ApiSchema,
    shutdown: tokio_util::sync::CancellationToken,
}

impl Guarded {
    fn admit(
        &self,
        mut request: async_graphql::Request,
    ) -> Result<async_graphql::Request, async_graphql::Response> {
        let query = guard::without_stray_dots(&request.query).into_owned();
        let document = guard::parse(&query)
            .map_err(|problem| async_graphql::Response::from_errors(vec![error::server_error(problem)]))?;
        request.query = query;
        request.set_parsed_query(document);
        Ok(request.data(self.shutdown.clone()))
    }
}

impl Executor for Guarded {
    async fn execute(&self, request: async_graphql::Request) -> async_graphql::Response {
        match self.admit(request) {
            Ok(request) => self.schema.execute(request).await,
            Err(response) => response,
        }
    }

    fn execute_stream(
        &self,
        request: async_graphql::Request,
        session_data: Option<Arc<Data>>,
    ) -> BoxStream<'static, async_graphql::Response> {
        match self.admit(request) {
            Ok(request) => Executor::execute_stream(&self.schema, request, session_data),
            Err(response) => futures::stream::once(async move { response }).boxed(),
        }
    }
}
