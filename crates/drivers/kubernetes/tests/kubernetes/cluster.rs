//! Connections, ownership and waiting.

use std::time::Duration;

use manifold_driver_kubernetes::apply::{apply, check, place};
use manifold_driver_kubernetes::object::Object;
use manifold_driver_kubernetes::steady::wait;
use manifold_testkit::cluster;
use serde_json::{Value, json};

use crate::world::{peer, target, with};

fn deployment(name: &str, tag: &str, replicas: u32) -> Object {
    Object(json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "app", "image": format!("registry.example/app:{tag}")}]},
            },
        },
    }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn applies_and_waits() {
    let cluster = cluster::one().unwrap();
    let namespace = cluster.namespace("steady").unwrap();
    let (context, log) = with(&cluster);
    let peer = peer(&target(&cluster), &context, Duration::from_secs(60)).await;
    let mut objects = [deployment("web", "v1", 3)];
    place(&peer, &mut objects, &namespace).await.unwrap();
    let checked = check(&peer, &objects, "r1", false, &context).await.unwrap();
    let applied = apply(&peer, &checked[0], &context).await.unwrap();
    let steady = wait(&peer, &[applied.resource()], &context).await.unwrap();
    assert_eq!(steady[0].at(&["status", "availableReplicas"]).and_then(Value::as_i64), Some(3));
    println!("{}", log.all());
}
