//! A real PostgreSQL: a server of its own on a free port and a socket of its own, in a folder that is gone when it is. Databases sort by the
//! rules of a language, not by bytes: whoever relies on an order must say which.

use std::fs::File;
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::leash::Leash;
use crate::programs;

/// Where Debian and its kin keep the programs, a folder a version.
const VERSIONS: &str = "/usr/lib/postgresql";
/// Users that the server may run as when the test is root: PostgreSQL refuses root.
const OTHERS: [&str; 2] = ["postgres", "nobody"];
/// How long making the files of a server may take on a busy machine; on an idle one it is about a second.
const MAKE: Duration = Duration::from_secs(120);
/// How long a server may take to answer, recovery after a kill included.
const READY: Duration = Duration::from_secs(60);
/// How long a server may take to end.
const END: Duration = Duration::from_secs(60);
/// How long one question may take.
const QUESTION: Duration = Duration::from_secs(60);
/// Pause between two looks whether it answers.
const LOOK: Duration = Duration::from_millis(20);
/// How often it is tried when somebody else has taken a port between its choice and its use.
const TRIES: usize = 3;
/// Connections it takes: several servers of a test with a pool each, and all tests of a binary at once.
const CONNECTIONS: u32 = 200;
/// The first version whose databases can sort by ICU's rules.
const SORTS_BY_ICU: u32 = 15;

/// How a server ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shutdown {
    /// In order: connections are cut, everything is written.
    Fast,
    /// At once, as when the machine dies: the next start recovers from the log.
    Immediate,
}

/// A running server. Whoever started it ends it by dropping it, or by dying.
pub struct Postgres {
    server: Mutex<Server>,
    programs: PathBuf,
    version: u32,
    port: u16,
    databases: AtomicU32,
}

struct Server {
    leash: Leash,
    folder: TempDir,
    owner: Option<(u32, u32)>,
    settings: Vec<String>,
    runs: bool,
}

impl Postgres {
    /// Starts one. It takes connections when this returns.
    ///
    /// # Errors
    /// The programs are missing, or it does not start in time.
    pub fn start() -> Result<Self> {
        Self::start_with(&[])
    }

    /// Starts one with more settings, `name=value` as in `postgresql.conf`.
    ///
    /// # Errors
    /// As [`Postgres::start`].
    pub fn start_with(settings: &[&str]) -> Result<Self> {
        for _ in 1..TRIES {
            match Self::try_start(settings) {
                Err(error) if format!("{error:#}").contains("Address already in use") => {}
                done => return done,
            }
        }
        Self::try_start(settings)
    }

    fn try_start(settings: &[&str]) -> Result<Self> {
        let programs = find_programs()?;
        let folder = tempfile::Builder::new().prefix("manifold-postgres-").tempdir()?;
        let owner = owner()?;
        if let Some((user, group)) = owner {
            chown(folder.path(), Some(user), Some(group)).context("give the server its folder")?;
        }
        let settings = settings.iter().map(|&setting| setting.to_owned()).collect();
        let leash = Leash::new(folder.path())?;
        let server = Server { leash, folder, owner, settings, runs: false };
        let version = version(&programs)?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let postgres =
            Self { server: Mutex::new(server), programs, version, port, databases: AtomicU32::new(0) };
        postgres.lock().make(&postgres.programs)?;
        postgres.run()?;
        Ok(postgres)
    }

    /// Makes an empty database that nobody else has; its URL, `postgres://…`.
    ///
    /// # Errors
    /// The server does not run.
    pub fn database(&self) -> Result<String> {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        // Not only a number: another process may use the server too.
        let name = format!("manifold_{}_{number}", std::process::id());
        let order = if self.version >= SORTS_BY_ICU { "LOCALE_PROVIDER icu ICU_LOCALE 'en-US'" } else { "" };
        self.query(
            "postgres",
            &format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' {order}"),
        )?;
        Ok(format!("postgres://postgres@127.0.0.1:{}/{name}", self.port))
    }

    /// Asks a database by name; lines of values separated by `|`.
    ///
    /// # Errors
    /// It refuses, with what it says, or the server does not run.
    pub fn query(&self, database: &str, sql: &str) -> Result<String> {
        let mut command = Command::new(self.programs.join("psql"));
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", "postgres"]);
        command.args(["-p", &self.port.to_string(), "-d", database, "-c", sql]);
        programs::run(&command, None, QUESTION)
    }

    /// The port it listens on at 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder of its socket: `host` of a connection that does not go over TCP.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.lock().folder.path().to_owned()
    }

    /// Ends the server; its databases stay.
    ///
    /// # Errors
    /// It does not end in time.
    pub fn stop(&self, how: Shutdown) -> Result<()> {
        let mut server = self.lock();
        let signal = match how {
            Shutdown::Fast => "INT",
            Shutdown::Immediate => "QUIT",
        };
        if server.runs {
            server.leash.stop(signal, END).context("end PostgreSQL")?;
            server.runs = false;
        }
        Ok(())
    }

    /// Starts the server again after [`Postgres::stop`], on the same port.
    ///
    /// # Errors
    /// It does not start in time.
    pub fn run(&self) -> Result<()> {
        let mut server = self.lock();
        if server.runs {
            return Ok(());
        }
        server.spawn(&self.programs, self.port)?;
        let end = Instant::now() + READY;
        while let Err(error) = self.query("postgres", "SELECT 1") {
            if server.leash.ended()? > 0 || Instant::now() > end {
                bail!("PostgreSQL does not start: {error:#}: {}", server.said());
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Ends the server and starts it again.
    ///
    /// # Errors
    /// It does not end or start in time.
    pub fn restart(&self, how: Shutdown) -> Result<()> {
        self.stop(how)?;
        self.run()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Server> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Server {
    /// A command of the user who owns the files.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.folder.path()).env("LC_ALL", "C");
        if let Some((user, group)) = self.owner {
            command.uid(user).gid(group);
        }
        command
    }

    /// Makes the files.
    fn make(&self, programs: &Path) -> Result<()> {
        let mut command = self.command(Path::new("timeout"));
        command.args(["-k", "2", &MAKE.as_secs().to_string()]).arg(programs.join("initdb"));
        command.args([
            "-D",
            "data",
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
        ]);
        let output = command.output().context("run initdb")?;
        ensure!(output.status.success(), "initdb failed: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    fn spawn(&mut self, programs: &Path, port: u16) -> Result<()> {
        let mut command = self.command(&programs.join("postgres"));
        let log = File::options().create(true).append(true).open(self.folder.path().join("log"))?;
        command.args(["-D", "data", "-p", &port.to_string(), "-k"]).arg(self.folder.path());
        let fixed =
            ["listen_addresses=127.0.0.1", "fsync=on", "shared_buffers=32MB", "logging_collector=off"];
        for setting in fixed {
            command.args(["-c", setting]);
        }
        command.args(["-c", &format!("max_connections={CONNECTIONS}")]);
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        command.stdout(Stdio::null()).stderr(log);
        self.leash.spawn(&mut command).context("start PostgreSQL")?;
        self.runs = true;
        Ok(())
    }

    /// What the server said last.
    fn said(&self) -> String {
        let log = std::fs::read(self.folder.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(log.get(log.len().saturating_sub(4096)..).unwrap_or_default()).into_owned()
    }
}

/// The server that all tests of a binary share; it runs as long as the process lives.
///
/// # Errors
/// It does not start.
pub fn shared() -> Result<Arc<Postgres>> {
    static SHARED: Mutex<Option<Arc<Postgres>>> = Mutex::new(None);
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(postgres) = shared.as_ref() {
        return Ok(Arc::clone(postgres));
    }
    let postgres = Arc::new(Postgres::start()?);
    *shared = Some(Arc::clone(&postgres));
    Ok(postgres)
}

/// The folder with the programs of the newest version.
fn find_programs() -> Result<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir(VERSIONS)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort_unstable_by(|a, b| b.cmp(a));
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let folders = versions.into_iter().map(|(_, folder)| folder).chain(std::env::split_paths(&inherited));
    let complete = |folder: &PathBuf| ["postgres", "initdb", "psql"].iter().all(|p| folder.join(p).is_file());
    folders.into_iter().find(complete).context("there is no PostgreSQL: run `cargo xtask parts`")
}

/// `postgres (PostgreSQL) 15.18 (Debian …)`
fn version(programs: &Path) -> Result<u32> {
    let said = programs::run(Command::new(programs.join("postgres")).arg("--version"), None, QUESTION)?;
    let number = said.split_ascii_whitespace().nth(2).unwrap_or_default();
    let major = number.chars().take_while(char::is_ascii_digit).collect::<String>();
    major.parse().with_context(|| format!("no version of PostgreSQL: {said}"))
}

/// User and group that the server runs as; `None`: those of the test.
fn owner() -> Result<Option<(u32, u32)>> {
    let id = |arguments: &[&str]| -> Result<u32> {
        Ok(programs::run(Command::new("id").args(arguments), None, QUESTION)?.trim().parse()?)
    };
    if id(&["-u"])? != 0 {
        return Ok(None);
    }
    for name in OTHERS {
        if let (Ok(user), Ok(group)) = (id(&["-u", name]), id(&["-g", name])) {
            return Ok(Some((user, group)));
        }
    }
    bail!("PostgreSQL does not run as root, and there is neither a user postgres nor nobody")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{Postgres, Shutdown};

    #[test]
    fn databases_survive_a_stop_and_a_kill() {
        let postgres = Postgres::start().unwrap();
        let url = postgres.database().unwrap();
        let name = url.rsplit('/').next().unwrap();
        postgres.query(name, "CREATE TABLE kept (word TEXT)").unwrap();
        for (how, word) in [(Shutdown::Fast, "stop"), (Shutdown::Immediate, "kill")] {
            postgres.query(name, &format!("INSERT INTO kept VALUES ('{word}')")).unwrap();
            postgres.stop(how).unwrap();
            assert!(postgres.query(name, "SELECT 1").is_err());
            postgres.run().unwrap();
        }
        assert_eq!(postgres.query(name, "SELECT word FROM kept ORDER BY word").unwrap(), "kill\nstop\n");
        // By the rules of a language, not by bytes.
        let sorted = "SELECT string_agg(l, '' ORDER BY l) FROM (VALUES ('a'), ('B'), ('c')) t (l)";
        assert_eq!(postgres.query(name, sorted).unwrap(), "aBc\n");
        let folder = postgres.socket();
        drop(postgres);
        assert!(!folder.exists());
    }
}
