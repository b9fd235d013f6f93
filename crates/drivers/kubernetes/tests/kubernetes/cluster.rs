//! Connections: every way to sign in, and everything that can be wrong with the way to a cluster.

use std::time::Duration;

use manifold_model::FailureClass;
use manifold_model::kubernetes::{ClusterAccess, ClusterSignIn, ClusterTarget};
use manifold_model::task::Payload;
use manifold_testkit::cluster;
use manifold_testkit::proxy::{Act, Front, Proxy, Rule};

use crate::world::{Done, Release, by, deployment, rollout};

fn token() -> ClusterSignIn {
    ClusterSignIn::Token { token: "safeharness:token".to_owned() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_to_sign_in() {
    let cluster = cluster::one().unwrap();
    let mut release = Release::new(&cluster, "signin");
    let ca = Some(cluster.ca_pem().unwrap());
    let (certificate, _) = cluster.client_certificate().unwrap();
    let proxy = Proxy::start(&cluster, Front::Tls).unwrap();
    proxy.user("deployer", "pa:ss word", cluster.token());
    let signed = |certificate: &str| ClusterSignIn::Certificate {
        certificate: certificate.to_owned(),
        key: "safeharness:key".to_owned(),
        passphrase: None,
    };
    let password = ClusterSignIn::Password {
        user: "deployer".to_owned(),
        user_is_secret: false,
        password: "safeharness:password".to_owned(),
    };
    let targets = [
        by("token", cluster.url(), ca.clone(), token()),
        by("ca-by-secret", cluster.url(), Some("safeharness:ca".to_owned()), token()),
        by("certificate", cluster.url(), ca.clone(), signed(&certificate)),
        by("certificate-by-secret", cluster.url(), ca, signed("safeharness:certificate")),
        by("password", &proxy.url(), Some(proxy.ca_pem().to_owned()), password),
    ];
    for (index, target) in targets.into_iter().enumerate() {
        release.target = target;
        let text = deployment("web", &format!("v{index}"), 1);
        release.roll(&format!("e{index}"), &text).await.good();
    }
    // The delegate's own kubeconfig.
    release.target = ClusterTarget { name: "own".to_owned(), access: ClusterAccess::Delegate {} };
    release.driver =
        manifold_driver_kubernetes::KubernetesDriver::new(manifold_driver_kubernetes::KubernetesSettings {
            kubeconfig: Some(cluster.kubeconfig()),
            helm: None,
        });
    release.roll("own", &deployment("web", "own", 1)).await.good();
}

async fn refused(release: &Release) -> Done {
    release.roll("e", &deployment("web", "v1", 1)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_the_way_is_told() {
    let cluster = cluster::one().unwrap();
    let mut release = Release::new(&cluster, "way");
    release.seconds = 40;
    let ca = || Some(cluster.ca_pem().unwrap());
    let named = |name: &str| ClusterSignIn::Token { token: name.to_owned() };
    let expired = Proxy::start(&cluster, Front::Expired).unwrap();
    let stranger = Proxy::start(&cluster, Front::Stranger).unwrap();
    let hangs = Proxy::start(&cluster, Front::Plain).unwrap();
    hangs.rule(Rule::new(Act::Hang));
    let broken = Proxy::start(&cluster, Front::Plain).unwrap();
    broken.rule(Rule::new(Act::Answer { status: 500, retry_after: None }));
    let throttled = Proxy::start(&cluster, Front::Plain).unwrap();
    throttled.rule(Rule::new(Act::Answer { status: 429, retry_after: Some(1) }));
    use FailureClass::{Application, Authentication, Connectivity};
    let table = [
        (by("wrong", cluster.url(), ca(), named("wrong")), Authentication, "does not accept the credentials"),
        (by("powerless", cluster.url(), ca(), named("powerless")), Authentication, "does not let"),
        (by("unknown", cluster.url(), ca(), named("missing")), Application, "missing"),
        (by("no-ca", cluster.url(), None, token()), Connectivity, "not signed by"),
        (
            by("expired", &expired.url(), Some(expired.ca_pem().to_owned()), token()),
            Connectivity,
            "has expired",
        ),
        (
            by("stranger", &stranger.url(), Some(stranger.ca_pem().to_owned()), token()),
            Connectivity,
            "not signed by",
        ),
        (by("nobody", "https://127.0.0.1:1", ca(), token()), Connectivity, "cannot be reached"),
        (by("nowhere", "https://no-such-host.invalid", ca(), token()), Connectivity, "cannot be reached"),
        (by("hangs", &hangs.url(), None, token()), Connectivity, "does not answer"),
        (by("broken", &broken.url(), None, token()), Connectivity, "answers 500"),
        (by("throttled", &throttled.url(), None, token()), Connectivity, "answers 429"),
        (by("no-url", "cluster one", ca(), token()), Authentication, "not the URL"),
        (by("no-pem", cluster.url(), Some("wrong".to_owned()), token()), Authentication, "not PEM"),
    ];
    for (target, class, text) in table {
        let name = target.name.clone();
        release.target = target;
        let done = refused(&release).await;
        let failure = done.failure();
        assert!(failure.class == class && failure.message.contains(text), "{name}: {failure:?}");
        assert!(!failure.message.contains(cluster.token()), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delegate_without_access_says_so() {
    let mut release = Release::new(&cluster::one().unwrap(), "noaccess");
    release.target = ClusterTarget { name: "own".to_owned(), access: ClusterAccess::Delegate {} };
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken");
    std::fs::write(&broken, "apiVersion: v1\nkind: Config\ncurrent-context: none\n").unwrap();
    for kubeconfig in [folder.path().join("missing"), broken] {
        let settings =
            manifold_driver_kubernetes::KubernetesSettings { kubeconfig: Some(kubeconfig), helm: None };
        release.driver = manifold_driver_kubernetes::KubernetesDriver::new(settings);
        let done = refused(&release).await;
        let failure = done.failure();
        assert_eq!(
            (failure.class, failure.code.0.as_ref()),
            (FailureClass::Authentication, "K8S_OWN_ACCESS")
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trouble_on_the_way_is_survived() {
    let cluster = cluster::one().unwrap();
    let mut release = Release::new(&cluster, "trouble");
    let proxy = Proxy::start(&cluster, Front::Tls).unwrap();
    release.target = by("proxy", &proxy.url(), Some(proxy.ca_pem().to_owned()), token());
    proxy.rule(Rule::new(Act::Answer { status: 503, retry_after: None }).times(2));
    proxy.rule(Rule::new(Act::Cut).times(2));
    proxy.rule(Rule::new(Act::Answer { status: 429, retry_after: Some(1) }).method("PATCH").times(1));
    proxy.rule(Rule::new(Act::LoseAnswer).method("PATCH").times(1));
    proxy.rule(Rule::new(Act::EndAfter(Duration::from_millis(300))).path("watch=").times(3));
    proxy.rule(Rule::new(Act::LoseAnswer).method("PUT").times(1));
    proxy.rule(Rule::new(Act::LoseAnswer).method("POST").times(1));
    release.roll("e1", &deployment("web", "v1-slow", 1)).await.good();
    let history = cluster.get("configmap", &release.namespace, &release.name).unwrap();
    let text = history["data"]["history"].as_str().unwrap();
    assert_eq!(text.matches("\"number\"").count(), 1, "{text}");
    // Watches that cannot be opened at all leave the poll.
    proxy.clear();
    proxy.rule(Rule::new(Act::Answer { status: 403, retry_after: None }).path("watch="));
    release.roll("e2", &deployment("web", "v2", 1)).await.good();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_at_once() {
    let cluster = cluster::one().unwrap();
    let release = Release::new(&cluster, "many");
    let rolled = (0..20).map(|index| {
        let release = &release;
        async move {
            let text = deployment(&format!("web-{index}"), "v1", 1);
            let files = [("all.yaml", text.as_str())];
            let mut task = release.task(&format!("e{index}"), "roll", rollout(), &files);
            if let Payload::Kubernetes(kubernetes) = &mut task.payload {
                kubernetes.release = format!("release-{index}");
            }
            release.perform(&task, &files).await.good();
        }
    });
    futures::future::join_all(rolled).await;
    assert_eq!(release.names("deployment").len(), 20);
}
