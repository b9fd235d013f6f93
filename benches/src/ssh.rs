//! P1, P3: hosts that each get an archive, unpack it into a new release, switch to it, restart, and are asked whether all is well: through the
//! real binary and its public API, against bare SSH clients in the same run, on the same real sshd. One bare client runs the same wrapper around
//! every script as the product does, the other runs the scripts as they are.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use manifold_driver::command::{Attempt, CommandSpec, Directory, Language, Program, Settings};
use manifold_model::TaskId;
use manifold_testkit::server::{Server, string};
use manifold_testkit::sshd::Fleet;
use russh::client;
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate, decode_secret_key};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::process;
use crate::report::{self, ROUNDS, figure};
use crate::tree::{self, APPLICATION, File, PIPELINE};

/// Hosts, unless told otherwise.
pub const HOSTS: u32 = 100;
/// Hosts of an infrastructure definition, so of a leg.
const HOSTS_A_LEG: usize = 10;
/// Bytes of the archive, as `docs/performance.md` has it for all tools that were compared.
const ARCHIVE: usize = 98 * 1024;
/// Units of the command.
const UNITS: usize = 5;
/// How long a run may take before the measurement gives up.
const LIMIT: Duration = Duration::from_secs(120);
/// The folder of a host: all hosts of the fleet are one machine with one home.
const PLACE: &str = "hosts/HOST";

/// What is run after the archive is there; `HOST` stands for the host, `BUILD` for the build.
const SCRIPTS: [(&str, &str); UNITS - 1] = [
    (
        "Unpack",
        "cd \"$HOME/hosts/HOST\" && mkdir -p releases/BUILD && tar -xf staging/site.tar -C releases/BUILD",
    ),
    ("Switch", "cd \"$HOME/hosts/HOST\" && ln -sfn releases/BUILD next && mv -T next current"),
    ("Restart", "cd \"$HOME/hosts/HOST\" && echo BUILD >running"),
    ("Check health", "cd \"$HOME/hosts/HOST\" && test -s current/site && grep -qx BUILD running"),
];

/// What one round took.
struct Round {
    wall: Duration,
    cpu: Duration,
}

/// Measures and prints.
pub async fn measure(binary: &Path, hosts: u32) -> Result<()> {
    report::head(&format!("ssh: {hosts} hosts x {UNITS} units, {HOSTS_A_LEG} hosts a leg (P1, P3)"));
    let fleet = Arc::new(Fleet::start(hosts as usize)?);
    let archive = make_archive(fleet.folder())?;
    let known_hosts = fleet.known_hosts();
    let arguments = ["--ssh-known-hosts", &*known_hosts.to_string_lossy()];
    let server = Server::start(binary, &arguments).await?;
    make_credential(&server, &fleet).await?;
    let regions = regions(&fleet);
    server.import(&files(&fleet, &regions)).await?;
    let names: Vec<&str> = regions.iter().map(|(name, _)| name.as_str()).collect();
    let names = names.join(",");
    let (mut plain, mut wrapped, mut product) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        plain.push(bare(&fleet, &archive, false).await?);
        wrapped.push(bare(&fleet, &archive, true).await?);
        product.push(deploy(&server, &names, round).await?);
    }
    let wall =
        |rounds: &[Round]| report::median(rounds.iter().map(|round| round.wall.as_secs_f64()).collect());
    let cpu = |rounds: &[Round]| {
        report::median(rounds.iter().map(|round| report::ms(round.cpu) / f64::from(hosts)).collect())
    };
    let (a, b, c) = (wall(&plain), wall(&wrapped), wall(&product));
    figure("bare client, bare scripts: makespan", a, "s", "");
    figure("bare client, same wrapper: makespan", b, "s", "");
    figure("product: request to last outcome durable", c, "s", "");
    figure("product over bare client with the same wrapper", c / b.max(f64::EPSILON), "x", "<= 1.15");
    figure("product over bare client with bare scripts", c / a.max(f64::EPSILON), "x", "");
    figure("bare client, same wrapper: CPU a host", cpu(&wrapped), "ms", "");
    figure("product: CPU a host, server and delegate", cpu(&product), "ms", "<= 2.5");
    let pid = server.pid().context("the server has ended")?;
    figure("product: peak memory", process::peak_memory(pid)?, "MiB", "");
    Ok(())
}

/// Infrastructure definitions: a name and its hosts.
fn regions(fleet: &Fleet) -> Vec<(String, Vec<String>)> {
    let hosts: Vec<String> = fleet.hosts().iter().map(ToString::to_string).collect();
    let chunks = hosts.chunks(HOSTS_A_LEG).enumerate();
    chunks.map(|(number, hosts)| (format!("region-{number:03}"), hosts.to_vec())).collect()
}

fn files(fleet: &Fleet, regions: &[(String, Vec<String>)]) -> Vec<File> {
    let steps = "    - type: DC_NODE_SELECT
      name: Select Nodes
      properties:
        instanceCount: 100
        instanceUnitType: PERCENTAGE
        specificHosts: false
    - type: COMMAND
      name: Install
      properties:
        commandName: Install
";
    let mut files = tree::application(steps, regions);
    let service = format!("Setup/Applications/{APPLICATION}/Services/cart");
    files.push((format!("{service}/Commands/Install.yaml"), command()));
    files.push((format!("{service}/Artifact Servers/releases.yaml"), source(fleet.folder())));
    files
}

fn command() -> String {
    let place = PLACE.replace("HOST", "${instance.hostName}");
    let mut text = format!(
        "harnessApiVersion: '1.0'
type: INSTALL
commandUnitType: COMMAND
commandUnits:
- name: Upload
  commandUnitType: SCP
  deploymentType: SSH
  destinationDirectoryPath: $HOME/{place}/staging
  source: ARTIFACTS
"
    );
    for (name, script) in SCRIPTS {
        let script = script.replace("HOST", "${instance.hostName}").replace("$${", "${");
        let script = script.replace("BUILD", "${artifact.buildNo}");
        text.push_str(&format!(
            "- name: {name}\n  command: |-\n    {script}\n  commandUnitType: EXEC\n  deploymentType: SSH\n  scriptType: BASH\n"
        ));
    }
    text.push_str("targetToAllEnv: true\n");
    text
}

/// Lists as many builds as there are rounds, all of them the same archive.
fn source(folder: &Path) -> String {
    let builds: Vec<Value> = (1..=ROUNDS)
        .map(|number| json!({ "number": number.to_string(), "path": folder.join("site.tar") }))
        .collect();
    format!(
        "harnessApiVersion: '1.0'
type: CUSTOM
scripts:
- action: FETCH_VERSIONS
  customRepositoryMapping:
    artifactAttributes:
    - mappedAttribute: path
      relativePath: path
    artifactRoot: $.builds
    buildNoPath: number
  scriptString: |-
    printf '%s' '{}' >\"$ARTIFACT_RESULT_PATH\"
  timeout: '60'
",
        json!({ "builds": builds })
    )
}

/// An archive of one file that does not compress.
fn make_archive(folder: &Path) -> Result<Bytes> {
    let mut seed = 1_u32;
    let noise: Vec<u8> = (0..ARCHIVE)
        .map(|_| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            seed.to_be_bytes()[0]
        })
        .collect();
    std::fs::write(folder.join("site"), noise)?;
    let made = Command::new("tar")
        .arg("-cf")
        .arg(folder.join("site.tar"))
        .arg("-C")
        .arg(folder)
        .arg("site")
        .status()?;
    ensure!(made.success(), "tar failed");
    Ok(std::fs::read(folder.join("site.tar"))?.into())
}

async fn make_credential(server: &Server, fleet: &Fleet) -> Result<()> {
    const CREATE: &str = "mutation($i: CreateSecretInput!) { createSecret(input: $i) { secret { id } } }";
    let key = json!({ "secretType": "ENCRYPTED_TEXT", "encryptedText": { "name": "key-text", "value": fleet.user_key()? } });
    let made = server.data_of(CREATE, json!({ "i": key })).await?;
    let id = string(&made, "/createSecret/secret/id")?;
    let method = json!({ "sshCredentialType": "SSH_KEY", "inlineSSHKey": { "sshKeySecretFileId": id } });
    let sign_in = json!({ "userName": fleet.user(), "port": 22, "sshAuthenticationMethod": method });
    let credential = json!({ "name": "key", "authenticationScheme": "SSH", "sshAuthentication": sign_in });
    let input = json!({ "secretType": "SSH_CREDENTIAL", "sshCredential": credential });
    server.data_of(CREATE, json!({ "i": input })).await.map(drop)
}

async fn deploy(server: &Server, infrastructures: &str, round: usize) -> Result<Round> {
    let pid = server.pid().context("the server has ended")?;
    let (began, cpu) = (Instant::now(), process::cpu(pid)?);
    let build = format!("releases:{round}");
    let execution = server
        .started(
            (APPLICATION, "pipeline", PIPELINE),
            &[("infrastructure", infrastructures)],
            &[("cart", &build)],
        )
        .await?;
    let status = server.ended(&execution, LIMIT).await?;
    let round = Round { wall: began.elapsed(), cpu: process::cpu(pid)? - cpu };
    if status != "SUCCESS" {
        for leg in server.legs(&execution).await?.iter().filter(|leg| leg.status != "SUCCESS").take(1) {
            eprintln!("{}", json!(server.events(&leg.id).await?));
        }
    }
    ensure!(status == "SUCCESS", "the pipeline ended {status}");
    Ok(round)
}

// ---------------------------------------------------------------- the bare clients

struct Trusting;

impl client::Handler for Trusting {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

/// All hosts at once.
async fn bare(fleet: &Arc<Fleet>, archive: &Bytes, wrapped: bool) -> Result<Round> {
    let key = Arc::new(decode_secret_key(&fleet.user_key()?, None)?);
    let (began, cpu) = (Instant::now(), process::cpu(std::process::id())?);
    let running: Vec<_> = (0..fleet.hosts().len())
        .map(|host| {
            tokio::spawn(one_host(Arc::clone(fleet), Arc::clone(&key), host, archive.clone(), wrapped))
        })
        .collect();
    for host in running {
        host.await??;
    }
    Ok(Round { wall: began.elapsed(), cpu: process::cpu(std::process::id())? - cpu })
}

async fn one_host(
    fleet: Arc<Fleet>,
    key: Arc<PrivateKey>,
    host: usize,
    archive: Bytes,
    wrapped: bool,
) -> Result<()> {
    let address = *fleet.hosts().get(host).context("no such host")?;
    let config = Arc::new(client::Config { nodelay: true, ..client::Config::default() });
    let mut connection = client::connect(config, address, Trusting).await?;
    connection.authenticate_publickey(fleet.user(), PrivateKeyWithHashAlg::new(key, None)).await?;
    let place = PLACE.replace("HOST", &address.to_string());
    let upload = format!("mkdir -p \"$HOME/{place}/staging\" && cat >\"$HOME/{place}/staging/site.tar\"");
    exec(&connection, &upload, archive).await?;
    let (settings, task) = (Arc::new(Settings::default()), TaskId::random());
    for (number, (_, script)) in SCRIPTS.iter().enumerate() {
        let script = script.replace("HOST", &address.to_string()).replace("BUILD", "bare");
        if wrapped {
            let spec = CommandSpec {
                attempt: Attempt::of(&settings, &task, 1),
                unit: number.to_string(),
                log_unit: String::new(),
                script: Zeroizing::new(script),
                language: Language::Bash,
                directory: Directory::Login,
                kubeconfig: None,
                environment: Vec::new(),
                outputs: Vec::new(),
                keeps_environment: false,
                last: number + 1 == SCRIPTS.len(),
            };
            let program = Program::run(&spec, 0);
            exec(&connection, &program.line(), Bytes::from(program.stdin.to_vec())).await?;
        } else {
            exec(&connection, &script, Bytes::new()).await?;
        }
    }
    connection.disconnect(russh::Disconnect::ByApplication, "", "").await?;
    Ok(())
}

async fn exec(connection: &client::Handle<Trusting>, line: &str, input: Bytes) -> Result<()> {
    let mut channel = connection.channel_open_session().await?;
    channel.exec(true, line).await?;
    if !input.is_empty() {
        channel.data_bytes(input).await?;
    }
    channel.eof().await?;
    let mut code = None;
    while let Some(message) = channel.wait().await {
        if let russh::ChannelMsg::ExitStatus { exit_status } = message {
            code = Some(exit_status);
        }
    }
    ensure!(code == Some(0), "{line:?} ended with {code:?}");
    Ok(())
}
