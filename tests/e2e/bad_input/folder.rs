//! Starts of the server that are refused: folder, database, key, port, configuration.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use manifold_testkit::server::Server;
use tokio::process::Command;

use super::serves;
use crate::BINARY;

/// How long a start that is refused may take.
const REFUSED_IN: Duration = Duration::from_secs(30);

/// Runs a server that should not start; exit code and what it says.
async fn refused(data: &Path, arguments: &[&str]) -> (i32, String) {
    let running = Command::new(BINARY)
        .args(["server", "--listen", "127.0.0.1:0", "--data"])
        .arg(data)
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(REFUSED_IN, running).await.expect("it ends in time").unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!said.contains("listening on"), "the server started: {said}");
    assert!(!said.contains("panicked"), "{said}");
    (output.status.code().unwrap_or(-1), said)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_on_the_same_folder_is_refused() {
    let server = Server::start(BINARY, &[]).await.unwrap();
    let (code, said) = refused(&server.data(), &[]).await;
    assert_ne!(code, 0);
    assert!(said.contains("is in use by another process"), "{said}");
    serves(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_a_newer_and_a_foreign_database_are_refused_untouched() {
    let mut server = Server::start(BINARY, &[]).await.unwrap();
    serves(&server).await;
    assert_eq!(server.terminate(REFUSED_IN).await.unwrap(), 0);
    let database = server.data().join("manifold.db");
    let good = std::fs::read(&database).unwrap();

    let newer = Command::new("python3")
        .arg("-c")
        .arg(
            "import sqlite3, sys\ndb = sqlite3.connect(sys.argv[1])\n\
             db.execute(\"INSERT INTO refinery_schema_history (version, name, applied_on, checksum) \
             VALUES (9999, 'later', '2030-01-01T00:00:00Z', '1')\")\ndb.commit()",
        )
        .arg(&database)
        .output()
        .await
        .unwrap();
    assert!(newer.status.success(), "{}", String::from_utf8_lossy(&newer.stderr));
    let (code, said) = refused(&server.data(), &[]).await;
    assert_ne!(code, 0);
    assert!(said.contains("schema version 9999"), "{said}");

    let mut torn = good.clone();
    torn.iter_mut().skip(4096).step_by(3).for_each(|byte| *byte = 0x5a);
    for (name, bytes) in
        [("noise", vec![0x5a; 100_000]), ("cut", good[..good.len() / 3].to_vec()), ("torn", torn)]
    {
        std::fs::write(&database, &bytes).unwrap();
        let (code, said) = refused(&server.data(), &[]).await;
        assert_ne!(code, 0, "{name}");
        assert!(said.contains("damaged"), "{name}: {said}");
        assert_eq!(std::fs::read(&database).unwrap(), bytes, "{name}: the damaged file was changed");
    }

    std::fs::write(&database, &good).unwrap();
    server.start_again().await.unwrap();
    serves(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_another_store_is_refused() {
    let mut server = Server::start(BINARY, &[]).await.unwrap();
    let other = Server::start(BINARY, &[]).await.unwrap();
    server.terminate(REFUSED_IN).await.unwrap();
    let mine = std::fs::read(server.data().join("key")).unwrap();
    let key = other.data().join("key").to_string_lossy().into_owned();
    let (code, said) = refused(&server.data(), &["--key-file", &key]).await;
    assert_ne!(code, 0);
    assert!(said.contains("key"), "{said}");
    // Another account's name is refused too.
    let (code, said) = refused(&server.data(), &["--account-id", "AnotherAccount01234567"]).await;
    assert_ne!(code, 0);
    assert!(said.contains("TestAccount0123456789A"), "{said}");
    assert_eq!(std::fs::read(server.data().join("key")).unwrap(), mine);
    server.start_again().await.unwrap();
    serves(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_and_a_bad_configuration_are_refused() {
    let server = Server::start(BINARY, &[]).await.unwrap();
    let address = server.url.trim_start_matches("http://").to_owned();
    let file = server.folder().join("manifold.toml");
    let data = server.folder().join("other");
    std::fs::write(&file, format!("listen = \"{address}\"\n")).unwrap();
    let output = Command::new(BINARY)
        .args(["server", "--data"])
        .arg(&data)
        .arg("--config")
        .arg(&file)
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(REFUSED_IN, output).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(said.contains(&address) && said.contains("in use"), "{said}");

    let cases = [
        ("listen = \"127.0.0.1:0\"\n\nlistne = 3\n", "line 3"),
        ("[limits]\nlock_queue = 5\nlegs = 7\n", "line 3"),
        ("listen = 7\n", "line 1"),
        ("[limits\n", "line 1"),
    ];
    for (text, place) in cases {
        std::fs::write(&file, text).unwrap();
        let (code, said) = refused(&data, &["--config", &file.to_string_lossy()]).await;
        assert_eq!(code, 3, "{said}");
        assert!(said.contains(place) && said.contains("manifold.toml"), "{text:?}: {said}");
    }
    let (code, said) = refused(&data, &["--config", "/nowhere/manifold.toml"]).await;
    assert_eq!(code, 3, "{said}");
    let (code, said) = refused(Path::new("/proc/nowhere"), &[]).await;
    assert_ne!(code, 0);
    assert!(said.contains("/proc/nowhere"), "{said}");
    serves(&server).await;
}
