//! Writing, renaming and deleting configuration, on a real store in a folder of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::Arc;

use manifold_control::import::{Incoming, Report, Source, Written};
use manifold_control::{Actor, Control, Limits, Parts, SystemClock};
use manifold_model::KeyId;
use manifold_store::logs::LogStore;
use manifold_store::sqlite::SqliteStore;

const APP: &str = "Setup/Applications/Shop";

struct Site {
    control: Control,
    actor: Actor,
    _folder: tempfile::TempDir,
}

impl Site {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(SystemClock::default());
        let store = SqliteStore::open(&folder.path().join("manifold.db"), clock.clone()).await.unwrap();
        let control = Control::new(Parts {
            store: Arc::new(store),
            logs: LogStore::open(&folder.path().join("logs")).unwrap(),
            vault: manifold_secrets::Key::random().unwrap(),
            public_url: "http://127.0.0.1".to_owned(),
            kinds: Arc::new(Vec::new()),
            clock,
            account: "account".to_owned(),
            limits: Limits::default(),
        });
        Self { control, actor: Actor::key(KeyId::from("key1"), "tests"), _folder: folder }
    }

    async fn import(&self, files: &[(&str, &str)]) -> Report {
        let files = files
            .iter()
            .map(|(path, text)| Incoming { path: format!("{APP}/{path}"), bytes: text.as_bytes().to_vec() })
            .collect();
        self.control.import(&self.actor, files, Source::Import, "").await.unwrap()
    }

    async fn texts(&self) -> BTreeMap<String, String> {
        let rows = self.control.export(&self.actor, None).await.unwrap();
        rows.iter().map(|row| (row.path.clone(), String::from_utf8_lossy(&row.body).into_owned())).collect()
    }

    async fn delete(&self, paths: &[&str]) -> manifold_control::Result<Vec<String>> {
        let paths: Vec<String> = paths.iter().map(|path| format!("{APP}/{path}")).collect();
        self.control.delete_paths(&self.actor, &paths, Source::ConfigAsCode, "").await
    }
}

fn document(kind: &str, more: &str) -> String {
    format!("harnessApiVersion: '1.0'\ntype: {kind}\n{more}")
}

/// Codes of all problems with their files.
fn told(report: &Report) -> Vec<String> {
    let of_files = report.files.iter().flat_map(|file| {
        file.problems.iter().map(|problem| format!("{} {}", problem.code, file.path.replacen(APP, "", 1)))
    });
    report.problems.iter().map(|problem| problem.code.to_string()).chain(of_files).collect()
}

/// A service with values of its own in an environment, as files and as a document.
async fn shop() -> Site {
    let site = Site::new().await;
    let config =
        document("CONFIG_FILE_OVERRIDE", "fileName: a.conf\nserviceName: cart\ntargetFilePath: a.conf\n");
    let report = site
        .import(&[
            ("Index.yaml", &document("APPLICATION", "")),
            ("Services/cart/Index.yaml", &document("SERVICE", "artifactType: DOCKER\n")),
            ("Environments/prod/Index.yaml", &document("ENVIRONMENT", "environmentType: PROD\n")),
            ("Environments/prod/Values/values.yaml", "all: 1"),
            ("Environments/prod/Values/Services/cart/values.yaml", "cart: {{ 1"),
            (
                "Environments/prod/PCF Overrides/Services/cart/Index.yaml",
                &document("APPLICATION_MANIFEST", ""),
            ),
            ("Environments/prod/Config Files/Services/cart/a.conf.yaml", &config),
            ("Environments/prod/Config Files/Services/cart/a.conf", "x"),
        ])
        .await;
    assert!(report.ok, "{report:?}");
    site
}

#[tokio::test]
async fn overrides_of_a_service_move_with_its_name() {
    let site = shop().await;
    let before = site.texts().await;
    let snapshot = site.control.snapshot().await.unwrap();
    let service = snapshot.documents[&format!("{APP}/Services/cart/Index.yaml")].id.clone();
    site.control.rename(&site.actor, &service, "cart (new)").await.unwrap();
    let after = site.texts().await;
    let moved: BTreeMap<String, String> = before
        .into_iter()
        .map(|(path, text)| {
            let text = text.replace("serviceName: cart", "serviceName: cart (new)");
            (path.replace("Services/cart/", "Services/cart (new)/"), text)
        })
        .collect();
    assert_eq!(after, moved);
    let snapshot = site.control.snapshot().await.unwrap();
    let environment = snapshot.catalog.environments.values().next().unwrap();
    let values: Vec<_> = environment.values.iter().map(|one| one.service_name.as_deref()).collect();
    assert_eq!(values, [None, Some("cart (new)")]);
}

#[tokio::test]
async fn a_service_with_overrides_is_deleted_together_with_them_only() {
    let site = shop().await;
    let refused = site.delete(&["Services/cart/Index.yaml"]).await.unwrap_err();
    let text = format!("{refused:?}");
    assert!(text.contains("STILL_REFERENCED"), "{text}");
    assert!(text.contains("Environments/prod/Values/Services/cart/values.yaml"), "{text}");
    let all = [
        "Services/cart/Index.yaml",
        "Environments/prod/Values/Services/cart/values.yaml",
        "Environments/prod/PCF Overrides/Services/cart/Index.yaml",
        "Environments/prod/Config Files/Services/cart/a.conf.yaml",
        "Environments/prod/Config Files/Services/cart/a.conf",
    ];
    assert_eq!(site.delete(&all).await.unwrap(), Vec::<String>::new());
    assert_eq!(site.texts().await.len(), 3);
}

#[tokio::test]
async fn an_override_of_a_service_that_is_not_there_is_told() {
    let site = shop().await;
    let path = "Environments/prod/Values/Services/card/values.yaml";
    let report = site.import(&[(path, "a: 1")]).await;
    assert!(!report.ok);
    assert_eq!(told(&report), [format!("REFERENCE_UNKNOWN /{path}")]);
}

#[tokio::test]
async fn what_is_stored_already_is_found_by_what_comes_later() {
    let site = shop().await;
    let script = document("SHELL_SCRIPT", "scriptBody: 'true'\n");
    assert!(site.import(&[("Provisioners/machines.yaml", &script)]).await.ok);
    let mapped = document(
        "INFRA_DEFINITION",
        "deploymentType: SSH\ninfrastructure:\n- type: AWS_SSH\nprovisioner: machines\n",
    );
    let report = site.import(&[("Environments/prod/Infrastructure Definitions/eu.yaml", &mapped)]).await;
    assert!(report.ok, "{report:?}");
    // The content of this config file is on the server.
    let config =
        document("CONFIG_FILE_OVERRIDE", "fileName: a.conf\nserviceName: cart\ntargetFilePath: b.conf\n");
    let report = site.import(&[("Environments/prod/Config Files/Services/cart/a.conf.yaml", &config)]).await;
    assert_eq!((report.ok, told(&report)), (true, vec![]));
}

fn service_infrastructure(kind: &str, namespace: &str) -> String {
    let keys = format!(
        "computeProviderName: c\ncomputeProviderType: GCP\ndeploymentType: KUBERNETES\nnamespace: {namespace}\nserviceName: cart\n"
    );
    document(kind, &keys)
}

#[tokio::test]
async fn a_service_infrastructure_is_written_anew_by_its_own_tree_only() {
    let site = shop().await;
    let path = "Environments/prod/Service Infrastructure/gke.yaml";
    let first = site.import(&[(path, &service_infrastructure("GCP_KUBERNETES", "a"))]).await;
    assert!(first.ok, "{first:?}");
    let file = first.files.iter().find(|file| file.path.ends_with(path)).unwrap();
    assert_eq!(file.written, Written::Created);
    assert_eq!(
        told(&first),
        [format!("SERVICE_INFRASTRUCTURE /{path}"), format!("REFERENCE_UNKNOWN /{path}")]
    );
    let again = site.import(&[(path, &service_infrastructure("GCP_KUBERNETES", "a"))]).await;
    assert_eq!(again.revision, first.revision);
    let changed = site.import(&[(path, &service_infrastructure("GCP_KUBERNETES", "b"))]).await;
    assert!(changed.ok && changed.revision > first.revision);
    let other = site.import(&[(path, &service_infrastructure("AZURE_KUBERNETES", "b"))]).await;
    assert!(!other.ok);
    assert!(told(&other).contains(&format!("NAME_TAKEN /{path}")), "{:?}", told(&other));
    let kept = &site.texts().await[&format!("{APP}/Environments/prod/Infrastructure Definitions/gke.yaml")];
    assert!(kept.contains("- type: GCP_KUBERNETES\n  cloudProviderName: c\n  namespace: b\n"), "{kept}");
}
