//! `manifold delegate`: a delegate of its own, near the infrastructure. It dials out only, and goes on dialing until somebody ends it or the
//! account does not want it any more.

mod dial;
mod home;
mod machine;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use manifold_delegate::{Delegate, DelegateConfig, DelegateError, DiskSpool, Ended, Facts};
use manifold_link::{Credentials, LinkError, Sensitive};
use manifold_model::{Code, Failure, Problem, code};
use tokio_util::sync::CancellationToken;

use crate::config::HostKeys;
use crate::drivers::{DriverSettings, drivers};
use dial::{Dialer, Endpoint};
use home::Home;

/// Longest pause before a server is dialed again; the first is a second at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// First pause.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// A connection that held so long makes the pauses short again.
const HELD: Duration = Duration::from_secs(10);
/// Pauses of a delegate that waits for approval.
const APPROVAL_PAUSE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(30));
/// How long a shutdown waits for running tasks; then they are left to themselves and found again by their markers.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(30);
/// Most servers that one delegate is told.
const MOST_SERVERS: usize = 64;

/// Flags of `manifold delegate`; each is also a variable `MANIFOLD_DELEGATE_…`.
#[derive(Args, Clone, Debug)]
pub struct DelegateFlags {
    /// Server to dial, may be given several times: they are tried in turn
    #[arg(
        long,
        env = "MANIFOLD_DELEGATE_SERVER",
        value_name = "URL",
        value_delimiter = ',',
        required = true
    )]
    pub server: Vec<String>,
    /// File with the token by which the delegate joins; not needed once it has joined
    #[arg(long, env = "MANIFOLD_DELEGATE_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Name, also one of its selectors
    #[arg(long, env = "MANIFOLD_DELEGATE_NAME", value_name = "NAME")]
    pub name: String,
    /// Selector, may be given several times; its name and its host name are selectors anyway
    #[arg(long, env = "MANIFOLD_DELEGATE_SELECTOR", value_name = "SELECTOR", value_delimiter = ',')]
    pub selector: Vec<String>,
    /// Folder for its identity, outcomes that no server has yet, and running commands; made when absent
    #[arg(long, env = "MANIFOLD_DELEGATE_DATA", value_name = "DIR")]
    pub data: PathBuf,
    /// Certificate authorities that the server's certificate may come from, PEM [default: those of this system]
    #[arg(long, env = "MANIFOLD_DELEGATE_CA_FILE", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Dial a server on another machine without TLS
    #[arg(long, env = "MANIFOLD_DELEGATE_INSECURE_HTTP")]
    pub insecure_http: bool,
    /// Tasks at once [default: available memory in MiB divided by 16, 4 to 512]
    #[arg(long, env = "MANIFOLD_DELEGATE_MAX_TASKS", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub max_tasks: Option<u32>,
    /// How logs are written
    #[arg(long, env = "MANIFOLD_DELEGATE_LOG_FORMAT", value_enum, default_value_t, value_name = "FORMAT")]
    pub log_format: crate::telemetry::LogFormat,
    /// Words for people
    #[arg(long, env = "MANIFOLD_DELEGATE_DESCRIPTION", value_name = "TEXT", default_value = "")]
    pub description: String,
    /// Host keys of SSH targets: `known-hosts` refuses unknown hosts, `accept-new` writes them down at first sight
    #[arg(long, env = "MANIFOLD_DELEGATE_SSH_HOST_KEYS", value_name = "POLICY")]
    pub ssh_host_keys: Option<HostKeys>,
    /// Known-hosts file, may be given several times [default: DIR/known_hosts, ~/.ssh/known_hosts, /etc/ssh/ssh_known_hosts]
    #[arg(long, env = "MANIFOLD_DELEGATE_SSH_KNOWN_HOSTS", value_name = "FILE", value_delimiter = ',')]
    pub ssh_known_hosts: Vec<PathBuf>,
    /// Program `helm` (3 or newer), which renders Go templates among manifests [default: `helm` in PATH, if it is there]
    #[arg(long, env = "MANIFOLD_DELEGATE_HELM", value_name = "FILE")]
    pub helm: Option<PathBuf>,
    /// Kubeconfig for cloud providers that use the delegate's own access [default: the service account of the pod, else ~/.kube/config]
    #[arg(long, env = "MANIFOLD_DELEGATE_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Offer kinds that exist for tests and measurements (NOOP)
    #[arg(long, env = "MANIFOLD_DELEGATE_ENABLE_TEST_KINDS")]
    pub enable_test_kinds: bool,
}

/// Runs a delegate until a signal.
///
/// # Errors
/// It cannot start, or the account does not want it: a [`Problem`].
pub async fn run(flags: DelegateFlags) -> Result<()> {
    let endpoints = endpoints(&flags).map_err(|problem| *problem)?;
    let data = std::path::absolute(&flags.data).unwrap_or_else(|_| flags.data.clone());
    let settings = driver_settings(&flags, data.clone());
    settings.check().map_err(|problem| *problem)?;
    let dialer = Dialer::new(flags.ca_file.as_deref()).map_err(|problem| *problem)?;
    let home = Home::open(&data).map_err(|problem| *problem)?;
    let token = token(&flags, &home).map_err(|problem| *problem)?;
    let config = config(&flags, &endpoints, &home, token).await?;
    let delegate = {
        let mut config = config;
        let (drivers, capabilities) = drivers(&settings);
        config.capabilities = capabilities;
        Delegate::new(config, drivers)
    };
    let shutdown = CancellationToken::new();
    let life = Life { name: flags.name, delegate, endpoints, dialer, home, shutdown: shutdown.clone() };
    let ended = life.live();
    tokio::pin!(ended);
    tokio::select! {
        ended = &mut ended => return ended,
        signal = crate::signal() => signal?,
    }
    tracing::info!("stopping: no new tasks");
    shutdown.cancel();
    ended.await
}

fn endpoints(flags: &DelegateFlags) -> Result<Vec<Endpoint>, Box<Problem>> {
    if flags.server.len() > MOST_SERVERS {
        let what = format!("{} servers are named; {MOST_SERVERS} are the most", flags.server.len());
        return Err(Box::new(Problem::new(code!("DELEGATE_SERVER_INVALID"), what)));
    }
    flags.server.iter().map(|url| Endpoint::parse(url, flags.insecure_http)).collect()
}

fn driver_settings(flags: &DelegateFlags, data: PathBuf) -> DriverSettings {
    DriverSettings {
        data,
        host_keys: flags.ssh_host_keys.unwrap_or(HostKeys::KnownHosts),
        known_hosts: flags.ssh_known_hosts.clone(),
        helm: flags.helm.clone(),
        kubeconfig: flags.kubeconfig.clone(),
        enable_test_kinds: flags.enable_test_kinds,
    }
}

/// The token of the file; one that has joined can do without.
fn token(flags: &DelegateFlags, home: &Home) -> Result<Option<Sensitive>, Box<Problem>> {
    let problem =
        |what: String| {
            let problem = Problem::new(code!("DELEGATE_TOKEN_FILE"), what);
            Box::new(problem.hint(
                "make a token with `manifold delegate token create` and name its file with --token-file",
            ))
        };
    let Some(path) = &flags.token_file else {
        return if home.joined() {
            Ok(None)
        } else {
            Err(problem("the delegate has not joined yet and has no token".to_owned()))
        };
    };
    match std::fs::read_to_string(path) {
        Ok(text) if !text.trim().is_empty() => Ok(Some(Sensitive::new(text.trim()))),
        Ok(_) if home.joined() => Ok(None),
        Ok(_) => Err(problem(format!("{} is empty", path.display()))),
        Err(_) if home.joined() => Ok(None),
        Err(error) => Err(problem(format!("{} cannot be read: {error}", path.display()))),
    }
}

async fn config(
    flags: &DelegateFlags,
    endpoints: &[Endpoint],
    home: &Home,
    token: Option<Sensitive>,
) -> Result<DelegateConfig> {
    let host = machine::host_name();
    let mut config = DelegateConfig::new(home.identity.id(), flags.name.clone());
    config.selectors = flags.selector.clone();
    if !host.is_empty() {
        config.selectors.push(host.clone());
    }
    config.credentials = Some(Credentials { identity: Arc::clone(&home.identity), token });
    config.joined = home.joined();
    config.facts = Facts {
        kind: machine::installed_as(),
        address: machine::address(endpoints).await,
        description: flags.description.clone(),
        host,
    };
    config.max_tasks = flags.max_tasks.unwrap_or_else(machine::places);
    config.shutdown_grace = SHUTDOWN_GRACE;
    config.spool = Arc::new(DiskSpool::open(&home.spool()).context("open the spool")?);
    Ok(config)
}

/// A delegate that dials.
struct Life {
    name: String,
    delegate: Delegate,
    endpoints: Vec<Endpoint>,
    dialer: Dialer,
    home: Home,
    shutdown: CancellationToken,
}

/// What comes after a connection, or a try at one.
enum Next {
    End,
    Dial(Duration),
    Refused(Box<Failure>),
}

impl Life {
    /// Dials until the shutdown, or until it is not wanted any more.
    async fn live(self) -> Result<()> {
        let mut failures: u32 = 0;
        let mut told = String::new();
        for endpoint in self.endpoints.iter().cycle() {
            let since = Instant::now();
            let ended = self.connection(endpoint).await;
            if since.elapsed() > HELD {
                (failures, told) = (0, String::new());
            }
            match self.next(endpoint, ended, &mut failures, &mut told) {
                Next::End => return Ok(()),
                Next::Refused(failure) => return Err(problem(*failure).into()),
                Next::Dial(pause) => tokio::select! {
                    () = self.shutdown.cancelled() => return Ok(()),
                    () = tokio::time::sleep(pause) => {}
                },
            }
        }
        Ok(())
    }

    /// One connection to a server, from dialing to its end.
    async fn connection(&self, endpoint: &Endpoint) -> Result<Ended, Trouble> {
        let stream = tokio::select! {
            () = self.shutdown.cancelled() => return Ok(Ended::Shutdown),
            stream = self.dialer.dial(endpoint) => stream.map_err(Trouble::Dial)?,
        };
        let mut welcomes = self.delegate.welcomes();
        let run = self.delegate.run(stream, self.shutdown.clone());
        tokio::pin!(run);
        tokio::select! {
            biased;
            welcomed = welcomes.changed() => if welcomed.is_ok() {
                self.welcomed(endpoint);
            },
            ended = &mut run => return ended.map_err(Trouble::Link),
        }
        run.await.map_err(Trouble::Link)
    }

    fn welcomed(&self, endpoint: &Endpoint) {
        tracing::info!("connected to {endpoint} as {}", self.name);
        if let Err(error) = self.home.join() {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "cannot write down that the delegate has joined"
            );
        }
        // For whoever started it; nobody has to read it.
        let _nobody_reads = std::io::Write::write_all(&mut std::io::stdout(), b"ready\n");
    }

    fn next(
        &self,
        endpoint: &Endpoint,
        ended: Result<Ended, Trouble>,
        failures: &mut u32,
        told: &mut String,
    ) -> Next {
        let trouble = match ended {
            Ok(Ended::Shutdown) => return Next::End,
            Ok(Ended::ServerClosed | Ended::Drained) => {
                tracing::info!("{endpoint} ended the connection");
                *failures = 0;
                return Next::Dial(jitter(FIRST_PAUSE));
            }
            Err(trouble) => trouble,
        };
        if let Trouble::Link(DelegateError::Link(LinkError::Refused(failure))) = &trouble
            && is_final(&failure.code)
        {
            // A server that lost its store knows nobody: the token is told once more.
            if failure.code == code!("DELEGATE_TOKEN_INVALID") && self.delegate.join_anew() {
                return Next::Dial(Duration::ZERO);
            }
            return Next::Refused(failure.clone());
        }
        // Once for each sort of trouble: it comes again every few seconds.
        let what = format!("{endpoint}: {trouble}");
        if *told == what {
            tracing::debug!("{what}");
        } else {
            tracing::warn!("{what}; dialing again");
            *told = what;
        }
        if matches!(trouble, Trouble::Link(DelegateError::Link(LinkError::Waiting))) {
            let (least, most) = APPROVAL_PAUSE;
            return Next::Dial(least + jitter(most - least));
        }
        let longest = FIRST_PAUSE.saturating_mul(1 << (*failures / self.rounds()).min(5)).min(LONGEST_PAUSE);
        *failures = failures.saturating_add(1);
        Next::Dial(jitter(longest))
    }

    /// Servers to try before the pauses grow.
    fn rounds(&self) -> u32 {
        u32::try_from(self.endpoints.len()).unwrap_or(1).max(1)
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{0}")]
    Dial(String),
    #[error(transparent)]
    Link(DelegateError),
}

/// Whether dialing again cannot help.
fn is_final(code: &Code) -> bool {
    [
        code!("DELEGATE_ANNOUNCEMENT_REFUSED"),
        code!("DELEGATE_DELETED"),
        code!("DELEGATE_KEY_MISMATCH"),
        code!("DELEGATE_PROOF_INVALID"),
        code!("DELEGATE_TOKEN_INVALID"),
        code!("DELEGATE_TOKEN_REVOKED"),
        code!("DELEGATE_VERSION_UNSUPPORTED"),
    ]
    .contains(code)
}

fn problem(failure: Failure) -> Problem {
    let problem = Problem::new(failure.code, format!("the server refused the delegate: {}", failure.message));
    match failure.hint {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}

/// A random part of a pause, so that delegates that lost their server together do not come back together.
fn jitter(most: Duration) -> Duration {
    let mut bytes = [0; 4];
    // Without randomness the whole pause is as good as any.
    if aws_lc_rs::rand::fill(&mut bytes).is_err() {
        return most;
    }
    most.mul_f64(f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_random_and_bounded() {
        let pauses: Vec<Duration> = (0..20).map(|_| jitter(LONGEST_PAUSE)).collect();
        assert!(pauses.iter().all(|pause| *pause <= LONGEST_PAUSE));
        assert!(pauses.iter().any(|pause| Some(pause) != pauses.first()));
    }
}
