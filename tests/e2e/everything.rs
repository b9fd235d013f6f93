//! A tree with a document of every type that real trees hold (`yaml-vocabulary.md`), in both generations: `tests/trees/everything`. What it becomes
//! when it is kept lies in `tests/trees/everything.newer`, as far as it differs: documents of the older generation are written as the newer.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use manifold_testkit::server::Server;
use serde_json::{Value, json};

use crate::shared::{BINARY, run};
use crate::story::Story;
use crate::tree::{Application, with};

type Files = BTreeMap<String, Vec<u8>>;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/trees").join(name)
}

fn read(folder: &Path) -> Result<Files> {
    fn below(root: &Path, folder: &Path, files: &mut Files) -> Result<()> {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                below(root, &path, files)?;
            } else {
                let name = path.strip_prefix(root)?.to_str().context("a name that is not text")?.to_owned();
                files.insert(name, std::fs::read(&path)?);
            }
        }
        Ok(())
    }
    let mut files = Files::new();
    below(folder, folder, &mut files)?;
    Ok(files)
}

/// The tree as it is kept.
fn kept() -> Result<Files> {
    let mut files = read(&folder("everything"))?;
    files.retain(|path, _| !path.contains("/Service Infrastructure/"));
    files.extend(read(&folder("everything.newer"))?);
    Ok(files)
}

/// `manifold import -o json`.
async fn import(server: &Server, folder: &Path) -> Result<Value> {
    let (code, out, err) = server.cli(&["import", &folder.to_string_lossy(), "-o", "json"]).await?;
    ensure!(code == 0, "import ended with {code}: {out}{err}");
    Ok(serde_json::from_str(&out)?)
}

async fn export(server: &Server, name: &str) -> Result<PathBuf> {
    let folder = server.folder().join(name);
    let (code, out, err) = server.cli(&["export", &folder.to_string_lossy()]).await?;
    ensure!(code == 0, "export ended with {code}: {out}{err}");
    Ok(folder)
}

fn differences(found: &Files, expected: &Files) -> Vec<String> {
    let text = |bytes: Option<&Vec<u8>>| bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let paths: BTreeSet<&String> = found.keys().chain(expected.keys()).collect();
    let differs = paths.into_iter().filter(|path| found.get(*path) != expected.get(*path));
    differs
        .map(|path| format!("{path}:\n{:?}\n{:?}", text(found.get(path)), text(expected.get(path))))
        .collect()
}

#[test]
fn every_type_of_document_is_kept_and_given_back() {
    run(async {
        let server = Server::start(BINARY, &[]).await?;
        let first = import(&server, &folder("everything")).await?;
        let exported = export(&server, "out").await?;
        let found = read(&exported)?;
        let wrong = differences(&found, &kept()?);
        ensure!(wrong.is_empty(), "{} files differ:\n{}", wrong.len(), wrong.join("\n"));
        // What was exported changes nothing, nor does the tree of the older generation again.
        let mut revisions = vec![first["revision"].clone()];
        for tree in [exported, folder("everything")] {
            let again = import(&server, &tree).await?;
            revisions.push(again["revision"].clone());
        }
        ensure!(revisions.iter().all(|one| *one == revisions[0]), "{revisions:?}");
        assert_eq!(differences(&read(&export(&server, "again").await?)?, &found), Vec::<String>::new());
        // Another server makes the same of it.
        let other = Server::start(BINARY, &[]).await?;
        import(&other, &server.folder().join("out")).await?;
        assert_eq!(differences(&read(&export(&other, "out").await?)?, &found), Vec::<String>::new());
        Ok(())
    });
}

/// Line and column, from 1, of the n-th occurrence of a text in a file.
fn place(files: &Files, path: &str, text: &str) -> Result<(u64, u64)> {
    let content = std::str::from_utf8(files.get(path).with_context(|| path.to_owned())?)?;
    let (before, _) = content.split_once(text).with_context(|| format!("{text:?} in {path}"))?;
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Ok((u64::try_from(line)?, u64::try_from(column)?))
}

#[test]
fn lint_says_what_is_kept_and_not_run_with_its_place() {
    run(async {
        let server = Server::start(BINARY, &[]).await?;
        let tree = folder("everything");
        let (code, out, err) = server.cli(&["lint", &tree.to_string_lossy(), "-o", "json"]).await?;
        ensure!(code == 0, "lint ended with {code}: {out}{err}");
        let report: Value = serde_json::from_str(&out)?;
        assert_eq!(report["errors"], json!([]));
        let warnings = report["warnings"].as_array().context("no warnings")?;
        let told: BTreeSet<(String, String, u64, u64)> = warnings
            .iter()
            .map(|warning| {
                let text =
                    |pointer| warning.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
                let number = |pointer| warning.pointer(pointer).and_then(Value::as_u64).unwrap_or_default();
                (text("/code"), text("/place/path"), number("/place/line"), number("/place/column"))
            })
            .collect();
        let files = read(&tree)?;
        let new = |path: &str| format!("Setup/Applications/Harbour/{path}");
        let old = |path: &str| format!("Setup/Applications/Quay 1.0 (old): #7/{path}");
        let unknown = [
            (new("Environments/test (2)/Index.yaml"), "colour"),
            (new("Environments/prod/Infrastructure Definitions/k8s.us (2): #1.yaml"), "shade"),
            (new("Services/remote: v1.0 (#3)/Manifests/Index.yaml"), "tag"),
            (new("Workflows/install web.yaml"), "loudly"),
        ];
        let expected: BTreeSet<_> = unknown
            .iter()
            .map(|(path, key)| {
                let (line, column) = place(&files, path, key)?;
                Ok(("DOCUMENT_KEY_UNKNOWN".to_owned(), path.clone(), line, column))
            })
            .collect::<Result<_>>()?;
        let found: BTreeSet<_> =
            told.iter().filter(|(code, ..)| code == "DOCUMENT_KEY_UNKNOWN").cloned().collect();
        assert_eq!(found, expected);
        let wanted = [
            ("STEP_NOT_RUN", new("Workflows/every platform.yaml"), "type: ECS_SERVICE_SETUP"),
            ("STEP_NOT_RUN", new("Workflows/canary cart.yaml"), "type: SUMO"),
            ("KEY_NOT_USED", new("Workflows/install web.yaml"), "templateUri: acme"),
            ("KEY_NOT_USED", new("Workflows/install web.yaml"), "notificationRules"),
            ("TYPE_NOT_RUN", new("Environments/prod/Infrastructure Definitions/ecs.yaml"), "AWS_ECS"),
            ("KEY_NOT_USED", new("Environments/prod/Infrastructure Definitions/ec2.yaml"), "provisioner"),
            (
                "TYPE_NOT_RUN",
                old("Environments/lab #2/Service Infrastructure/codedeploy.yaml"),
                "AWS_AWS_CODEDEPLOY\nserviceName",
            ),
            (
                "SERVICE_INFRASTRUCTURE",
                old("Environments/lab #2/Service Infrastructure/direct.yaml"),
                "harness",
            ),
            ("WRITTEN_NEWER", old("Workflows/roll web.yaml"), "infraMappingName"),
            ("TYPE_NOT_RUN", new("Services/legacy web/Commands/Install.yaml"), "name: Hand over"),
            ("TYPE_NOT_RUN", new("Services/cart/Artifact Servers/ecr.yaml"), "ECR"),
            ("KEY_NOT_USED", new("Services/chart/Manifests/Index.yaml"), "storeType"),
            ("KEY_NOT_USED", new("Services/chart/Values/Index.yaml"), "storeType"),
            ("CONFIG_FILE_CONTENT", new("Services/legacy web/Config Files/server.key.yaml"), "harness"),
            ("TYPE_NOT_RUN", "Setup/Cloud Providers/spot.yaml".to_owned(), "SPOT_INST"),
            ("TYPE_NOT_RUN", "Setup/Artifact Servers/charts gcs.yaml".to_owned(), "GCS_HELM_REPO"),
            ("KEY_NOT_USED", "Setup/Cloud Providers/gcp.yaml".to_owned(), "usageRestrictions"),
            ("DOCUMENT_NOT_USED", new("Infrastructure Provisioners/machines.yaml"), "harness"),
            ("DOCUMENT_NOT_USED", new("Triggers/hook (v2).yaml"), "harness"),
            ("DOCUMENT_NOT_USED", "Setup/Template Library/acme/scripts/ask.yaml".to_owned(), "harness"),
            ("DOCUMENT_NOT_USED", "Setup/Governance/Deployment Governance.yaml".to_owned(), "harness"),
        ];
        for (code, path, text) in wanted {
            let (line, column) = place(&files, &path, text)?;
            let one = (code.to_owned(), path, line, column);
            let near: Vec<_> = told.iter().filter(|told| told.1 == one.1).collect();
            assert!(told.contains(&one), "{one:?} is not told, but {near:#?}");
        }
        Ok(())
    });
}

/// A Service Infrastructure of one host, as old trees have it.
fn service_infrastructure(more: Value) -> Value {
    let old = json!({ "type": "PHYSICAL_DATA_CENTER_SSH", "computeProviderName": "dc",
        "computeProviderType": "PHYSICAL_DATA_CENTER", "connection": "key", "deploymentType": "SSH",
        "hostNames": ["one.test"], "infraMappingType": "PHYSICAL_DATA_CENTER_SSH", "serviceName": "web" });
    with(old, more)
}

/// An application of the older generation: one Service Infrastructure, and a workflow whose phase names it.
fn older(story: &Story) -> Application {
    let section = json!({ "type": "DEPLOY_SERVICE", "name": "Deploy", "stepsInParallel": false,
        "steps": [story.note("deploy ${infra.name}")] });
    let phase = json!({ "type": "SSH", "name": "Phase 1", "computeProviderName": "dc", "serviceName": "web",
        "infraMappingName": "racks (old)", "phaseSteps": [section] });
    let workflow = json!({ "type": "BASIC", "envName": "prod", "templatized": false, "phases": [phase] });
    story
        .application()
        .environment("prod", &[])
        .file("Environments/prod/Service Infrastructure/racks (old).yaml", service_infrastructure(json!({})))
        .file("Workflows/roll.yaml", workflow)
}

#[test]
fn a_service_infrastructure_is_deployed_to_as_a_definition() {
    run(async {
        let story = Story::new("Older").await?;
        story.tell(older(&story)).await?;
        story.infrastructure("prod", "racks (old)").await?;
        let execution = story.start_alone("roll", &[]).await?;
        assert_eq!(story.ended(&execution).await?, "SUCCESS");
        assert_eq!(story.ledger(), ["deploy racks (old)"]);
        // The same tree again changes nothing; a change in it is taken.
        story.tell(older(&story)).await?;
        let path = "Environments/prod/Service Infrastructure/racks (old).yaml";
        let changed = service_infrastructure(json!({ "hostNames": ["two.test"] }));
        story.tell(story.application().environment("prod", &[]).file(path, changed)).await?;
        Ok(())
    });
}

#[test]
fn a_service_infrastructure_does_not_replace_a_definition_of_its_name() {
    run(async {
        let story = Story::new("Clash").await?;
        story.tell(story.application().environment("prod", &["eu"])).await?;
        let old = Application::new("Clash")
            .environment("prod", &[])
            .file("Environments/prod/Service Infrastructure/eu.yaml", service_infrastructure(json!({})));
        let refused =
            story.server.import(&old.files()).await.expect_err("eu is for every service").to_string();
        assert!(refused.contains("NAME_TAKEN"), "{refused}");
        assert!(refused.contains("Service Infrastructure/eu.yaml"), "{refused}");
        Ok(())
    });
}
