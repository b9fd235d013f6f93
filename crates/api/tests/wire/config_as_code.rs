//! Config-as-code (`wire.md` 4).

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};

use super::{ACCOUNT, Server, escaped, multipart, shop, with_key, zipped};

const ENVIRONMENT: &str = "Setup/Applications/shop/Environments/stage/Index.yaml";

fn find<'v>(node: &'v Value, path: &str) -> Option<&'v Value> {
    if node["directoryPath"]["path"] == path {
        return Some(node);
    }
    node["children"].as_array()?.iter().find_map(|child| find(child, path))
}

#[tokio::test]
async fn what_is_upserted_is_found_and_read_in_canonical_form() {
    let server = Server::shop().await;
    let text = "type: ENVIRONMENT\nenvironmentType: NON_PROD\nharnessApiVersion: \"1.0\"\n";
    let written = server.upsert(ENVIRONMENT, text).await;
    assert_eq!(written["status"], "SUCCESS", "{written:#}");
    let again = server.upsert(ENVIRONMENT, text).await;
    assert_eq!(again["entityId"], written["entityId"]);
    assert_eq!(again["revision"], written["revision"]);

    let (application, _, _) = server.ids().await;
    let (_, answer) = server
        .get(&format!("/gateway/api/setup-as-code/yaml/directory?accountId=x&appId={application}"))
        .await;
    assert_eq!(answer["responseMessages"], json!([]));
    let node = find(&answer["resource"], ENVIRONMENT).expect("the node");
    assert_eq!(
        (&node["uuid"], &node["restName"], &node["type"], &node["accountId"], &node["appId"]),
        (&written["entityId"], &json!("environments"), &json!("yaml"), &json!(ACCOUNT), &json!(application))
    );
    let path = format!(
        "/api/setup-as-code/yaml/environments/{}?appId={application}",
        node["uuid"].as_str().unwrap()
    );
    let (_, answer) = server.get(&path).await;
    let canonical = "harnessApiVersion: '1.0'\ntype: ENVIRONMENT\nenvironmentType: NON_PROD\n";
    assert_eq!(answer["resource"]["yaml"], canonical);
    assert_eq!(written["entityYaml"], canonical);
}

#[tokio::test]
async fn the_tree_has_the_folders_and_the_first_match_that_clients_need() {
    let server = Server::shop().await;
    let (application, _, _) = server.ids().await;
    for path in ["/api/setup-as-code/yaml/directory", "/api/setup-as-code/yaml/directory?appId=unknown"] {
        let (status, answer) = server.get(path).await;
        assert_eq!(status, StatusCode::OK);
        let root = &answer["resource"];
        assert_eq!(root["name"], "Setup");
        let names: Vec<&str> = root["children"]
            .as_array()
            .unwrap()
            .iter()
            .map(|child| child["name"].as_str().unwrap())
            .collect();
        assert_eq!(names.first(), Some(&"Applications"), "{names:?}");
        assert!(names.contains(&"Template Library"));
        assert_eq!(find(root, "Setup/Applications/shop/Index.yaml").is_some(), !path.contains("unknown"));
    }
    let (_, answer) = server.get("/api/setup-as-code/yaml/directory").await;
    let shop = find(&answer["resource"], "Setup/Applications/shop").unwrap();
    assert_eq!((&shop["appId"], &shop["uuid"]), (&json!(application), &json!(null)));
    assert_eq!(shop["children"][0]["name"], "Index.yaml");
    assert_eq!(shop["children"][0]["uuid"], json!(application));
}

#[tokio::test]
async fn an_import_is_whole_or_nothing_and_says_where() {
    let server = Server::start().await;
    let mut files = shop::files();
    files.push((
        "Setup/Applications/shop/Services/bad/Index.yaml".into(),
        "harnessApiVersion: '1.0'\ntype: [\n".into(),
    ));
    let answer = server.import(&files).await;
    let resource = &answer["resource"];
    assert_eq!(resource["status"], "FAILED");
    let bad =
        resource["filesStatus"].as_array().unwrap().iter().find(|file| file["status"] == "FAILED").unwrap();
    assert_eq!(bad["yamlFilePath"], "Setup/Applications/shop/Services/bad/Index.yaml");
    assert!(bad["problems"][0]["place"]["line"].as_u64().unwrap() >= 1, "{bad:#}");
    let data = server.data("{applications(limit: 1) {pageInfo{total}}}", json!({})).await;
    assert_eq!(data["applications"]["pageInfo"]["total"], 0);

    files.pop();
    let first = server.import(&files).await["resource"].clone();
    assert_eq!(first["status"], "SUCCESS", "{first:#}");
    let second = server.import(&files).await["resource"].clone();
    assert_eq!(second["revision"], first["revision"]);
    assert!(second["filesStatus"].as_array().unwrap().iter().all(|file| file["change"] == "UNCHANGED"));
}

#[tokio::test]
async fn an_export_gives_the_tree_back() {
    let server = Server::shop().await;
    let request = with_key(Request::get("/api/setup-as-code/export?app=shop")).body(Body::empty()).unwrap();
    let (status, archive) = server.send(request).await;
    assert_eq!(status, StatusCode::OK);
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(archive)).unwrap();
    assert_eq!(archive.len(), shop::files().len() - 1);
    let mut texts = Vec::new();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).unwrap();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut entry, &mut text).unwrap();
        texts.push((entry.name().unwrap().into_owned(), text));
    }
    let answer = server.import(&texts).await;
    assert!(
        answer["resource"]["filesStatus"]
            .as_array()
            .unwrap()
            .iter()
            .all(|file| file["change"] == "UNCHANGED")
    );
}

#[tokio::test]
async fn zip_bombs_and_nonsense_are_refused() {
    let server = Server::start().await;
    let bomb = zipped([("Setup/a.yaml", vec![b' '; 20 << 20].as_slice())].into_iter());
    for archive in [bomb.as_slice(), b"not a zip"] {
        let request = multipart("/api/setup-as-code/yaml/upsert-entities", &[("file", "a.zip", archive)]);
        let (status, answer) = server.json(request).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(answer["responseMessages"][0]["code"].as_str().unwrap().starts_with("ARCHIVE_"), "{answer}");
    }
}

#[tokio::test]
async fn wrong_documents_are_told_in_the_resource() {
    let server = Server::shop().await;
    let wrong = [
        ("Setup/Applications/shop/Environments/x/Index.yaml", "a: b: c"),
        ("Setup/Applications/shop/Environments/x/Index.yml", "harnessApiVersion: '1.0'\ntype: ENVIRONMENT\n"),
        (
            "Setup/Applications/none/Environments/x/Index.yaml",
            "harnessApiVersion: '1.0'\ntype: ENVIRONMENT\nenvironmentType: PROD\n",
        ),
        ("../etc/passwd", "x"),
    ];
    for (path, text) in wrong {
        let resource = server.upsert(path, text).await;
        assert_eq!(resource["status"], "FAILED", "{path}");
        assert!(!resource["errorMssg"].as_str().unwrap().is_empty());
    }
}

#[tokio::test]
async fn deletions_take_what_lies_below_and_refuse_what_is_used() {
    let server = Server::shop().await;
    let delete = |paths: &str| {
        let path =
            format!("/api/setup-as-code/yaml/delete-entities?accountId=x&filePaths={}", escaped(paths));
        with_key(Request::delete(path)).body(Body::empty()).unwrap()
    };
    let service = "Setup/Applications/shop/Services/cart/Index.yaml";
    let (_, answer) = server.json(delete(service)).await;
    assert_eq!(answer["resource"]["status"], "FAILED");
    assert!(answer["resource"]["errorMessage"].as_str().unwrap().contains("deploy.yaml"), "{answer:#}");

    let both = "Setup/Applications/shop/Pipelines/release.yaml,Setup/Applications/shop/Workflows/deploy.yaml";
    let (_, answer) = server.json(delete(both)).await;
    assert_eq!(answer["resource"]["status"], "SUCCESS", "{answer:#}");

    let body =
        json!([{"filePath": "Setup/Applications/shop/Environments/prod/Index.yaml", "fileContent": ""}])
            .to_string();
    let request = with_key(Request::delete("/api/setup-as-code/yaml/delete-entities-v2"))
        .body(Body::from(body))
        .unwrap();
    let (_, answer) = server.json(request).await;
    assert_eq!(answer["resource"]["responseStatus"], "SUCCESS", "{answer:#}");
    let data = server.data("{infrastructureDefinitions(limit: 10) {nodes{name}}}", json!({})).await;
    assert_eq!(data["infrastructureDefinitions"]["nodes"], json!([{"name": "lab"}]));
}
