//! What tasks carry.

use manifold_model::entity::{CommandUnit, ConfigFile, ServiceCommand};
use manifold_model::event::Scope;
use manifold_model::kind::Player;
use manifold_model::plan::{Plan, StepPlan};
use manifold_model::task::{FileSource, Outcome, OutputValue, Payload, UnitAction};
use manifold_model::{EntityId, FailureClass, Hole, Piece, Rendered, Status};
use serde_json::{Value, json};

use crate::build::*;
use crate::runner::*;

fn unit(name: &str, kind: &str, properties: Value) -> CommandUnit {
    CommandUnit {
        name: name.to_owned(),
        kind: kind.to_owned(),
        properties: properties.as_object().unwrap().clone(),
    }
}

fn plan_with(steps: Vec<StepPlan>) -> Plan {
    plan(workflow(vec![phase("P", vec![section("S", steps)], vec![])], vec![]))
}

fn config(name: &str, path: &str, service: Option<&str>) -> ConfigFile {
    ConfigFile {
        id: EntityId::from(path),
        name: name.to_owned(),
        target_path: "conf/app.properties".to_owned(),
        encrypted: false,
        content_path: path.to_owned(),
        service_name: service.map(str::to_owned),
    }
}

#[test]
fn a_service_command_is_one_task_per_host_with_its_units_flattened() {
    let mut install = step("Install", "COMMAND", Player::Instances, json!({"commandName": "Install"}));
    install.needs_artifact = true;
    let mut plan = plan_with(vec![install]);
    plan.services[0].commands = vec![
        ServiceCommand {
            name: "Install".to_owned(),
            kind: "INSTALL".to_owned(),
            units: vec![
                unit("Setup", "SETUP_ENV", json!({"command": "export A=${serviceVariable.color} B=${b:-2}"})),
                unit("Stop", "COMMAND", json!({})),
                unit(
                    "Copy",
                    "SCP",
                    json!({"source": "ARTIFACTS", "destinationDirectoryPath": "${app.defaults.RUNTIME_PATH}"}),
                ),
                unit("Configs", "COPY_CONFIGS", json!({"destinationParentPath": "$WINGS_RUNTIME_PATH"})),
                unit("Port", "PORT_CHECK_LISTENING", json!({"command": "nc -z ${host.hostName} 80"})),
            ],
        },
        ServiceCommand {
            name: "Stop".to_owned(),
            kind: "STOP".to_owned(),
            units: vec![unit("Kill", "EXEC", json!({"command": "kill", "workingDirectory": "/srv"}))],
        },
    ];
    plan.services[0].config_files = vec![config("app", "service/app", None)];
    plan.environments[0].config_files = vec![
        config("app", "own/app", Some("cart")),
        config("app", "all/app", None),
        config("x", "x/x", Some("x")),
    ];
    let mut runner = Runner::new(plan);
    runner.run();
    assert_eq!(runner.status(), Status::Success, "{:?}", runner.row().failure);
    assert_eq!(runner.issued.len(), 4);
    let Payload::Command(task) = &runner.tasks[1].payload else { panic!() };
    assert_eq!((task.host.host.as_str(), task.host.credential.as_str()), ("b", "deployer"));
    assert_eq!(task.host.pinned_keys, ["SHA256:abc"]);
    let names: Vec<&str> = task.units.iter().map(|unit| unit.name.as_str()).collect();
    assert_eq!(names, ["Setup", "Stop / Kill", "Copy", "Configs", "Port"]);
    let UnitAction::Exec { script, keeps_environment: true, .. } = &task.units[0].action else { panic!() };
    assert_eq!(script.known().unwrap(), "export A=red B=${b:-2}");
    let UnitAction::CopyArtifact { directory } = &task.units[2].action else { panic!() };
    assert_eq!(directory.known().unwrap(), "/opt/cart");
    let UnitAction::CopyFiles { files, .. } = &task.units[3].action else { panic!() };
    assert_eq!(files.len(), 1);
    assert_eq!(files[0].content, FileSource::Document { path: "own/app".to_owned(), revision: 7 });
    let UnitAction::Exec { script, failure: FailureClass::Verification, .. } = &task.units[4].action else {
        panic!()
    };
    assert_eq!(script.known().unwrap(), "nc -z b 80");
    let variable = |name: &str| task.environment.iter().find(|(key, _)| key == name).unwrap().1.clone();
    assert_eq!(variable("region").known().unwrap(), "east-region");
    assert_eq!(variable("token"), Rendered(vec![Piece::Hole(Hole::Secret { name: "api-token".to_owned() })]));
    assert_eq!(variable("WINGS_RUNTIME_PATH").known().unwrap(), "/opt/cart");
    assert_eq!(variable("ARTIFACT_FILE_NAME").known().unwrap(), "cart-2.0.tar");
    assert_eq!(task.artifact.as_ref().unwrap().artifact.build_no, "2.0");
}

#[test]
fn a_command_that_calls_itself_or_is_missing_fails_the_step() {
    for (name, units) in [("Loop", vec![unit("Loop", "COMMAND", json!({}))]), ("Other", vec![])] {
        let install = step("Install", "COMMAND", Player::Instances, json!({"commandName": "Loop"}));
        let mut plan = plan_with(vec![install]);
        plan.services[0].commands =
            vec![ServiceCommand { name: name.to_owned(), kind: "OTHER".to_owned(), units }];
        let mut runner = Runner::new(plan);
        runner.run();
        assert_eq!((runner.status(), runner.code().as_str()), (Status::Failed, "COMMAND_INVALID"));
    }
}

#[test]
fn an_http_step_keeps_what_only_the_response_knows_for_the_delegate() {
    let call = step(
        "call",
        "HTTP",
        Player::Delegate,
        json!({
            "method": "post", "url": "https://${infra.name}.example/${artifact.buildNo}",
            "header": "Accept: text/plain, X-Token: ${serviceVariable.token}\nX-List: a,b",
            "body": "{\"size\": \"${workflow.variables.size}\", \"shell\": \"${x:-y}\"}",
            "assertion": "${httpResponseCode} == 200 && ${infra.name} == 'east'",
            "responseProcessingExpressions": [{"name": "answer", "value": "${httpResponseBody}"}],
            "delegateSelectors": ["${infra.name}-delegate"],
        }),
    );
    let mut runner = Runner::new(plan_with(vec![call]));
    runner.run();
    assert_eq!(runner.status(), Status::Success, "{:?}", runner.row().failure);
    assert_eq!(runner.tasks[0].selectors, ["east-delegate"]);
    let Payload::Http(http) = &runner.tasks[0].payload else { panic!() };
    assert_eq!(http.method, "POST");
    assert_eq!(http.url.known().unwrap(), "https://east.example/2.0");
    assert_eq!(http.body.known().unwrap(), "{\"size\": \"Shop-small\", \"shell\": \"${x:-y}\"}");
    let names: Vec<&str> = http.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["Accept", "X-Token", "X-List"]);
    assert_eq!(http.headers[1].1.masked(), "******");
    assert_eq!(http.headers[2].1.known().unwrap(), "a,b");
    let [Piece::Hole(Hole::Expression { known, .. })] = http.assertion.0.as_slice() else {
        panic!("{:?}", http.assertion)
    };
    assert_eq!(known["infra.name"], json!("east"));
    assert_eq!(http.outputs.len(), 1);
}

#[test]
fn a_script_sees_the_leg_it_runs_in() {
    let script = "${workflow.name}|${workflow.releaseNo}|${workflow.variables.infra_variable}|${infra_variable}|${env.environmentType}|\
                  ${pipeline.name}|${deploymentTriggeredBy}|${currentStep.name}|${workflow.lastGoodReleaseNo}|${instance.hostName}|${unknown}";
    let mut runner = Runner::new(plan_with(vec![on_hosts("say", script)])).with_last_good("1.0");
    runner.run();
    let Payload::Script(task) = &runner.tasks[0].payload else { panic!() };
    assert_eq!(task.script.known().unwrap(), "Deploy|5|east|east|PROD|Everywhere|Ada|say|4|a|${unknown}");
    assert_eq!(task.host.as_ref().unwrap().host, "a");
}

#[test]
fn a_script_on_a_named_host_runs_there_once() {
    let mut say = on_hosts("say", "hostname");
    say.properties.insert("host".to_owned(), json!("bastion:2222"));
    say.properties.insert("sshKeyRefName".to_owned(), json!("bastion-key"));
    for player in [Player::Instances, Player::Delegate] {
        say.player = player;
        let mut runner = Runner::new(plan_with(vec![say.clone()]));
        runner.run();
        assert_eq!(runner.issued, ["say#1@bastion:2222"]);
        let Payload::Script(task) = &runner.tasks[0].payload else { panic!() };
        assert_eq!(task.host.as_ref().unwrap().credential, "bastion-key");
    }
    say.properties.insert("host".to_owned(), json!("${instance.hostName}"));
    let mut runner = Runner::new(plan_with(vec![say]));
    runner.run();
    assert_eq!(runner.issued.len(), 4);
}

#[test]
fn outputs_are_published_with_their_scope_and_secrets_stay_sealed() {
    let publisher = |name: &str, scope: &str| {
        let mut publisher = noop(name);
        publisher.properties =
            json!({"sweepingOutputName": name, "sweepingOutputScope": scope, "publishAsVar": true})
                .as_object()
                .unwrap()
                .clone();
        publisher
    };
    let mut reader = step(
        "read",
        "SHELL_SCRIPT",
        Player::Delegate,
        json!({"scriptString": "${context.first.color} ${first.color} ${local.color} ${first.token}"}),
    );
    let mut later = reader.clone();
    later.name = "later".to_owned();
    reader.name = "read".to_owned();
    let phases = vec![
        phase(
            "A",
            vec![section("S", vec![publisher("first", "PIPELINE"), publisher("local", "PHASE"), reader])],
            vec![],
        ),
        phase("B", vec![section("S", vec![later])], vec![]),
    ];
    let mut runner = Runner::new(plan(workflow(phases, vec![]))).script(|task| {
        let mut outcome = Outcome::succeeded();
        if matches!(task.payload, Payload::Noop(_)) {
            let plain = OutputValue { value: "${env.name}".to_owned(), secret: false, sealed: None };
            let sealed =
                OutputValue { value: String::new(), secret: true, sealed: Some("sealed-1".to_owned()) };
            outcome.outputs.insert("color".to_owned(), plain);
            outcome.outputs.insert("token".to_owned(), sealed);
        }
        Some(outcome)
    });
    runner.run();
    let texts: Vec<String> = runner
        .tasks
        .iter()
        .filter_map(|task| match &task.payload {
            Payload::Script(script) => Some(script.script.masked()),
            _ => None,
        })
        .collect();
    // What came from outside is never evaluated again; PHASE scope ends with its phase.
    assert_eq!(texts[0], "${env.name} ${env.name} ${env.name} ******");
    assert_eq!(texts[1], "${env.name} ${env.name} ${local.color} ******");
    let outputs = runner.completed.clone().unwrap().outputs;
    assert_eq!(outputs.keys().collect::<Vec<_>>(), ["first"]);
    assert_eq!(outputs["first"]["token"].sealed.as_deref(), Some("sealed-1"));
    let published = runner.events.iter().any(|event| {
        matches!(&event.kind, manifold_model::event::EventKind::StepEnded { published: Some(published), .. }
            if published.scope == Scope::Phase)
    });
    assert!(published);
}
