//! Configuration as code (`wire.md` 4, `behaviour.md` 18): what is written is what is read, in canonical text, by every way out.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use manifold_testkit::server::{Server, string};
use serde_json::{Value, json};

use crate::shared::{BINARY, run};
use crate::story::{Story, pairs};
use crate::tree::{phase, workflow};

/// A pipeline in canonical text.
const PIPELINE: &str = "\
harnessApiVersion: '1.0'
type: PIPELINE
description: pilot first, then all regions
pipelineStages:
- type: ENV_STATE
  name: pilot
  parallel: false
  skipCondition:
    type: DO_NOT_SKIP
  stageName: STAGE 1
  workflowName: roll
  workflowVariables:
  - name: infrastructure
    entityType: INFRASTRUCTURE_DEFINITION
    value: eu
- type: ENV_STATE
  name: regions
  parallel: false
  stageName: STAGE 2
  workflowName: roll
  workflowVariables:
  - name: infrastructure
    entityType: INFRASTRUCTURE_DEFINITION
    value: ${infrastructure}
";

/// The same, as a person may write it.
const SCRIBBLED: &str = "\
# ship it
type: PIPELINE
harnessApiVersion: \"1.0\"
pipelineStages:
    - name: pilot
      type: ENV_STATE
      parallel: false
      stageName: \"STAGE 1\"
      skipCondition: { type: DO_NOT_SKIP }
      workflowName: roll
      workflowVariables:
          - { name: infrastructure, entityType: INFRASTRUCTURE_DEFINITION, value: eu }
    - type: ENV_STATE
      stageName: STAGE 2
      name: 'regions'
      workflowName: roll
      parallel: false
      workflowVariables:
          - name: infrastructure
            value: \"${infrastructure}\"
            entityType: INFRASTRUCTURE_DEFINITION
description: pilot first, then all regions
";

async fn upsert(server: &Server, path: &str, text: &str) -> Result<Value> {
    let part = reqwest::multipart::Part::text(text.to_owned()).file_name("file.yaml");
    let form = reqwest::multipart::Form::new().part("yamlContent", part);
    let address = format!("/gateway/api/setup-as-code/yaml/upsert-entity?accountId={}", server.account);
    let request = server.request(reqwest::Method::POST, &address).query(&[("yamlFilePath", path)]);
    let answer: Value = request.multipart(form).send().await?.error_for_status()?.json().await?;
    answer.get("resource").cloned().context("no resource")
}

/// What `GET` of config-as-code gives.
async fn got(server: &Server, what: &str) -> Result<Value> {
    let address = format!("/api/setup-as-code/yaml/{what}");
    let answer = server.request(reqwest::Method::GET, &address).send().await?.error_for_status()?;
    let answer: Value = answer.json().await?;
    answer.get("resource").cloned().context("no resource")
}

/// The node of a path, depth first, as clients look for it.
fn node<'n>(tree: &'n Value, path: &str) -> Option<&'n Value> {
    if tree.pointer("/directoryPath/path").and_then(Value::as_str) == Some(path) {
        return Some(tree);
    }
    tree["children"].as_array()?.iter().find_map(|child| node(child, path))
}

#[test]
fn a_pipeline_is_given_back_in_canonical_text_by_every_way() {
    run(async {
        let story = Story::new("Text").await?;
        let roll = workflow(&[phase("Phase 1", &[story.note("deploy ${infra.name}")])]);
        story.tell(story.application().environment("prod", &["eu", "us"]).workflow("roll", roll)).await?;
        let path = "Setup/Applications/Text/Pipelines/ship.yaml";
        let mut ids = Vec::new();
        for text in [SCRIBBLED, PIPELINE] {
            let written = upsert(&story.server, path, text).await?;
            assert_eq!(written["status"], "SUCCESS", "{written}");
            assert_eq!(written["yamlFilePath"], path);
            assert_eq!(written["entityYaml"], PIPELINE);
            assert_eq!(written["errorMssg"], Value::Null);
            ids.push(string(&written, "/entityId")?);
        }
        assert_eq!(ids[0], ids[1], "the same path is the same entity");
        let (application, pipeline) = story.server.ids("Text", "pipeline", "ship").await?;
        assert_eq!(pipeline, ids[0], "both APIs have one id");
        let account = &story.server.account;
        let tree = got(&story.server, &format!("directory?accountId={account}&appId={application}")).await?;
        let found = node(&tree, path).with_context(|| format!("{path} is not in the tree"))?;
        assert_eq!(found["uuid"], json!(pipeline));
        assert_eq!(found["type"], "yaml");
        assert_eq!(found["restName"], "pipelines");
        let item = format!("pipelines/{pipeline}?accountId={account}&appId={application}");
        assert_eq!(got(&story.server, &item).await?["yaml"], PIPELINE);
        let (execution, status) = story.run("ship", &[("infrastructure", "eu,us")]).await?;
        assert_eq!(status, "SUCCESS");
        let outcomes = [("eu", "SUCCESS"), ("eu", "SUCCESS"), ("us", "SUCCESS")];
        assert_eq!(story.outcomes(&execution).await?, pairs(&outcomes));
        Ok(())
    });
}

#[test]
fn unknown_keys_keep_their_place() {
    run(async {
        let story = Story::new("Keys").await?;
        story.tell(story.application().environment("prod", &["eu"])).await?;
        let text = "harnessApiVersion: '1.0'\ntype: ENVIRONMENT\nenvironmentType: NON_PROD\nsomethingNew:\n- name: a\n  deep:\n    deeper: '5'\n";
        let path = "Setup/Applications/Keys/Environments/test/Index.yaml";
        let written = upsert(&story.server, path, text).await?;
        assert_eq!(
            (written["status"].as_str(), written["entityYaml"].as_str()),
            (Some("SUCCESS"), Some(text))
        );
        assert!(written["problems"].to_string().contains("somethingNew"), "{written}");
        Ok(())
    });
}

#[test]
fn a_refused_document_changes_nothing_and_says_where() {
    run(async {
        let story = Story::new("Refused").await?;
        story.tell(story.application().environment("prod", &["eu"])).await?;
        let path = "Setup/Applications/Refused/Pipelines/ship.yaml";
        let written =
            upsert(&story.server, path, "harnessApiVersion: '1.0'\ntype: PIPELINE\n  broken: [\n").await?;
        assert_eq!(written["status"], "FAILED");
        assert!(written["errorMssg"].as_str().is_some_and(|message| !message.is_empty()), "{written}");
        assert_eq!(written.pointer("/problems/0/place/line"), Some(&json!(3)), "{written}");
        let unknown = upsert(&story.server, path, PIPELINE).await?;
        assert_eq!(unknown["status"], "FAILED", "a workflow that does not exist: {unknown}");
        assert!(unknown["errorMssg"].as_str().is_some_and(|message| message.contains("roll")), "{unknown}");
        let answer = story.server.ids("Refused", "pipeline", "ship").await;
        assert!(answer.is_err());
        Ok(())
    });
}

/// Texts by path below a folder.
fn read(folder: &Path, below: &Path, into: &mut BTreeMap<String, String>) -> Result<()> {
    for entry in std::fs::read_dir(below)? {
        let path = entry?.path();
        if path.is_dir() {
            read(folder, &path, into)?;
        } else {
            let name = path.strip_prefix(folder)?.to_string_lossy().into_owned();
            into.insert(name, std::fs::read_to_string(&path)?);
        }
    }
    Ok(())
}

async fn export(server: &Server, name: &str) -> Result<BTreeMap<String, String>> {
    let folder = server.folder().join(name);
    let (code, out, err) = server.cli(&["export", &folder.to_string_lossy()]).await?;
    ensure!(code == 0, "export ended with {code}: {out}{err}");
    let mut files = BTreeMap::new();
    read(&folder, &folder, &mut files)?;
    Ok(files)
}

#[test]
fn an_export_imported_elsewhere_is_exported_the_same() {
    run(async {
        let first = Server::start(BINARY, &[]).await?;
        let application = crate::tree::Application::new("Shop").environment("prod", &["eu", "us"]).workflow(
            "roll",
            workflow(&[phase("Phase 1", &[crate::tree::script("say", "echo a\n\necho 'b: c'  # d\n")])]),
        );
        first.import(&application.files()).await?;
        upsert(&first, "Setup/Applications/Shop/Pipelines/ship.yaml", SCRIBBLED).await?;
        let exported = export(&first, "out").await?;
        assert_eq!(
            exported.get("Setup/Applications/Shop/Pipelines/ship.yaml").map(String::as_str),
            Some(PIPELINE)
        );
        assert!(exported.keys().all(|path| path.starts_with("Setup/")), "{:?}", exported.keys());
        let second = Server::start(BINARY, &[]).await?;
        let files: Vec<(String, String)> = exported.clone().into_iter().collect();
        second.import(&files).await?;
        assert_eq!(export(&second, "out").await?, exported);
        second.import(&files).await?;
        assert_eq!(export(&second, "again").await?, exported);
        Ok(())
    });
}

#[test]
fn a_rename_of_an_application_moves_everything_and_keeps_ids() {
    run(async {
        let story = Story::new("Before").await?;
        let roll = workflow(&[phase("Phase 1", &[story.note("deploy")])]);
        story.tell(story.application().environment("prod", &["eu"]).workflow("roll", roll)).await?;
        let (application, id) = story.server.ids("Before", "workflow", "roll").await?;
        let input = json!({ "applicationId": application, "name": "After", "description": "" });
        let query = "mutation($i: UpdateApplicationInput!) { updateApplication(input: $i) { application { id name } } }";
        let renamed = story.server.data_of(query, json!({ "i": input })).await?;
        assert_eq!(
            renamed["updateApplication"]["application"],
            json!({ "id": application, "name": "After" })
        );
        assert_eq!(story.server.ids("After", "workflow", "roll").await?, (application, id));
        Ok(())
    });
}

#[test]
fn what_is_used_is_not_deleted() {
    run(async {
        let story = Story::new("Used").await?;
        let roll = workflow(&[phase("Phase 1", &[story.note("deploy")]).on("eu")]);
        let tree = story
            .application()
            .environment("prod", &["eu"])
            .workflow("roll", roll)
            .pipeline("ship", &[crate::tree::stage("all", "roll", &[])]);
        story.tell(tree).await?;
        let delete = async |path: &str| -> Result<(u16, Value)> {
            let address =
                format!("/api/setup-as-code/yaml/delete-entities?accountId={}", story.server.account);
            let request =
                story.server.request(reqwest::Method::DELETE, &address).query(&[("filePaths", path)]);
            let answer = request.send().await?;
            Ok((answer.status().as_u16(), answer.json().await?))
        };
        let below = "Setup/Applications/Used";
        for used in [
            "Workflows/roll.yaml",
            "Environments/prod/Infrastructure Definitions/eu.yaml",
            "Services/web/Index.yaml",
        ] {
            let (_, answer) = delete(&format!("{below}/{used}")).await?;
            let text = answer.to_string();
            assert!(text.contains("still being used") || text.contains("used by"), "{used}: {text}");
        }
        story.server.ids("Used", "workflow", "roll").await?;
        for path in ["Pipelines/ship.yaml", "Workflows/roll.yaml"] {
            let (status, answer) = delete(&format!("{below}/{path}")).await?;
            assert_eq!(status, 200, "{path}: {answer}");
        }
        assert!(story.server.ids("Used", "workflow", "roll").await.is_err());
        Ok(())
    });
}
