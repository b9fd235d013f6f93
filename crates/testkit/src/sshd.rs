//! A fleet of SSH hosts: real OpenSSH servers on addresses of 127.0.0.0/8, each with configuration, keys and home of its own. They run as
//! the user who runs the test and let nobody else in.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

/// Addresses that one sshd can listen on (`MAX_LISTEN_SOCKS` of OpenSSH).
const ADDRESSES_EACH: usize = 16;
/// Most hosts of a fleet: four numbers of 127.0.x.y are enough for all tests.
const MOST_HOSTS: usize = 1000;
/// How long a server may take to listen.
const START_LIMIT: Duration = Duration::from_secs(20);
/// Where sshd is, in this order.
const PLACES: [&str; 3] = ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/bin/sshd"];

/// Fleets of one process do not share addresses.
static FLEETS: AtomicU8 = AtomicU8::new(1);

/// A running fleet; stops when dropped.
pub struct Fleet {
    folder: TempDir,
    servers: Vec<Child>,
    hosts: Vec<SocketAddr>,
    user: String,
}

impl Fleet {
    /// Starts so many hosts.
    pub fn start(hosts: usize) -> Result<Self> {
        Self::start_with(hosts, "")
    }

    /// Starts so many hosts with more lines of `sshd_config`.
    pub fn start_with(hosts: usize, config: &str) -> Result<Self> {
        ensure!((1..=MOST_HOSTS).contains(&hosts), "a fleet has 1 to {MOST_HOSTS} hosts");
        let sshd = PLACES.iter().map(Path::new).find(|place| place.exists());
        let sshd = sshd.context("there is no sshd: run `apt-get install -y openssh-server`")?;
        let folder = tempfile::Builder::new().prefix("manifold-sshd").tempdir()?;
        let user = said(Command::new("id").arg("-un"))?.trim().to_owned();
        if user == "root" {
            std::fs::create_dir_all("/run/sshd").context("sshd's own folder")?;
        }
        std::fs::create_dir(folder.path().join("home"))?;
        for key in ["host_key", "user_key"] {
            make_key(&folder.path().join(key), "ed25519")?;
        }
        std::fs::copy(folder.path().join("user_key.pub"), folder.path().join("authorized_keys"))?;
        let mut fleet = Self { folder, servers: Vec::new(), hosts: addresses(hosts)?, user };
        for (number, chunk) in fleet.hosts.chunks(ADDRESSES_EACH).enumerate() {
            let file = fleet.folder.path().join(format!("sshd{number}.conf"));
            std::fs::write(&file, fleet.config(chunk, config))?;
            let log = std::fs::File::create(fleet.folder.path().join(format!("sshd{number}.log")))?;
            let server = Command::new(sshd)
                .args(["-D", "-e", "-f"])
                .arg(&file)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()?;
            fleet.servers.push(server);
        }
        fleet.wait()?;
        fleet.write_known_hosts()?;
        Ok(fleet)
    }

    fn config(&self, addresses: &[SocketAddr], more: &str) -> String {
        let folder = self.folder.path().display();
        let listen: String = addresses.iter().map(|address| format!("ListenAddress {address}\n")).collect();
        format!(
            "{more}\n{listen}HostKey {folder}/host_key\nAuthorizedKeysFile {folder}/authorized_keys\nPidFile none\n\
             UsePAM no\nStrictModes no\nPermitRootLogin yes\nMaxStartups 10000:30:20000\nMaxSessions 1000\n\
             LogLevel VERBOSE\nSubsystem sftp internal-sftp\nSetEnv HOME={folder}/home\n"
        )
    }

    /// Waits until every server listens.
    fn wait(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        for (number, server) in self.servers.iter_mut().enumerate() {
            let addresses = self.hosts.chunks(ADDRESSES_EACH).nth(number).unwrap_or_default();
            for address in addresses {
                while TcpStream::connect_timeout(address, Duration::from_secs(1)).is_err() {
                    let log = self.folder.path().join(format!("sshd{number}.log"));
                    if server.try_wait()?.is_some() || Instant::now() > deadline {
                        bail!("sshd did not start: {}", std::fs::read_to_string(log)?);
                    }
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
        }
        Ok(())
    }

    fn write_known_hosts(&self) -> Result<()> {
        let key = self.host_key()?;
        let lines: String = self
            .hosts
            .iter()
            .map(|address| format!("[{}]:{} {key}\n", address.ip(), address.port()))
            .collect();
        std::fs::write(self.known_hosts(), lines)?;
        Ok(())
    }

    /// The hosts.
    #[must_use]
    pub fn hosts(&self) -> &[SocketAddr] {
        &self.hosts
    }

    /// The user to sign in as: who runs the test.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The host key, the same on all hosts: type and base64.
    pub fn host_key(&self) -> Result<String> {
        let line = std::fs::read_to_string(self.folder.path().join("host_key.pub"))?;
        Ok(line.split_ascii_whitespace().take(2).collect::<Vec<_>>().join(" "))
    }

    /// Fingerprint of the host key, `SHA256:…`.
    pub fn fingerprint(&self) -> Result<String> {
        let line = said(Command::new("ssh-keygen").arg("-lf").arg(self.folder.path().join("host_key.pub")))?;
        Ok(line.split_ascii_whitespace().nth(1).context("no fingerprint")?.to_owned())
    }

    /// The user's private key in OpenSSH form.
    pub fn user_key(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.user_key_file())?)
    }

    /// The file with the user's private key.
    #[must_use]
    pub fn user_key_file(&self) -> PathBuf {
        self.folder.path().join("user_key")
    }

    /// Makes another key that the hosts let in; `kind` and the format's flags as `ssh-keygen` takes them.
    pub fn add_key(&self, name: &str, arguments: &[&str]) -> Result<String> {
        let file = self.folder.path().join(name);
        make_key_with(&file, arguments)?;
        let mut keys = std::fs::read_to_string(self.folder.path().join("authorized_keys"))?;
        keys.push_str(&std::fs::read_to_string(file.with_extension("pub"))?);
        std::fs::write(self.folder.path().join("authorized_keys"), keys)?;
        Ok(std::fs::read_to_string(file)?)
    }

    /// A known-hosts file that knows all hosts.
    #[must_use]
    pub fn known_hosts(&self) -> PathBuf {
        self.folder.path().join("known_hosts")
    }

    /// `$HOME` of everybody who signs in.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// A folder for whatever the test needs.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Cuts all connections, as a broken network does; gives how many there were.
    pub fn cut(&self) -> Result<usize> {
        let mut cut = 0;
        for server in &self.servers {
            let id = server.id().to_string();
            for entry in std::fs::read_dir("/proc")?.flatten() {
                let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
                let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1));
                if parent == Some(id.as_str()) {
                    said(Command::new("kill").arg("-KILL").arg(entry.file_name())).ok();
                    cut += 1;
                }
            }
        }
        Ok(cut)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let _ = self.cut();
        for server in &mut self.servers {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

/// Free addresses: one number of 127.x per process and fleet, one port for all.
fn addresses(hosts: usize) -> Result<Vec<SocketAddr>> {
    let fleet = FLEETS.fetch_add(1, Ordering::Relaxed);
    let process = std::process::id() % 200 + 20;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    (0..hosts)
        .map(|host| {
            let (high, low) = (host / 250, host % 250 + 1);
            let third = (usize::from(fleet) * 8 + high) % 256;
            format!("127.{process}.{third}.{low}:{port}").parse().context("an address")
        })
        .collect()
}

fn make_key(file: &Path, kind: &str) -> Result<()> {
    make_key_with(file, &["-t", kind, "-N", ""])
}

fn make_key_with(file: &Path, arguments: &[&str]) -> Result<()> {
    said(Command::new("ssh-keygen").args(["-q", "-C", "test"]).args(arguments).arg("-f").arg(file))?;
    Ok(())
}

fn said(command: &mut Command) -> Result<String> {
    let out = command.output().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(out.status.success(), "{command:?} failed: {}", String::from_utf8_lossy(&out.stderr));
    Ok(String::from_utf8(out.stdout)?)
}
