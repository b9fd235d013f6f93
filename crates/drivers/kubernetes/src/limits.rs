//! Limits of conversations with API servers (`docs/limits.md`).

use std::time::Duration;

/// For the TCP connection.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// For one request with its answer.
pub const REQUEST_LIMIT: Duration = Duration::from_secs(10);
/// Tries of a request that is answered with 429 or 5xx, or whose connection is lost.
pub const TRIES: u32 = 6;
/// Tries of a request that is not answered at all: each takes [`REQUEST_LIMIT`].
pub const SILENT_TRIES: u32 = 2;
/// First pause between two tries; it doubles.
pub const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause between two tries.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Longest `Retry-After` that is followed.
pub const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(30);
/// Bytes of one answer.
pub const ANSWER_LIMIT: usize = 32 * 1024 * 1024;
/// Objects of one page of a list.
pub const PAGE: u32 = 250;
/// Objects of one list in all.
pub const LIST_LIMIT: usize = 10_000;
/// Watches on one connection: below the smallest number of streams that servers allow (Go's default is 250).
pub const WATCHES_A_CONNECTION: usize = 100;
/// How long the first request of a connection goes alone.
pub const FIRST_ALONE: Duration = Duration::from_secs(2);
/// Clusters (with credentials) whose connections are kept.
pub const CLUSTERS_KEPT: usize = 256;
/// How long connections with the same credentials are taken for new tasks.
pub const CONNECTIONS_KEPT: Duration = Duration::from_secs(30 * 60);
/// Between two questions about a workload that is watched: the poll behind the watch.
pub const POLL: Duration = Duration::from_secs(30);
/// How long the API server may be unreachable while a workload is waited for, in polls in a row.
pub const SILENT_POLLS: u32 = 12;
/// How long a workload makes no progress before its pods and events are looked at; it doubles each time.
pub const FIRST_LOOK: Duration = Duration::from_secs(5);
/// Longest pause between two such looks.
pub const LONGEST_LOOK: Duration = Duration::from_secs(60);
/// Pods that are looked at to explain trouble.
pub const PODS_LOOKED_AT: u32 = 100;
/// Reasons in a failure's text.
pub const REASONS_TOLD: usize = 6;
/// Characters of one reason.
pub const REASON_CHARS: usize = 300;
/// Tries of a write that meets another writer.
pub const WRITE_TRIES: u32 = 8;
/// Requests of one task at once.
pub const AT_ONCE: usize = 8;
/// Looks at a new kind until it is served, and the pause between them.
pub const KIND_LOOKS: u32 = 50;
/// See [`KIND_LOOKS`].
pub const KIND_PAUSE: Duration = Duration::from_millis(200);
/// How many tries ahead the pause before opening a watch again is: an ended watch is no trouble, but asked for anew costs two requests.
pub const WATCH_PATIENCE: u32 = 2;
/// Between two questions about a workload that cannot be watched.
pub const UNWATCHED_POLL: Duration = Duration::from_secs(5);

/// Bytes of all manifests together, before and after templates.
pub const TEXT_LIMIT: usize = 10 << 20;
