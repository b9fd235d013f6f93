//! Clusters that answer badly, late or never, and ways to sign in that are wrong.

use std::time::Duration;

use manifold_testkit::cluster::pair;
use manifold_testkit::proxy::{Act, Front, Proxy, Rule};
use serde_json::{Value, json};

use super::{Case, Street, application, bad, ensure_cases, good, keep};
use crate::kubernetes::cluster_tree::{DEPLOYMENT, on_cluster, rollback, rollout};
use crate::kubernetes::world::Shop;
use crate::shared::run;
use crate::tree::{SERVICE, with};

const CONNECTIVITY: &str = "CONNECTIVITY";
const AUTHENTICATION: &str = "AUTHENTICATION";
const APPLICATION: &str = "APPLICATION_ERROR";

/// What becomes of a rollout of one slow Pod by each way.
const CASES: [Case; 26] = [
    good("direct"),
    good("certificate"),
    good("password"),
    good("mended"),
    good("patient"),
    good("cut"),
    good("late"),
    good("watch-ends"),
    good("watch-cut"),
    good("watch-mute"),
    bad("answers-401", AUTHENTICATION, "K8S_UNAUTHORIZED", &["answers-401"]),
    bad("answers-403", AUTHENTICATION, "K8S_FORBIDDEN", &["answers-403"]),
    bad("powerless", AUTHENTICATION, "K8S_FORBIDDEN", &["powerless"]),
    bad("wrong-token", AUTHENTICATION, "K8S_UNAUTHORIZED", &["wrong-token"]),
    bad("wrong-password", AUTHENTICATION, "K8S_UNAUTHORIZED", &["wrong-password"]),
    bad("answers-409", APPLICATION, "K8S_REFUSED", &["Deployment/web", "409"]),
    bad("answers-429", CONNECTIVITY, "K8S_SERVER_BUSY", &["429"]),
    bad("answers-500", CONNECTIVITY, "K8S_SERVER_BUSY", &["500"]),
    bad("never", CONNECTIVITY, "K8S_NO_ANSWER", &["never"]),
    bad("a-web-page", APPLICATION, "K8S_ANSWER_UNREADABLE", &["a-web-page"]),
    bad("expired", CONNECTIVITY, "K8S_CERTIFICATE", &["has expired"]),
    bad("stranger", CONNECTIVITY, "K8S_CERTIFICATE", &["certificate authority"]),
    bad("wrong-ca", CONNECTIVITY, "K8S_CERTIFICATE", &["certificate authority"]),
    bad("nobody-there", CONNECTIVITY, "K8S_UNREACHABLE", &["refused"]),
    bad("no-such-host", CONNECTIVITY, "K8S_UNREACHABLE", &["no-such-host"]),
    bad("no-namespace", APPLICATION, "K8S_NAMESPACE_MISSING", &["nowhere-at-all"]),
];

/// The script of a proxy.
fn script(leg: &str) -> Vec<Rule> {
    let answer = |status, retry_after| Rule::new(Act::Answer { status, retry_after });
    match leg {
        "mended" => vec![answer(500, None).times(2), answer(503, None).method("PATCH").times(2)],
        "patient" => {
            vec![answer(429, Some(1)).times(2), answer(429, Some(1)).method("PATCH").times(1)]
        }
        "cut" => vec![Rule::new(Act::Cut).times(2), Rule::new(Act::Cut).method("PATCH").times(1)],
        "late" => vec![Rule::new(Act::Delay(Duration::from_millis(150)))],
        "watch-ends" => vec![Rule::new(Act::EndAfter(Duration::from_millis(100))).path("watch=")],
        "watch-cut" => vec![Rule::new(Act::CutAfter(100)).path("watch=")],
        "watch-mute" => vec![Rule::new(Act::Hang).path("watch=").times(1)],
        "answers-401" => vec![answer(401, None)],
        "answers-403" => vec![answer(403, None)],
        "answers-409" => vec![answer(409, None).method("PATCH")],
        "answers-429" => vec![answer(429, Some(1))],
        "answers-500" => vec![answer(500, None)],
        "never" => vec![Rule::new(Act::Hang)],
        "a-web-page" => vec![Rule::new(Act::Say {
            status: 200,
            content_type: "text/html",
            body: "<html><title>Please sign in</title></html>",
        })],
        _ => Vec::new(),
    }
}

/// The front of the proxy of a leg; `None`: it needs none.
fn front(leg: &str) -> Option<Front> {
    match leg {
        "expired" => Some(Front::Expired),
        "stranger" => Some(Front::Stranger),
        "password" | "wrong-password" | "watch-ends" | "watch-cut" => Some(Front::Tls),
        _ if script(leg).is_empty() => None,
        _ => Some(Front::Plain),
    }
}

/// How a leg signs in.
fn sign_in(leg: &str) -> Value {
    let by_token = |name: &str| json!({ "authType": "SERVICE_ACCOUNT", "serviceAccountToken": format!("safeharness:{name}") });
    let by_password = |secret: &str| json!({ "authType": "USER_PASSWORD", "username": "alice", "password": format!("safeharness:{secret}") });
    match leg {
        "powerless" => by_token("powerless token"),
        "wrong-token" => by_token("wrong token"),
        "password" => by_password("alice password"),
        "wrong-password" => by_password("wrong token"),
        "certificate" => {
            json!({ "authType": "CLIENT_KEY_CERT", "clientCert": "safeharness:client certificate",
            "clientKey": "safeharness:client key" })
        }
        _ => by_token("east token"),
    }
}

#[test]
fn clusters_that_answer_badly_fail_their_own_legs_with_the_right_class_and_only_those() {
    run(async {
        let shop = Shop::open("BadClusters").await?;
        let (east, west) = pair()?;
        let street = Street::new(&east, "badclusters", &CASES)?;
        let (certificate, key) = east.client_certificate()?;
        for (name, value) in [
            ("powerless token", east.powerless_token()),
            ("wrong token", "nobody-has-this"),
            ("alice password", "open: sesame"),
            ("client certificate", &certificate),
            ("client key", &key),
        ] {
            keep(&shop.server, name, value).await?;
        }
        let web = DEPLOYMENT
            .replace("replicas: 2", "replicas: 1")
            .replace("${artifact.metadata.image}", "shop/web:v1-slow");
        let steps = [rollout(json!({ "timeoutMillis": 45_000 }))];
        let mut back = rollback();
        back["properties"]["timeoutMillis"] = json!(12_000);
        let mut tree = street.definitions(
            application(&shop)
                .kubernetes_service(SERVICE, &[("web.yaml", &web)])
                .workflow("roll", on_cluster("ROLLING", &steps, &[back])),
            &CASES,
        );
        let mut proxies: Vec<Proxy> = Vec::new();
        for case in &CASES {
            let leg = case.leg;
            let (mut url, mut ca) = (east.url().to_owned(), Some(east.ca_pem()?));
            if let Some(front) = front(leg) {
                let proxy = Proxy::start(&east, front)?;
                script(leg).into_iter().for_each(|rule| proxy.rule(rule));
                proxy.user("alice", "open: sesame", east.token());
                (url, ca) = (proxy.url(), (front != Front::Plain).then(|| proxy.ca_pem().to_owned()));
                proxies.push(proxy);
            }
            match leg {
                "wrong-ca" => ca = Some(west.ca_pem()?),
                "nobody-there" => "https://127.0.0.1:1".clone_into(&mut url),
                "no-such-host" => "https://api.no-such-host.invalid".clone_into(&mut url),
                _ => {}
            }
            let mut provider = with(
                json!({ "type": "KUBERNETES_CLUSTER", "masterUrl": url, "skipValidation": true }),
                sign_in(leg),
            );
            if let Some(ca) = ca {
                let name = format!("authority of {leg}");
                keep(&shop.server, &name, &ca).await?;
                provider["caCert"] = json!(format!("safeharness:{name}"));
            }
            let namespace =
                if leg == "no-namespace" { "nowhere-at-all".to_owned() } else { street.namespace(leg) };
            tree = tree.account_file(&format!("Cloud Providers/{leg}.yaml"), provider).definition_with(
                leg,
                &east,
                &namespace,
                json!({ "cloudProviderName": leg }),
            );
        }
        shop.tell(tree).await?;
        ensure_cases(&shop, &street, &CASES, &[]).await?;
        Ok(())
    });
}

/// A cluster that breaks in the middle: what was applied until then goes back.
#[test]
fn a_cluster_that_breaks_in_the_middle_is_left_as_it_was() {
    const MIDDLE: [Case; 4] = [
        good("whole"),
        bad("breaks", CONNECTIVITY, "K8S_SERVER_BUSY", &["500"]),
        bad("forbids", AUTHENTICATION, "K8S_FORBIDDEN", &["Deployment/web"]),
        bad("refuses", APPLICATION, "K8S_REFUSED", &["Deployment/web", "422"]),
    ];
    const SETTINGS: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: settings }\ndata: { a: b }\n";
    run(async {
        let shop = Shop::open("HalfWay").await?;
        let (east, _) = pair()?;
        let street = Street::new(&east, "halfway", &MIDDLE)?;
        let web = DEPLOYMENT.replace("${artifact.metadata.image}", "shop/web:v1");
        let mut tree = street.definitions(
            application(&shop)
                .kubernetes_service(SERVICE, &[("web.yaml", &web), ("settings.yaml", SETTINGS)])
                .workflow(
                    "roll",
                    on_cluster("ROLLING", &[rollout(json!({ "skipDryRun": true }))], &[rollback()]),
                ),
            &MIDDLE,
        );
        let mut proxies = Vec::new();
        for (leg, status) in [("breaks", 500), ("forbids", 403), ("refuses", 422)] {
            let proxy = Proxy::start(&east, Front::Plain)?;
            let answer = Rule::new(Act::Answer { status, retry_after: None });
            proxy.rule(answer.method("PATCH").path("/deployments/"));
            let provider = json!({ "type": "KUBERNETES_CLUSTER", "masterUrl": proxy.url(), "skipValidation": true,
                "authType": "SERVICE_ACCOUNT", "serviceAccountToken": "safeharness:east token" });
            tree = tree.account_file(&format!("Cloud Providers/{leg}.yaml"), provider).definition_with(
                leg,
                &east,
                &street.namespace(leg),
                json!({ "cloudProviderName": leg }),
            );
            proxies.push(proxy);
        }
        shop.tell(tree).await?;
        ensure_cases(&shop, &street, &MIDDLE, &[]).await?;
        Ok(())
    });
}
