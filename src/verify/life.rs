//! One life of the processes under test: from their start until they are killed, by themselves or by us.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use manifold_cli::client::Client;
use manifold_model::{Millis, crash};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// Account of every store of the self-test.
pub const ACCOUNT: &str = "VerifyAccount012345678";
/// How long a server may take to be ready.
const READY: Duration = Duration::from_secs(60);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// How long a server that was asked to end may take.
const END: Duration = Duration::from_secs(30);
/// Bytes of a server's log that a message cites.
const CITED: usize = 2_000;

/// Where a server keeps what outlives it.
#[derive(Clone)]
pub struct Home {
    /// Folder of the trial.
    pub folder: PathBuf,
    /// Known hosts of the fleet.
    pub known_hosts: PathBuf,
    /// Its database on a PostgreSQL server; none: SQLite in its folder.
    pub database: Option<String>,
}

impl Home {
    /// The server's data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The file that is told of a crash.
    pub fn crash_log(&self) -> PathBuf {
        self.folder.join("crashes")
    }

    fn log(&self) -> PathBuf {
        self.folder.join("server.log")
    }

    /// The end of the server's log, for messages.
    pub fn log_end(&self) -> String {
        let text = std::fs::read_to_string(self.log()).unwrap_or_default();
        let start = text.len().saturating_sub(CITED);
        let start = (start..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
        text.get(start..).unwrap_or_default().to_owned()
    }
}

/// A living server.
pub struct Life {
    child: Child,
    /// Speaks to it.
    pub client: Client,
    /// When it was started, by the wall clock.
    pub since: Millis,
    /// How long it took until it was ready.
    pub ready_in: Duration,
}

/// How a start went.
pub enum Start {
    /// It serves.
    Serving(Box<Life>),
    /// It was dead before it served.
    Died,
}

impl Life {
    /// Starts a server that dies at `at` (a point and which time), if that is given.
    ///
    /// # Errors
    /// It cannot be started, or neither serves nor dies in time.
    pub async fn start(home: &Home, at: Option<&str>) -> Result<Start> {
        let (begun, since) = (Instant::now(), wall_clock());
        let mut child = spawn(home, at)?;
        let mut lines = BufReader::new(child.stdout.take().context("no standard output")?).lines();
        let url = async {
            while let Some(line) = lines.next_line().await? {
                if let Some(url) = line.strip_prefix("listening on ") {
                    return Ok::<_, std::io::Error>(Some(url.to_owned()));
                }
            }
            Ok(None)
        };
        let url = tokio::time::timeout(READY, url).await.context("the server does not listen in time")??;
        let Some(url) = url else { return dead(home, child, at).await };
        let key = std::fs::read_to_string(home.data().join("admin-api-key")).context("read the API key")?;
        let client = Client::new(&url, &key, ACCOUNT).context("make a client")?;
        while client.get("/readyz", &[]).await.is_err() {
            if child.try_wait().context("look after the server")?.is_some() {
                return dead(home, child, at).await;
            }
            if begun.elapsed() > READY {
                bail!("the server is not ready after {} s: {}", READY.as_secs(), home.log_end());
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(Start::Serving(Box::new(Self { child, client, since, ready_in: begun.elapsed() })))
    }

    /// Whether it has died.
    ///
    /// # Errors
    /// The system does not say.
    pub fn is_dead(&mut self) -> Result<bool> {
        Ok(self.child.try_wait().context("look after the server")?.is_some())
    }

    /// SIGKILL; returns when it is dead.
    ///
    /// # Errors
    /// It cannot be killed.
    pub async fn kill(mut self) -> Result<()> {
        self.child.kill().await.context("kill the server")
    }

    /// Lets it end in order.
    ///
    /// # Errors
    /// It does not.
    pub async fn stop(mut self) -> Result<()> {
        let id = self.child.id().context("the server has ended already")?;
        let sent = Command::new("/bin/kill").arg("-TERM").arg(id.to_string()).status().await?;
        anyhow::ensure!(sent.success(), "the server cannot be told to end");
        let ended =
            tokio::time::timeout(END, self.child.wait()).await.context("the server does not end")??;
        anyhow::ensure!(ended.success(), "the server ended with {ended}");
        Ok(())
    }
}

/// A process that has closed its output ends soon; without a point where it may die that is an error.
async fn dead(home: &Home, mut child: Child, at: Option<&str>) -> Result<Start> {
    let status =
        tokio::time::timeout(END, child.wait()).await.context("the server neither lives nor dies")??;
    if at.is_none() {
        bail!("the server ended at its start with {status}: {}", home.log_end());
    }
    Ok(Start::Died)
}

fn spawn(home: &Home, at: Option<&str>) -> Result<Child> {
    let program = std::env::current_exe().context("find this program")?;
    let log = std::fs::OpenOptions::new().create(true).append(true).open(home.log()).context("open a log")?;
    let mut command = Command::new(&program);
    // What this process was told in its environment is not meant for the server under test.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("MANIFOLD_")) {
        command.env_remove(name);
    }
    command
        .args(["server", "--listen", "127.0.0.1:0", "--account-id", ACCOUNT, "--data"])
        .arg(home.data())
        .arg("--ssh-known-hosts")
        .arg(&home.known_hosts)
        .arg("--config")
        .arg(config(&home.folder)?);
    if let Some(url) = &home.database {
        // With a database of several servers the delegate inside is off unless asked for.
        command.arg("--database-url").arg(url).arg("--delegate");
    }
    if let Some(at) = at {
        command.env(crash::TEST, "1").env(crash::AT, at).env(crash::LOG, home.crash_log());
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("start {}", program.display()))
}

/// Few places, so that tasks wait for one; a short queue, so that it is full.
fn config(folder: &Path) -> Result<PathBuf> {
    let file = folder.join("manifold.toml");
    std::fs::write(&file, "[limits]\ndelegate_tasks = 4\nlock_queue = 1\n")
        .context("write a configuration")?;
    Ok(file)
}

/// Milliseconds since the epoch.
pub fn wall_clock() -> Millis {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Millis::try_from(now.as_millis()).unwrap_or(Millis::MAX)
}
