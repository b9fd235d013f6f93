//! Delegates of their own: they join, work over plain and encrypted connections, and lose nothing whoever dies (`behaviour.md` 19).

use std::path::Path;
use std::time::Duration;

use futures::{SinkExt, StreamExt, future};
use manifold_link::{
    FromDelegate, FromServer, Hello, Identity, Proof, Receiver, Sender, Sensitive, delegate_end,
};
use manifold_testkit::certificates::{Authority, Purpose};
use manifold_testkit::delegate::{RemoteDelegate, token};
use manifold_testkit::server::{Server, until};
use manifold_testkit::sshd::Fleet;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::BINARY;
use crate::scene::{Flow, Scene, command, deploy, let_in, script, select_all};

/// For whatever should come soon; two cores are shared with other tests.
const SOON: Duration = Duration::from_secs(60);
/// For whole runs that are disturbed.
const LONG: Duration = Duration::from_secs(180);
/// Lines of a long script.
const LINES: usize = 40;

/// A script that counts in a ledger how often it ran, and says its lines in a few seconds.
fn talk(ledger: &Path) -> String {
    format!(
        "echo start >>{0}; for n in $(seq {LINES}); do echo line $n; sleep 0.1; done; echo effect >>{0}",
        ledger.display()
    )
}

fn lines_of(file: &Path) -> Vec<String> {
    std::fs::read_to_string(file).unwrap_or_default().lines().map(str::to_owned).collect()
}

async fn said(file: &Path, line: &str) {
    until(line, SOON, async || Ok(lines_of(file).iter().any(|said| said == line).then_some(())))
        .await
        .unwrap();
}

/// The lines that a pipeline's only script has said, from the server's logs.
async fn log_of(server: &Server, execution: &str) -> Vec<String> {
    let legs = server.legs(execution).await.unwrap();
    let steps = server
        .data_of(
            "query($e: String!) { execution(executionId: $e) { ... on WorkflowExecution { steps { name tasks { logId } } } } }",
            json!({ "e": legs[0].id }),
        )
        .await
        .unwrap();
    let mut lines = Vec::new();
    for step in steps["execution"]["steps"].as_array().into_iter().flatten() {
        for task in step["tasks"].as_array().into_iter().flatten() {
            let path = format!("/api/executions/{}/logs/{}", legs[0].id, task["logId"].as_str().unwrap());
            let text =
                server.request(reqwest::Method::GET, &path).send().await.unwrap().text().await.unwrap();
            for line in text.lines() {
                let line: Value = serde_json::from_str(line).unwrap();
                lines.push(line["text"].as_str().unwrap_or_default().to_owned());
            }
        }
    }
    lines.into_iter().filter(|line| line.starts_with("line ")).collect()
}

/// One effect, one outcome, the whole log.
async fn whole(server: &Server, execution: &str, ledger: &Path) {
    let status = server.ended(execution, LONG).await.unwrap();
    assert_eq!(status, "SUCCESS", "{}", server.failures(execution).await.unwrap());
    assert_eq!(lines_of(ledger), ["start", "effect"]);
    let expected: Vec<String> = (1..=LINES).map(|number| format!("line {number}")).collect();
    assert_eq!(log_of(server, execution).await, expected);
}

/// A server without a delegate, a delegate, and a pipeline that runs the talking script on it.
async fn scene() -> (Server, RemoteDelegate, std::path::PathBuf) {
    let server = Server::start(BINARY, &["--no-delegate"]).await.unwrap();
    let token = token(&server, "join", &[]).await.unwrap();
    let mut delegate = RemoteDelegate::start(BINARY, &server, "one", Some(&token), &[]).unwrap();
    delegate.ready().await.unwrap();
    let ledger = server.folder().join("ledger");
    let flow = Flow::default().steps(&[script("talk", &talk(&ledger))]);
    Scene::new("App").nowhere(1).workflow("wf", &flow).pipeline("pipe", "wf").import(&server).await.unwrap();
    (server, delegate, ledger)
}

/// A deployment to hosts through a delegate, over this server.
async fn deploys(server: &Server, fleet: &Fleet, more: &[&str]) {
    let token = token(server, "join", &[]).await.unwrap();
    let known = fleet.known_hosts().to_string_lossy().into_owned();
    let more = [&["--ssh-known-hosts", &known, "--selector", "eu"], more].concat();
    let mut delegate = RemoteDelegate::start(BINARY, server, "one", Some(&token), &more).unwrap();
    delegate.ready().await.unwrap();
    let_in(server, fleet).await.unwrap();
    let ledger = fleet.folder().join("ledger");
    let mark = format!("echo \"${{infra.name}} ${{instance.hostName}}\" >>{}", ledger.display());
    let flow = Flow::default().steps(&[select_all(), command("mark", "Mark"), script("here", "true")]);
    let mut scene = Scene::new("App").command("Mark", &mark).workflow("wf", &flow).pipeline("pipe", "wf");
    for (leg, host) in fleet.hosts().iter().enumerate() {
        scene = scene.hosts(&format!("i{leg}"), &[&host.ip().to_string()]);
    }
    scene.import(server).await.unwrap();
    let execution = deploy(server, "App", "pipe", "i0,i1").await.unwrap();
    let status = server.ended(&execution, LONG).await.unwrap();
    assert_eq!(status, "SUCCESS", "{}\n{}", server.failures(&execution).await.unwrap(), delegate.log());
    assert_eq!(lines_of(&ledger).len(), 2);
    let (code, out, err) = server.cli(&["delegate", "list", "-o", "json"]).await.unwrap();
    assert!(code == 0 && out.contains("\"one\"") && out.contains("ENABLED"), "{out}{err}");
    delegate.terminate().await.unwrap();
    assert_eq!(delegate.ended(SOON).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_to_hosts_goes_through_a_delegate_of_its_own() {
    let fleet = Fleet::start(2).unwrap();
    let server = Server::start(BINARY, &["--no-delegate"]).await.unwrap();
    deploys(&server, &fleet, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_to_hosts_goes_through_a_delegate_over_tls() {
    let place = tempfile::tempdir().unwrap();
    let authority = Authority::new("delegates").unwrap();
    let (certificate, key) = authority.sign(Purpose::Server).unwrap();
    let file = |name: &str, text: &str| {
        let path = place.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_string_lossy().into_owned()
    };
    let (ca, certificate, key) =
        (file("ca", authority.pem()), file("certificate", &certificate), file("key", &key));
    let fleet = Fleet::start(2).unwrap();
    let arguments = ["--no-delegate", "--tls-cert", &certificate, "--tls-key", &key];
    let server = Server::start_trusted(BINARY, &arguments, &[], Some(Path::new(&ca))).await.unwrap();
    assert!(server.url.starts_with("https://"));
    // Whoever does not know the authority says nothing, not even its token.
    let token = token(&server, "early", &[]).await.unwrap();
    let stranger = RemoteDelegate::start(BINARY, &server, "stranger", Some(&token), &[]).unwrap();
    until("the certificate is refused", SOON, async || {
        Ok(stranger.log().contains("ertificate").then_some(()))
    })
    .await
    .unwrap();
    deploys(&server, &fleet, &["--ca-file", &ca]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_outlives_the_server_and_is_reported_once() {
    let (mut server, _delegate, ledger) = scene().await;
    let execution = deploy(&server, "App", "pipe", "i0").await.unwrap();
    said(&ledger, "start").await;
    server.kill().await.unwrap();
    server.start_again_there().await.unwrap();
    whole(&server, &execution, &ledger).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_outlives_its_delegate_and_is_found_again() {
    let (server, mut delegate, ledger) = scene().await;
    let execution = deploy(&server, "App", "pipe", "i0").await.unwrap();
    said(&ledger, "start").await;
    delegate.kill().await.unwrap();
    delegate.start_again().unwrap();
    whole(&server, &execution, &ledger).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_outlives_both() {
    let (mut server, mut delegate, ledger) = scene().await;
    let execution = deploy(&server, "App", "pipe", "i0").await.unwrap();
    said(&ledger, "start").await;
    delegate.kill().await.unwrap();
    server.kill().await.unwrap();
    server.start_again_there().await.unwrap();
    delegate.start_again().unwrap();
    whole(&server, &execution, &ledger).await;
}

/// The command ends while no server is there; then the delegate dies too. Its spool has the outcome and the end of the log.
#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_without_a_server_is_delivered_later() {
    let (mut server, mut delegate, ledger) = scene().await;
    let execution = deploy(&server, "App", "pipe", "i0").await.unwrap();
    said(&ledger, "start").await;
    server.kill().await.unwrap();
    until("the outcome is spooled", SOON, async || Ok((delegate.spooled() == 1).then_some(())))
        .await
        .unwrap();
    delegate.kill().await.unwrap();
    std::fs::remove_dir_all(delegate.folder().join("attempts")).unwrap();
    delegate.start_again().unwrap();
    server.start_again_there().await.unwrap();
    whole(&server, &execution, &ledger).await;
    until("the spool is empty", SOON, async || Ok((delegate.spooled() == 0).then_some(()))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_join_ends_with_the_reason() {
    let server = Server::start(BINARY, &["--no-delegate"]).await.unwrap();
    let wrong = server.folder().join("wrong");
    std::fs::write(&wrong, "not a token\n").unwrap();
    let mut liar = RemoteDelegate::start(BINARY, &server, "liar", Some(&wrong), &[]).unwrap();
    assert_eq!(liar.ended(SOON).await.unwrap(), 3);
    assert!(liar.log().contains("DELEGATE_TOKEN_INVALID"), "{}", liar.log());

    let good = token(&server, "good", &[]).await.unwrap();
    let mut one = RemoteDelegate::start(BINARY, &server, "one", Some(&good), &[]).unwrap();
    one.ready().await.unwrap();
    let (code, out, err) = server.cli(&["delegate", "token", "revoke", "good"]).await.unwrap();
    assert_eq!(code, 0, "{out}{err}");
    assert_eq!(one.ended(SOON).await.unwrap(), 3);
    assert!(one.log().contains("DELEGATE_TOKEN_REVOKED"), "{}", one.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delegate_works_once_it_is_approved() {
    let server = Server::start(BINARY, &["--no-delegate"]).await.unwrap();
    let token = token(&server, "asks", &["--approval-required"]).await.unwrap();
    let mut one = RemoteDelegate::start(BINARY, &server, "one", Some(&token), &[]).unwrap();
    until("it waits", SOON, async || Ok(one.log().contains("waits for approval").then_some(())))
        .await
        .unwrap();
    let (code, out, err) = server.cli(&["delegate", "approve", "one"]).await.unwrap();
    assert_eq!(code, 0, "{out}{err}");
    one.ready().await.unwrap();
}

/// What a peer that lies can send.
struct Liar {
    send: Sender<FromDelegate>,
    receive: Receiver<FromServer>,
}

async fn dial(server: &Server) -> impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + 'static {
    let url = server.url.replace("http://", "ws://") + "/api/delegate/connect";
    let (socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    let (outgoing, incoming) = socket.split();
    let incoming = incoming.filter_map(|message| {
        future::ready(match message {
            Ok(Message::Binary(bytes)) => Some(Ok(bytes)),
            Ok(_) => None,
            Err(error) => Some(Err(std::io::Error::other(error))),
        })
    });
    let outgoing = outgoing
        .sink_map_err(std::io::Error::other)
        .with(|bytes| future::ready(Ok::<_, std::io::Error>(Message::Binary(bytes))));
    manifold_link::stream(incoming, outgoing)
}

impl Liar {
    async fn new(server: &Server) -> Self {
        let (send, receive) = delegate_end(dial(server).await);
        Self { send, receive }
    }

    /// Says hello; the server's answer.
    async fn hello(&mut self, hello: Hello) -> FromServer {
        self.send.send(&FromDelegate::Hello(hello)).await.unwrap();
        self.receive.recv().await.unwrap().unwrap()
    }

    async fn refused(&mut self) -> String {
        match self.receive.recv().await.unwrap().unwrap() {
            FromServer::Refused(failure) => failure.code.to_string(),
            other => panic!("{other:?} instead of a refusal"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lies_are_refused_and_others_work_on() {
    let (server, _delegate, ledger) = scene().await;
    let execution = deploy(&server, "App", "pipe", "i0").await.unwrap();
    let token = std::fs::read_to_string(server.folder().join("join.token")).unwrap();
    let identity = Identity::generate().unwrap();
    let hello = |versions: &[u32], identity: &Identity| Hello {
        versions: versions.to_vec(),
        delegate: Some(identity.id()),
        key: identity.key(),
        name: "liar".to_owned(),
        ..Hello::default()
    };
    for versions in [&[99][..], &[1]] {
        let FromServer::Refused(failure) = Liar::new(&server).await.hello(hello(versions, &identity)).await
        else {
            panic!("no refusal")
        };
        assert_eq!(failure.code.to_string(), "DELEGATE_VERSION_UNSUPPORTED");
    }
    // A proof for the nonce of another connection, and somebody else's id.
    let mut first = Liar::new(&server).await;
    let FromServer::Challenge(old) = first.hello(hello(&[2], &identity)).await else {
        panic!("no challenge")
    };
    let other = Identity::generate().unwrap();
    for (claimed, replays) in [(&identity, true), (&other, false)] {
        let mut liar = Liar::new(&server).await;
        let said = Hello { delegate: Some(claimed.id()), ..hello(&[2], &identity) };
        let FromServer::Challenge(new) = liar.hello(said).await else { panic!("no challenge") };
        assert_ne!(old.nonce, new.nonce);
        let nonce = if replays { &old.nonce } else { &new.nonce };
        let proof =
            Proof { signature: identity.prove(nonce, "liar"), token: Some(Sensitive::new(token.trim())) };
        liar.send.send(&FromDelegate::Proof(proof)).await.unwrap();
        assert_eq!(liar.refused().await, "DELEGATE_PROOF_INVALID");
    }
    // A frame of 1 GB: the server does not wait for it.
    let mut stream = Box::pin(dial(&server).await);
    tokio::io::AsyncWriteExt::write_u32(&mut stream, 1 << 30).await.unwrap();
    tokio::io::AsyncWriteExt::flush(&mut stream).await.unwrap();
    let mut rest = Vec::new();
    let read = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest);
    let _cut = tokio::time::timeout(SOON, read).await.expect("the connection ends");
    assert!(rest.is_empty());
    whole(&server, &execution, &ledger).await;
}
