//! Hints between servers: one coalesced NOTIFY now and then on a connection of its own, which also listens. What is lost costs time only: polls
//! stand behind, and after each new connection everybody looks at everything.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, broadcast};
use tokio::task::JoinHandle;
use tokio_postgres::{AsyncMessage, Client};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::opening::{Address, CONNECT, OpenError};
use super::random;
use crate::Hint;

/// Hints kept for a slow receiver; older ones are lost, and a poll finds what they said.
const HINTS: usize = 16_384;
/// How long hints are gathered before they are sent.
const GATHER: Duration = Duration::from_millis(15);
/// Bytes of one NOTIFY; the database takes fewer than 8,000.
const PAYLOAD: usize = 7_900;
/// Notifications at once; for more than these hold, [`Hint::Everything`] is sent.
const PAYLOADS: usize = 64;
/// Hints gathered; with more, [`Hint::Everything`] stands for them.
const GATHERED: usize = 8_192;
/// How long sending may take before the connection counts as lost.
const SEND: Duration = Duration::from_secs(10);
/// First pause before a new connection; it doubles up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The channel on which servers notify each other.
const CHANNEL: &str = "manifold_hints";

/// Hints of this server and to others.
pub(super) struct Hints {
    local: broadcast::Sender<Hint>,
    outbox: Arc<Outbox>,
    /// Ends the task that sends and listens.
    _stop: DropGuard,
}

/// What other servers are to be told.
#[derive(Default)]
struct Outbox {
    gathered: Mutex<HashSet<Hint>>,
    ready: Notify,
}

/// What a notification holds.
#[derive(Serialize, Deserialize)]
struct Payload {
    from: u64,
    hints: Vec<Hint>,
}

impl Hints {
    /// Begins to listen and to send; whoever subscribes after this misses nothing.
    pub(super) async fn start(address: Address) -> Result<Self, OpenError> {
        let (local, _) = broadcast::channel(HINTS);
        let outbox = Arc::new(Outbox::default());
        let stop = CancellationToken::new();
        let ear = Ear { local: local.clone(), me: random::number() };
        let link = Link { address, ear, outbox: Arc::clone(&outbox) };
        let first = link
            .connect()
            .await
            .map_err(|cause| OpenError::Unusable { place: link.address.place.clone(), cause })?;
        tokio::spawn(stop.clone().run_until_cancelled_owned(link.keep(first)));
        Ok(Self { local, outbox, _stop: stop.drop_guard() })
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<Hint> {
        self.local.subscribe()
    }

    /// Tells each different hint once: here at once, to other servers soon.
    pub(super) fn tell_all(&self, hints: Vec<Hint>) {
        if hints.is_empty() {
            return;
        }
        let mut seen = HashSet::new();
        for hint in &hints {
            if seen.insert(hint) {
                // No receiver is no error: hints may be lost.
                let _ = self.local.send(hint.clone());
            }
        }
        self.outbox.put(hints);
    }
}

impl Outbox {
    fn put(&self, hints: Vec<Hint>) {
        let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        gathered.extend(hints);
        if gathered.len() > GATHERED {
            gathered.clear();
            gathered.insert(Hint::Everything);
        }
        drop(gathered);
        self.ready.notify_one();
    }

    fn take(&self) -> Vec<Hint> {
        let gathered = std::mem::take(&mut *self.gathered.lock().unwrap_or_else(PoisonError::into_inner));
        if gathered.contains(&Hint::Everything) {
            return vec![Hint::Everything];
        }
        gathered.into_iter().collect()
    }
}

/// The connection for hints, kept up.
struct Link {
    address: Address,
    ear: Ear,
    outbox: Arc<Outbox>,
}

/// Tells here what other servers said.
#[derive(Clone)]
struct Ear {
    local: broadcast::Sender<Hint>,
    /// Name of this server among the senders.
    me: u64,
}

type Failed = Box<dyn std::error::Error + Send + Sync>;

impl Link {
    /// A connection that listens.
    async fn connect(&self) -> Result<(Client, Driver), Failed> {
        let connect = self.address.config.connect(self.address.tls.clone());
        let (client, connection) = tokio::time::timeout(CONNECT, connect).await??;
        let driver = Driver(tokio::spawn(drive(connection, self.ear.clone())));
        client.batch_execute(&format!("LISTEN {CHANNEL}")).await?;
        Ok((client, driver))
    }

    /// Serves the first connection, and connects again and again.
    async fn keep(self, first: (Client, Driver)) {
        let (mut client, mut driver) = first;
        loop {
            match self.serve(&client, &mut driver).await {
                Ok(()) => {
                    tracing::warn!("the connection for hints between servers has ended; it is made anew")
                }
                Err(error) => {
                    tracing::warn!(%error, "hints cannot be sent to other servers; the connection is made anew");
                }
            }
            drop(driver);
            (client, driver) = self.connect_again().await;
            // What was told while nobody listened here is lost.
            self.ear.tell(Hint::Everything);
        }
    }

    async fn connect_again(&self) -> (Client, Driver) {
        let mut pause = PAUSE;
        loop {
            let jitter = random::below(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
            tokio::time::sleep(pause + Duration::from_millis(jitter)).await;
            match self.connect().await {
                Ok(connected) => return connected,
                Err(error) => tracing::debug!(%error, "no connection for hints yet"),
            }
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }

    /// Sends until the connection ends.
    async fn serve(&self, client: &Client, driver: &mut Driver) -> Result<(), Failed> {
        loop {
            tokio::select! {
                ended = &mut driver.0 => return Ok(ended?),
                () = self.outbox.ready.notified() => {
                    tokio::time::sleep(GATHER).await;
                    tokio::time::timeout(SEND, self.send(client)).await??;
                }
            }
        }
    }

    async fn send(&self, client: &Client) -> Result<(), Failed> {
        let hints = self.outbox.take();
        if hints.is_empty() {
            return Ok(());
        }
        let payloads = payloads(self.ear.me, hints)?;
        client
            .execute(
                "SELECT pg_notify($1, payload) FROM unnest($2::text[]) AS payload",
                &[&CHANNEL, &payloads],
            )
            .await?;
        Ok(())
    }
}

impl Ear {
    fn take_in(&self, payload: &str) {
        match serde_json::from_str::<Payload>(payload) {
            Ok(payload) if payload.from == self.me => {}
            Ok(payload) => payload.hints.into_iter().for_each(|hint| self.tell(hint)),
            // A newer server has hints that this one does not know.
            Err(_) => self.tell(Hint::Everything),
        }
    }

    fn tell(&self, hint: Hint) {
        // No receiver is no error: hints may be lost.
        let _ = self.local.send(hint);
    }
}

/// Hints as payloads that each fit a notification.
fn payloads(me: u64, hints: Vec<Hint>) -> serde_json::Result<Vec<String>> {
    // The frame around the hints, its number at its longest.
    let frame = serde_json::to_string(&Payload { from: u64::MAX, hints: Vec::new() })?.len();
    let mut payloads = Vec::new();
    let mut batch = Vec::new();
    let mut size = frame;
    for hint in hints {
        let more = serde_json::to_string(&hint)?.len() + 1;
        if size + more > PAYLOAD && !batch.is_empty() {
            payloads.push(serde_json::to_string(&Payload { from: me, hints: std::mem::take(&mut batch) })?);
            size = frame;
        }
        size += more;
        batch.push(hint);
    }
    payloads.push(serde_json::to_string(&Payload { from: me, hints: batch })?);
    if payloads.len() > PAYLOADS || payloads.iter().any(|payload| payload.len() > PAYLOAD) {
        return Ok(vec![serde_json::to_string(&Payload { from: me, hints: vec![Hint::Everything] })?]);
    }
    Ok(payloads)
}

/// Drives the connection and takes notifications in. When it returns, the connection has ended.
async fn drive<S, T>(mut connection: tokio_postgres::Connection<S, T>, ear: Ear)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    loop {
        match std::future::poll_fn(|context| connection.poll_message(context)).await {
            Some(Ok(AsyncMessage::Notification(told))) => ear.take_in(told.payload()),
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                tracing::debug!(%error, "the connection for hints broke");
                return;
            }
            None => return,
        }
    }
}

/// The task that drives the connection; it goes with who waits for it.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use manifold_model::ExecutionId;

    use super::*;

    fn hints(how_many: usize) -> Vec<Hint> {
        (0..how_many).map(|n| Hint::Inbox(ExecutionId::from(format!("execution-{n:022}")))).collect()
    }

    #[test]
    fn payloads_fit_and_lose_nothing() {
        let all = payloads(u64::MAX, hints(1_000)).unwrap();
        assert!(all.len() > 1);
        let mut told = Vec::new();
        for payload in &all {
            assert!(payload.len() <= PAYLOAD, "{}", payload.len());
            told.extend(serde_json::from_str::<Payload>(payload).unwrap().hints);
        }
        assert_eq!(told, hints(1_000));
    }

    #[test]
    fn too_much_is_everything() {
        let all = payloads(1, hints(50_000)).unwrap();
        let told: Vec<_> =
            all.iter().flat_map(|payload| serde_json::from_str::<Payload>(payload).unwrap().hints).collect();
        assert_eq!(told, [Hint::Everything]);
        let outbox = Outbox::default();
        outbox.put(hints(GATHERED + 1));
        assert_eq!(outbox.take(), [Hint::Everything]);
    }
}
