//! The real binary as a delegate of its own: started, killed, started again in the same folder.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use crate::programs;
use crate::server::Server;

/// How long a delegate may take to be welcomed.
const READY: Duration = Duration::from_secs(60);

/// A delegate in a process of its own.
pub struct RemoteDelegate {
    binary: PathBuf,
    arguments: Vec<String>,
    folder: PathBuf,
    child: Child,
    /// How often this process was welcomed.
    welcomes: watch::Receiver<u64>,
}

/// Makes a token with which delegates join; its file and what else the client printed.
///
/// # Errors
/// The client refuses.
pub async fn token(server: &Server, name: &str, more: &[&str]) -> Result<PathBuf> {
    let file = server.folder().join(format!("{name}.token"));
    let path = file.to_string_lossy().into_owned();
    let arguments = [&["delegate", "token", "create", name, "--token-file", &path], more].concat();
    let (code, out, err) = server.cli(&arguments).await?;
    ensure!(code == 0, "the token was refused: {out}{err}");
    Ok(file)
}

impl RemoteDelegate {
    /// Starts a delegate of this name in a folder of the same name; it dials the server's address of now.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(
        binary: &str,
        server: &Server,
        name: &str,
        token: Option<&Path>,
        more: &[&str],
    ) -> Result<Self> {
        let folder = server.folder().join(format!("delegate-{name}"));
        let mut arguments = vec!["delegate".to_owned(), "--server".to_owned(), server.url.clone()];
        arguments.extend(["--name".to_owned(), name.to_owned(), "--data".to_owned()]);
        arguments.push(folder.to_string_lossy().into_owned());
        if let Some(token) = token {
            arguments.extend(["--token-file".to_owned(), token.to_string_lossy().into_owned()]);
        }
        arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
        std::fs::create_dir_all(&folder)?;
        let (child, welcomes) = spawn(Path::new(binary), &arguments, &folder)?;
        Ok(Self { binary: binary.into(), arguments, folder, child, welcomes })
    }

    /// Waits until it is welcomed.
    ///
    /// # Errors
    /// It is not in time, or has ended; the error shows its log.
    pub async fn ready(&mut self) -> Result<()> {
        let welcomed = self.welcomes.wait_for(|welcomes| *welcomes > 0);
        let ready = matches!(tokio::time::timeout(READY, welcomed).await, Ok(Ok(_)));
        ensure!(ready, "the delegate is not welcomed: {}", self.log());
        Ok(())
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What it has written to standard error, of all its lives.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("delegate.log")).unwrap_or_default()
    }

    /// Outcomes in its spool.
    #[must_use]
    pub fn spooled(&self) -> usize {
        let files = std::fs::read_dir(self.folder.join("spool")).into_iter().flatten().flatten();
        files.filter(|file| file.path().extension().is_some_and(|ending| ending == "outcome")).count()
    }

    /// SIGKILL, and waits until the process is gone.
    ///
    /// # Errors
    /// The process cannot be killed.
    pub async fn kill(&mut self) -> Result<()> {
        self.child.kill().await.context("kill the delegate")
    }

    /// Starts again in the same folder.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_again(&mut self) -> Result<()> {
        (self.child, self.welcomes) = spawn(&self.binary, &self.arguments, &self.folder)?;
        Ok(())
    }

    /// SIGTERM.
    ///
    /// # Errors
    /// It has ended already.
    pub async fn terminate(&self) -> Result<()> {
        let id = self.child.id().context("the delegate has ended already")?;
        let sent = Command::new("kill").arg("-TERM").arg(id.to_string()).status().await?;
        ensure!(sent.success(), "the delegate cannot be told to end");
        Ok(())
    }

    /// Waits until it has ended by itself; its exit code.
    ///
    /// # Errors
    /// It has not by the deadline.
    pub async fn ended(&mut self, deadline: Duration) -> Result<i32> {
        let ended = tokio::time::timeout(deadline, self.child.wait()).await;
        let status = ended.with_context(|| format!("the delegate goes on: {}", self.log()))??;
        status.code().context("the delegate was ended by a signal")
    }
}

fn spawn(binary: &Path, arguments: &[String], folder: &Path) -> Result<(Child, watch::Receiver<u64>)> {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("delegate.log"))?;
    let mut child = Command::new(binary)
        .args(arguments)
        .env("PATH", programs::path()?)
        .stdout(Stdio::piped())
        .stderr(log)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("start {}", binary.display()))?;
    let mut lines = BufReader::new(child.stdout.take().context("no standard output")?).lines();
    let (sender, welcomes) = watch::channel(0);
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            if line == "ready" {
                sender.send_modify(|welcomes| *welcomes += 1);
            }
        }
    });
    Ok((child, welcomes))
}
