//! Configuration that cannot be read, by upsert, import and lint; archives that are bombs.

use std::io::{Cursor, Write};
use std::time::Instant;

use manifold_testkit::server::Server;
use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::Value;

use super::{SOON, serves};
use crate::scene::Scene;
use crate::shared;

const PATH: &str = "Setup/Applications/Bad Documents/Workflows/wf.yaml";

/// Documents that must be refused, with the code that says why.
fn bad() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let head = "harnessApiVersion: '1.0'\ntype: BASIC\n";
    let mut bomb = format!("{head}a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..20 {
        let below = level - 1;
        let items = vec![format!("*a{below}"); 10].join(", ");
        bomb += &format!("a{level}: &a{level} [{items}]\n");
    }
    vec![
        ("broken", format!("{head}phases: [unclosed\n- x: {{").into_bytes(), "YAML_SYNTAX"),
        ("tabs", format!("{head}phases:\n\t- x").into_bytes(), "YAML_SYNTAX"),
        ("deep lists", format!("{head}x: {}", "[".repeat(100_000)).into_bytes(), "YAML_LIMIT"),
        ("deep mappings", format!("{head}x: {}", "{a: ".repeat(100_000)).into_bytes(), "YAML_LIMIT"),
        ("deep blocks", deep_blocks(head), "YAML_LIMIT"),
        ("huge", format!("{head}description: {}", "x".repeat(2 << 20)).into_bytes(), "YAML_LIMIT"),
        ("many nodes", format!("{head}x:\n{}", "- a\n".repeat(250_000)).into_bytes(), "YAML_LIMIT"),
        ("alias bomb", bomb.into_bytes(), "YAML_LIMIT"),
        ("long key", format!("{head}{}: x", "k".repeat(5_000)).into_bytes(), "YAML_LIMIT"),
        ("no utf-8", [head.as_bytes(), b"description: \xff\xfe"].concat(), "YAML_SYNTAX"),
        ("nul", format!("{head}description: a\0b").into_bytes(), "YAML_SYNTAX"),
        ("a key twice", format!("{head}type: CANARY").into_bytes(), "YAML_DUPLICATE_KEY"),
        ("two documents", format!("{head}---\n{head}").into_bytes(), "YAML_SYNTAX"),
        ("a list", b"- a\n- b".to_vec(), ""),
        ("empty", Vec::new(), ""),
    ]
}

fn deep_blocks(head: &str) -> Vec<u8> {
    let mut text = format!("{head}x:\n");
    for level in 1..1_000 {
        text += &format!("{}a:\n", " ".repeat(level));
    }
    text.into_bytes()
}

async fn upsert(server: &Server, path: &str, content: Vec<u8>) -> Value {
    let form = Form::new().part("yamlContent", Part::bytes(content));
    let url = format!("/api/setup-as-code/yaml/upsert-entity?accountId={}", server.account);
    let answer =
        server.request(Method::POST, &url).query(&[("yamlFilePath", path)]).multipart(form).send().await;
    answer.unwrap().json().await.unwrap()
}

async fn upload(server: &Server, archive: Vec<u8>) -> (u16, Value) {
    let form = Form::new().part("file", Part::bytes(archive).file_name("tree.zip"));
    let url = format!("/api/setup-as-code/yaml/upsert-entities?accountId={}", server.account);
    let answer = server.request(Method::POST, &url).multipart(form).send().await.unwrap();
    let status = answer.status().as_u16();
    (status, answer.json().await.unwrap())
}

fn archive(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

#[test]
fn bad_documents_are_refused_by_upsert_import_and_lint_and_nothing_is_lost() {
    shared::run(async {
        let server = shared::server().await?;
        let index = "harnessApiVersion: '1.0'\ntype: APPLICATION\n";
        Scene::new("Bad Documents").import(&server).await?;
        let good = b"harnessApiVersion: '1.0'\ntype: BUILD\ndescription: good\n".to_vec();
        assert_eq!(upsert(&server, PATH, good).await["resource"]["status"], "SUCCESS");
        let before = document(&server).await;
        for (name, content, code) in bad() {
            let begun = Instant::now();
            let answer = upsert(&server, PATH, content.clone()).await;
            assert_eq!(answer["resource"]["status"], "FAILED", "upsert of {name}: {answer}");
            assert!(
                !answer["resource"]["errorMssg"].as_str().unwrap_or_default().is_empty(),
                "{name}: {answer}"
            );
            let problem = &answer["resource"]["problems"][0];
            assert!(code.is_empty() || problem["code"] == code, "upsert of {name}: {problem}");
            assert_eq!(problem["place"]["path"], PATH, "upsert of {name}: {problem}");

            let zip = archive(&[
                ("Setup/Applications/Bad Documents/Index.yaml", index.as_bytes().to_vec()),
                (PATH, content.clone()),
            ]);
            let (_, answer) = upload(&server, zip).await;
            assert_eq!(answer["resource"]["status"], "FAILED", "import of {name}: {answer}");

            let folder = tempfile::tempdir_in(server.folder())?;
            let file = folder.path().join(PATH);
            std::fs::create_dir_all(file.parent().unwrap())?;
            std::fs::write(folder.path().join("Setup/Applications/Bad Documents/Index.yaml"), index)?;
            std::fs::write(&file, &content)?;
            let (exit, out, err) = server.cli(&["lint", &folder.path().to_string_lossy()]).await?;
            assert_eq!(exit, 3, "lint of {name}: {out}{err}");
            assert!(format!("{out}{err}").contains("wf.yaml"), "lint of {name}: {out}{err}");
            assert!(begun.elapsed() < SOON, "{name} took {:?}", begun.elapsed());
        }
        assert_eq!(document(&server).await, before);
        serves(&server).await;
        Ok(())
    });
}

async fn document(server: &Server) -> Value {
    let url = format!("/api/setup-as-code/yaml/yaml-content?accountId={}", server.account);
    let answer = server.request(Method::GET, &url).query(&[("yamlFilePath", PATH)]).send().await.unwrap();
    let answer: Value = answer.json().await.unwrap();
    let text = answer["resource"]["yaml"].clone();
    assert!(text.as_str().is_some_and(|text| text.contains("good")), "{answer}");
    text
}

#[test]
fn archives_that_are_bombs_are_refused() {
    shared::run(async {
        let server = shared::server().await?;
        let zeros = archive(&[("Setup/Applications/X/Index.yaml", vec![0; 15 << 20])]);
        let names: Vec<String> = (0..60_000).map(|number| format!("Setup/f{number}.yaml")).collect();
        let files: Vec<(&str, Vec<u8>)> = names.iter().map(|name| (name.as_str(), Vec::new())).collect();
        let cases = [
            ("a file of zeros", zeros, "ARCHIVE_TOO_LARGE"),
            ("60,000 files", archive(&files), "ARCHIVE_TOO_LARGE"),
            ("no archive", b"PK\x03\x04 and nothing more".to_vec(), "ARCHIVE_UNREADABLE"),
            ("nothing", Vec::new(), "ARCHIVE_UNREADABLE"),
        ];
        for (name, bytes, code) in cases {
            let (status, answer) = upload(&server, bytes).await;
            assert_eq!(status, 400, "{name}: {answer}");
            assert_eq!(answer["responseMessages"][0]["code"], code, "{name}: {answer}");
        }
        for path in
            ["../../etc/cron.d/x.yaml", "/etc/x.yaml", "Setup/../../x.yaml", "Setup/Applications/a//b.yaml"]
        {
            let (status, answer) = upload(&server, archive(&[(path, b"type: APPLICATION".to_vec())])).await;
            let refused = status == 400 || answer["resource"]["status"] == "FAILED";
            assert!(refused, "{path}: {answer}");
        }
        serves(&server).await;
        Ok(())
    });
}

#[test]
fn a_file_that_is_not_yaml_by_name_is_refused() {
    shared::run(async {
        let server = shared::server().await?;
        let answer = upsert(&server, "Setup/Applications/X/Index.yml", b"type: APPLICATION".to_vec()).await;
        assert_ne!(answer["resource"]["status"], "SUCCESS", "{answer}");
        Ok(())
    });
}
