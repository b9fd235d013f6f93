//! Hosts of the demonstration and of the self-test: one SSH server per host, inside this process. The protocol is real, the commands are run by a real shell, and what
//! they start are real processes; only the machines are folders. Each host has a loopback address and a home folder of its own.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use russh::keys::{PrivateKey, PublicKey};
use russh::server::{self, Auth, ChannelOpenHandle, Msg, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::process::{ChildStdin, Command};

/// User name on every host.
pub const USER: &str = "deploy";
/// Output is passed on in pieces of this size, bytes.
const PIECE: usize = 32 * 1024;
/// Ports tried until one is free on all addresses.
const PORT_TRIES: u32 = 20;
/// Commands wait this long to end after their client has gone.
const ORPHAN_GRACE: Duration = Duration::from_secs(5);

/// A host of the fleet.
pub struct Host {
    /// Address, as infrastructure definitions name it.
    pub address: IpAddr,
    /// Home folder of the user.
    pub home: PathBuf,
}

/// A running fleet. It serves until the process ends.
pub struct Fleet {
    /// Hosts by infrastructure, in order.
    pub infrastructures: Vec<(String, Vec<Host>)>,
    /// Port of every host.
    pub port: u16,
    /// The user's private key in OpenSSH form.
    pub user_key: String,
    /// Known-hosts lines of all hosts.
    pub known_hosts: String,
}

impl Fleet {
    /// Starts `hosts` hosts for each infrastructure, their homes below `folder`.
    ///
    /// # Errors
    /// No port is free on all addresses, or a folder cannot be made.
    pub async fn start(folder: &Path, infrastructures: &[&str], hosts: u8) -> Result<Self> {
        let host_key = new_key()?;
        let user_key = new_key()?;
        let mut planned = Vec::new();
        for (region, name) in (1_u8..).zip(infrastructures) {
            for number in 1..=hosts {
                let address = IpAddr::V4(Ipv4Addr::new(127, 0, region * 10, number));
                let home = folder.join(format!("{name}-{number}"));
                std::fs::create_dir_all(&home).with_context(|| format!("make {}", home.display()))?;
                planned.push(((*name).to_owned(), Host { address, home }));
            }
        }
        let (port, listeners) = listen(planned.iter().map(|(_, host)| host.address)).await?;
        let config = Arc::new(server::Config {
            keys: vec![host_key.clone()],
            nodelay: true,
            auth_rejection_time: Duration::from_millis(200),
            auth_rejection_time_initial: Some(Duration::ZERO),
            ..server::Config::default()
        });
        for ((_, host), listener) in planned.iter().zip(listeners) {
            let session = HostSession {
                home: host.home.clone(),
                user_key: user_key.public_key().clone(),
                channels: HashMap::new(),
            };
            tokio::spawn(serve(listener, Arc::clone(&config), session));
        }
        let known_hosts = known_hosts(&planned, port, &host_key)?;
        let user_key = user_key.to_openssh(LineEnding::LF).context("write the user's key")?.to_string();
        Ok(Self { infrastructures: grouped(planned), port, user_key, known_hosts })
    }
}

fn new_key() -> Result<PrivateKey> {
    let mut seed = [0_u8; 32];
    aws_lc_rs::rand::fill(&mut seed).context("draw a random key")?;
    let pair = KeypairData::Ed25519(Ed25519Keypair::from_seed(&seed));
    PrivateKey::new(pair, "manifold fleet").context("make a key")
}

fn known_hosts(planned: &[(String, Host)], port: u16, key: &PrivateKey) -> Result<String> {
    let key = key.public_key().to_openssh().context("write the host key")?;
    let mut words = key.split_whitespace();
    let (Some(kind), Some(blob)) = (words.next(), words.next()) else {
        anyhow::bail!("the host key has no text form")
    };
    Ok(planned.iter().map(|(_, host)| format!("[{}]:{port} {kind} {blob}\n", host.address)).collect())
}

fn grouped(planned: Vec<(String, Host)>) -> Vec<(String, Vec<Host>)> {
    let mut groups: Vec<(String, Vec<Host>)> = Vec::new();
    for (name, host) in planned {
        match groups.last_mut() {
            Some((last, hosts)) if *last == name => hosts.push(host),
            _ => groups.push((name, vec![host])),
        }
    }
    groups
}

/// Listens on all addresses at one port.
async fn listen(addresses: impl Iterator<Item = IpAddr> + Clone) -> Result<(u16, Vec<TcpListener>)> {
    for _ in 0..PORT_TRIES {
        let mut listeners: Vec<TcpListener> = Vec::new();
        let mut port = 0;
        for address in addresses.clone() {
            let Ok(listener) = TcpListener::bind(SocketAddr::new(address, port)).await else { break };
            port = listener.local_addr().context("read the port")?.port();
            listeners.push(listener);
        }
        if listeners.len() == addresses.clone().count() {
            return Ok((port, listeners));
        }
    }
    anyhow::bail!("no port is free on all of the fleet's loopback addresses")
}

async fn serve(listener: TcpListener, config: Arc<server::Config>, session: HostSession) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a host of the fleet cannot accept a connection");
                continue;
            }
        };
        let (config, session) = (Arc::clone(&config), session.clone_for_connection());
        tokio::spawn(async move {
            match server::run_stream(config, stream, session).await {
                Ok(running) => drop(running.await),
                Err(error) => tracing::debug!(%error, "a connection to a host of the fleet ended"),
            }
        });
    }
}

/// One connection to a host.
struct HostSession {
    home: PathBuf,
    user_key: PublicKey,
    channels: HashMap<ChannelId, Channel<Msg>>,
}

impl HostSession {
    fn clone_for_connection(&self) -> Self {
        Self { home: self.home.clone(), user_key: self.user_key.clone(), channels: HashMap::new() }
    }
}

impl server::Handler for HostSession {
    type Error = russh::Error;

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        let known = key.public_key.key_data() == self.user_key.key_data();
        Ok(if user == USER && known { Auth::Accept } else { Auth::reject() })
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.channels.insert(channel.id(), channel);
        reply.accept().await;
        Ok(())
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let command = String::from_utf8_lossy(command).into_owned();
        match self.channels.remove(&id) {
            Some(channel) => {
                session.channel_success(id)?;
                tokio::spawn(execute(channel, self.home.clone(), command));
            }
            None => session.channel_failure(id)?,
        }
        Ok(())
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        _name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(id)
    }
}

/// Runs a command as a shell would for a login over SSH and passes its streams on.
async fn execute(channel: Channel<Msg>, home: PathBuf, command: String) {
    let (read, write) = channel.split();
    let code = match run(read, &write, &home, &command).await {
        Ok(code) => code,
        Err(error) => {
            tracing::warn!(%error, "a host of the fleet cannot run a command");
            127
        }
    };
    // The client may have gone; then nobody is left to tell.
    let _told = write.exit_status(code).await;
    let _told = write.eof().await;
    let _told = write.close().await;
}

async fn run(
    read: ChannelReadHalf,
    write: &ChannelWriteHalf<Msg>,
    home: &Path,
    command: &str,
) -> std::io::Result<u32> {
    let mut child = Command::new("/bin/sh")
        .arg("-c")
        .arg(command)
        .current_dir(home)
        .env_clear()
        .env("HOME", home)
        .env("USER", USER)
        .env("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let input = tokio::spawn(feed(read, child.stdin.take()));
    let pass = async {
        tokio::join!(pass_on(child.stdout.take(), write, None), pass_on(child.stderr.take(), write, Some(1)));
    };
    pass.await;
    let status = tokio::time::timeout(ORPHAN_GRACE, child.wait()).await;
    input.abort();
    Ok(match status {
        Ok(status) => status?.code().and_then(|code| u32::try_from(code).ok()).unwrap_or(255),
        Err(_) => 255,
    })
}

/// Client to standard input.
async fn feed(mut read: ChannelReadHalf, stdin: Option<ChildStdin>) {
    let Some(mut stdin) = stdin else { return };
    while let Some(message) = read.wait().await {
        let done = match message {
            ChannelMsg::Data { data } => stdin.write_all(&data).await.is_err(),
            ChannelMsg::Eof | ChannelMsg::Close => true,
            _ => false,
        };
        if done {
            return;
        }
    }
}

/// Standard output or error to the client.
async fn pass_on<R: AsyncRead + Unpin>(
    from: Option<R>,
    write: &ChannelWriteHalf<Msg>,
    extended: Option<u32>,
) {
    let Some(mut from) = from else { return };
    let mut piece = vec![0; PIECE];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        let Some(bytes) = piece.get(..length) else { return };
        let sent = match extended {
            None => write.data(bytes).await,
            Some(stream) => write.extended_data(stream, bytes).await,
        };
        if sent.is_err() {
            return;
        }
    }
}
