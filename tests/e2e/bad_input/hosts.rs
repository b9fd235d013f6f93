//! Hosts that hang, close, change their key or flood; scripts that flood or will not end.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use manifold_testkit::server::{Server, until};
use manifold_testkit::sshd::Fleet;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{SOON, only_leg, serves, step_failure};
use crate::BINARY;
use crate::scene::{Flow, Scene, command, deploy, let_in, script_with, select_all};

/// Most memory that a server may have had after floods, MiB; an idle one of the dev profile has about 60.
const MEMORY: u64 = 500;

/// A server that knows the fleet's hosts and may sign in to them.
async fn server_of(fleet: &Fleet) -> Server {
    let known = fleet.known_hosts().to_string_lossy().into_owned();
    let server = Server::start(BINARY, &["--ssh-known-hosts", &known]).await.unwrap();
    let_in(&server, fleet).await.unwrap();
    server
}

/// A peer on a port of its own that accepts connections and keeps them, or closes them at once.
async fn peer(closes: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            if !closes {
                kept.push(stream);
            }
        }
    });
    address
}

/// Makes a credential with another port, and an application that runs a command on the host behind it.
async fn host_at(server: &Server, fleet: &Fleet, name: &str, address: SocketAddr) {
    let (port, key) = (address.port().to_string(), fleet.user_key_file().to_string_lossy().into_owned());
    let (code, out, err) = server
        .cli(&[
            "secret",
            "create",
            name,
            "--type",
            "ssh-credential",
            "--user",
            fleet.user(),
            "--port",
            &port,
            "--key-file",
            &key,
        ])
        .await
        .unwrap();
    assert_eq!(code, 0, "{out}{err}");
    let flow = Flow::default().steps(&[select_all(), command("run", "Run")]);
    Scene::new(name)
        .command("Run", "echo never said")
        .hosts_with("i0", &[&address.ip().to_string()], name)
        .workflow("wf", &flow)
        .pipeline("pipe", "wf")
        .import(server)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_hang_close_or_change_their_key_fail_their_step_in_time() {
    let fleet = Fleet::start(1).unwrap();
    let other = Fleet::start(1).unwrap();
    let known = fleet.folder().join("known");
    let real = other.hosts()[0];
    let dead = peer(true).await;
    let lines = format!(
        "{}[{}]:{} {}\n",
        std::fs::read_to_string(fleet.known_hosts()).unwrap(),
        real.ip(),
        real.port(),
        fleet.host_key().unwrap()
    );
    std::fs::write(&known, lines).unwrap();
    let server = Server::start(BINARY, &["--ssh-known-hosts", &known.to_string_lossy()]).await.unwrap();
    // A port that nobody listens on: bound and let go.
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let unknown = Fleet::start(1).unwrap();
    let cases = [
        ("hangs", peer(false).await, "CONNECTIVITY"),
        ("closes", dead, "CONNECTIVITY"),
        ("nobody", gone, "CONNECTIVITY"),
        ("changed key", real, "AUTHENTICATION"),
        ("unknown key", unknown.hosts()[0], "AUTHENTICATION"),
    ];
    let begun = Instant::now();
    let mut executions = Vec::new();
    for (name, address, class) in cases {
        host_at(&server, &fleet, name, address).await;
        executions.push((name, deploy(&server, name, "pipe", "i0").await.unwrap(), class));
    }
    for (name, execution, class) in executions {
        assert_eq!(server.ended(&execution, Duration::from_secs(90)).await.unwrap(), "FAILED", "{name}");
        let (found, code, message) = step_failure(&server, &execution).await;
        println!("{name}: {found} {code} after {:?}: {message}", begun.elapsed());
        assert_eq!(found, class, "{name}: {code} {message}");
    }
    serves(&server).await;
}

/// Bytes of text that an execution's logs keep.
async fn logged(server: &Server, leg: &str) -> u64 {
    let found = server
        .data_of(
            "query($e: String!) { execution(executionId: $e) { ... on WorkflowExecution { steps { tasks { log { id \
             bytes } } } } } }",
            json!({ "e": leg }),
        )
        .await
        .unwrap();
    let mut bytes = 0;
    for step in found["execution"]["steps"].as_array().unwrap() {
        for task in step["tasks"].as_array().unwrap() {
            bytes += task["log"]["bytes"].as_u64().unwrap_or(0);
        }
    }
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gigabyte_of_output_from_a_host_and_a_script_is_bounded() {
    let fleet = Fleet::start(1).unwrap();
    let server = server_of(&fleet).await;
    let flood = "head -c 1073741824 /dev/zero | tr '\\0' 'x' | fold -w 1000; echo; echo the end";
    let lines = "yes short | head -c 1073741824; echo the end";
    let endless = "head -c 1073741824 /dev/zero | tr '\\0' 'x'";
    let flow = Flow::default()
        .steps(&[select_all(), command("on the host", "Flood")])
        .steps(&[script_with("here", lines, 180_000), script_with("one line", endless, 180_000)]);
    Scene::new("App")
        .command("Flood", flood)
        .hosts("i0", &[&fleet.hosts()[0].ip().to_string()])
        .workflow("wf", &flow)
        .pipeline("pipe", "wf")
        .import(&server)
        .await
        .unwrap();
    let begun = Instant::now();
    let execution = deploy(&server, "App", "pipe", "i0").await.unwrap();
    let status = server.ended(&execution, Duration::from_secs(240)).await.unwrap();
    assert_eq!(status, "SUCCESS", "{}", server.failures(&execution).await.unwrap());
    let memory = server.high_water().unwrap();
    println!("3 GiB of output in {:?}, {memory} MiB at most", begun.elapsed());
    assert!(memory < MEMORY, "the server had {memory} MiB");
    let leg = only_leg(&server, &execution).await;
    let bytes = logged(&server, &leg).await;
    println!("{bytes} bytes of log");
    assert!(bytes <= 3 * 26 * 1024 * 1024, "{bytes} bytes of log were kept");
    serves(&server).await;
}

/// Whether a process of this number lives.
fn lives(id: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", id.trim())).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_ignores_sigterm_is_ended_by_its_timeout_and_by_an_abort() {
    let server = Server::start(BINARY, &[]).await.unwrap();
    let (timed, aborted) = (server.folder().join("timed"), server.folder().join("aborted"));
    let stubborn = |file: &std::path::Path| {
        format!("trap '' TERM INT HUP; echo $$ >{}; while :; do sleep 1; done", file.display())
    };
    let slow = Flow::default().steps(&[script_with("stubborn", &stubborn(&timed), 3_000)]);
    let long = Flow::default().steps(&[script_with("stubborn", &stubborn(&aborted), 600_000)]);
    Scene::new("App")
        .nowhere(1)
        .workflow("slow", &slow)
        .workflow("long", &long)
        .pipeline("slow", "slow")
        .import(&server)
        .await
        .unwrap();
    Scene::new("App 2")
        .nowhere(1)
        .workflow("wf", &long)
        .pipeline("pipe", "wf")
        .import(&server)
        .await
        .unwrap();
    let first = deploy(&server, "App", "slow", "i0").await.unwrap();
    let second = deploy(&server, "App 2", "pipe", "i0").await.unwrap();
    until("both run", SOON, async || Ok((timed.exists() && aborted.exists()).then_some(()))).await.unwrap();
    let begun = Instant::now();
    let abort: Value = server
        .data_of(
            "mutation($i: AbortExecutionInput!) { abortExecution(input: $i) { execution { id status } } }",
            json!({ "i": { "executionId": second } }),
        )
        .await
        .unwrap();
    assert_eq!(abort["abortExecution"]["execution"]["id"], json!(second));
    assert_eq!(server.ended(&second, SOON).await.unwrap(), "ABORTED");
    assert_eq!(server.ended(&first, SOON).await.unwrap(), "FAILED");
    println!("both ended after {:?}", begun.elapsed());
    let (class, code, message) = step_failure(&server, &first).await;
    assert_eq!(class, "TIMEOUT_ERROR", "{code}: {message}");
    for file in [&timed, &aborted] {
        let id = std::fs::read_to_string(file).unwrap();
        until("the process is gone", SOON, async || Ok((!lives(&id)).then_some(()))).await.unwrap();
    }
    serves(&server).await;
}
