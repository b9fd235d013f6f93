//! The real binary as a server: started, spoken to over its public API, killed, started again.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::programs;

/// How long a server may take to be ready.
const READY: Duration = Duration::from_secs(30);
/// Lets the system choose a port.
const ANY_PORT: &str = "127.0.0.1:0";
/// Pause between two looks at a level.
const LOOK: Duration = Duration::from_millis(20);

/// A server in a process of its own, with a data folder of its own.
pub struct Server {
    binary: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    folder: tempfile::TempDir,
    child: Child,
    client: reqwest::Client,
    /// Authority of its certificate, when it serves TLS.
    authority: Option<PathBuf>,
    /// `http://ADDR`, or `https://ADDR`.
    pub url: String,
    /// The administrator's API key.
    pub key: String,
    /// Account id.
    pub account: String,
}

/// Account id of every server that tests start.
pub const ACCOUNT: &str = "TestAccount0123456789A";

impl Server {
    /// Starts the binary on a free port with these additional arguments; ready when this returns.
    ///
    /// # Errors
    /// It ends, or is not ready in time.
    pub async fn start(binary: impl Into<PathBuf>, arguments: &[&str]) -> Result<Self> {
        Self::start_in(binary, arguments, &[]).await
    }

    /// Starts as [`Server::start`] with more or other environment variables: `PATH` for one, which has the programs of the test kit in front.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub async fn start_in(
        binary: impl Into<PathBuf>,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Self> {
        Self::start_trusted(binary, arguments, environment, None).await
    }

    /// Starts as [`Server::start_in`] a server that serves TLS with a certificate of this authority (PEM file).
    ///
    /// # Errors
    /// As [`Server::start`].
    pub async fn start_trusted(
        binary: impl Into<PathBuf>,
        arguments: &[&str],
        environment: &[(&str, &str)],
        authority: Option<&Path>,
    ) -> Result<Self> {
        let binary = binary.into();
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let environment: Vec<(String, String)> =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let folder = tempfile::Builder::new().prefix("manifold-test-").tempdir()?;
        let (child, url) = spawn(&binary, folder.path(), ANY_PORT, &arguments, &environment).await?;
        let key =
            std::fs::read_to_string(folder.path().join("data/admin-api-key")).context("read the API key")?;
        let server = Self {
            binary,
            arguments,
            environment,
            folder,
            child,
            client: client(authority)?,
            authority: authority.map(Path::to_owned),
            url,
            key: key.trim().to_owned(),
            account: ACCOUNT.to_owned(),
        };
        server.ready().await?;
        Ok(server)
    }

    /// A folder of the test's own, removed with the server.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The data folder.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// SIGKILL, and waits until the process is gone.
    ///
    /// # Errors
    /// The process cannot be killed.
    pub async fn kill(&mut self) -> Result<()> {
        self.child.kill().await.context("kill the server")
    }

    /// SIGTERM, and waits until the process has ended by itself; its exit code.
    ///
    /// # Errors
    /// It does not end by the deadline.
    pub async fn terminate(&mut self, deadline: Duration) -> Result<i32> {
        let id = self.child.id().context("the server has ended already")?;
        let sent = Command::new("kill").arg("-TERM").arg(id.to_string()).status().await?;
        anyhow::ensure!(sent.success(), "the server cannot be told to end");
        let ended = tokio::time::timeout(deadline, self.child.wait()).await;
        let status =
            ended.with_context(|| format!("the server has not ended in {} s", deadline.as_secs()))??;
        status.code().context("the server was ended by a signal")
    }

    /// Most memory that the process ever had resident, in MiB (`VmHWM`).
    ///
    /// # Errors
    /// The process is gone.
    pub fn high_water(&self) -> Result<u64> {
        let id = self.child.id().context("the server has ended")?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib / 1024)
    }

    /// Starts again on the same data, after [`Server::kill`].
    ///
    /// # Errors
    /// As [`Server::start`].
    pub async fn start_again(&mut self) -> Result<()> {
        self.start_on(ANY_PORT).await
    }

    /// Starts again as [`Server::start_again`] on the same address, for those who know only that.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub async fn start_again_there(&mut self) -> Result<()> {
        let address = self.url.rsplit('/').next().unwrap_or(ANY_PORT).to_owned();
        self.start_on(&address).await
    }

    async fn start_on(&mut self, address: &str) -> Result<()> {
        let (child, url) =
            spawn(&self.binary, self.folder.path(), address, &self.arguments, &self.environment).await?;
        self.child = child;
        self.url = url;
        self.ready().await
    }

    async fn ready(&self) -> Result<()> {
        let url = format!("{}/readyz", self.url);
        until("the server is ready", READY, async || {
            let ready = self.client.get(&url).send().await.is_ok_and(|answer| answer.status().is_success());
            Ok(ready.then_some(()))
        })
        .await
    }

    /// A request with the API key.
    pub fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url)).header("x-api-key", &self.key)
    }

    /// A GraphQL operation; the whole answer, errors included.
    ///
    /// # Errors
    /// The server cannot be reached or answers something else than JSON.
    pub async fn graphql(&self, query: &str, variables: Value) -> Result<Value> {
        let path = format!("/api/graphql?accountId={}", self.account);
        let body = json!({ "query": query, "variables": variables });
        let answer = self.request(reqwest::Method::POST, &path).json(&body).send().await?;
        Ok(answer.json().await?)
    }

    /// A GraphQL operation that must succeed; its data.
    ///
    /// # Errors
    /// It has errors.
    pub async fn data_of(&self, query: &str, variables: Value) -> Result<Value> {
        let answer = self.graphql(query, variables).await?;
        if let Some(errors) = answer.get("errors").filter(|errors| !errors.is_null()) {
            bail!("the operation failed: {errors}");
        }
        answer.get("data").cloned().context("the answer has no data")
    }

    /// Runs the binary as a client of this server; exit code, standard output, standard error.
    ///
    /// # Errors
    /// The binary cannot be run or does not end in a minute.
    pub async fn cli(&self, arguments: &[&str]) -> Result<(i32, String, String)> {
        let running = Command::new(&self.binary)
            .args(arguments)
            .env("MANIFOLD_URL", &self.url)
            .env("MANIFOLD_API_KEY", &self.key)
            .env("MANIFOLD_ACCOUNT_ID", &self.account)
            .envs(self.authority.iter().map(|file| ("SSL_CERT_FILE", file)))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output =
            tokio::time::timeout(Duration::from_secs(60), running).await.context("the client hangs")??;
        Ok((
            output.status.code().unwrap_or(-1),
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        ))
    }

    /// Writes files below the test's folder and imports them with the client.
    ///
    /// # Errors
    /// The import is refused; the complaint is the error.
    pub async fn import(&self, files: &[(String, String)]) -> Result<()> {
        let folder = tempfile::Builder::new().prefix("tree-").tempdir_in(self.folder.path())?;
        for (path, text) in files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().context("a path without a folder")?)?;
            std::fs::write(path, text)?;
        }
        let (code, out, err) = self.cli(&["import", &folder.path().to_string_lossy()]).await?;
        if code != 0 {
            bail!("import ended with {code}: {out}{err}");
        }
        Ok(())
    }

    /// Id of an application, and of a pipeline or workflow in it.
    ///
    /// # Errors
    /// There is none of that name.
    pub async fn ids(&self, application: &str, kind: &str, name: &str) -> Result<(String, String)> {
        let found = self
            .data_of("query($n: String!) { applicationByName(name: $n) { id } }", json!({ "n": application }))
            .await?;
        let application = string(&found, "/applicationByName/id")?;
        let query = format!(
            "query($a: String!, $n: String!) {{ entity: {kind}ByName(applicationId: $a, {kind}Name: $n) {{ id }} }}"
        );
        let found = self.data_of(&query, json!({ "a": application, "n": name })).await?;
        Ok((application, string(&found, "/entity/id")?))
    }

    /// Starts a pipeline (`kind` `pipeline`) or workflow with variables by name and builds by service; the whole answer.
    ///
    /// # Errors
    /// The server cannot be reached or knows no such entity.
    pub async fn start_execution(
        &self,
        (application, kind, name): (&str, &str, &str),
        variables: &[(&str, &str)],
        builds: &[(&str, &str)],
    ) -> Result<Value> {
        let (application, entity) = self.ids(application, kind, name).await?;
        let variables: Vec<Value> = variables
            .iter()
            .map(|(name, value)| json!({ "name": name, "variableValue": { "type": "NAME", "value": value } }))
            .collect();
        let services: Vec<Value> = builds
            .iter()
            .map(|(service, build)| {
                let (source, number) = build.split_once(':').unwrap_or(("", build));
                json!({ "name": service, "artifactValueInput": { "valueType": "BUILD_NUMBER",
                    "buildNumber": { "artifactSourceName": source, "buildNumber": number } } })
            })
            .collect();
        let input = json!({ "applicationId": application, "entityId": entity,
            "executionType": kind.to_uppercase(), "variableInputs": variables, "serviceInputs": services });
        self.graphql(
            "mutation($i: StartExecutionInput!) { startExecution(input: $i) { warningMessage execution { id status } } }",
            json!({ "i": input }),
        )
        .await
    }

    /// Starts as [`Server::start_execution`]; the execution's id.
    ///
    /// # Errors
    /// The start is refused.
    pub async fn started(
        &self,
        entity: (&str, &str, &str),
        variables: &[(&str, &str)],
        builds: &[(&str, &str)],
    ) -> Result<String> {
        let answer = self.start_execution(entity, variables, builds).await?;
        string(&answer, "/data/startExecution/execution/id")
            .with_context(|| format!("the start was refused: {answer}"))
    }

    /// Public status of an execution.
    ///
    /// # Errors
    /// There is no such execution.
    pub async fn status(&self, execution: &str) -> Result<String> {
        let found = self
            .data_of(
                "query($e: String!) { execution(executionId: $e) { status } }",
                json!({ "e": execution }),
            )
            .await?;
        string(&found, "/execution/status")
    }

    /// Waits until an execution has a status that is final; the status.
    ///
    /// # Errors
    /// It has not ended by the deadline; the error shows its journal.
    pub async fn ended(&self, execution: &str, deadline: Duration) -> Result<String> {
        const OPEN: [&str; 3] = ["QUEUED", "RUNNING", "PAUSED"];
        let ended = until("the execution ends", deadline, async || {
            let status = self.status(execution).await?;
            Ok((!OPEN.contains(&status.as_str())).then_some(status))
        })
        .await;
        match ended {
            Ok(status) => Ok(status),
            Err(error) => {
                let journal = self.events(execution).await.unwrap_or_default();
                Err(error.context(format!("journal of {execution}: {}", json!(journal))))
            }
        }
    }

    /// The journal of an execution.
    ///
    /// # Errors
    /// There is no such execution.
    pub async fn events(&self, execution: &str) -> Result<Vec<Value>> {
        let path = format!("/api/executions/{execution}/events?after=0");
        let text = self.request(reqwest::Method::GET, &path).send().await?.error_for_status()?.text().await?;
        text.lines()
            .filter(|line| !line.trim().is_empty())
            .map(|line| serde_json::from_str(line).with_context(|| format!("an event is no JSON: {line}")))
            .collect()
    }

    /// Journals of a pipeline execution's failed legs, for messages.
    ///
    /// # Errors
    /// There is no such execution.
    pub async fn failures(&self, execution: &str) -> Result<String> {
        let mut text = String::new();
        for leg in self.legs(execution).await?.iter().filter(|leg| leg.status != "SUCCESS") {
            text +=
                &format!("{} {}: {}\n", leg.infrastructure, leg.status, json!(self.events(&leg.id).await?));
        }
        Ok(text)
    }

    /// Legs of a pipeline execution: workflow execution id, infrastructure name, status, in the order of the plan.
    ///
    /// # Errors
    /// There is no such execution.
    pub async fn legs(&self, execution: &str) -> Result<Vec<Leg>> {
        let mut legs = Vec::new();
        loop {
            let found = self.data_of(LEGS, json!({ "e": execution, "o": legs.len() })).await?;
            let members =
                found.pointer("/execution/memberExecutions").context("the answer has no members")?;
            for node in members.pointer("/nodes").and_then(Value::as_array).into_iter().flatten() {
                legs.push(Leg {
                    id: string(node, "/id")?,
                    status: string(node, "/status")?,
                    infrastructure: string(node, "/outcomes/nodes/0/infrastructureDefinition/name")?,
                });
            }
            if members.pointer("/pageInfo/hasMore") != Some(&Value::Bool(true)) {
                return Ok(legs);
            }
        }
    }
}

const LEGS: &str = "query($e: String!, $o: Int) { execution(executionId: $e) { ... on PipelineExecution {
    memberExecutions(limit: 1000, offset: $o) { pageInfo { hasMore } nodes { id status ... on WorkflowExecution {
        outcomes { nodes { ... on DeploymentOutcome { infrastructureDefinition { id name } } } } } } } } } }";

/// A leg as the API shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Leg {
    /// Workflow execution.
    pub id: String,
    /// Public status.
    pub status: String,
    /// Infrastructure definition's name.
    pub infrastructure: String,
}

fn client(authority: Option<&Path>) -> Result<reqwest::Client> {
    let mut client = reqwest::Client::builder();
    if let Some(file) = authority {
        let pem = std::fs::read(file).context("read the authority")?;
        client = client.tls_certs_only([reqwest::Certificate::from_pem(&pem)?]);
    }
    Ok(client.build()?)
}

async fn spawn(
    binary: &Path,
    folder: &Path,
    address: &str,
    arguments: &[String],
    environment: &[(String, String)],
) -> Result<(Child, String)> {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("server.log"))?;
    let mut child = Command::new(binary)
        .args(["server", "--listen", address, "--account-id", ACCOUNT, "--data"])
        .arg(folder.join("data"))
        .args(arguments)
        .env("PATH", programs::path()?)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdout(Stdio::piped())
        .stderr(log)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("start {}", binary.display()))?;
    let mut lines = BufReader::new(child.stdout.take().context("no standard output")?).lines();
    let listening = tokio::time::timeout(READY, async {
        while let Some(line) = lines.next_line().await? {
            if let Some(url) = line.strip_prefix("listening on ") {
                return Ok(url.to_owned());
            }
        }
        bail!("the server ended: {}", std::fs::read_to_string(folder.join("server.log")).unwrap_or_default())
    })
    .await
    .context("the server does not listen in time")?;
    Ok((child, listening?))
}

/// Waits for a level with a deadline; `None` means not yet.
///
/// # Errors
/// The deadline has passed, or looking failed.
pub async fn until<T>(
    what: &str,
    deadline: Duration,
    mut look: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let end = Instant::now() + deadline;
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        if Instant::now() > end {
            bail!("not in {} s: {what}", deadline.as_secs());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// A string at a JSON pointer.
///
/// # Errors
/// There is none.
pub fn string(value: &Value, pointer: &str) -> Result<String> {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found.map(str::to_owned).with_context(|| format!("no text at {pointer} in {value}"))
}
