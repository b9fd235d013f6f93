//! What the tests share: clusters, tasks, a context.

use std::sync::Arc;
use std::time::Duration;

use manifold_driver::contract::{Captured, Known, context};
use manifold_driver::{Context, Resolver};
use manifold_driver_kubernetes::cluster::Cluster as Peer;
use manifold_driver_kubernetes::connect::Clusters;
use manifold_model::kubernetes::{ClusterAccess, ClusterSignIn, ClusterTarget};
use manifold_testkit::cluster::Cluster;
use tokio::time::Instant;

/// A cluster by URL and token.
pub fn target(cluster: &Cluster) -> ClusterTarget {
    let ca = Some(cluster.ca_pem().unwrap());
    by(cluster.name(), cluster.url(), ca, ClusterSignIn::Token { token: "safeharness:token".to_owned() })
}

/// A cluster by URL.
pub fn by(name: &str, url: &str, ca: Option<String>, sign_in: ClusterSignIn) -> ClusterTarget {
    let access = ClusterAccess::Url { url: url.to_owned(), ca, sign_in, insecure: false };
    ClusterTarget { name: name.to_owned(), access }
}

/// Secrets of a cluster.
pub fn known(cluster: &Cluster) -> Known {
    let (certificate, key) = cluster.client_certificate().unwrap();
    let mut known = Known::default();
    for (name, value) in [
        ("token", cluster.token().to_owned()),
        ("powerless", cluster.powerless_token().to_owned()),
        ("certificate", certificate),
        ("key", key),
        ("wrong", "not-a-token".to_owned()),
        ("password", "pa:ss word".to_owned()),
    ] {
        known.secrets.insert(name.to_owned(), value);
    }
    known
}

/// A context with a cluster's secrets, and its log.
pub fn with(cluster: &Cluster) -> (Context, Arc<Captured>) {
    context(Arc::new(known(cluster)) as Arc<dyn Resolver>)
}

/// A connection to a cluster.
pub async fn peer(target: &ClusterTarget, context: &Context, limit: Duration) -> Peer {
    let clusters = Arc::new(Clusters::new(None));
    Peer::connect(&clusters, target, context.resolver.as_ref(), Instant::now() + limit).await.unwrap()
}
