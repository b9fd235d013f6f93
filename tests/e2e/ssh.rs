//! Deployments to SSH hosts: phases and the hosts that they choose, command units, scripts, what is published, secrets, how hosts are trusted.

use anyhow::{Result, ensure};
use manifold_testkit::server::string;
use serde_json::{Value, json};

use crate::site::{
    APP, ENVIRONMENT, Phase, SERVICE, Site, Tree, command, mark, script, section, select, step, strategy,
    undoing, unit, with,
};

/// A site of one infrastructure whose application has a service without commands.
async fn site_of(infrastructures: &[(&str, usize)]) -> Result<(Site, Tree)> {
    let site = Site::start(infrastructures).await?;
    let mut tree = site.tree();
    tree.service(SERVICE, &[]);
    Ok((site, tree))
}

fn rollback() -> Value {
    json!([strategy(&["APPLICATION_ERROR", "VERIFICATION_FAILURE"], "ROLLBACK_WORKFLOW")])
}

/// Runs a workflow that must end well.
async fn well(site: &Site, name: &str) -> Result<String> {
    let run = site.workflow(name).await?;
    ensure!(
        run.status == "SUCCESS",
        "{name}: {:?}\n{}",
        site.outcome(&run.id).await?,
        site.log(&run.id).await?
    );
    Ok(run.id)
}

fn canary(first: &'static str, second: &'static str, unit: &str, count: (u32, u32)) -> Vec<Phase> {
    let phase = |name, variable, word: &str, count| {
        let sections =
            vec![section("Prepare", &[select(count, unit)]), section("Deploy", &[mark("Deploy", word, "")])];
        Phase::by(
            name,
            variable,
            sections,
            vec![undoing("Deploy", &[mark("Undo", &format!("undo-{word}"), "")])],
        )
    };
    vec![phase("Canary", first, "canary", count.0), phase("Rest", second, "rest", count.1)]
}

/// S08, D1.
#[tokio::test]
async fn a_two_phase_canary_with_one_variable_fans_out_and_selects_cumulatively() -> Result<()> {
    let (site, mut tree) = site_of(&[("eu", 4), ("us", 2), ("ap", 5)]).await?;
    for (name, unit, counts) in [("percent", "PERCENTAGE", (25, 100)), ("count", "COUNT", (1, 3))] {
        tree.workflow(
            name,
            "CANARY",
            rollback(),
            canary("infrastructure", "infrastructure", unit, counts),
            json!({}),
        );
        tree.pipeline(name, name, &["infrastructure"]);
    }
    site.import(tree).await?;
    for (name, eu, us, ap) in [
        (
            "percent",
            ["canary", "rest", "rest", "rest"],
            ["canary", "rest"],
            ["canary", "canary", "rest", "rest", "rest"],
        ),
        ("count", ["canary", "rest", "rest", ""], ["canary", "rest"], ["canary", "rest", "rest", "", ""]),
    ] {
        let run = site.run("pipeline", name, "eu,us,ap", &[]).await?;
        ensure!(run.status == "SUCCESS", "{:?}", site.server.legs(&run.id).await?);
        assert_eq!(site.all_marks(name, "eu"), eu);
        assert_eq!(site.all_marks(name, "us"), us);
        assert_eq!(site.all_marks(name, "ap"), ap);
    }
    Ok(())
}

#[tokio::test]
async fn a_canary_with_two_variables_takes_single_values_and_refuses_several_naming_its_phases() -> Result<()>
{
    let (site, mut tree) = site_of(&[("eu", 2), ("us", 2)]).await?;
    tree.workflow("two", "CANARY", rollback(), canary("first", "second", "COUNT", (1, 2)), json!({}));
    tree.pipeline("two", "two", &["first", "second"]);
    site.import(tree).await?;
    let entity = (APP, "pipeline", "two");
    let answer = site.server.start_execution(entity, &[("first", "eu,us"), ("second", "us")], &[]).await?;
    let said = answer["errors"].to_string();
    ensure!(said.contains("Canary") && said.contains("Rest"), "{answer}");
    let id = site.server.started(entity, &[("first", "eu"), ("second", "us")], &[]).await?;
    assert_eq!(site.server.ended(&id, crate::site::ENDS).await?, "SUCCESS");
    assert_eq!(site.all_marks("two", "eu"), ["canary", ""]);
    // Another infrastructure counts its hosts from the start.
    assert_eq!(site.all_marks("two", "us"), ["rest", "rest"]);
    Ok(())
}

/// A canary that fails in its second phase undoes each phase on the hosts that the phase had chosen.
#[tokio::test]
async fn a_failed_canary_is_rolled_back_newest_phase_first_on_its_own_hosts() -> Result<()> {
    let (site, mut tree) = site_of(&[("eu", 4), ("us", 4)]).await?;
    let mut phases = canary("infrastructure", "infrastructure", "PERCENTAGE", (25, 75));
    let breaks = mark("Check", "checked", "[ ${infra.name} != us ] || exit 3");
    phases[1].sections.push(section("Verify", &[breaks]));
    tree.workflow("canary", "CANARY", rollback(), phases, json!({}));
    tree.pipeline("canary", "canary", &["infrastructure"]);
    site.import(tree).await?;
    let run = site.run("pipeline", "canary", "eu,us", &[]).await?;
    ensure!(run.status == "FAILED", "{run:?}");
    assert_eq!(site.all_marks("canary", "eu"), ["canary", "rest checked", "rest checked", ""]);
    assert_eq!(
        site.all_marks("canary", "us"),
        ["canary undo-canary", "rest checked undo-rest", "rest checked undo-rest", ""]
    );
    Ok(())
}

#[tokio::test]
async fn nodes_are_selected_by_name_and_may_be_chosen_again() -> Result<()> {
    let (site, mut tree) = site_of(&[("eu", 3)]).await?;
    let named = site.hosts("eu")[2].to_string();
    let choose = |properties: Value| step("DC_NODE_SELECT", "Select Nodes", properties);
    let by_name = choose(
        json!({ "specificHosts": true, "hostNames": [named], "excludeSelectedHostsFromFuturePhases": false }),
    );
    let phases = vec![
        Phase::on(
            "Named",
            "eu",
            vec![section("Prepare", &[by_name]), section("Deploy", &[mark("Deploy", "named", "")])],
            vec![],
        ),
        Phase::on(
            "All",
            "eu",
            vec![
                section("Prepare", &[select(100, "PERCENTAGE")]),
                section("Deploy", &[mark("Deploy", "all", "")]),
            ],
            vec![],
        ),
    ];
    tree.workflow("named", "CANARY", rollback(), phases, json!({}));
    let unknown = choose(json!({ "specificHosts": true, "hostNames": "127.9.9.9" }));
    let phases = vec![Phase::on("Named", "eu", vec![section("Prepare", &[unknown])], vec![])];
    tree.workflow("unknown", "BASIC", rollback(), phases, json!({}));
    site.import(tree).await?;
    well(&site, "named").await?;
    assert_eq!(site.all_marks("named", "eu"), ["all", "all", "named all"]);
    let run = site.workflow("unknown").await?;
    let outcome = site.outcome(&run.id).await?;
    ensure!(outcome.status == "FAILED" && outcome.message.contains("127.9.9.9"), "{outcome:?}");
    Ok(())
}

/// Two services in one workflow, each with its commands and variables; steps before and after the phases run once a leg.
#[tokio::test]
async fn a_multi_service_workflow_deploys_each_service_in_its_phase_between_pre_and_post_deployment()
-> Result<()> {
    let site = Site::start(&[("eu", 2), ("us", 1)]).await?;
    let mut tree = site.tree();
    for service in ["cart", "stock"] {
        tree.service(service, &[("WHO", &format!("{service} in ${{infra.name}}"), "TEXT")]);
        let text = "mkdir -p \"$WINGS_RUNTIME_PATH\" && echo \"$WHO\" >>\"$WINGS_RUNTIME_PATH/order\"";
        tree.command(service, "Deploy", "INSTALL", &[unit("EXEC", "Deploy", text)]);
    }
    let order = site.fleet.folder().join("outer");
    let outer = |word: &str| {
        let text = format!("echo {word} ${{workflow.variables.infrastructure}} >>'{}'", order.display());
        json!([step(
            "SHELL_SCRIPT",
            word,
            json!({ "executeOnDelegate": true, "scriptType": "BASH", "scriptString": text })
        )])
    };
    let phase = |name, service| {
        Phase::by(name, "infrastructure", vec![section("Deploy", &[command("Deploy")])], vec![]).of(service)
    };
    let more = json!({ "preDeploymentSteps": outer("before"), "postDeploymentSteps": outer("after"), "concurrencyStrategy": "INFRA" });
    let phases = vec![phase("Cart", "cart"), phase("Stock", "stock")];
    tree.workflow("both", "MULTI_SERVICE", rollback(), phases, more);
    tree.pipeline("both", "both", &["infrastructure"]);
    site.import(tree).await?;
    let run = site.run("pipeline", "both", "eu,us", &[]).await?;
    ensure!(run.status == "SUCCESS", "{:?}", site.server.legs(&run.id).await?);
    for (infrastructure, host) in [("eu", 0), ("eu", 1), ("us", 0)] {
        let expected = format!("cart in {infrastructure}\nstock in {infrastructure}\n");
        assert_eq!(site.file("both", infrastructure, host, "order"), expected);
    }
    let outer = std::fs::read_to_string(&order)?;
    let mut lines: Vec<&str> = outer.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["after eu", "after us", "before eu", "before us"]);
    Ok(())
}

/// Every unit of a command, in order, on one host; a status for each; what comes after a failed one stays queued.
#[tokio::test]
async fn command_units_run_in_order_and_each_has_a_status() -> Result<()> {
    let site = Site::start(&[("eu", 2)]).await?;
    let artifact = site.fleet.folder().join("cart.tgz");
    std::fs::write(&artifact, vec![7_u8; 300_000])?;
    let mut tree = site.tree();
    tree.service(SERVICE, &[("COLOUR", "green", "TEXT")]);
    let list = format!(
        "printf '{{\"results\":[{{\"buildNo\":\"42\",\"metadata\":{{\"path\":\"{}\"}}}}]}}' >\"$ARTIFACT_RESULT_PATH\"",
        artifact.display()
    );
    let scripts = json!([{ "action": "FETCH_VERSIONS", "scriptString": list }]);
    tree.application(
        "Services/cart/Artifact Servers/builds.yaml",
        json!({ "type": "CUSTOM", "scripts": scripts }),
    );
    units(&site, &mut tree).await?;
    let phases = vec![Phase::on("One", "eu", vec![section("Deploy", &[command("All")])], vec![])];
    tree.workflow("units", "BASIC", rollback(), phases, json!({}));
    let phases = vec![Phase::on("One", "eu", vec![section("Deploy", &[command("Broken")])], vec![])];
    tree.workflow("broken", "BASIC", rollback(), phases, json!({}));
    site.import(tree).await?;
    let run = site.run("workflow", "units", "", &[(SERVICE, "42")]).await?;
    ensure!(run.status == "SUCCESS", "{:?}\n{}", site.outcome(&run.id).await?, site.log(&run.id).await?);
    for host in 0..2 {
        let copied = std::fs::read(site.folder("units", "eu", host).join("cart.tgz"))?;
        assert_eq!(copied, std::fs::read(&artifact)?);
        assert_eq!(site.file("units", "eu", host, "etc/app.conf"), "plain\n");
        assert_eq!(site.file("units", "eu", host, "etc/deep/secret.conf"), "hush-hush-content\n");
        assert_eq!(site.file("units", "eu", host, "said"), "green from setup, build 42, file cart.tgz\n");
    }
    let step = site.step(&run.id, "All", false).await?;
    let names: Vec<String> = step["tasks"][0]["units"]
        .as_array()
        .unwrap()
        .iter()
        .map(|unit| format!("{} {}", unit["name"].as_str().unwrap(), unit["status"].as_str().unwrap()))
        .collect();
    let order = [
        "Folders",
        "Copy",
        "Configs",
        "Environment",
        "Say",
        "Inner / Nothing runs",
        "Inner / Port is free",
        "Start",
        "Runs",
        "Listens",
        "Download",
        "Stop",
    ];
    assert_eq!(names, order.map(|name| format!("{name} SUCCESS")));
    site.ensure_hidden(&run.id, "hush-hush-content").await?;
    let run = site.workflow("broken").await?;
    let outcome = site.outcome(&run.id).await?;
    ensure!(outcome.status == "FAILED" && outcome.class == "APPLICATION_ERROR", "{outcome:?}");
    let step = site.step(&run.id, "Broken", false).await?;
    let statuses: Vec<(&Value, &Value)> = step["tasks"][0]["units"]
        .as_array()
        .unwrap()
        .iter()
        .map(|unit| (&unit["status"], &unit["exitCode"]))
        .collect();
    let expected =
        [(json!("SUCCESS"), json!(0)), (json!("FAILURE"), json!(9)), (json!("QUEUED"), Value::Null)];
    assert_eq!(statuses, expected.iter().map(|(status, code)| (status, code)).collect::<Vec<_>>());
    Ok(())
}

async fn units(site: &Site, tree: &mut Tree) -> Result<()> {
    let config = |name: &str, target: &str, encrypted: bool| {
        json!({ "type": "CONFIG_FILE", "checksumType": "MD5", "encrypted": encrypted, "fileName": name,
            "targetFilePath": target, "targetToAllEnv": true })
    };
    tree.application("Services/cart/Config Files/app.conf.yaml", config("app.conf", "etc/app.conf", false));
    tree.text("Services/cart/Config Files/app.conf", "plain\n");
    tree.application(
        "Services/cart/Config Files/secret.conf.yaml",
        config("secret.conf", "etc/deep/secret.conf", true),
    );
    site.secret_file("secret.conf", b"hush-hush-content\n").await?;
    let with_key = |mut unit: Value, key: &str, value: &str| {
        unit[key] = json!(value);
        unit
    };
    // Each host listens on its own address.
    let port = 21_000 + u16::try_from(std::process::id() % 30_000)?;
    let free = format!("! (exec 3<>/dev/tcp/${{host.hostName}}/{port}) 2>/dev/null");
    let listens = format!(
        "for i in $(seq 100); do (exec 3<>/dev/tcp/${{host.hostName}}/{port}) 2>/dev/null && exit 0; sleep 0.1; done; exit 1"
    );
    let start = format!(
        "nohup python3 -m http.server {port} --bind ${{host.hostName}} >log 2>&1 </dev/null &\necho $! >pid"
    );
    let inner = [
        unit("PROCESS_CHECK_STOPPED", "Nothing runs", "! test -e pid"),
        unit("PORT_CHECK_CLEARED", "Port is free", &free),
    ];
    tree.command(SERVICE, "Inner", "OTHER", &inner);
    let at = |unit: Value| with_key(unit, "workingDirectory", "$WINGS_RUNTIME_PATH");
    let copy = with_key(unit("SCP", "Copy", ""), "source", "ARTIFACTS");
    tree.command(
        SERVICE,
        "All",
        "INSTALL",
        &[
            unit("EXEC", "Folders", "mkdir -p \"$WINGS_RUNTIME_PATH\""),
            with_key(copy, "destinationDirectoryPath", "$WINGS_RUNTIME_PATH"),
            with_key(unit("COPY_CONFIGS", "Configs", ""), "destinationParentPath", "$WINGS_RUNTIME_PATH"),
            unit("SETUP_ENV", "Environment", "export FROM_SETUP=\"$COLOUR from setup\""),
            at(unit(
                "EXEC",
                "Say",
                "echo \"$FROM_SETUP, build ${artifact.buildNo}, file $ARTIFACT_FILE_NAME\" >said",
            )),
            json!({ "commandUnitType": "COMMAND", "name": "Inner" }),
            at(unit("EXEC", "Start", &start)),
            at(unit("PROCESS_CHECK_RUNNING", "Runs", "kill -0 $(cat pid)")),
            unit("PORT_CHECK_LISTENING", "Listens", &listens),
            at(unit(
                "DOWNLOAD_ARTIFACT",
                "Download",
                "cp \"$ARTIFACT_PATH\" downloaded && cmp downloaded cart.tgz",
            )),
            at(unit("EXEC", "Stop", "kill $(cat pid)")),
        ],
    );
    let broken = [unit("EXEC", "a", "true"), unit("EXEC", "b", "exit 9"), unit("EXEC", "c", "true")];
    tree.command(SERVICE, "Broken", "OTHER", &broken);
    Ok(())
}

/// Configuration variables are the environment of every script; a secret one works and is seen nowhere.
#[tokio::test]
async fn configuration_variables_reach_scripts_and_a_secret_one_is_masked() -> Result<()> {
    const SECRET: &str = "tr0ub4dor-and-3";
    let site = Site::start(&[("eu", 1)]).await?;
    site.secret_text("db", SECRET).await?;
    let mut tree = site.tree();
    tree.service(
        SERVICE,
        &[("COLOUR", "green", "TEXT"), ("LEVEL", "low", "TEXT"), ("PASSWORD", "db", "ENCRYPTED_TEXT")],
    );
    let overrides =
        json!([{ "name": "LEVEL", "value": "high", "valueType": "TEXT", "serviceName": SERVICE }]);
    let environment =
        json!({ "type": "ENVIRONMENT", "environmentType": "PROD", "variableOverrides": overrides });
    tree.application(&format!("Environments/{ENVIRONMENT}/Index.yaml"), environment);
    let say = "mkdir -p \"$WINGS_RUNTIME_PATH\" && cd \"$WINGS_RUNTIME_PATH\"\necho \"$COLOUR $LEVEL $PASSWORD\" >said\n\
               echo \"the password is $PASSWORD\"\necho \"and ${secrets.getValue(\"db\")}\"\necho '${serviceVariable.PASSWORD}'";
    tree.command(
        SERVICE,
        "Say",
        "OTHER",
        &[unit("SETUP_ENV", "Set", "export MORE=1"), unit("EXEC", "Say", say)],
    );
    let steps = [
        command("Say"),
        script(
            "Also",
            "echo \"script: $PASSWORD ${serviceVariable.PASSWORD}\"; cat \"$WINGS_RUNTIME_PATH/said\"",
        ),
    ];
    let phases = vec![Phase::on("One", "eu", vec![section("Deploy", &steps)], vec![])];
    tree.workflow("secret", "BASIC", rollback(), phases, json!({}));
    site.import(tree).await?;
    let id = well(&site, "secret").await?;
    assert_eq!(site.file("secret", "eu", 0, "said"), format!("green high {SECRET}\n"));
    let log = site.log(&id).await?;
    ensure!(log.contains("the password is ***") && log.contains("script: ***"), "{log}");
    site.ensure_hidden(&id, SECRET).await?;
    // Nothing is left on the host but what the scripts wrote themselves: a file, and their output in private folders.
    let left = std::process::Command::new("grep").args(["-rl", SECRET]).arg(site.fleet.home()).output()?;
    let left = String::from_utf8(left.stdout)?;
    let others: Vec<&str> = left.lines().filter(|path| !path.ends_with(".out")).collect();
    assert_eq!(others, [site.folder("secret", "eu", 0).join("said").to_string_lossy()]);
    let attempts = std::fs::metadata(site.fleet.home().join(".manifold/attempts"))?;
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&attempts.permissions()) & 0o777, 0o700);
    Ok(())
}

fn publishing(name: &str, text: &str, published: &str, scope: &str, more: Value) -> Value {
    let mut step = script(name, text);
    let properties =
        json!({ "sweepingOutputName": published, "sweepingOutputScope": scope, "publishAsVar": true });
    for (key, value) in properties.as_object().into_iter().chain(more.as_object()).flatten() {
        step["properties"][key] = value.clone();
    }
    step
}

/// Outputs of a script on a host are there for later steps; secret ones too, and nobody sees them.
#[tokio::test]
async fn outputs_of_scripts_on_hosts_are_published_and_secret_ones_stay_hidden() -> Result<()> {
    const SECRET: &str = "correct-horse-battery";
    let (site, mut tree) = site_of(&[("eu", 1)]).await?;
    // The secret is made on the host, so that the server has never heard of it before.
    let text = format!(
        "export VERSION=7.1\nexport TOKEN=$(echo {} | rev)\n",
        SECRET.chars().rev().collect::<String>()
    );
    let outputs = json!({ "outputVars": "VERSION", "secretOutputVars": "TOKEN" });
    let later = "mkdir -p \"$WINGS_RUNTIME_PATH\"\necho '${context.found.VERSION} ${found.TOKEN}' >\"$WINGS_RUNTIME_PATH/said\"\necho 'token ${context.found.TOKEN}'";
    let steps = [publishing("Find", &text, "found", "WORKFLOW", outputs.clone()), script("Use", later)];
    let early = publishing(
        "Early",
        "export VERSION=8\nexit 0\nexport VERSION=9",
        "early",
        "PHASE",
        json!({ "outputVars": "VERSION" }),
    );
    let use_early = script("Use early", "echo '${context.early.VERSION}' >\"$WINGS_RUNTIME_PATH/early\"");
    let sections = vec![section("Deploy", &steps), section("Early", &[early, use_early])];
    tree.workflow("publish", "BASIC", rollback(), vec![Phase::on("One", "eu", sections, vec![])], json!({}));
    site.import(tree).await?;
    let id = well(&site, "publish").await?;
    assert_eq!(site.file("publish", "eu", 0, "said"), format!("7.1 {SECRET}\n"));
    // A script that leaves early publishes nothing (`behaviour.md` 23); what cannot be resolved stays in a script as it is.
    assert_eq!(site.file("publish", "eu", 0, "early"), "${context.early.VERSION}\n");
    let log = site.log(&id).await?;
    ensure!(log.contains("token ***"), "{log}");
    site.ensure_hidden(&id, SECRET).await
}

/// A script goes to the host that it names, by a credential of its own; with `${instance…}` it goes to every host.
#[tokio::test]
async fn a_script_runs_on_the_host_that_it_names_or_on_every_instance() -> Result<()> {
    let (site, mut tree) = site_of(&[("eu", 2), ("elsewhere", 1)]).await?;
    let other = site.hosts("elsewhere")[0].to_string();
    let place = site.fleet.folder().join("where");
    let text = format!("echo \"$(pwd) $(echo $SSH_CONNECTION | cut -d' ' -f3)\" >>'{}'", place.display());
    let on = |name: &str, host: Value, credential: &str| {
        step(
            "SHELL_SCRIPT",
            name,
            json!({ "executeOnDelegate": false, "connectionType": "SSH", "host": host,
            "sshKeyRefName": credential, "scriptType": "BASH", "scriptString": text, "commandPath": "/tmp" }),
        )
    };
    let own_key = site.fleet.add_key("other_user_key", &["-t", "ecdsa", "-N", ""])?;
    let key = site.secret_text("own-key", &own_key).await?;
    let method = json!({ "sshCredentialType": "SSH_KEY", "inlineSSHKey": { "sshKeySecretFileId": key } });
    site.credential("own", method).await?;
    let everywhere = script(
        "Everywhere",
        &format!(
            "echo \"$(pwd) ${{instance.name}} $(echo $SSH_CONNECTION | cut -d' ' -f3)\" >>'{}'",
            place.display()
        ),
    );
    let steps = [on("Named", json!(other), "own"), mark("Make", "made", ""), everywhere];
    let phases = vec![Phase::on("One", "eu", vec![section("Deploy", &steps)], vec![])];
    let before = json!([on("Before", json!(other), "fleet")]);
    tree.workflow("where", "BASIC", rollback(), phases, json!({ "preDeploymentSteps": before }));
    site.import(tree).await?;
    well(&site, "where").await?;
    let said = std::fs::read_to_string(&place)?;
    let mut lines: Vec<&str> = said.lines().map(str::trim).collect();
    lines.sort_unstable();
    let hosts = site.hosts("eu");
    let mut expected = vec![format!("/tmp {other}"); 2];
    // Without a path of its own a script runs in the runtime folder.
    expected.extend(
        hosts
            .iter()
            .enumerate()
            .map(|(number, host)| format!("{} {host} {host}", site.folder("where", "eu", number).display())),
    );
    expected.sort_unstable();
    assert_eq!(lines, expected);
    Ok(())
}

fn one_step(tree: &mut Tree, name: &str, infrastructure: &'static str) {
    let phases = vec![Phase::on(
        "One",
        infrastructure,
        vec![section("Deploy", &[mark("Deploy", "here", "")])],
        vec![],
    )];
    tree.workflow(name, "BASIC", json!([]), phases, json!({}));
}

/// Keys in secrets of both types, with and without passphrase, and in a file of the delegate.
#[tokio::test]
async fn hosts_are_signed_in_to_with_keys_of_every_home() -> Result<()> {
    let (site, mut tree) = site_of(&[("eu", 1)]).await?;
    let key = site.fleet.user_key()?;
    let file = site.secret_file("key-file", key.as_bytes()).await?;
    let locked = site.fleet.add_key("locked_key", &["-t", "ed25519", "-N", "open sesame"])?;
    let locked = site.secret_text("locked-key", &locked).await?;
    let passphrase = site.secret_text("passphrase", "open sesame").await?;
    let old = site.fleet.add_key("old_key", &["-t", "rsa", "-b", "2048", "-m", "PEM", "-N", ""])?;
    let old = site.secret_text("old-key", &old).await?;
    let inline = |id: &str, passphrase: Option<&str>| json!({ "sshCredentialType": "SSH_KEY", "inlineSSHKey": { "sshKeySecretFileId": id, "passphraseSecretId": passphrase } });
    let path = json!({ "sshCredentialType": "SSH_KEY_FILE_PATH", "sshKeyFile": { "path": site.fleet.user_key_file() } });
    let missing =
        json!({ "sshCredentialType": "SSH_KEY_FILE_PATH", "sshKeyFile": { "path": "/nowhere/key" } });
    for (name, method) in [
        ("by file secret", inline(&file, None)),
        ("by locked key", inline(&locked, Some(&passphrase))),
        ("by rsa key", inline(&old, None)),
        ("by path", path),
        ("by missing path", missing),
        ("by locked key alone", inline(&locked, None)),
    ] {
        let credential = name.replace(' ', "-");
        site.credential(&credential, method).await?;
        tree.infrastructure(name, site.hosts("eu"), json!({ "hostConnectionAttrsName": credential }));
        one_step(&mut tree, name, name);
    }
    site.import(tree).await?;
    for name in ["by file secret", "by locked key", "by rsa key", "by path"] {
        well(&site, name).await?;
    }
    for (name, code) in
        [("by missing path", "SSH_KEY_UNREADABLE"), ("by locked key alone", "SSH_KEY_UNREADABLE")]
    {
        let run = site.workflow(name).await?;
        let outcome = site.outcome(&run.id).await?;
        ensure!(
            (outcome.class.as_str(), outcome.code.as_str()) == ("AUTHENTICATION", code),
            "{name}: {outcome:?}"
        );
    }
    Ok(())
}

/// A host whose key nobody has vouched for is refused with its fingerprint; pinned keys and `accept-new` are the ways in.
#[tokio::test]
async fn an_unknown_host_is_refused_unless_its_key_is_pinned_or_new_ones_are_accepted() -> Result<()> {
    let build = async |arguments: &[&str]| -> Result<Site> {
        let site = Site::start_with(&[("eu", 1)], false, arguments).await?;
        let mut tree = site.tree();
        tree.service(SERVICE, &[]);
        tree.infrastructure("pinned", site.hosts("eu"), json!({ "hostKeys": [site.fleet.host_key()?] }));
        tree.infrastructure(
            "fingerprint",
            site.hosts("eu"),
            json!({ "hostKeys": [site.fleet.fingerprint()?] }),
        );
        for name in ["eu", "pinned", "fingerprint"] {
            one_step(&mut tree, name, name);
        }
        site.import(tree).await?;
        Ok(site)
    };
    let strict = build(&[]).await?;
    let run = strict.workflow("eu").await?;
    let outcome = strict.outcome(&run.id).await?;
    ensure!(
        (outcome.class.as_str(), outcome.code.as_str()) == ("AUTHENTICATION", "HOST_KEY_UNKNOWN"),
        "{outcome:?}"
    );
    ensure!(outcome.message.contains(&strict.fleet.fingerprint()?), "{outcome:?}");
    let step = strict.step(&run.id, "Deploy", false).await?;
    ensure!(string(&step, "/failure/hint").is_ok_and(|hint| !hint.is_empty()), "{step:#}");
    well(&strict, "pinned").await?;
    well(&strict, "fingerprint").await?;
    let accepting = build(&["--ssh-host-keys", "accept-new"]).await?;
    well(&accepting, "eu").await?;
    // A host that is known by another key is never let in.
    let host = format!("[{}]:{}", accepting.hosts("eu")[0], accepting.port());
    let other = manifold_testkit::sshd::Fleet::start(1)?.host_key()?;
    let file = accepting.fleet.folder().join("nobody_known");
    let known = std::fs::read_to_string(&file)?;
    std::fs::write(&file, format!("{host} {other}\n"))?;
    let run = accepting.workflow("eu").await?;
    let outcome = accepting.outcome(&run.id).await?;
    ensure!(
        (outcome.class.as_str(), outcome.code.as_str()) == ("AUTHENTICATION", "HOST_KEY_CHANGED"),
        "{outcome:?}"
    );
    ensure!(std::fs::read_to_string(&file)? == format!("{host} {other}\n"), "the known key was replaced");
    ensure!(known.contains(&accepting.fleet.host_key()?), "{known}");
    Ok(())
}

/// A leg waits for the lock of its target, and says whose it is; legs on other targets do not wait.
#[tokio::test]
async fn a_second_deployment_to_the_same_hosts_waits_for_the_first() -> Result<()> {
    let (site, mut tree) = site_of(&[("eu", 1)]).await?;
    let wait = "for i in $(seq 600); do [ -e go ] && break; sleep 0.1; done; echo ${workflow.name} >>order";
    let phases = vec![Phase::on("One", "eu", vec![section("Deploy", &[mark("Deploy", "x", wait)])], vec![])];
    tree.workflow("first", "BASIC", json!([]), phases, json!({ "concurrencyStrategy": "INFRA" }));
    let phases = vec![Phase::on("One", "eu", vec![section("Deploy", &[mark("Deploy", "x", "")])], vec![])];
    tree.workflow("second", "BASIC", json!([]), phases, json!({ "concurrencyStrategy": "INFRA" }));
    site.import(tree).await?;
    let first = site.server.started((APP, "workflow", "first"), &[], &[]).await?;
    manifold_testkit::server::until("the first is on the host", crate::site::ENDS, async || {
        Ok((site.marks("first", "eu", 0) == "x").then_some(()))
    })
    .await?;
    let second = site.server.started((APP, "workflow", "second"), &[], &[]).await?;
    let waits = "query($e: String!) { execution(executionId: $e) { ... on WorkflowExecution { waits { reason detail } } } }";
    let holder = manifold_testkit::server::until("the second waits", crate::site::ENDS, async || {
        let found = site.server.data_of(waits, json!({ "e": second })).await?;
        let wait = &found["execution"]["waits"][0];
        Ok((wait["reason"] == "LOCK")
            .then(|| wait["detail"]["holder"].clone())
            .filter(|holder| !holder.is_null()))
    })
    .await?;
    assert_eq!(holder, json!(first));
    assert_eq!(site.marks("second", "eu", 0), "");
    std::fs::write(site.folder("first", "eu", 0).join("go"), "")?;
    for execution in [&first, &second] {
        assert_eq!(site.server.ended(execution, crate::site::ENDS).await?, "SUCCESS");
    }
    assert_eq!(site.marks("second", "eu", 0), "x");
    Ok(())
}

/// What a section is skipped for is said, and it is not on the host.
#[tokio::test]
async fn skip_conditions_are_looked_at_per_leg() -> Result<()> {
    let (site, mut tree) = site_of(&[("eu", 1), ("us", 1)]).await?;
    let skips = json!([{ "scope": "SPECIFIC_STEPS", "steps": ["Only us"], "assertionExpression": "${infra.name} == \"eu\"" }]);
    let deploy = with(
        section("Deploy", &[mark("Both", "both", ""), mark("Only us", "us", "")]),
        "stepSkipStrategies",
        skips,
    );
    let phases = vec![Phase::by("One", "infrastructure", vec![deploy], vec![])];
    tree.workflow("skips", "BASIC", json!([]), phases, json!({}));
    tree.pipeline("skips", "skips", &["infrastructure"]);
    site.import(tree).await?;
    let run = site.run("pipeline", "skips", "eu,us", &[]).await?;
    ensure!(run.status == "SUCCESS", "{run:?}");
    assert_eq!(site.marks("skips", "eu", 0), "both");
    assert_eq!(site.marks("skips", "us", 0), "both us");
    let legs = site.server.legs(&run.id).await?;
    let skipped = site.step(&legs[0].id, "Only us", false).await?;
    ensure!(
        skipped["status"] == "SKIPPED"
            && skipped["skipReason"].as_str().is_some_and(|why| why.contains("eu")),
        "{skipped:#}"
    );
    Ok(())
}

/// Deadlines, aborts and answers end what runs on the hosts, children included; what ignores the first signal too.
#[tokio::test]
async fn a_command_that_is_stopped_leaves_no_process_on_the_host() -> Result<()> {
    let (site, mut tree) = site_of(&[("eu", 2)]).await?;
    let long = |name: &str, ignores: &str, timeout: u64| {
        let then = format!("{ignores} sleep 611 &\necho $! >pid\n{ignores} wait");
        let mut step = mark("Long", "began", &then);
        step["properties"]["timeoutMillis"] = json!(timeout);
        (name.to_owned(), vec![Phase::on("One", "eu", vec![section("Deploy", &[step])], vec![])])
    };
    let cases =
        [long("timeout", "", 3_000), long("stubborn", "trap '' TERM;", 3_000), long("abort", "", 600_000)];
    for (name, phases) in cases {
        tree.workflow(&name, "BASIC", json!([]), phases, json!({}));
    }
    site.import(tree).await?;
    let mut running = Vec::new();
    for name in ["timeout", "stubborn", "abort"] {
        running.push((name, site.server.started((APP, "workflow", name), &[], &[]).await?));
    }
    manifold_testkit::server::until("the command runs on both hosts", crate::site::ENDS, async || {
        let runs = |host| !site.file("abort", "eu", host, "pid").trim().is_empty();
        Ok((runs(0) && runs(1)).then_some(()))
    })
    .await?;
    let path = format!("/api/executions/{}", running[2].1);
    let body = json!({ "executionInterruptType": "ABORT_ALL" });
    site.server.request(reqwest::Method::PUT, &path).json(&body).send().await?.error_for_status()?;
    for (name, id) in &running {
        site.server.ended(id, crate::site::ENDS).await?;
        let outcome = site.outcome(id).await?;
        let expected = if *name == "abort" { "ABORTED" } else { "FAILED" };
        ensure!(outcome.status == expected, "{name}: {outcome:?}");
        for host in 0..2 {
            let pid = site.file(name, "eu", host, "pid");
            let line = std::fs::read_to_string(format!("/proc/{}/cmdline", pid.trim())).unwrap_or_default();
            ensure!(!line.contains("611"), "{name}: process {pid} still runs on host {host}");
        }
    }
    Ok(())
}

/// Strategies of a rollback phase's section keep it going; an intervention in it can be answered.
#[tokio::test]
async fn a_rollback_phase_has_strategies_of_its_own() -> Result<()> {
    let (site, mut tree) = site_of(&[("eu", 2)]).await?;
    for (name, action) in [("ignores", "IGNORE"), ("asks", "MANUAL_INTERVENTION"), ("retries", "RETRY")] {
        let strategies =
            json!([{ "failureTypes": ["APPLICATION_ERROR"], "repairActionCode": action, "retryCount": 1 }]);
        let undo = [mark("Undo", "undo", "[ $(grep -c undo marks) -ge 2 ]"), mark("More", "more", "")];
        let undo = with(undoing("Deploy", &undo), "failureStrategies", strategies);
        let deploy = section("Deploy", &[mark("Break", "broke", "exit 3")]);
        tree.workflow(
            name,
            "BASIC",
            rollback(),
            vec![Phase::on("One", "eu", vec![deploy], vec![undo])],
            json!({}),
        );
    }
    site.import(tree).await?;
    for (name, marks) in [
        ("ignores", "broke undo more"),
        ("asks", "broke undo undo more"),
        ("retries", "broke undo undo more"),
    ] {
        let id = site.server.started((APP, "workflow", name), &[], &[]).await?;
        if name == "asks" {
            site.answer(&id, "RETRY").await?;
        }
        site.server.ended(&id, crate::site::ENDS).await?;
        let outcome = site.outcome(&id).await?;
        ensure!(outcome.status == "FAILED" && outcome.rollback == "ROLLED_BACK", "{name}: {outcome:?}");
        ensure!(site.all_marks(name, "eu") == [marks; 2], "{name}: {:?}", site.all_marks(name, "eu"));
    }
    Ok(())
}

/// An environment's variables and config files take the place of the service's; a secret header is masked.
#[tokio::test]
async fn an_environment_overrides_variables_and_config_files_of_a_service() -> Result<()> {
    const SECRET: &str = "the-secret-of-production";
    let site = Site::start(&[("eu", 1)]).await?;
    site.secret_text("production", SECRET).await?;
    let mut tree = site.tree();
    tree.service(SERVICE, &[("KEY", "none", "TEXT"), ("URL", "http://${infra.name}.test", "TEXT")]);
    let overrides = json!([{ "name": "KEY", "value": "production", "valueType": "ENCRYPTED_TEXT" }]);
    let environment =
        json!({ "type": "ENVIRONMENT", "environmentType": "PROD", "variableOverrides": overrides });
    tree.application(&format!("Environments/{ENVIRONMENT}/Index.yaml"), environment);
    let file = json!({ "type": "CONFIG_FILE", "checksumType": "MD5", "encrypted": false, "fileName": "app.conf",
        "targetFilePath": "app.conf", "targetToAllEnv": true });
    tree.application("Services/cart/Config Files/app.conf.yaml", file);
    tree.text("Services/cart/Config Files/app.conf", "of the service\n");
    let folder = format!("Environments/{ENVIRONMENT}/Config Files/Services/{SERVICE}");
    let file = json!({ "type": "CONFIG_FILE_OVERRIDE", "checksumType": "MD5", "encrypted": false,
        "fileName": "app.conf", "targetFilePath": "app.conf", "serviceName": SERVICE });
    tree.application(&format!("{folder}/app.conf.yaml"), file);
    tree.text(&format!("{folder}/app.conf"), "of the environment\n");
    let mut copy = unit("COPY_CONFIGS", "Configs", "");
    copy["destinationParentPath"] = json!("$WINGS_RUNTIME_PATH");
    let say = unit("EXEC", "Say", "echo \"$KEY $URL\" >\"$WINGS_RUNTIME_PATH/said\"; echo \"key $KEY\"");
    tree.command(SERVICE, "Install", "INSTALL", &[copy, say]);
    let phases = vec![Phase::on("One", "eu", vec![section("Deploy", &[command("Install")])], vec![])];
    tree.workflow("overrides", "BASIC", rollback(), phases, json!({}));
    site.import(tree).await?;
    let id = well(&site, "overrides").await?;
    assert_eq!(site.file("overrides", "eu", 0, "app.conf"), "of the environment\n");
    assert_eq!(site.file("overrides", "eu", 0, "said"), format!("{SECRET} http://eu.test\n"));
    ensure!(site.log(&id).await?.contains("key ***"), "{}", site.log(&id).await?);
    site.ensure_hidden(&id, SECRET).await
}
