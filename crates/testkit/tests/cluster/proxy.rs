//! The scripted proxy in front of a real API server.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use manifold_testkit::cluster;
use manifold_testkit::proxy::{Act, Front, Proxy, Rule};
use reqwest::{Certificate, Client, RequestBuilder, Response};
use serde_json::{Value, json};

/// How long an answer may take that comes.
const SOON: Duration = Duration::from_secs(30);
const NAMESPACES: &str = "/api/v1/namespaces";

/// A name that no other test run has used on the same cluster.
fn fresh(name: &str) -> String {
    format!("{name}-{}", uuid::Uuid::new_v4().simple())
}

/// A proxy without TLS, and requests of an administrator through it.
struct Through {
    proxy: Proxy,
    client: Client,
    token: String,
}

impl Through {
    fn new() -> Result<Self> {
        let cluster = cluster::one()?;
        let proxy = Proxy::start(&cluster, Front::Plain)?;
        // Bytes are counted as they are sent.
        let client = Client::builder().timeout(SOON).no_gzip().build()?;
        Ok(Self { proxy, client, token: cluster.token().to_owned() })
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("{}{path}", self.proxy.url())).bearer_auth(&self.token)
    }

    fn make(&self, namespace: &str) -> RequestBuilder {
        let object = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } });
        let url = format!("{}{NAMESPACES}", self.proxy.url());
        self.client.post(url).bearer_auth(&self.token).json(&object)
    }
}

#[tokio::test]
async fn without_rules_it_passes_everything_on_and_remembers_it() -> Result<()> {
    let (through, name) = (Through::new()?, fresh("passed-on"));
    let path = format!("{NAMESPACES}/{name}");
    assert_eq!(through.make(&name).send().await?.status(), 201);
    let again = through.make(&name).send().await?;
    assert_eq!(again.status(), 409);
    assert_eq!(again.json::<Value>().await?["reason"], "AlreadyExists");
    assert_eq!(through.get(&path).send().await?.status(), 200);
    let seen = through.proxy.requests();
    let asked: Vec<(&str, &str)> = seen.iter().map(|it| (it.method.as_str(), it.path.as_str())).collect();
    assert_eq!(asked, [("POST", NAMESPACES), ("POST", NAMESPACES), ("GET", path.as_str())]);
    assert_eq!((seen[0].content_type.as_str(), seen[0].scheme.as_str()), ("application/json", "Bearer"));
    Ok(())
}

#[tokio::test]
async fn a_password_stands_for_a_token() -> Result<()> {
    let through = Through::new()?;
    through.proxy.user("deployer", "secret", &through.token);
    let ask = |password: &str| {
        let url = format!("{}{NAMESPACES}", through.proxy.url());
        through.client.get(url).basic_auth("deployer", Some(password)).send()
    };
    assert_eq!(ask("secret").await?.status(), 200);
    assert_eq!(ask("wrong").await?.status(), 401);
    assert_eq!(through.proxy.requests()[0].scheme, "Basic");
    Ok(())
}

#[tokio::test]
async fn it_answers_instead_of_the_server() -> Result<()> {
    let through = Through::new()?;
    let busy = Act::Answer { status: 429, retry_after: Some(7) };
    through.proxy.rule(Rule::new(busy).method("GET").path("/namespaces").times(1));
    assert_eq!(through.make(&fresh("answered")).send().await?.status(), 201, "another method");
    let answer = through.get(NAMESPACES).send().await?;
    assert_eq!((answer.status().as_u16(), &answer.headers()["retry-after"]), (429, &"7".parse()?));
    let status: Value = answer.json().await?;
    assert_eq!((&status["kind"], &status["reason"]), (&json!("Status"), &json!("TooManyRequests")));
    assert_eq!(through.get(NAMESPACES).send().await?.status(), 200, "once");
    through.proxy.rule(Rule::new(Act::Say {
        status: 200,
        content_type: "text/html",
        body: "<h1>Sign in</h1>",
    }));
    assert_eq!(through.get(NAMESPACES).send().await?.text().await?, "<h1>Sign in</h1>");
    through.proxy.clear();
    assert_eq!(through.get(NAMESPACES).send().await?.status(), 200);
    Ok(())
}

#[tokio::test]
async fn it_is_slow_hangs_and_cuts() -> Result<()> {
    let through = Through::new()?;
    let rule = |act: Act| {
        through.proxy.clear();
        through.proxy.rule(Rule::new(act));
    };
    rule(Act::Delay(Duration::from_millis(300)));
    let begin = Instant::now();
    assert_eq!(through.get("/version").send().await?.status(), 200);
    assert!(begin.elapsed() >= Duration::from_millis(300));

    rule(Act::Hang);
    let hung = through.get("/version").timeout(Duration::from_millis(300)).send().await;
    assert!(hung.unwrap_err().is_timeout());

    let (never, done) = (fresh("cut"), fresh("lost"));
    rule(Act::Cut);
    let cut = through.make(&never).send().await.unwrap_err();
    assert!(!cut.is_timeout(), "{cut:?}");
    rule(Act::LoseAnswer);
    let lost = through.make(&done).send().await.unwrap_err();
    assert!(!lost.is_timeout(), "{lost:?}");
    through.proxy.clear();
    assert_eq!(through.get(&format!("{NAMESPACES}/{never}")).send().await?.status(), 404);
    assert_eq!(through.get(&format!("{NAMESPACES}/{done}")).send().await?.status(), 200, "it was done");

    rule(Act::CutAfter(100));
    let mut answer = through.get("/openapi/v2").send().await?;
    let mut got = 0;
    let broken = loop {
        match answer.chunk().await {
            Ok(Some(chunk)) => got += chunk.len(),
            Ok(None) => panic!("the body is whole"),
            Err(error) => break error,
        }
    };
    assert!(got == 100 && !broken.is_timeout(), "{got}: {broken:?}");
    Ok(())
}

#[tokio::test]
async fn a_watch_streams_and_ends_when_told() -> Result<()> {
    let (through, name) = (Through::new()?, fresh("watched"));
    let path = format!("{NAMESPACES}?watch=true");
    let mut watch = through.get(&path).send().await?;
    through.make(&name).send().await?.error_for_status()?;
    read_until(&mut watch, &name).await?;

    let end = Act::EndAfter(Duration::from_millis(500));
    through.proxy.rule(Rule::new(end).path("watch=true").times(1));
    let begin = Instant::now();
    let mut watch = through.get(&path).send().await?;
    while watch.chunk().await?.is_some() {}
    assert!(begin.elapsed() >= Duration::from_millis(500));
    let mut watch = through.get(&path).send().await?;
    read_until(&mut watch, &name).await
}

/// Reads a watch until it has said a word.
async fn read_until(watch: &mut Response, word: &str) -> Result<()> {
    let mut text = String::new();
    while !text.contains(word) {
        let chunk = watch.chunk().await?.with_context(|| format!("ended before {word}: {text}"))?;
        text.push_str(&String::from_utf8_lossy(&chunk));
    }
    Ok(())
}

#[tokio::test]
async fn its_certificate_is_good_expired_or_a_strangers() -> Result<()> {
    let cluster = cluster::one()?;
    for (front, good) in [(Front::Tls, true), (Front::Expired, false), (Front::Stranger, false)] {
        let proxy = Proxy::start(&cluster, front)?;
        let ca = Certificate::from_pem(proxy.ca_pem().as_bytes())?;
        let client = Client::builder().timeout(SOON).tls_certs_only([ca]).build()?;
        let answer = client.get(format!("{}/version", proxy.url())).send().await;
        match answer {
            Ok(answer) => assert!(good && answer.status() == 200, "{front:?}"),
            Err(error) => assert!(!good && error.is_connect(), "{front:?}: {error:?}"),
        }
    }
    let proxy = Proxy::start(&cluster, Front::Tls)?;
    let ca = tempfile::NamedTempFile::new()?;
    std::fs::write(ca.path(), proxy.ca_pem())?;
    let (url, ca) = (proxy.url(), ca.path().display().to_string());
    let nodes = ["get", "nodes", "-o", "name", "--server", &url, "--certificate-authority", &ca];
    assert!(cluster.kubectl(&nodes)?.contains("node/node-1"), "kubectl goes through it too");
    Ok(())
}
