//! Artifacts from their sources to the hosts: three infrastructures of five hosts, a process that is restarted, a health check that sends one
//! infrastructure back to the release before.

use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, ensure};
use manifold_testkit::sshd::Fleet;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::site::{Phase, SERVICE, Site, Tree, command, section, select, strategy, undoing, unit, with};

/// The pipeline and its workflow.
const SHIP: &str = "ship";
/// Infrastructures and hosts.
const WORLD: [(&str, usize); 3] = [("eu", 5), ("us", 5), ("ap", 5)];
/// The same with fewer hosts.
const SMALL: [(&str, usize); 3] = [("eu", 2), ("us", 1), ("ap", 2)];

/// Commands of a service that is a process: installed, restarted, checked. It serves what `serving` holds.
fn process(tree: &mut Tree) {
    tree.service(SERVICE, &[("GREETING", "hello from ${infra.name}", "TEXT")]);
    let mut copy = unit("SCP", "Copy", "");
    copy["source"] = json!("ARTIFACTS");
    copy["destinationDirectoryPath"] = json!("$WINGS_STAGING_PATH");
    let install = "mkdir -p \"$WINGS_RUNTIME_PATH\"\ncp \"$WINGS_STAGING_PATH/$ARTIFACT_FILE_NAME\" \"$WINGS_RUNTIME_PATH/cart.sh\"\n\
                   echo ${artifact.buildNo} >>\"$WINGS_RUNTIME_PATH/installed\"";
    tree.command(SERVICE, "Install", "INSTALL", &[copy, unit("EXEC", "Install", install)]);
    let stop = "cd \"$WINGS_RUNTIME_PATH\" && [ -f pid ] || exit 0\nkill $(cat pid)\n\
                while kill -0 $(cat pid) 2>/dev/null; do sleep 0.05; done\nrm -f pid serving";
    let stopped = "! kill -0 $(cat \"$WINGS_RUNTIME_PATH/pid\" 2>/dev/null || echo 999999999) 2>/dev/null";
    tree.command(
        SERVICE,
        "Stop",
        "STOP",
        &[unit("EXEC", "Stop", stop), unit("PROCESS_CHECK_STOPPED", "Is down", stopped)],
    );
    let start =
        "cd \"$WINGS_RUNTIME_PATH\"\nnohup sh cart.sh >log 2>&1 </dev/null &\necho $! >pid\ncat pid >>pids";
    let runs = "kill -0 $(cat \"$WINGS_RUNTIME_PATH/pid\")";
    tree.command(
        SERVICE,
        "Start",
        "START",
        &[
            json!({ "commandUnitType": "COMMAND", "name": "Stop" }),
            unit("EXEC", "Start", start),
            unit("PROCESS_CHECK_RUNNING", "Is up", runs),
        ],
    );
    let healthy = "cd \"$WINGS_RUNTIME_PATH\"\nfor i in $(seq 100); do [ -s serving ] && break; sleep 0.1; done\n\
                   cat serving\ngrep -q '^ok ' serving";
    tree.command(SERVICE, "Check", "OTHER", &[unit("EXEC", "Is healthy", healthy)]);
}

/// What a release is: a process that says whether it is well. From 2.0 on it is not on hosts of `ap`.
fn release(number: &str) -> String {
    let well =
        if number == "1.0" { "word=ok" } else { "case \"$PWD\" in */ap/*) word=ill ;; *) word=ok ;; esac" };
    format!("{well}\necho \"$word {number} $GREETING\" >serving\nexec sleep 600\n")
}

fn workflow(tree: &mut Tree) {
    let deploy = [command("Install"), command("Start")];
    let phase = Phase::by(
        "Roll",
        "infrastructure",
        vec![
            with(section("Prepare", &[select(100, "PERCENTAGE")]), "type", json!("INFRASTRUCTURE_NODE")),
            section("Deploy", &deploy),
            with(section("Verify", &[command("Check")]), "type", json!("VERIFY_SERVICE")),
        ],
        vec![undoing("Deploy", &deploy)],
    );
    let strategies = json!([strategy(&["APPLICATION_ERROR", "VERIFICATION_FAILURE"], "ROLLBACK_WORKFLOW")]);
    tree.workflow(SHIP, "ROLLING", strategies, vec![phase], json!({ "concurrencyStrategy": "INFRA" }));
    tree.pipeline(SHIP, SHIP, &["infrastructure"]);
}

/// What every host of an infrastructure serves, and how often it was installed.
fn expect(site: &Site, infrastructure: &str, release: &str, installed: &str) -> Result<()> {
    for host in 0..site.hosts(infrastructure).len() {
        let serving = site.file(SHIP, infrastructure, host, "serving");
        ensure!(
            serving == format!("ok {release} hello from {infrastructure}\n"),
            "{infrastructure} {host}: {serving:?}"
        );
        let history = site.file(SHIP, infrastructure, host, "installed").replace('\n', " ");
        ensure!(history.trim() == installed, "{infrastructure} {host}: installed {history}");
        let pid = site.file(SHIP, infrastructure, host, "pid");
        ensure!(
            Path::new(&format!("/proc/{}", pid.trim())).exists(),
            "{infrastructure} {host}: process {pid} is gone"
        );
        for old in site.file(SHIP, infrastructure, host, "pids").lines().filter(|old| *old != pid.trim()) {
            ensure!(!runs(old), "{infrastructure} {host}: the old process {old} still runs");
        }
    }
    Ok(())
}

/// Whether a process runs, rather than waiting to be collected by its parent.
fn runs(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// Ends what the deployments started.
fn stop_processes(site: &Site) {
    for (name, _) in WORLD {
        for host in 0..site.hosts(name).len() {
            let pid = site.file(SHIP, name, host, "pid");
            let _ended = std::process::Command::new("kill")
                .arg(pid.trim())
                .stderr(std::process::Stdio::null())
                .status();
        }
    }
}

/// The story of all sources: 1.0 everywhere, then 2.0, which is ill on `ap`.
async fn tell(site: &Site, first: &str, second: &str) -> Result<()> {
    let run = site.run("pipeline", SHIP, "eu,us,ap", &[(SERVICE, first)]).await?;
    ensure!(run.status == "SUCCESS", "{first}: {:?}", site.server.legs(&run.id).await?);
    for (name, _) in WORLD {
        expect(site, name, "1.0", first)?;
    }
    let run = site.run("pipeline", SHIP, "eu,us,ap", &[(SERVICE, second)]).await?;
    ensure!(run.status == "FAILED", "{second}: {run:?}");
    let legs = site.server.legs(&run.id).await?;
    let statuses: Vec<(&str, &str)> =
        legs.iter().map(|leg| (leg.infrastructure.as_str(), leg.status.as_str())).collect();
    assert_eq!(statuses, [("eu", "SUCCESS"), ("us", "SUCCESS"), ("ap", "FAILED")]);
    let both = format!("{first} {second}");
    expect(site, "eu", "2.0", &both)?;
    expect(site, "us", "2.0", &both)?;
    expect(site, "ap", "1.0", &format!("{both} {first}"))?;
    let ap = site.outcome(&legs[2].id).await?;
    ensure!(ap.rollback == "ROLLED_BACK" && ap.message.contains("Is healthy"), "{ap:?}");
    let back = site.step(&legs[2].id, "Install", true).await?;
    ensure!(back["tasks"].as_array().is_some_and(|tasks| tasks.len() == site.hosts("ap").len()), "{back:#}");
    // The last good release of ap is still 1.0, that of the others 2.0.
    let run = site.run("pipeline", SHIP, "ap", &[(SERVICE, first)]).await?;
    ensure!(run.status == "SUCCESS", "{run:?}");
    expect(site, "ap", "1.0", &format!("{both} {first} {first}"))
}

async fn told(site: Site, first: &str, second: &str) -> Result<()> {
    let told = tell(&site, first, second).await;
    stop_processes(&site);
    told
}

fn write_releases(folder: &Path, name: impl Fn(&str) -> String) -> Result<()> {
    for number in ["1.0", "2.0"] {
        let path = folder.join(name(number));
        std::fs::create_dir_all(path.parent().context("no folder")?)?;
        std::fs::write(path, release(number))?;
    }
    Ok(())
}

/// A source whose script lists builds, each with the path of its file.
fn by_script(tree: &mut Tree, releases: &Path) {
    let script = format!(
        "cd '{}'\nprintf '{{\"builds\":[' >\"$ARTIFACT_RESULT_PATH\"\nseparator=''\nfor number in *; do\n\
         printf '%s{{\"number\":\"%s\",\"path\":\"%s/%s/cart.sh\"}}' \"$separator\" \"$number\" \"$PWD\" \"$number\" >>\"$ARTIFACT_RESULT_PATH\"\n\
         separator=','\ndone\nprintf ']}}' >>\"$ARTIFACT_RESULT_PATH\"",
        releases.display()
    );
    let mapping = json!({ "artifactRoot": "$.builds", "buildNoPath": "number",
        "artifactAttributes": [{ "mappedAttribute": "path", "relativePath": "path" }] });
    let scripts = json!([{ "action": "FETCH_VERSIONS", "customRepositoryMapping": mapping, "scriptString": script, "timeout": "60" }]);
    tree.application(
        &format!("Services/{SERVICE}/Artifact Servers/releases.yaml"),
        json!({ "type": "CUSTOM", "scripts": scripts }),
    );
}

fn tree_of(site: &Site) -> Tree {
    let mut tree = site.tree();
    process(&mut tree);
    workflow(&mut tree);
    tree
}

#[tokio::test]
async fn by_a_custom_source_one_infrastructure_goes_back_and_the_others_keep_the_new_release() -> Result<()> {
    let site = Site::start(&WORLD).await?;
    let releases = site.fleet.folder().join("releases");
    write_releases(&releases, |number| format!("{number}/cart.sh"))?;
    let mut tree = tree_of(&site);
    by_script(&mut tree, &releases);
    site.import(tree).await?;
    told(site, "1.0", "2.0").await
}

#[tokio::test]
async fn by_an_sftp_source_with_an_ssh_credential() -> Result<()> {
    let site = Site::start(&SMALL).await?;
    let files = Fleet::start(1)?;
    let releases = files.folder().join("releases");
    write_releases(&releases, |number| format!("cart-{number}.sh"))?;
    // Its own key, its own host key: pinned, as the server does not know the host.
    let key = site.secret_text("files-key", &files.user_key()?).await?;
    let method = json!({ "sshCredentialType": "SSH_KEY", "inlineSSHKey": { "sshKeySecretFileId": key } });
    site.credential("files", method).await?;
    let mut tree = tree_of(&site);
    let server = json!({ "type": "SFTP", "url": format!("sftp://{}", files.hosts()[0]), "hostConnectionAttrsName": "files",
        "hostKeys": [files.host_key()?] });
    tree.put("Artifact Servers/files.yaml", server);
    let source = json!({ "type": "SFTP", "serverName": "files", "artifactPaths": [format!("{}/cart-*.sh", releases.display())] });
    tree.application(&format!("Services/{SERVICE}/Artifact Servers/releases.yaml"), source);
    site.import(tree).await?;
    told(site, "cart-1.0.sh", "cart-2.0.sh").await
}

#[tokio::test]
async fn by_an_http_source_with_a_user_name_and_a_password() -> Result<()> {
    let site = Site::start(&SMALL).await?;
    let releases = site.fleet.folder().join("releases");
    write_releases(&releases, |number| format!("cart-{number}.sh"))?;
    let refused = Arc::new(Mutex::new(0));
    let url = serve(releases, "robot", "s3cret-of-the-robot", Arc::clone(&refused)).await?;
    site.secret_text("robot-password", "s3cret-of-the-robot").await?;
    let mut tree = tree_of(&site);
    let server =
        json!({ "type": "HTTP", "url": url, "username": "robot", "password": "secretName:robot-password" });
    tree.put("Artifact Servers/files.yaml", server);
    let source =
        json!({ "type": "HTTP", "serverName": "files", "artifactPaths": ["cart-1.0.sh", "cart-2.0.sh"] });
    tree.application(&format!("Services/{SERVICE}/Artifact Servers/releases.yaml"), source);
    site.import(tree).await?;
    told(site, "cart-1.0.sh", "cart-2.0.sh").await?;
    assert_eq!(*refused.lock().unwrap(), 0, "requests without the password");
    Ok(())
}

/// Without an earlier success there is nothing to go back to: the steps that need an artifact are skipped, and say why.
#[tokio::test]
async fn a_rollback_without_an_earlier_success_says_why_it_did_nothing() -> Result<()> {
    let site = Site::start(&[("eu", 1), ("ap", 2)]).await?;
    let releases = site.fleet.folder().join("releases");
    write_releases(&releases, |number| format!("{number}/cart.sh"))?;
    let mut tree = site.tree();
    process(&mut tree);
    by_script(&mut tree, &releases);
    let phase = Phase::by(
        "Roll",
        "infrastructure",
        vec![
            section("Deploy", &[command("Install"), command("Start")]),
            section("Verify", &[command("Check")]),
        ],
        vec![undoing("Deploy", &[command("Install")])],
    );
    let strategies = json!([strategy(&["APPLICATION_ERROR"], "ROLLBACK_WORKFLOW")]);
    tree.workflow(SHIP, "BASIC", strategies, vec![phase], json!({}));
    tree.pipeline(SHIP, SHIP, &["infrastructure"]);
    site.import(tree).await?;
    let run = site.run("pipeline", SHIP, "eu,ap", &[(SERVICE, "2.0")]).await?;
    let legs = site.server.legs(&run.id).await?;
    let ap = site.outcome(&legs[1].id).await?;
    let back = site.step(&legs[1].id, "Install", true).await?;
    let installed = site.file(SHIP, "ap", 0, "installed");
    for infrastructure in ["eu", "ap"] {
        for host in 0..site.hosts(infrastructure).len() {
            let pid = site.file(SHIP, infrastructure, host, "pid");
            let _ended = std::process::Command::new("kill").arg(pid.trim()).status();
        }
    }
    ensure!(run.status == "FAILED" && legs[0].status == "SUCCESS" && legs[1].status == "FAILED", "{legs:?}");
    ensure!(ap.rollback == "NOT_ROLLED_BACK", "{ap:?}");
    ensure!(back["status"] == "SKIPPED", "{back:#}");
    let reason = back["skipReason"].as_str().unwrap_or_default();
    ensure!(reason.contains("no artifact of an earlier successful deployment"), "{reason}");
    ensure!(installed == "2.0\n", "{installed}");
    Ok(())
}

#[tokio::test]
async fn a_build_that_a_source_does_not_have_and_one_that_was_replaced_are_errors() -> Result<()> {
    let site = Site::start(&[("eu", 1)]).await?;
    let releases = site.fleet.folder().join("releases");
    write_releases(&releases, |number| format!("{number}/cart.sh"))?;
    let mut tree = site.tree();
    process(&mut tree);
    by_script(&mut tree, &releases);
    let phase = Phase::on("Roll", "eu", vec![section("Deploy", &[command("Install")])], vec![]);
    tree.workflow(SHIP, "BASIC", json!([]), vec![phase], json!({}));
    site.import(tree).await?;
    let entity = (crate::site::APP, "workflow", SHIP);
    let answer = site.server.start_execution(entity, &[], &[(SERVICE, "9.9")]).await?;
    let said = answer["errors"].to_string();
    ensure!(said.contains("9.9") && said.contains("releases"), "{said}");
    let answer = site.server.start_execution(entity, &[], &[]).await?;
    ensure!(answer["errors"].to_string().contains("needs an artifact"), "{answer}");
    std::fs::remove_file(releases.join("2.0/cart.sh"))?;
    let run = site.run("workflow", SHIP, "", &[(SERVICE, "2.0")]).await?;
    let outcome = site.outcome(&run.id).await?;
    ensure!(outcome.status == "FAILED" && outcome.code == "ARTIFACT_UNREADABLE", "{outcome:?}");
    Ok(())
}

/// Serves a folder over HTTP to who knows the password; counts whom it refused.
async fn serve(
    folder: std::path::PathBuf,
    user: &str,
    password: &str,
    refused: Arc<Mutex<u32>>,
) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let right = format!("Basic {}", base64(&format!("{user}:{password}")));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (folder, right, refused) = (folder.clone(), right.clone(), Arc::clone(&refused));
            tokio::spawn(async move {
                let mut head = Vec::new();
                let mut piece = [0_u8; 1024];
                while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                    match stream.read(&mut piece).await {
                        Ok(length @ 1..) => head.extend_from_slice(&piece[..length]),
                        _ => return,
                    }
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                let (method, rest) = head.split_once(' ').unwrap_or_default();
                let path = rest.split(' ').next().unwrap_or_default().trim_start_matches('/');
                let known = head.lines().any(|line| {
                    line.split_once(": ").is_some_and(|(name, value)| {
                        name.eq_ignore_ascii_case("authorization") && value == right
                    })
                });
                let (status, body) = match std::fs::read(folder.join(path)) {
                    _ if !known => {
                        *refused.lock().unwrap() += 1;
                        ("401 Unauthorized", Vec::new())
                    }
                    Ok(body) => ("200 OK", body),
                    Err(_) => ("404 Not Found", Vec::new()),
                };
                let head = format!(
                    "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    body.len()
                );
                let body = if method == "HEAD" { Vec::new() } else { body };
                let _sent = stream.write_all(&[head.into_bytes(), body].concat()).await;
            });
        }
    });
    Ok(url)
}

fn base64(text: &str) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    text.as_bytes()
        .chunks(3)
        .flat_map(|chunk| {
            let bits = chunk.iter().fold(0_u32, |bits, byte| (bits << 8) | u32::from(*byte))
                << (8 * (3 - chunk.len()));
            (0..4).map(move |place| {
                let letter = (bits >> (18 - 6 * place)) & 63;
                if place <= chunk.len() { char::from(LETTERS[letter as usize]) } else { '=' }
            })
        })
        .collect()
}
