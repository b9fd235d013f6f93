//! Step logs: what is written reads back, whatever happened in between.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use manifold_store::Hint;
use manifold_store::logs::{Chunk, LINE_LIMIT, LOG_LIMIT, LogKey, LogStore, READ_LIMIT};
use proptest::prelude::*;

fn key(log: &str) -> LogKey {
    LogKey { execution: Some("execution".into()), log: log.into() }
}

/// Takes in output as the next chunk of its log's only run.
async fn append(logs: &LogStore, key: &LogKey, unit: &str, at: i64, bytes: &[u8]) {
    static NUMBERS: AtomicU64 = AtomicU64::new(1);
    let seq = NUMBERS.fetch_add(1, Ordering::SeqCst);
    logs.take(key, Chunk { run: 1, seq, unit, at, bytes }).await.unwrap();
}

fn texts(lines: &[manifold_store::logs::Line]) -> Vec<&str> {
    lines.iter().map(|line| line.text.as_str()).collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

#[tokio::test]
async fn lines_have_number_time_and_unit_and_can_be_read_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let logs = LogStore::open(folder.path()).unwrap();
    let log = key("log");
    let mut hints = logs.hints();
    append(&logs, &log, "Setup", 5, b"one\r\ntw").await;
    assert_eq!(hints.try_recv().unwrap(), Hint::Log("log".into()));
    append(&logs, &log, "Setup", 6, b"o\nthree").await;
    append(&logs, &log, "Start", 7, b"four\n").await;
    let lines = logs.lines(&log, 0, 10).await.unwrap();
    assert_eq!(texts(&lines), ["one", "two", "three", "four"], "another unit ends the line begun");
    assert_eq!((lines[1].n, lines[1].at, lines[1].unit.as_str()), (2, 5, "Setup"));
    assert_eq!((lines[3].n, lines[3].unit.as_str()), (4, "Start"));
    logs.flush().await.unwrap();
    append(&logs, &log, "Start", 8, b"five\nno end").await;
    assert_eq!(texts(&logs.lines(&log, 4, 10).await.unwrap()), ["four", "five"]);
    assert_eq!(texts(&logs.lines(&log, 2, 2).await.unwrap()), ["two", "three"]);
    assert_eq!(texts(&logs.tail(&log, 2).await.unwrap()), ["four", "five"]);
    assert_eq!(logs.bytes(&log, 4, 9).await.unwrap(), b"two\nthree");
    assert!(!logs.size(&log).await.unwrap().closed);
    logs.close(&log).await.unwrap();
    let size = logs.size(&log).await.unwrap();
    assert_eq!((size.lines, size.bytes, size.closed), (6, 31, true));
    assert_eq!(logs.bytes(&log, 0, 99).await.unwrap(), b"one\ntwo\nthree\nfour\nfive\nno end\n");
    assert_eq!(logs.lines(&key("other"), 1, 10).await.unwrap(), []);
    let json = serde_json::to_string(&lines[3]).unwrap();
    assert_eq!(json, r#"{"n":4,"at":7,"unit":"Start","text":"four"}"#);
}

#[tokio::test]
async fn a_log_without_a_line_is_closed_without_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let logs = LogStore::open(folder.path()).unwrap();
    let (silent, mut hints) = (key("silent"), logs.hints());
    assert!(!logs.size(&silent).await.unwrap().closed);
    logs.close(&silent).await.unwrap();
    assert_eq!(hints.try_recv().unwrap(), Hint::Log("silent".into()));
    assert!(logs.size(&silent).await.unwrap().closed);
    assert_eq!(files(folder.path()), Vec::<PathBuf>::new());
    append(&logs, &silent, "", 1, b"after all\n").await;
    assert!(!logs.size(&silent).await.unwrap().closed);
    logs.close(&silent).await.unwrap();
    let size = LogStore::open(folder.path()).unwrap().size(&silent).await.unwrap();
    assert_eq!((size.lines, size.closed), (1, true));
}

#[tokio::test]
async fn what_was_flushed_survives_and_a_torn_frame_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let log = key("log");
    let logs = LogStore::open(folder.path()).unwrap();
    append(&logs, &log, "", 1, b"one\ntwo\n").await;
    logs.flush().await.unwrap();
    let path = files(folder.path()).pop().unwrap();
    let whole = std::fs::metadata(&path).unwrap().len();
    append(&logs, &log, "", 2, b"three\n").await;
    logs.flush().await.unwrap();
    let full = std::fs::metadata(&path).unwrap().len();
    append(&logs, &log, "", 3, b"lost, never flushed\n").await;
    drop(logs);
    for length in (whole..full).rev() {
        OpenOptions::new().write(true).open(&path).unwrap().set_len(length).unwrap();
        let logs = LogStore::open(folder.path()).unwrap();
        assert_eq!(texts(&logs.lines(&log, 1, 10).await.unwrap()), ["one", "two"], "cut at {length}");
    }
    let logs = LogStore::open(folder.path()).unwrap();
    OpenOptions::new().write(true).open(&path).unwrap().set_len(full).unwrap();
    append(&logs, &log, "", 4, b"again\n").await;
    logs.close(&log).await.unwrap();
    let logs = LogStore::open(folder.path()).unwrap();
    assert_eq!(texts(&logs.lines(&log, 1, 10).await.unwrap()), ["one", "two", "again"]);
}

#[tokio::test]
async fn beyond_the_limit_lines_are_counted_and_the_last_one_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let logs = LogStore::open(folder.path()).unwrap();
    let log = key("log");
    let line = [b"x".repeat(LINE_LIMIT - 1).as_slice(), b"\n"].concat();
    let many = usize::try_from(LOG_LIMIT).unwrap() / line.len() + 5;
    for _ in 0..many {
        append(&logs, &log, "Run", 1, &line).await;
    }
    append(&logs, &log, "Run", 2, b"exit code 1").await;
    logs.close(&log).await.unwrap();
    let size = logs.size(&log).await.unwrap();
    assert_eq!((size.lines, size.dropped_lines), (many as u64 - 5 + 2, 6));
    let tail = logs.tail(&log, 2).await.unwrap();
    assert!(tail[0].text.contains("5 lines were left out"), "{}", tail[0].text);
    assert_eq!((tail[1].text.as_str(), tail[1].at), ("exit code 1", 2));
    let stored: u64 = files(folder.path()).iter().map(|path| path.metadata().unwrap().len()).sum();
    assert!(stored < LOG_LIMIT / 10, "it is compressed");
}

#[tokio::test]
async fn long_lines_are_cut_and_reads_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let logs = LogStore::open(folder.path()).unwrap();
    let long = LogKey { execution: None, log: "../a/strange \u{0} name".into() };
    append(&logs, &long, "", 1, &b"y".repeat(LINE_LIMIT * 2 + 1)).await;
    append(&logs, &long, "", 1, b"\n\xff\n").await;
    let lines = logs.lines(&long, 1, 10).await.unwrap();
    let lengths: Vec<_> = lines.iter().map(|line| line.text.len()).collect();
    assert_eq!(lengths, [LINE_LIMIT, LINE_LIMIT, 1, 3], "what is no text is replaced");
    logs.flush().await.unwrap();
    assert!(files(folder.path()).iter().all(|path| path.starts_with(folder.path().join("account"))));
    let many = key("many");
    append(&logs, &many, "", 1, &b"\n".repeat(READ_LIMIT as usize + 10)).await;
    assert_eq!(logs.lines(&many, 1, u32::MAX).await.unwrap().len(), READ_LIMIT as usize);
    assert_eq!(logs.tail(&many, 1).await.unwrap()[0].n, u64::from(READ_LIMIT) + 10);
    logs.flush().await.unwrap();
    logs.remove(&"execution".into()).await.unwrap();
    assert_eq!(logs.size(&many).await.unwrap().lines, 0);
}

#[tokio::test]
async fn a_chunk_is_kept_once_and_a_higher_run_tells_anew() {
    let folder = tempfile::tempdir().unwrap();
    let log = key("log");
    let chunk = |run, seq, bytes| Chunk { run, seq, unit: "", at: 1, bytes };
    let mut logs = LogStore::open(folder.path()).unwrap();
    let flushed = logs.flushed();
    let first = logs.take(&log, chunk(7, 1, b"one\ntw".as_slice())).await.unwrap();
    assert!(*flushed.borrow() < first, "not durable yet");
    logs.take(&log, chunk(7, 1, b"one\ntw")).await.unwrap();
    logs.flush().await.unwrap();
    assert!(*flushed.borrow() >= first);
    let later = logs.take(&log, chunk(7, 2, b"o\nthr")).await.unwrap();
    assert!(*flushed.borrow() < later);
    // A killed process: what was flushed is known, the line begun too; what was not comes again.
    logs = LogStore::open(folder.path()).unwrap();
    for (seq, bytes) in [(1, b"one\ntw".as_slice()), (2, b"o\nthr"), (3, b"ee\n")] {
        logs.take(&log, chunk(7, seq, bytes)).await.unwrap();
    }
    assert_eq!(texts(&logs.lines(&log, 1, 10).await.unwrap()), ["one", "two", "three"]);
    logs.close(&log).await.unwrap();
    logs = LogStore::open(folder.path()).unwrap();
    logs.take(&log, chunk(6, 9, b"of an older run\n")).await.unwrap();
    assert_eq!(texts(&logs.lines(&log, 1, 10).await.unwrap()), ["one", "two", "three"]);
    logs.take(&log, chunk(8, 1, b"anew\n")).await.unwrap();
    logs.close(&log).await.unwrap();
    assert_eq!(texts(&logs.lines(&log, 1, 10).await.unwrap()), ["anew"]);
}

/// A file as the first release wrote it.
#[tokio::test]
async fn frames_of_the_first_release_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ex").join("execution").join("old.log");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, include_bytes!("fixtures/log-1.bin")).unwrap();
    let logs = LogStore::open(folder.path()).unwrap();
    let log = key("old");
    assert_eq!(texts(&logs.lines(&log, 1, 10).await.unwrap()), ["one", "two"]);
    append(&logs, &log, "", 2, b"told anew\n").await;
    logs.flush().await.unwrap();
    assert_eq!(texts(&logs.lines(&log, 1, 10).await.unwrap()), ["told anew"], "by a run with a number");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any pieces, flushed and reopened anywhere, read back as the same text, by lines and by bytes.
    #[test]
    fn any_pieces_read_back(
        pieces in proptest::collection::vec(("[a-c\n]{0,12}", 0..3u8), 1..40),
        from in 0u64..60,
        limit in 0usize..60,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let mut logs = LogStore::open(folder.path()).unwrap();
            let log = key("log");
            let mut text = String::new();
            for (piece, then) in &pieces {
                append(&logs, &log, "", 1, piece.as_bytes()).await;
                text.push_str(piece);
                if *then > 0 {
                    logs.flush().await.unwrap();
                }
                if *then == 2 && (text.is_empty() || text.ends_with('\n')) {
                    logs = LogStore::open(folder.path()).unwrap();
                }
            }
            logs.close(&log).await.unwrap();
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
            let lines: Vec<&str> = text.lines().collect();
            assert_eq!(texts(&logs.lines(&log, 1, 1000).await.unwrap()), lines);
            let skip = usize::try_from(from.saturating_sub(1)).unwrap();
            let some: Vec<&str> = lines.iter().skip(skip).take(limit).copied().collect();
            assert_eq!(texts(&logs.lines(&log, from, u32::try_from(limit).unwrap()).await.unwrap()), some);
            let bytes: Vec<u8> =
                text.bytes().skip(usize::try_from(from).unwrap()).take(limit).collect();
            assert_eq!(logs.bytes(&log, from, limit).await.unwrap(), bytes);
        });
    }
}
