//! Secrets (`wire.md` 2.7).

use serde_json::{Value, json};

use super::{ACCOUNT, Server, multipart};

const CREATE: &str = "mutation($i: CreateSecretInput!) { createSecret(input: $i) { clientMutationId secret { id name secretType
    usageScope{appEnvScopes{application{filterType appId} environment{filterType envId}}}
    ... on EncryptedText{secretManagerId scopedToAccount inheritScopesFromSM}
    ... on SSHCredential{sshAuthentication: authenticationType{... on SSHAuthentication{port userName}}
      kerberosAuthentication: authenticationType{... on KerberosAuthentication{port principal realm}}}
    ... on WinRMCredential{domain port useSSL} } } }";

async fn text(server: &Server, name: &str, value: &str) -> Value {
    let input = json!({"secretType": "ENCRYPTED_TEXT", "encryptedText": {"name": name, "value": value, "usageScope": {"appEnvScopes": []}}});
    server.data(CREATE, json!({"i": input})).await["createSecret"]["secret"].clone()
}

#[tokio::test]
async fn values_go_in_and_never_come_out() {
    let server = Server::start().await;
    let secret = text(&server, "token", "very-secret-value").await;
    assert_eq!((&secret["secretManagerId"], &secret["usageScope"]), (&json!(ACCOUNT), &json!(null)));
    let stored = manifold_store::Store::secret(&*server.store, &secret["id"].as_str().unwrap().into())
        .await
        .unwrap()
        .unwrap();
    assert!(!stored.sealed.windows(17).any(|part| part == b"very-secret-value"));
    assert!(!format!("{stored:?}").contains("very-secret-value"));
    let taken =
        json!({"i": {"secretType": "ENCRYPTED_TEXT", "encryptedText": {"name": "token", "value": "x"}}});
    assert_eq!(server.error(CREATE, taken).await["extensions"]["code"], "NAME_TAKEN");
    let manager =
        server.data("{secretManagerByName(name: \"Harness Secrets Manager\") {id}}", json!({})).await;
    assert_eq!(manager["secretManagerByName"]["id"], ACCOUNT);
    let schema = manifold_api::schema_sdl();
    let types: Vec<&str> = schema.split("\ntype ").filter(|one| one.starts_with("Encrypted")).collect();
    assert!(types.len() == 2 && types.iter().all(|one| !one.split("\n}").next().unwrap().contains("value")));
}

#[tokio::test]
async fn ssh_credentials_name_secrets_that_exist() {
    let server = Server::shop().await;
    let key = text(&server, "key", "-----BEGIN").await;
    let credential = |id: &Value| {
        json!({"i": {"secretType": "SSH_CREDENTIAL", "clientMutationId": "m", "sshCredential": {"name": "login", "authenticationScheme": "SSH",
            "sshAuthentication": {"port": 22, "userName": "ops", "sshAuthenticationMethod": {"sshCredentialType": "SSH_KEY",
              "inlineSSHKey": {"sshKeySecretFileId": id}}}}}})
    };
    assert_eq!(
        server.error(CREATE, credential(&json!("none"))).await["extensions"]["code"],
        "SECRET_UNKNOWN"
    );
    let data = server.data(CREATE, credential(&key["id"])).await;
    let secret = &data["createSecret"]["secret"];
    assert_eq!(secret["sshAuthentication"], json!({"port": 22, "userName": "ops"}));
    assert_eq!(
        secret["kerberosAuthentication"],
        json!({}),
        "a fragment that does not match gives an empty object"
    );

    let delete = "mutation($s: String!, $t: SecretType!) { deleteSecret(input: {secretId: $s, secretType: $t}) {clientMutationId} }";
    let error = server.error(delete, json!({"s": key["id"], "t": "ENCRYPTED_TEXT"})).await;
    assert!(error["message"].as_str().unwrap().contains("still being used"), "{error}");
    let error = server.error(delete, json!({"s": secret["id"], "t": "SSH_CREDENTIAL"})).await;
    assert!(error["message"].as_str().unwrap().contains("Infrastructure Definitions"), "{error}");
}

#[tokio::test]
async fn files_come_as_multipart() {
    let server = Server::start().await;
    let query = "mutation { createSecret(input: {secretType: ENCRYPTED_FILE, encryptedFile: {name: \"pem\"}}) {secret{id name secretType}} }";
    let without = server.error(query, json!({})).await;
    assert_eq!(without["extensions"]["code"], "INPUT_MISSING");
    let part = json!({"query": query}).to_string();
    let request = multipart("/api/graphql", &[("query", "", part.as_bytes()), ("file", "a.pem", b"content")]);
    let (_, answer) = server.json(request).await;
    assert_eq!(answer["data"]["createSecret"]["secret"]["secretType"], "ENCRYPTED_FILE", "{answer:#}");
}

#[tokio::test]
async fn winrm_and_updates() {
    let server = Server::start().await;
    let input = json!({"i": {"secretType": "WINRM_CREDENTIAL", "winRMCredential": {"name": "win", "domain": "D", "userName": "u", "port": 5986, "useSSL": true}}});
    let data = server.data(CREATE, input).await;
    assert_eq!(data["createSecret"]["secret"]["port"], 5986);
    let secret = text(&server, "one", "1").await;
    let update = "mutation($s: String!) { updateSecret(input: {secretId: $s, secretType: ENCRYPTED_TEXT, encryptedText: {name: \"two\",
        usageScope: {appEnvScopes: [{application: {filterType: ALL}, environment: {filterType: PRODUCTION_ENVIRONMENTS}}]}}})
        {secret{name usageScope{appEnvScopes{application{filterType appId} environment{filterType}}}}} }";
    let data = server.data(update, json!({"s": secret["id"]})).await;
    assert_eq!(data["updateSecret"]["secret"]["name"], "two");
    let scope = &data["updateSecret"]["secret"]["usageScope"]["appEnvScopes"][0];
    assert_eq!(scope["environment"]["filterType"], "PRODUCTION_ENVIRONMENTS");
}
