//! A small web server that requests of the self-test go to: it writes each into the ledger of its run.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{Method, StatusCode};
use axum::routing::any;

use super::ledger::Ledger;

/// The ledger of every run, and whether its unsafe requests are left without an answer.
type Runs = Arc<Mutex<HashMap<String, (Ledger, bool)>>>;

/// The server. It serves until the process ends.
#[derive(Clone)]
pub struct Pages {
    address: SocketAddr,
    runs: Runs,
}

impl Pages {
    /// Starts it on a free port.
    ///
    /// # Errors
    /// There is none.
    pub async fn start() -> Result<Self> {
        let listener =
            tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.context("listen for requests")?;
        let address = listener.local_addr().context("read the port")?;
        let runs = Runs::default();
        let router =
            Router::new().route("/{run}/{step}/{infrastructure}", any(take)).with_state(Arc::clone(&runs));
        tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the self-test takes no more requests");
            }
        });
        Ok(Self { address, runs })
    }

    /// Where a run's requests go. With `silent` those that may not be repeated are taken and never answered.
    pub fn open(&self, run: &str, ledger: &Ledger, silent: bool) -> String {
        self.lock().insert(run.to_owned(), (ledger.clone(), silent));
        format!("http://{}/{run}", self.address)
    }

    /// Forgets a run.
    pub fn close(&self, run: &str) {
        self.lock().remove(run);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Ledger, bool)>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn take(
    State(runs): State<Runs>,
    method: Method,
    Path((run, step, infrastructure)): Path<(String, String, String)>,
) -> StatusCode {
    let found = runs.lock().unwrap_or_else(PoisonError::into_inner).get(&run).cloned();
    let Some((ledger, silent)) = found else { return StatusCode::NOT_FOUND };
    if ledger.note(&step, &infrastructure).is_err() {
        return StatusCode::INTERNAL_SERVER_ERROR;
    }
    if silent && method == Method::POST {
        // Until whoever asked is dead and the connection with it.
        std::future::pending::<()>().await;
    }
    StatusCode::OK
}
