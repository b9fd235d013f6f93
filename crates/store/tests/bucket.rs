//! Logs in a real S3-compatible bucket. Run by hand, because no machine has one: `MANIFOLD_TEST_BUCKET='s3://BUCKET?region=…&endpoint=…'` with
//! credentials in the environment, then `cargo test -p manifold-store --test bucket -- --ignored` (`docs/operating.md` says how with moto).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use manifold_store::logs::{Chunk, LogKey, LogStore};

fn chunk(run: u64, seq: u64, bytes: &[u8]) -> Chunk<'_> {
    Chunk { run, seq, unit: "Setup", at: 5, bytes }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an S3-compatible service: MANIFOLD_TEST_BUCKET"]
async fn two_servers_share_the_logs_of_a_bucket() {
    let url = std::env::var("MANIFOLD_TEST_BUCKET").expect("MANIFOLD_TEST_BUCKET names a bucket");
    let (here, there) = (LogStore::in_bucket(&url).unwrap(), LogStore::in_bucket(&url).unwrap());
    let execution = manifold_model::ExecutionId::random();
    let log = LogKey { execution: Some(execution.clone()), log: "../a strange name".into() };
    let texts = async |logs: &LogStore| {
        let lines = logs.lines(&log, 1, 5000).await.unwrap();
        lines.into_iter().map(|line| line.text).collect::<Vec<_>>()
    };
    here.take(&log, chunk(7, 1, b"one\ntw")).await.unwrap();
    here.flush().await.unwrap();
    assert_eq!(texts(&there).await, ["one"], "what was flushed is seen elsewhere");
    // The delegate dials the other server: what it sends again is known there, the line begun too.
    there.take(&log, chunk(7, 1, b"one\ntw")).await.unwrap();
    there.take(&log, chunk(7, 2, b"o\nthree\n")).await.unwrap();
    there.flush().await.unwrap();
    assert_eq!(texts(&there).await, ["one", "two", "three"]);
    // The first server still believes to write the log: nothing of it comes in between.
    here.take(&log, chunk(7, 2, b"stale\n")).await.unwrap();
    here.flush().await.unwrap();
    assert_eq!(texts(&here).await, ["one", "two", "three"]);
    there.close(&log).await.unwrap();
    let size = here.size(&log).await.unwrap();
    assert_eq!((size.lines, size.closed), (3, true));
    there.take(&log, chunk(8, 1, b"told anew\n")).await.unwrap();
    for seq in 2..1200 {
        there.take(&log, chunk(8, seq, b"more\n")).await.unwrap();
        if seq % 3 == 0 {
            there.flush().await.unwrap();
        }
    }
    there.close(&log).await.unwrap();
    let all = texts(&here).await;
    assert_eq!((all.len(), all[0].as_str()), (1199, "told anew"));
    here.remove(&execution).await.unwrap();
    assert_eq!(texts(&there).await, Vec::<String>::new());
}
