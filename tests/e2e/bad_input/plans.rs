//! Workflows that cannot run: refused at start with the step's name, or failed with the right class.

use serde_json::{Value, json};

use super::{SOON, serves, step_failure};
use crate::scene::{Flow, Scene, deploy, let_in, refusal, script, select_all, stage, step};
use crate::shared;

fn unknown(name: &str) -> Value {
    step("ECS_SERVICE_DEPLOY", name, &json!({ "stateTimeoutInMinutes": 10 }))
}

#[test]
fn a_kind_that_cannot_run_yet_is_refused_at_start_and_never_skipped() {
    shared::run(async {
        let server = shared::server().await?;
        let forward = Flow::default().steps(&[script("one", "true"), unknown("Roll it out")]);
        let backward = Flow::default().steps(&[script("one", "true")]).undo(&[unknown("Roll it back")]);
        let good = Flow::default().steps(&[script("one", "true")]);
        let mut skipped = stage("forward");
        skipped["skipCondition"] = json!({ "type": "ALWAYS_SKIP" });
        Scene::new("Kinds")
            .nowhere(2)
            .workflow("forward", &forward)
            .workflow("backward", &backward)
            .workflow("good", &good)
            .pipeline("forward", "forward")
            .pipeline("backward", "backward")
            .stages("skipped", &[skipped, stage("good")])
            .stages("later", &[stage("good"), stage("forward")])
            .import(&server)
            .await?;
        for (pipeline, name) in
            [("forward", "Roll it out"), ("backward", "Roll it back"), ("later", "Roll it out")]
        {
            let message = refusal(&server, "Kinds", pipeline, "i0,i1").await?;
            assert!(
                message.contains(name) && message.contains("ECS_SERVICE_DEPLOY"),
                "{pipeline}: {message:?}"
            );
        }
        let execution = deploy(&server, "Kinds", "skipped", "i0,i1").await?;
        assert_eq!(server.ended(&execution, SOON).await?, "SUCCESS");
        Ok(())
    });
}

#[test]
fn expressions_that_go_round_in_circles_end() {
    shared::run(async {
        let server = shared::server().await?;
        let variables = json!([
            { "name": "a", "value": "${serviceVariable.b}", "valueType": "TEXT" },
            { "name": "b", "value": "x${serviceVariable.a}", "valueType": "TEXT" },
            { "name": "wide", "value": "${serviceVariable.wider}${serviceVariable.wider}", "valueType": "TEXT" },
            { "name": "wider", "value": "${serviceVariable.wide}${serviceVariable.wide}", "valueType": "TEXT" },
        ]);
        let service = json!({ "type": "SERVICE", "artifactType": "OTHER", "deploymentType": "SSH",
            "configVariables": variables });
        for (name, text) in
            [("narrow", "echo ${serviceVariable.a}"), ("wide", "echo ${serviceVariable.wide}")]
        {
            let application = format!("Loops {name}");
            let flow = Flow::default().steps(&[script("say", text)]);
            Scene::new(&application)
                .file("Services/svc/Index.yaml", &service)
                .nowhere(1)
                .workflow("wf", &flow)
                .pipeline("pipe", "wf")
                .import(&server)
                .await?;
            let message = refusal(&server, &application, "pipe", "i0").await?;
            if message.is_empty() {
                let execution = deploy(&server, &application, "pipe", "i0").await?;
                assert_eq!(server.ended(&execution, SOON).await?, "FAILED", "{name}");
                let (class, code, said) = step_failure(&server, &execution).await;
                assert_eq!(
                    (class.as_str(), code.as_str()),
                    ("APPLICATION_ERROR", "EXPRESSION_LOOP"),
                    "{said}"
                );
            } else {
                assert!(
                    message.contains("circle") || message.contains("itself") || message.contains("loop"),
                    "{message}"
                );
            }
        }
        serves(&server).await;
        Ok(())
    });
}

#[test]
fn a_missing_credential_is_named_at_start() {
    shared::run(async {
        let server = shared::server().await?;
        let flow = Flow::default().steps(&[select_all(), crate::scene::command("Install it", "Install")]);
        Scene::new("No Credential")
            .command("Install", "true")
            .hosts_with("i0", &["127.0.0.1"], "nobody made this")
            .workflow("wf", &flow)
            .pipeline("pipe", "wf")
            .import(&server)
            .await?;
        let message = refusal(&server, "No Credential", "pipe", "i0").await?;
        assert!(message.contains("nobody made this"), "{message:?}");
        Ok(())
    });
}

#[test]
fn a_secret_that_is_not_there_is_named() {
    shared::run(async {
        let server = shared::server().await?;
        let flow = Flow::default().steps(&[script("say", "echo ${secrets.getValue(\"never made\")}")]);
        let scene = Scene::new("No Secret").nowhere(1).workflow("wf", &flow).pipeline("pipe", "wf");
        scene.import(&server).await?;
        let message = refusal(&server, "No Secret", "pipe", "i0").await?;
        if message.is_empty() {
            let execution = deploy(&server, "No Secret", "pipe", "i0").await?;
            assert_eq!(server.ended(&execution, SOON).await?, "FAILED");
            let (_, code, said) = step_failure(&server, &execution).await;
            assert!(said.contains("never made"), "{code}: {said}");
        } else {
            assert!(message.contains("never made"), "{message}");
        }
        Ok(())
    });
}

/// A command of a service on a host whose credential is there, but whose command is not.
#[test]
fn a_command_that_the_service_does_not_have_is_named_at_start() {
    shared::run(async {
        let server = shared::server().await?;
        let fleet = manifold_testkit::sshd::Fleet::start(1)?;
        let_in(&server, &fleet).await?;
        let flow = Flow::default().steps(&[select_all(), crate::scene::command("Install it", "Nowhere")]);
        Scene::new("No Command")
            .hosts("i0", &["127.0.0.1"])
            .workflow("wf", &flow)
            .pipeline("pipe", "wf")
            .import(&server)
            .await?;
        let message = refusal(&server, "No Command", "pipe", "i0").await?;
        assert!(message.contains("Nowhere"), "{message:?}");
        Ok(())
    });
}
