//! `manifold store` on a store that a server has written: checked and backed up while it serves, restored, copied to PostgreSQL and back.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use manifold_testkit::postgres;
use manifold_testkit::server::Server;

use crate::BINARY;
use crate::scene::{Flow, Scene, deploy, script};

/// For whatever should come soon; two cores are shared with other tests.
const SOON: Duration = Duration::from_secs(60);

fn store(arguments: &[&str]) -> Output {
    Command::new(BINARY).arg("store").args(arguments).output().unwrap()
}

fn done(arguments: &[&str]) -> String {
    let output = store(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn refused(arguments: &[&str], code: &str) {
    let output = store(arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{arguments:?}: {said}");
    assert!(said.contains(code), "{said}");
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_served_store_is_checked_kept_restored_and_copied() {
    let mut server = Server::start(BINARY, &[]).await.unwrap();
    let flow = Flow::default().steps(&[script("hello", "echo hello")]);
    let scene = Scene::new("Kept").nowhere(2).workflow("wf", &flow).pipeline("pipe", "wf");
    scene.import(&server).await.unwrap();
    let execution = deploy(&server, "Kept", "pipe", "i0,i1").await.unwrap();
    assert_eq!(server.ended(&execution, SOON).await.unwrap(), "SUCCESS");

    let data = server.data();
    let away = tempfile::tempdir().unwrap();
    let (file, restored, back) =
        (away.path().join("backup"), away.path().join("restored"), away.path().join("back"));
    let said = done(&["check", "--data", text(&data), "-o", "json"]);
    let checked: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(checked["executions"], 3, "{said}");
    assert_eq!(checked["complaints"], serde_json::json!([]), "{said}");
    done(&["backup", text(&file), "--data", text(&data)]);
    refused(&["backup", text(&file), "--data", text(&data)], "BACKUP_EXISTS");
    refused(&["restore", text(&file), "--data", text(&data)], "STORE_NOT_EMPTY");
    refused(&["copy", "--from", text(&data), "--to", text(&back)], "STORE_LOCKED");
    server.terminate(SOON).await.unwrap();

    done(&["restore", text(&file), "--data", text(&restored)]);
    let database = postgres::shared().unwrap().database().unwrap();
    done(&["copy", "--from", text(&restored), "--to", &database]);
    done(&["check", "--database-url", &database]);
    done(&["copy", "--from", &database, "--to", text(&back)]);
    assert!(done(&["check", "--data", text(&back)]).contains("the store is sound: 3 executions"));
}
