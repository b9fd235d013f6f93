//! The programs of a cluster: how they are started, and when they are ready.

use std::fs::File;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use super::{Description, LOOK, authority, kubectl};
use crate::leash::Leash;
use crate::programs::{program, run};

/// How long all of it may take on a busy machine; on an idle one it is about seven seconds.
const READY: Duration = Duration::from_secs(90);
/// How long one question at the API server may take meanwhile.
const QUESTION: Duration = Duration::from_secs(20);
/// How often it is tried when somebody else has taken a port between its choice and its use.
const TRIES: usize = 3;
/// The word in an image tag that says which part a pod plays (`cluster.rs`), as a query of `jq`.
const SCRIPT: &str = r#".spec.containers[0].image | capture(":([^/:@]*-)?(?<word>slow|never|crash|nopull|jobfail|job)(-(?<place>[a-z]+))?$") | select(.place == null or .place == "@CLUSTER@") | .word"#;
/// Controllers that take part in deployments, and those that clean up.
const CONTROLLERS: &str = "deployment-controller,replicaset-controller,statefulset-controller,daemonset-controller,\
    job-controller,cronjob-controller,endpoints-controller,endpointslice-controller,namespace-controller,\
    garbage-collector-controller,node-lifecycle-controller,resourcequota-controller";

/// The running programs.
pub struct Parts {
    leash: Leash,
    folder: TempDir,
}

/// Starts a cluster and waits until it is ready.
pub fn start(name: &str) -> Result<(Description, Parts)> {
    ensure!(
        name.chars().all(|letter| letter.is_ascii_lowercase()),
        "the name of a cluster is lower-case letters: {name}"
    );
    for _ in 1..TRIES {
        match try_start(name) {
            Err(error) if format!("{error:#}").contains("address already in use") => {}
            done => return done,
        }
    }
    try_start(name)
}

fn try_start(name: &str) -> Result<(Description, Parts)> {
    let folder = tempfile::Builder::new().prefix("manifold-cluster-").tempdir()?;
    let [store, peer, port] = free_ports()?;
    let description = Description {
        name: name.to_owned(),
        url: format!("https://127.0.0.1:{port}"),
        token: uuid::Uuid::new_v4().simple().to_string(),
        powerless: uuid::Uuid::new_v4().simple().to_string(),
        folder: folder.path().to_owned(),
    };
    authority::write(&description)?;
    let script = SCRIPT.replace("@CLUSTER@", name);
    std::fs::write(
        folder.path().join("stages.yaml"),
        include_str!("stages.yaml").replace("@SCRIPT@", &script),
    )?;
    let mut parts = Parts { leash: Leash::new(folder.path())?, folder };
    let end = Instant::now() + READY;
    parts.spawn("etcd", &etcd(store, peer))?;
    parts.spawn("kube-apiserver", &api_server(parts.folder.path(), store, port))?;
    parts.wait("the API server is ready", end, |folder| ask(folder, &["get", "--raw", "/readyz"], None))?;
    parts.spawn("kube-controller-manager", &controllers(parts.folder.path()))?;
    parts.spawn("kube-scheduler", &scheduler(parts.folder.path()))?;
    parts.spawn("kwok", &kwok(parts.folder.path()))?;
    // Applied again when it fails: the namespace of the proof is made by the API server, soon.
    let create = ["apply", "-f", "-"];
    let nodes = Some(include_str!("nodes.yaml"));
    parts.wait("nodes are made", end, |folder| ask(folder, &create, nodes))?;
    let proof = ["rollout", "status", "-n", "kube-system", "deployment/proof", "--timeout=15s"];
    parts.wait("a pod is ready", end, |folder| ask(folder, &proof, None))?;
    Ok((description, parts))
}

impl Parts {
    fn spawn(&mut self, name: &str, arguments: &[String]) -> Result<()> {
        let log = File::create(self.folder.path().join(format!("{name}.log")))?;
        let mut command = Command::new(program(name)?);
        command.args(arguments).current_dir(self.folder.path()).stdout(log.try_clone()?).stderr(log);
        self.leash.spawn(&mut command)
    }

    fn wait(&mut self, what: &str, end: Instant, look: impl Fn(&Path) -> Result<()>) -> Result<()> {
        loop {
            let Err(error) = look(self.folder.path()) else { return Ok(()) };
            if self.leash.ended()? > 0 || Instant::now() > end {
                bail!("not so: {what}: {error:#}\n{}", self.logs());
            }
            std::thread::sleep(LOOK);
        }
    }

    /// The last lines of all programs.
    fn logs(&self) -> String {
        let entries = std::fs::read_dir(self.folder.path()).into_iter().flatten().flatten();
        let logs =
            entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|it| it == "log"));
        logs.map(|log| {
            let text = std::fs::read_to_string(&log).unwrap_or_else(|error| error.to_string());
            let lines: Vec<&str> = text.lines().collect();
            let last = lines.get(lines.len().saturating_sub(5)..).unwrap_or_default().join("\n");
            format!("{}:\n{last}\n", log.display())
        })
        .collect()
    }
}

fn ask(folder: &Path, arguments: &[&str], input: Option<&str>) -> Result<()> {
    run(&kubectl(folder, arguments)?, input, QUESTION).map(drop)
}

fn etcd(store: u16, peer: u16) -> Vec<String> {
    owned(&[
        "--name=one",
        "--data-dir=etcd",
        &format!("--listen-client-urls=http://127.0.0.1:{store}"),
        &format!("--advertise-client-urls=http://127.0.0.1:{store}"),
        &format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
        &format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer}"),
        &format!("--initial-cluster=one=http://127.0.0.1:{peer}"),
        "--unsafe-no-fsync",
        "--log-level=warn",
    ])
}

fn api_server(folder: &Path, store: u16, port: u16) -> Vec<String> {
    let file = |name: &str| folder.join(name).display().to_string();
    owned(&[
        &format!("--etcd-servers=http://127.0.0.1:{store}"),
        &format!("--secure-port={port}"),
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        "--endpoint-reconciler-type=none",
        &format!("--tls-cert-file={}", file("server.pem")),
        &format!("--tls-private-key-file={}", file("server-key.pem")),
        &format!("--client-ca-file={}", file("ca.pem")),
        &format!("--token-auth-file={}", file("tokens.csv")),
        &format!("--service-account-signing-key-file={}", file("server-key.pem")),
        &format!("--service-account-key-file={}", file("server.pem")),
        "--service-account-issuer=https://kubernetes.default.svc",
        "--authorization-mode=RBAC",
        "--service-cluster-ip-range=10.0.0.0/16",
        // Without the controller of service accounts there are none to check.
        "--disable-admission-plugins=ServiceAccount",
        "--allow-privileged=true",
        "--profiling=false",
    ])
}

/// Without a port of their own; faster than by default, since one machine plays many.
fn controllers(folder: &Path) -> Vec<String> {
    let file = |name: &str| folder.join(name).display().to_string();
    owned(&[
        &format!("--kubeconfig={}", file("kubeconfig")),
        &format!("--service-account-private-key-file={}", file("server-key.pem")),
        &format!("--controllers={CONTROLLERS}"),
        "--leader-elect=false",
        "--secure-port=0",
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
    ])
}

fn scheduler(folder: &Path) -> Vec<String> {
    owned(&[
        &format!("--kubeconfig={}", folder.join("kubeconfig").display()),
        "--leader-elect=false",
        "--secure-port=0",
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
    ])
}

fn kwok(folder: &Path) -> Vec<String> {
    owned(&[
        &format!("--kubeconfig={}", folder.join("kubeconfig").display()),
        &format!("--config={}", folder.join("stages.yaml").display()),
        "--manage-all-nodes=true",
        "--cidr=10.64.0.0/10",
        "--node-ip=10.63.0.1",
        "--node-lease-duration-seconds=40",
    ])
}

fn owned(arguments: &[&str]) -> Vec<String> {
    arguments.iter().map(|argument| (*argument).to_owned()).collect()
}

/// Three ports that nobody had a moment ago.
fn free_ports() -> Result<[u16; 3]> {
    let listen = || TcpListener::bind("127.0.0.1:0").context("find a free port");
    let listeners = [listen()?, listen()?, listen()?];
    let port = |listener: &TcpListener| listener.local_addr().map(|address| address.port());
    let [one, two, three] = &listeners;
    Ok([port(one)?, port(two)?, port(three)?])
}
