//! A thousand waits at once: a handful of connections, and little memory.

use std::sync::Arc;
use std::time::Duration;

use manifold_driver::contract::context;
use manifold_driver_kubernetes::cluster::Cluster as Peer;
use manifold_driver_kubernetes::connect::Clusters;
use manifold_driver_kubernetes::object::Resource;
use manifold_driver_kubernetes::steady::wait;
use manifold_model::FailureClass;
use manifold_testkit::cluster;
use tokio::time::Instant;

use crate::world::{Release, deployment};

const WAITS: usize = 1_000;
/// Between two looks at what they take.
const LOOK: Duration = Duration::from_millis(100);
/// What tests beside this one may have open to the same server.
const OTHERS: usize = 60;

/// Connections of this process's machine to a port that are established.
fn connections(port: u16) -> usize {
    let wanted = format!("{port:04X}");
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let to_it = |line: &&str| {
        let mut words = line.split_whitespace().skip(2);
        let remote = words.next().is_some_and(|remote| remote.ends_with(&wanted));
        remote && words.next() == Some("01")
    };
    table.lines().filter(to_it).count()
}

/// Resident bytes of this process.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_waits_are_cheap() {
    let mut release = Release::new(&cluster::one().unwrap(), "waits");
    release.seconds = 5;
    release.roll("e1", &deployment("web", "never", 1)).await.failure();
    let resource = Resource {
        api_version: "apps/v1".to_owned(),
        kind: "Deployment".to_owned(),
        namespace: Some(release.namespace.clone()),
        name: "web".to_owned(),
    };
    let (context, _) = context(release.resolver(&[]));
    let clusters = Arc::new(Clusters::new(None));
    let time = (Instant::now() + Duration::from_secs(15), Duration::ZERO);
    let peer = Peer::connect(&clusters, &release.target, context.resolver.as_ref(), time).await.unwrap();
    let port: u16 = release.cluster.url().rsplit(':').next().unwrap().parse().unwrap();
    let before = resident();
    let resources = vec![resource; WAITS];
    let waits = wait(&peer, &resources, &context);
    tokio::pin!(waits);
    let (mut open, mut grown) = (0, 0);
    let ended = loop {
        tokio::select! {
            ended = &mut waits => break ended,
            () = tokio::time::sleep(LOOK) => {
                open = open.max(connections(port));
                grown = grown.max(resident().saturating_sub(before));
            }
        }
    };
    assert_eq!(ended.unwrap_err().class, FailureClass::Timeout);
    println!("{WAITS} waits: {open} connections, {} KiB more memory", grown >> 10);
    assert!(open <= WAITS / 100 + 2 + OTHERS, "{open} connections");
    assert!(grown < 256 << 20, "{grown} bytes");
}
