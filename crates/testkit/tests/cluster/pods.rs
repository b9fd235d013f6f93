//! Pods, controllers and users of the clusters.

use std::time::Duration;

use anyhow::Result;
use manifold_testkit::cluster::{self, Cluster};
use serde_json::{Value, json};

/// How long pods may take to get where they go.
const SOON: Duration = Duration::from_secs(60);

#[test]
fn a_deployment_rolls_on_both_clusters_and_a_scripted_one_fails_on_one() -> Result<()> {
    let (east, west) = cluster::pair()?;
    assert_eq!((east.name(), west.name()), ("east", "west"));
    for cluster in [&east, &west] {
        let namespace = cluster.namespace("roll")?;
        deploy(cluster, &namespace, "shop:v1", 3)?;
        cluster.kubectl(&["rollout", "status", "deployment/shop", "-n", &namespace, "--timeout=60s"])?;
        deploy(cluster, &namespace, "shop:v2-crash-west", 3)?;
        if cluster.name() == "west" {
            let found = cluster.wait(("deployment", &namespace, "shop"), SOON, |found| {
                let conditions = found["status"]["conditions"].as_array();
                conditions.is_some_and(|all| all.iter().any(|it| it["reason"] == "ProgressDeadlineExceeded"))
            })?;
            let why =
                |pod: &Value| pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"].clone();
            let pods = cluster.list("pods", &namespace, "app=shop")?;
            assert!(pods.iter().any(|pod| why(pod) == "CrashLoopBackOff"), "{pods:?}");
            assert!(found["status"]["readyReplicas"].as_u64() >= Some(2), "the old ones stay: {found}");
            cluster.kubectl(&["rollout", "undo", "deployment/shop", "-n", &namespace])?;
        }
        cluster.kubectl(&["rollout", "status", "deployment/shop", "-n", &namespace, "--timeout=60s"])?;
    }
    Ok(())
}

#[test]
fn pods_play_the_part_that_their_image_names() -> Result<()> {
    let cluster = cluster::one()?;
    let namespace = cluster.namespace("parts")?;
    for tag in
        ["v1", "v1-slow", "never", "v1-crash-east", "v1-nopull", "v1-nopull-west", "v1-job", "v1-jobfail"]
    {
        let image = format!("localhost:5000/team/app:{tag}");
        let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": tag, "namespace": namespace },
            "spec": { "restartPolicy": "Never", "containers": [{ "name": "app", "image": image }] } });
        cluster.kubectl_with(&["apply", "-f", "-"], &pod.to_string())?;
    }
    let becomes = |tag: &str, pointer: &str, value: Value| {
        cluster.wait(("pod", &namespace, tag), SOON, |pod| pod.pointer(pointer) == Some(&value))
    };
    let reason = "/status/containerStatuses/0/state/waiting/reason";
    let ready = "/status/containerStatuses/0/ready";
    let never = becomes("never", "/status/phase", json!("Running"))?;
    assert_eq!(never.pointer(ready), Some(&json!(false)));
    let slow = becomes("v1-slow", "/status/phase", json!("Running"))?;
    assert_eq!(slow.pointer(ready), Some(&json!(false)));
    for tag in ["v1", "v1-slow", "v1-nopull-west"] {
        becomes(tag, ready, json!(true))?;
    }
    becomes("v1-crash-east", reason, json!("CrashLoopBackOff"))?;
    becomes("v1-crash-east", "/status/containerStatuses/0/restartCount", json!(3))?;
    let unpulled = becomes("v1-nopull", reason, json!("ImagePullBackOff"))?;
    assert_eq!(unpulled.pointer("/status/phase"), Some(&json!("Pending")));
    becomes("v1-job", "/status/phase", json!("Succeeded"))?;
    becomes("v1-jobfail", "/status/phase", json!("Failed"))?;
    let never = cluster.get("pod", &namespace, "never")?;
    assert_eq!(never.pointer(ready), Some(&json!(false)), "still");
    let events = cluster.list("events", &namespace, "")?;
    for reason in ["BackOff", "Failed", "Unhealthy", "Scheduled"] {
        assert!(events.iter().any(|event| event["reason"] == reason), "no event {reason}");
    }
    Ok(())
}

#[test]
fn jobs_complete_and_fail_by_the_true_controller() -> Result<()> {
    let cluster = cluster::one()?;
    let namespace = cluster.namespace("jobs")?;
    for (name, image, condition) in [
        ("well", "migrate:v1", "Complete"),
        ("late", "migrate:v1-slow", "Complete"),
        ("badly", "migrate:v1-jobfail", "Failed"),
    ] {
        let job = json!({ "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": name, "namespace": namespace },
            "spec": { "backoffLimit": 0, "template": { "spec": { "restartPolicy": "Never",
                "containers": [{ "name": "app", "image": image }] } } } });
        cluster.kubectl_with(&["apply", "-f", "-"], &job.to_string())?;
        cluster.wait(("job", &namespace, name), SOON, |job| {
            let conditions = job["status"]["conditions"].as_array();
            conditions
                .is_some_and(|all| all.iter().any(|it| it["type"] == condition && it["status"] == "True"))
        })?;
    }
    Ok(())
}

#[test]
fn everybody_who_may_signs_in() -> Result<()> {
    let cluster = cluster::one()?;
    let folder = tempfile::tempdir()?;
    let (certificate, key) = cluster.client_certificate()?;
    let place = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(place("ca"), cluster.ca_pem()?)?;
    std::fs::write(place("certificate"), certificate)?;
    std::fs::write(place("key"), key)?;
    let nobody = place("nobody");
    std::fs::write(&nobody, "")?;
    let (server, ca) = (cluster.url(), place("ca"));
    let base = [
        "get",
        "nodes",
        "-o",
        "name",
        "--kubeconfig",
        &nobody,
        "--server",
        server,
        "--certificate-authority",
    ];
    let ask = |more: &[&str]| cluster.kubectl(&[base.as_slice(), &[ca.as_str()], more].concat());
    let (certificate, key) = (place("certificate"), place("key"));
    let by_certificate = ask(&["--client-certificate", &certificate, "--client-key", &key])?;
    assert_eq!(by_certificate, "node/node-1\nnode/node-2\n");
    assert_eq!(ask(&["--token", cluster.token()])?, by_certificate);
    let refused = ask(&["--token", cluster.powerless_token()]).unwrap_err();
    assert!(format!("{refused:#}").contains("forbidden"), "{refused:#}");
    let unknown = ask(&["--token", "wrong"]).unwrap_err();
    assert!(format!("{unknown:#}").contains("Unauthorized"), "{unknown:#}");
    Ok(())
}

/// A deployment whose progress deadline is short.
fn deploy(cluster: &Cluster, namespace: &str, image: &str, replicas: u32) -> Result<()> {
    let labels = json!({ "app": "shop" });
    let deployment = json!({ "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "shop", "namespace": namespace },
        "spec": { "replicas": replicas, "progressDeadlineSeconds": 4, "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels }, "spec": {
                "containers": [{ "name": "shop", "image": image }] } } } });
    cluster.kubectl_with(&["apply", "-f", "-"], &deployment.to_string())?;
    Ok(())
}
