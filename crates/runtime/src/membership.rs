//! This server among those that share the store: its lease, who else is there, and which executions are its own (`design.md` 4.5).
//!
//! Every execution has one natural owner among the servers that hold a lease, found by rendezvous hashing: when a server comes or goes, only the
//! executions that are or were its own change hands. Two servers may disagree for a moment about who is there; an append names the sequence
//! number that it expects and the lease of the server that writes, so nothing worse comes of it than work done twice in memory.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use manifold_model::ExecutionId;
use manifold_model::crash::{self, Point};
use manifold_store::{LEASE_MS, Lease, Result, Standing, Store, StoreError};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Shared;

/// How often the server's lease is renewed: several tries fit into the time that it holds.
const RENEW: Duration = Duration::from_secs(2);
/// Shortest time between two renewals, however often somebody says that servers came or went.
const PACE: Duration = Duration::from_millis(100);
/// How long a lease holds.
const LEASE: Duration = Duration::from_millis(LEASE_MS.unsigned_abs());
/// What the server says of itself.
const PROGRAM: &str = env!("CARGO_PKG_VERSION");

/// Who this server is and who else is there.
pub struct Membership {
    node: String,
    state: RwLock<State>,
    /// Told when somebody has reason to think that servers came or went.
    changed: Notify,
}

struct State {
    /// `None` while the lease is lost.
    lease: Option<Lease>,
    /// Nodes that hold a lease, this one among them.
    nodes: Vec<String>,
    /// When the store last confirmed the lease.
    confirmed: Instant,
    /// Cancelled when the lease is lost: whatever was begun under it ends.
    lost: CancellationToken,
}

impl State {
    fn owns(&self, node: &str, execution: &ExecutionId) -> bool {
        self.lease.is_some() && owner(&self.nodes, execution) == Some(node)
    }
}

impl Membership {
    /// Joins the servers of a store.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn join(store: &dyn Store, node: &str) -> Result<(Self, Standing)> {
        let began = Instant::now();
        let lease = store.join(node, PROGRAM).await?;
        let standing = store.renew(&lease).await?;
        let state = State {
            lease: Some(lease),
            nodes: nodes_of(&standing),
            confirmed: began,
            lost: CancellationToken::new(),
        };
        Ok((Self { node: node.to_owned(), state: RwLock::new(state), changed: Notify::new() }, standing))
    }

    /// This server's lease; `None` while it is lost.
    pub fn lease(&self) -> Option<Lease> {
        self.read().lease.clone()
    }

    /// This server's lease, and the token that is cancelled when it is lost.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] while it is lost.
    pub fn seat(&self) -> Result<(Lease, CancellationToken)> {
        let state = self.read();
        let what = || format!("the lease of server {}", self.node);
        let lease = state.lease.clone().ok_or_else(|| StoreError::Fenced { what: what(), fence: 0 })?;
        Ok((lease, state.lost.clone()))
    }

    /// Whether this server advances an execution.
    pub fn owns(&self, execution: &ExecutionId) -> bool {
        self.read().owns(&self.node, execution)
    }

    /// Whether other servers share the store.
    pub fn shares(&self) -> bool {
        self.read().nodes.len() > 1
    }

    /// Nodes that hold a lease, this one among them; none while the lease is lost.
    pub fn nodes(&self) -> Vec<String> {
        let state = self.read();
        if state.lease.is_some() { state.nodes.clone() } else { Vec::new() }
    }

    /// Whether the lease is held and the store confirmed it lately.
    pub fn stands(&self) -> bool {
        let state = self.read();
        state.lease.is_some() && state.confirmed.elapsed() < LEASE
    }

    /// Says that servers may have come or gone: the store is asked soon.
    pub fn look(&self) {
        self.changed.notify_one();
    }

    /// Gives the lease back, so that others take over at once. What is still said under it is refused by the store.
    pub async fn leave(&self, store: &dyn Store) {
        let Some(lease) = self.take(None) else { return };
        match store.release(&lease).await {
            Ok(()) | Err(StoreError::Fenced { .. }) => {}
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the server's lease was not given back; others take over when it runs out"
            ),
        }
    }

    /// Takes the lease away from this server's other parts: the one with this fence, or whichever it is.
    fn take(&self, fence: Option<u64>) -> Option<Lease> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if fence.is_some_and(|fence| state.lease.as_ref().is_none_or(|lease| lease.fence != fence)) {
            return None;
        }
        state.lost.cancel();
        state.lease.take()
    }

    /// Sits down under a new lease.
    fn sit(&self, lease: Lease, began: Instant, standing: &Standing) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        *state = State {
            lease: Some(lease),
            nodes: nodes_of(standing),
            confirmed: began,
            lost: CancellationToken::new(),
        };
    }

    /// Takes note of who is there; the nodes before, when they were others.
    fn confirm(&self, began: Instant, standing: &Standing) -> Option<Vec<String>> {
        let nodes = nodes_of(standing);
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.confirmed = began;
        (state.nodes != nodes).then(|| std::mem::replace(&mut state.nodes, nodes))
    }

    /// Since when the store has not confirmed the lease.
    pub fn unconfirmed_for(&self) -> Duration {
        self.read().confirmed.elapsed()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn nodes_of(standing: &Standing) -> Vec<String> {
    standing.servers.iter().map(|server| server.node.clone()).collect()
}

/// The node that owns an execution: that with the highest hash of both.
fn owner<'n>(nodes: &'n [String], execution: &ExecutionId) -> Option<&'n str> {
    nodes.iter().map(String::as_str).max_by_key(|node| (weight(node, execution.as_str()), *node))
}

/// A hash that is the same in every build: FNV-1a, stirred (the finalizer of SplitMix64), because FNV alone spreads its last bytes badly.
fn weight(node: &str, execution: &str) -> u64 {
    let bytes = node.bytes().chain([0xff]).chain(execution.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// Keeps the lease until the shutdown, and joins anew when it was lost.
pub async fn run(shared: Arc<Shared>) {
    loop {
        tokio::select! {
            biased;
            () = shared.shutdown.cancelled() => return,
            () = shared.membership.changed.notified() => {}
            () = tokio::time::sleep(RENEW) => {}
        }
        match shared.membership.lease() {
            Some(lease) => renew(&shared, &lease).await,
            None => rejoin(&shared).await,
        }
        tokio::time::sleep(PACE).await;
    }
}

async fn renew(shared: &Arc<Shared>, lease: &Lease) {
    let began = Instant::now();
    match tokio::time::timeout(LEASE, shared.store.renew(lease)).await {
        Ok(Ok(standing)) => {
            crash::point(Point::LeaseRenewed);
            let before = shared.membership.confirm(began, &standing);
            stand(shared, &standing);
            if let Some(before) = before {
                regroup(shared, &before, &standing).await;
            }
        }
        Ok(Err(StoreError::Fenced { .. })) => {
            lose(
                shared,
                lease.fence,
                "another server took it, because it ran out or because this node joined once more",
            );
        }
        Ok(Err(error)) => {
            tracing::error!(error = &error as &dyn std::error::Error, "cannot keep the server's lease");
            lose_when_late(shared, lease.fence);
        }
        Err(_) => {
            tracing::error!("cannot keep the server's lease: the store does not answer");
            lose_when_late(shared, lease.fence);
        }
    }
}

/// A broken store is no lost lease, until nobody can say any more that it is held.
fn lose_when_late(shared: &Shared, fence: u64) {
    if shared.membership.unconfirmed_for() >= LEASE {
        lose(shared, fence, "the store did not confirm it in time");
    }
}

/// The lease with this fence is lost: drops whatever was begun under it; it is in the store. Nothing happens when it was noticed before.
pub fn lose(shared: &Shared, fence: u64, why: &str) {
    if let Some(lease) = shared.membership.take(Some(fence)) {
        tracing::warn!(
            fence = lease.fence,
            why,
            "this server's lease is lost: it lets go of everything and joins anew"
        );
        shared.workers.regroup();
        shared.membership.look();
    }
}

async fn rejoin(shared: &Arc<Shared>) {
    let began = Instant::now();
    let joined = async {
        let lease = shared.store.join(&shared.membership.node, PROGRAM).await?;
        let standing = shared.store.renew(&lease).await?;
        Ok::<_, StoreError>((lease, standing))
    };
    match tokio::time::timeout(LEASE, joined).await {
        Ok(Ok((lease, standing))) => {
            tracing::info!(
                fence = lease.fence,
                servers = standing.servers.len(),
                "this server has joined anew"
            );
            shared.membership.sit(lease, began, &standing);
            stand(shared, &standing);
            regroup(shared, &[], &standing).await;
        }
        Ok(Err(error)) => {
            tracing::error!(error = &error as &dyn std::error::Error, "this server cannot join anew yet");
        }
        Err(_) => tracing::error!("this server cannot join anew yet: the store does not answer"),
    }
}

/// Takes over what every renewal says.
fn stand(shared: &Shared, standing: &Standing) {
    if let Some(clock) = &shared.config.store_clock {
        clock.set(standing.now);
    }
    shared.delegates.changed(standing.delegates);
}

/// The servers are others now: executions that are no longer ours are let go, those that became ours are looked at.
async fn regroup(shared: &Arc<Shared>, before: &[String], standing: &Standing) {
    let nodes = nodes_of(standing);
    tracing::info!(servers = nodes.join(", "), "servers that share the store");
    shared.workers.regroup();
    shared.delegates.forget_untaken(|execution| shared.membership.owns(execution));
    shared.delegates.queued();
    let node = shared.membership.node.as_str();
    match shared.store.unfinished().await {
        Ok(unfinished) => unfinished
            .iter()
            .filter(|id| owner(before, id) != Some(node) && shared.membership.owns(id))
            .for_each(|id| shared.workers.wake(id)),
        Err(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "cannot see which executions became ours"
            );
            // The look at everything finds them.
            shared.overlooked.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("node-{number}")).collect()
    }

    fn executions() -> impl Iterator<Item = ExecutionId> {
        (0..10_000).map(|number| ExecutionId::derived(&["run", &number.to_string()]))
    }

    #[test]
    fn executions_are_spread_evenly_and_only_those_of_the_one_that_left_move() {
        let (four, three) = (nodes(4), nodes(3));
        let mut counts = std::collections::BTreeMap::new();
        for execution in executions() {
            let before = owner(&four, &execution);
            *counts.entry(before).or_insert(0) += 1;
            if before != Some("node-3") {
                assert_eq!(owner(&three, &execution), before);
            }
        }
        assert!(counts.values().all(|count| (2_300..2_700).contains(count)), "{counts:?}");
        assert_eq!(owner(&[], &ExecutionId::from("x")), None);
    }

    #[test]
    fn the_hash_is_the_same_in_every_build() {
        assert_eq!(weight("a", "b"), 0x552d_4556_57d9_1379);
        assert_ne!(weight("ab", "c"), weight("a", "bc"));
        let of = |name: &str| owner(&nodes(3), &ExecutionId::from(name)).map(str::to_owned);
        let owners: Vec<_> = ["run-1", "run-2", "run-3", "run-4"].map(of).into_iter().flatten().collect();
        assert_eq!(
            owners,
            ["node-2", "node-1", "node-2", "node-2"],
            "servers of different builds share a store"
        );
    }
}
