//! One server for all tests that share one. It lives as long as a test holds it, and all tests run on one runtime, so that connections and the
//! process outlive the test that made them.

use std::future::Future;
use std::sync::{Arc, LazyLock, Weak};

use anyhow::Result;
use manifold_testkit::server::Server;
use tokio::runtime::Runtime;
use tokio::sync::Mutex;

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_manifold");

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));
static SERVER: Mutex<Weak<Server>> = Mutex::const_new(Weak::new());

/// Runs a test.
pub fn run(test: impl Future<Output = Result<()>>) {
    if let Err(error) = RUNTIME.block_on(test) {
        panic!("{error:?}");
    }
}

/// The shared server, with the kinds for tests.
pub async fn server() -> Result<Arc<Server>> {
    let mut shared = SERVER.lock().await;
    if let Some(server) = shared.upgrade() {
        return Ok(server);
    }
    let server = Arc::new(Server::start(BINARY, &["--enable-test-kinds"]).await?);
    *shared = Arc::downgrade(&server);
    Ok(server)
}
