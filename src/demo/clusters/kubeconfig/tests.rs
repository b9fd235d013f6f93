#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use super::*;

const HEAD: &str = "apiVersion: v1\nkind: Config\npreferences: {}\ncurrent-context: eu\n\
    contexts:\n- name: eu\n  context: {cluster: c, user: u, namespace: shop}\n- name: us\n  context: {cluster: d, user: u}\n";

/// Writes a kubeconfig with one cluster `c` and one user `u` into a folder.
fn written(folder: &Path, cluster: &str, user: &str) -> String {
    let file = folder.join("config");
    let text = format!(
        "{HEAD}clusters:\n- name: c\n  cluster: {cluster}\nusers:\n- name: u\n  user: {user}\n- name: other\n  user:\n"
    );
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

fn read_with(cluster: &str, user: &str) -> Result<Access, Refusal> {
    let folder = tempfile::tempdir().unwrap();
    read(&written(folder.path(), cluster, user))
}

fn refused(access: Result<Access, Refusal>) -> Problem {
    *access.map(|access| access.context).expect_err("a refusal")
}

const SERVER: &str = "{server: 'https://eu:6443'}";

#[test]
fn a_token_and_a_certificate_authority_are_read() {
    let access = read_with(
        "{server: 'https://eu:6443', certificate-authority-data: LS0tQ0EtLS0=}",
        "{token: ' t0ken '}",
    )
    .unwrap();
    assert_eq!(
        (access.context.as_str(), access.server.as_str(), access.insecure),
        ("eu", "https://eu:6443", false)
    );
    assert_eq!(access.authority.as_deref(), Some("---CA---"));
    assert!(matches!(access.sign_in, SignIn::Token(token) if token == "t0ken"));
}

#[test]
fn files_count_from_the_folder_of_the_kubeconfig_and_a_token_file_wins() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("pki")).unwrap();
    for (name, text) in [("ca.pem", "CA"), ("me.pem", "CERT"), ("me.key", "KEY"), ("token", "fresh\n")] {
        std::fs::write(folder.path().join("pki").join(name), text).unwrap();
    }
    let cluster = "{server: 'https://eu:6443', certificate-authority: pki/ca.pem}";
    let by_file =
        written(folder.path(), cluster, "{client-certificate: pki/me.pem, client-key: pki/me.key, token: t}");
    let access = read(&by_file).unwrap();
    assert_eq!(access.authority.as_deref(), Some("CA"));
    assert!(
        matches!(access.sign_in, SignIn::Certificate { certificate, key } if certificate == "CERT" && key == "KEY")
    );
    let by_token = written(folder.path(), cluster, "{token: stale, tokenFile: pki/token}");
    assert!(matches!(read(&by_token).unwrap().sign_in, SignIn::Token(token) if token == "fresh"));
}

#[test]
fn a_password_or_nobody_signs_in() {
    let access = read_with(SERVER, "{username: me, password: p4ss}").unwrap();
    assert!(
        matches!(access.sign_in, SignIn::Password { user, password } if user == "me" && password == "p4ss")
    );
    let access = read_with("{server: 'http://localhost:8001', insecure-skip-tls-verify: true}", "").unwrap();
    assert!(access.insecure);
    assert!(matches!(access.sign_in, SignIn::Anonymous));
}

#[test]
fn another_context_is_named_behind_a_hash() {
    let folder = tempfile::tempdir().unwrap();
    let file = written(folder.path(), SERVER, "{token: t}");
    assert_eq!(read(&format!("{file}#eu")).unwrap().context, "eu");
    let unknown = refused(read(&format!("{file}#moon")));
    assert_eq!(unknown.code, code!("KUBECONFIG_INVALID"));
    assert_eq!(unknown.detail.as_deref(), Some("it has no context \"moon\""));
    assert!(unknown.hint.unwrap().ends_with("it has: eu, us"));
    // A file may have a hash in its name.
    let odd = format!("{file}#eu");
    std::fs::copy(&file, &odd).unwrap();
    assert_eq!(read(&odd).unwrap().file, Path::new(&odd));
}

#[test]
fn programs_that_sign_in_are_refused() {
    for (user, by) in [
        ("{exec: {apiVersion: client.authentication.k8s.io/v1, command: aws}}", "an exec plugin"),
        ("{auth-provider: {name: gcp}, token: t}", "an auth-provider"),
    ] {
        let problem = refused(read_with(SERVER, user));
        assert_eq!(problem.code, code!("KUBECONFIG_PLUGIN"));
        assert!(problem.message.ends_with(&format!("signs in by {by}")), "{problem}");
        assert!(problem.hint.unwrap().contains("service account token"));
    }
}

#[test]
fn what_says_too_little_or_cannot_be_kept_is_refused() {
    for (cluster, user, why) in [
        ("{}", "{token: t}", "its cluster \"c\" has no `server`"),
        ("{server: 'eu:6443'}", "{token: t}", "the `server` of its cluster \"c\" is no URL: \"eu:6443\""),
        ("{server: 'https://eu', proxy-url: 'http://p'}", "{token: t}", "has `proxy-url`"),
        ("{server: 'https://eu', tls-server-name: eu}", "{token: t}", "has `tls-server-name`"),
        ("{server: 'https://eu', certificate-authority-data: '!'}", "{token: t}", "is not base64 of a text"),
        ("{server: 'https://eu', certificate-authority: no.pem}", "{token: t}", "no.pem cannot be read"),
        (SERVER, "{client-certificate-data: QQ==}", "has a client certificate and no client key"),
        (SERVER, "{username: me}", "has a user name and no password"),
        (SERVER, "{token: t, as: root}", "acts as \"root\""),
        (SERVER, "[", "it is no kubeconfig"),
        (SERVER, "{tokenFile: gone}", "gone cannot be read"),
    ] {
        let problem = refused(read_with(cluster, user));
        assert_eq!(problem.code, code!("KUBECONFIG_INVALID"));
        let said = problem.to_string();
        assert!(said.contains(why), "{why}: {said}");
        assert!(problem.hint.is_some(), "{said}");
    }
}

#[test]
fn unreadable_and_empty_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    assert!(refused(read(&path("none"))).to_string().contains("cannot be read"));
    assert!(refused(read(&path(""))).to_string().contains("cannot be read"));
    for (name, text, why) in [
        ("empty", String::new(), ""),
        ("bare", "apiVersion: v1\nkind: Config\ncontexts: null\n".to_owned(), "it has no current context"),
        ("lone", HEAD.to_owned(), "names the cluster \"c\", which is not there"),
        (
            "nobody",
            format!("{HEAD}clusters: [{{name: c, cluster: {SERVER}}}]\n"),
            "names the user \"u\", who is not there",
        ),
        ("large", "#".repeat(1024 * 1024 + 1), "it has more than 1048576 bytes"),
    ] {
        std::fs::write(path(name), text).unwrap();
        let said = refused(read(&path(name))).to_string();
        assert!(said.contains(why), "{why}: {said}");
    }
}
