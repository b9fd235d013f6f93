//! Lookups, renames, deletions.

use serde_json::json;

use super::Server;

#[tokio::test]
async fn lookups_find_what_was_imported() {
    let server = Server::shop().await;
    let (application, pipeline, workflow) = server.ids().await;
    let data = server
        .data(
            "query($a: String!, $p: String!, $w: String!) {
               application(applicationId: $a) { id name description createdBy{id} gitSyncConfig{branch} tags{name value}
                 services(limit: 5) {nodes{name artifactType deploymentType artifactSources{id name}} pageInfo{limit offset total hasMore}} }
               pipeline(pipelineId: $p) { name pipelineVariables{name type required allowedValues defaultValue fixed allowMultipleValues} }
               workflow(workflowId: $w) { name type workflowVariables{name type required allowMultipleValues} }
             }",
            json!({"a": application, "p": pipeline, "w": workflow}),
        )
        .await;
    assert_eq!(data["application"]["description"], "demo shop");
    assert_eq!(data["application"]["gitSyncConfig"], json!(null));
    assert_eq!(data["application"]["services"]["nodes"][0]["deploymentType"], "SSH");
    assert_eq!(
        data["application"]["services"]["pageInfo"],
        json!({"limit": 5, "offset": 0, "total": 1, "hasMore": false})
    );
    assert_eq!(
        data["pipeline"]["pipelineVariables"],
        json!([{"name": "infrastructure", "type": "Infrastructure definition", "required": true, "allowedValues": [],
                "defaultValue": null, "fixed": false, "allowMultipleValues": true}])
    );
    assert_eq!(data["workflow"]["workflowVariables"][0]["allowMultipleValues"], false);
}

#[tokio::test]
async fn options_are_the_environments_infrastructures() {
    let server = Server::shop().await;
    let (application, pipeline, _) = server.ids().await;
    let data = server
        .data(
            "query($a: String!, $p: String!) { variableOptions(applicationId: $a, entityId: $p, executionType: PIPELINE,
               variable: \"infrastructure\", filter: {name: \"U\"}) {kind multiple total matching selectable nodes{name selectable}} }",
            json!({"a": application, "p": pipeline}),
        )
        .await;
    let options = &data["variableOptions"];
    assert_eq!((&options["multiple"], &options["total"]), (&json!(true), &json!(3)));
    assert_eq!(options["matching"], 2, "{options}");
    assert_eq!(options["nodes"][0], json!({"name": "eu", "selectable": true}));
}

#[tokio::test]
async fn a_rename_keeps_ids_and_rewrites_what_refers_to_it() {
    let server = Server::shop().await;
    let (application, pipeline, _) = server.ids().await;
    let provider = server.data("{cloudProviderByName(name: \"hosts\") {id}}", json!({})).await;
    let provider = provider["cloudProviderByName"]["id"].clone();
    let rename = "mutation($id: String!) { updateCloudProvider(input: {cloudProviderId: $id, cloudProviderType: PHYSICAL_DATA_CENTER,
        physicalDataCenterCloudProvider: {name: \"racks\"}}) {cloudProvider{id name}} }";
    let data = server.data(rename, json!({"id": provider})).await;
    assert_eq!(data["updateCloudProvider"]["cloudProvider"], json!({"id": provider, "name": "racks"}));
    let infrastructure = "Setup/Applications/shop/Environments/prod/Infrastructure%20Definitions/eu.yaml";
    let path = format!("/api/setup-as-code/yaml/yaml-content?yamlFilePath={infrastructure}");
    let (_, answer) = server.get(&path).await;
    assert!(answer["resource"]["yaml"].as_str().unwrap().contains("cloudProviderName: racks"), "{answer}");

    let rename = "mutation($a: String!) { updateApplication(input: {applicationId: $a, name: \"store\", description: \"\"}) {application{id name}} }";
    let data = server.data(rename, json!({"a": application})).await;
    assert_eq!(data["updateApplication"]["application"], json!({"id": application, "name": "store"}));
    let data = server
        .data(
            "query($a: String!) {pipelineByName(applicationId: $a, pipelineName: \"release\") {id}}",
            json!({"a": application}),
        )
        .await;
    assert_eq!(data["pipelineByName"]["id"], json!(pipeline));
}

#[tokio::test]
async fn a_renamed_environment_takes_its_infrastructures_along() {
    let server = Server::shop().await;
    let (application, pipeline, _) = server.ids().await;
    let data = server.data("{environments(limit: 5) {nodes{id name}}}", json!({})).await;
    let prod =
        data["environments"]["nodes"].as_array().unwrap().iter().find(|one| one["name"] == "prod").unwrap();
    let rename = "mutation($e: String!) {renameDocument(input: {id: $e, name: \"live\"}) {path}}";
    let data = server.data(rename, json!({"e": prod["id"]})).await;
    assert_eq!(data["renameDocument"]["path"], "Setup/Applications/shop/Environments/live/Index.yaml");
    let path =
        "/api/setup-as-code/yaml/yaml-content?yamlFilePath=Setup/Applications/shop/Workflows/deploy.yaml";
    let (_, answer) = server.get(path).await;
    assert!(answer["resource"]["yaml"].as_str().unwrap().contains("envName: live"), "{answer}");
    let options = "query($a: String!, $p: String!) {variableOptions(applicationId: $a, entityId: $p, executionType: PIPELINE,
        variable: \"infrastructure\") {total}}";
    let data = server.data(options, json!({"a": application, "p": pipeline})).await;
    assert_eq!(data["variableOptions"]["total"], 3);
}

#[tokio::test]
async fn what_is_used_is_not_deleted() {
    let server = Server::shop().await;
    let provider = server.data("{cloudProviderByName(name: \"hosts\") {id}}", json!({})).await;
    let delete = "mutation($id: String!) { deleteCloudProvider(input: {cloudProviderId: $id, clientMutationId: \"7\"}) {clientMutationId} }";
    let error = server.error(delete, json!({"id": provider["cloudProviderByName"]["id"]})).await;
    assert_eq!(error["extensions"]["code"], "STILL_REFERENCED");
    assert!(error["message"].as_str().unwrap().contains("eu.yaml"), "{error}");

    let (application, _, _) = server.ids().await;
    let gone = "mutation($a: String!) { deleteApplication(input: {applicationId: $a}) {clientMutationId} }";
    server.data(gone, json!({"a": application})).await;
    let data = server.data(delete, json!({"id": provider["cloudProviderByName"]["id"]})).await;
    assert_eq!(data["deleteCloudProvider"]["clientMutationId"], "7");
}

#[tokio::test]
async fn cloud_providers_of_graphql_are_documents() {
    let server = Server::start().await;
    let create = "mutation { createCloudProvider(input: {cloudProviderType: PHYSICAL_DATA_CENTER, clientMutationId: \"c\",
        physicalDataCenterCloudProvider: {name: \"cellar\"}}) {clientMutationId cloudProvider{id name type createdAt
        ... on PhysicalDataCenterCloudProvider{isContinuousEfficiencyEnabled} ... on AwsCloudProvider{ceHealthStatus{isHealthy}}}} }";
    let data = server.data(create, json!({})).await;
    let provider = &data["createCloudProvider"]["cloudProvider"];
    assert_eq!(provider["type"], "PHYSICAL_DATA_CENTER");
    assert!(provider["createdAt"].is_i64());
    let path = format!("/api/setup-as-code/yaml/settings/{}", provider["id"].as_str().unwrap());
    let (_, answer) = server.get(&path).await;
    assert_eq!(answer["resource"]["yaml"], "harnessApiVersion: '1.0'\ntype: PHYSICAL_DATA_CENTER\n");
    assert_eq!(server.error(create, json!({})).await["extensions"]["code"], "NAME_TAKEN");
}

#[tokio::test]
async fn applications_are_made_with_their_index() {
    let server = Server::start().await;
    let create = "mutation($n: String!) { createApplication(input: {name: $n, description: \"\", clientMutationId: \"1\"})
        {clientMutationId application{id name description}} }";
    let data = server.data(create, json!({"n": "new one"})).await;
    let application = &data["createApplication"]["application"];
    let (_, answer) = server
        .get(&format!("/api/setup-as-code/yaml/applications/{}", application["id"].as_str().unwrap()))
        .await;
    assert_eq!(answer["resource"]["yaml"], "harnessApiVersion: '1.0'\ntype: APPLICATION\ndescription: ''\n");
    for name in ["new one", "", "a/b", "a,b", "x\u{7}"] {
        server.error(create, json!({"n": name})).await;
    }
    server.error(create, json!({"n": "x".repeat(300)})).await;
}
