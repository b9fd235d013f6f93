//! The link over an in-memory stream: what is sent arrives, what is broken is refused, nothing panics.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use bytes::{BufMut, Bytes, BytesMut};
use manifold_link::limits::{FILE_PART, MAX_FRAME, MAX_LOG_CHUNK};
use manifold_link::{
    Answer, Ask, Credential, FromDelegate, FromServer, Hello, Lease, LinkError, LogChunk, Message,
    OutcomeAck, Request, Sensitive, TaskFrame, TaskOutcome, VERSIONS, Welcome, delegate_end, greet, hello,
    negotiate, server_end,
};
use manifold_model::kind::{ANYWHERE, Class, KindName, KindSpec, Player};
use manifold_model::secret::SshMethod;
use manifold_model::task::{FileSource, NoopTask, Outcome, Payload, Task};
use manifold_model::{Failure, FailureClass, LogId, TaskId, code};
use proptest::prelude::*;
use tokio::io::AsyncWriteExt;

fn task(id: &str) -> Task {
    Task {
        id: TaskId::from(id),
        kind: KindName::from("NOOP"),
        class: Class::Idempotent,
        attempt: 1,
        step: None,
        log: LogId::from("log"),
        timeout_ms: 1000,
        selectors: vec!["eu".to_owned()],
        capabilities: Vec::new(),
        payload: Payload::Noop(NoopTask::default()),
    }
}

fn kind() -> KindSpec {
    KindSpec {
        name: KindName::from("NOOP"),
        class: Class::Idempotent,
        class_by: Vec::new(),
        rolled_back_by: None,
        player: Player::Delegate,
        stands: ANYWHERE.to_vec(),
        properties: Vec::new(),
        capabilities: Vec::new(),
        touches_infrastructure: false,
        infrastructure_types: Vec::new(),
        reads_manifests: false,
        deploys: false,
        test_only: true,
    }
}

fn lease() -> Lease {
    Lease { holder: "node/1".to_owned(), fence: 7 }
}

fn failure() -> Box<Failure> {
    Box::new(Failure::new(FailureClass::Delegate, code!("DELEGATE_VERSION_UNSUPPORTED"), "no").hint("do"))
}

fn from_delegate() -> Vec<FromDelegate> {
    let request = |ask| FromDelegate::Request(Request { id: 3, task: "t".into(), ask });
    vec![
        FromDelegate::Hello(Hello {
            versions: VERSIONS.to_vec(),
            program: "0.1.0".to_owned(),
            delegate: Some("d".into()),
            name: "one".to_owned(),
            selectors: vec!["one".to_owned(), "eu".to_owned()],
            kinds: vec![kind()],
            capabilities: vec!["helm".to_owned()],
            free: 512,
        }),
        FromDelegate::Credit { tasks: 2 },
        FromDelegate::Started { task: "t".into(), fence: 7 },
        FromDelegate::Outcome(TaskOutcome {
            task: "t".into(),
            lease: lease(),
            outcome: Outcome::failed(*failure()),
        }),
        FromDelegate::Log(LogChunk {
            task: "t".into(),
            log: "l".into(),
            run: 7,
            seq: 1,
            unit: "Execute".to_owned(),
            bytes: Bytes::from_static(b"\xff\x00hello\n"),
        }),
        request(Ask::Secret { name: "db".to_owned() }),
        request(Ask::Credential { name: "ops".to_owned() }),
        request(Ask::File { source: FileSource::Secret { name: "f".to_owned() }, offset: 9 }),
        request(Ask::Seal { name: "token".to_owned(), value: Sensitive::new("s3cret") }),
        FromDelegate::Heartbeat { running: 0 },
        FromDelegate::Pong { nonce: u64::MAX },
        FromDelegate::Leaving,
    ]
}

fn from_server() -> Vec<FromServer> {
    let answer = |answer| FromServer::Answer { id: 3, answer };
    vec![
        FromServer::Welcome(Welcome { version: 1, lease: lease() }),
        FromServer::Refused(failure()),
        FromServer::Task(Box::new(TaskFrame { task: task("t"), deliveries: 1, fence: 7 })),
        FromServer::Cancel { task: "t".into() },
        FromServer::OutcomeAck(OutcomeAck { task: "t".into(), fence: 7, recorded: false }),
        FromServer::LogCredit { bytes: 9 },
        answer(Answer::Secret(Sensitive::new("s3cret"))),
        answer(Answer::Credential(Box::new(Credential {
            user_name: "ops".to_owned(),
            port: 22,
            method: SshMethod::Password { password: "p".into() },
            secret: Some(Sensitive::new("s3cret")),
            passphrase: None,
        }))),
        answer(Answer::File { bytes: Bytes::from(vec![1; FILE_PART]), total: u64::MAX }),
        answer(Answer::Sealed { name: "sealed".to_owned() }),
        answer(Answer::Refused(failure())),
        FromServer::Ping { nonce: 1 },
        FromServer::Drain,
    ]
}

#[tokio::test]
async fn every_message_arrives_as_it_was_sent_in_order() {
    let (here, there) = tokio::io::duplex(1000);
    let (mut to_server, mut at_delegate) = delegate_end(here);
    let (mut to_delegate, mut at_server) = server_end(there);
    let sending = async {
        for message in from_delegate() {
            to_server.feed(&message).await.unwrap();
        }
        to_server.close().await.unwrap();
        for message in from_server() {
            to_delegate.send(&message).await.unwrap();
        }
    };
    let receiving = async {
        for expected in from_delegate() {
            assert_eq!(at_server.recv().await.unwrap(), Some(expected));
        }
        for expected in from_server() {
            assert_eq!(at_delegate.recv().await.unwrap(), Some(expected));
        }
        assert_eq!(at_server.recv().await.unwrap(), None, "a clean end");
    };
    tokio::join!(sending, receiving);
}

#[tokio::test]
async fn the_handshake_chooses_a_common_version_or_refuses_with_the_reason() {
    let (here, there) = tokio::io::duplex(64 * 1024);
    let (mut to_server, mut at_delegate) = delegate_end(here);
    let (mut to_delegate, mut at_server) = server_end(there);
    let server = async {
        let hello = hello(&mut at_server).await.unwrap();
        let version = negotiate(&hello.versions).unwrap();
        to_delegate.send(&FromServer::Welcome(Welcome { version, lease: lease() })).await.unwrap();
        let hello = manifold_link::hello(&mut at_server).await.unwrap();
        let refusal = negotiate(&hello.versions).unwrap_err();
        to_delegate.send(&FromServer::Refused(refusal)).await.unwrap();
    };
    let delegate = async {
        let offer = |versions: &[u32]| Hello { versions: versions.to_vec(), ..Hello::default() };
        let welcome = greet(&mut to_server, &mut at_delegate, offer(&[99, 1])).await.unwrap();
        assert_eq!((welcome.version, welcome.lease), (1, lease()));
        let refused = greet(&mut to_server, &mut at_delegate, offer(&[99])).await.unwrap_err();
        assert!(refused.to_string().contains("[99]"), "{refused}");
    };
    tokio::join!(server, delegate);
}

#[tokio::test]
async fn a_message_that_must_not_come_first_is_named() {
    let (here, there) = tokio::io::duplex(1000);
    let (mut to_server, _at_delegate) = delegate_end(here);
    let (_to_delegate, mut at_server) = server_end(there);
    to_server.send(&FromDelegate::Leaving).await.unwrap();
    let error = hello(&mut at_server).await.unwrap_err();
    assert_eq!(error.to_string(), "the peer sent leaving where a hello had to come");
}

#[tokio::test]
async fn a_message_larger_than_a_frame_is_refused_and_the_connection_goes_on() {
    let (here, there) = tokio::io::duplex(64 * 1024);
    let (_to_server, mut at_delegate) = delegate_end(here);
    let (mut to_delegate, _at_server) = server_end(there);
    let huge = FromServer::Answer { id: 1, answer: Answer::Sealed { name: "x".repeat(MAX_FRAME) } };
    assert!(matches!(to_delegate.send(&huge).await, Err(LinkError::TooLarge { what: "answer", .. })));
    to_delegate.send(&FromServer::Drain).await.unwrap();
    assert_eq!(at_delegate.recv().await.unwrap(), Some(FromServer::Drain));
}

#[tokio::test]
async fn a_length_beyond_the_limit_is_refused_before_it_is_read() {
    let (mut here, there) = tokio::io::duplex(1000);
    let (_to_delegate, mut at_server) = server_end(there);
    here.write_u32(u32::MAX).await.unwrap();
    assert!(matches!(at_server.recv().await, Err(LinkError::Malformed { .. })));
}

#[tokio::test]
async fn a_connection_cut_inside_a_frame_is_an_error() {
    let (mut here, there) = tokio::io::duplex(1000);
    let (_to_delegate, mut at_server) = server_end(there);
    here.write_all(&[0, 0, 0, 9, 1]).await.unwrap();
    drop(here);
    assert!(matches!(at_server.recv().await, Err(LinkError::Io(_))));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_nothing_is_given_up() {
    let (_here, there) = tokio::io::duplex(16);
    let (mut to_delegate, _at_server) = server_end(there);
    let log = FromServer::Answer { id: 1, answer: Answer::Sealed { name: "x".repeat(1000) } };
    assert!(matches!(to_delegate.send(&log).await, Err(LinkError::Stalled { .. })));
}

#[test]
fn oversized_log_chunks_are_malformed() {
    let chunk = FromDelegate::Log(LogChunk {
        task: "t".into(),
        log: "l".into(),
        run: 1,
        seq: 1,
        unit: String::new(),
        bytes: Bytes::from(vec![0; MAX_LOG_CHUNK + 1]),
    });
    let mut frame = BytesMut::new();
    chunk.encode(&mut frame).unwrap();
    let error = FromDelegate::decode(frame.split_off(4)).unwrap_err();
    assert!(error.to_string().contains("log chunk"), "{error}");
}

#[test]
fn secrets_do_not_print() {
    for message in from_delegate() {
        assert!(!format!("{message:?}").contains("s3cret"));
    }
    for message in from_server() {
        assert!(!format!("{message:?}").contains("s3cret"));
    }
}

/// Broken in one place: what a faulty peer or a torn stream brings, nearer to the real thing than random bytes.
fn damaged(frame: &[u8], at: usize, with: u8, cut: bool) -> BytesMut {
    let mut bytes = BytesMut::from(frame);
    if !bytes.is_empty() {
        let at = at % bytes.len();
        bytes[at] = with;
        if cut {
            bytes.truncate(at);
        }
    }
    bytes
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = FromDelegate::decode(BytesMut::from(&bytes[..]));
        let _ = FromServer::decode(BytesMut::from(&bytes[..]));
    }

    #[test]
    fn damaged_messages_never_panic(which in 0usize..64, at in 0usize..600, with: u8, cut: bool) {
        let mut frame = BytesMut::new();
        let messages = from_delegate();
        messages[which % messages.len()].encode(&mut frame).unwrap();
        let _ = FromDelegate::decode(damaged(&frame[4..], at, with, cut));
        frame.clear();
        let messages = from_server();
        messages[which % messages.len()].encode(&mut frame).unwrap();
        let _ = FromServer::decode(damaged(&frame[4..], at, with, cut));
    }

    #[test]
    fn logs_survive_any_split_of_the_stream(
        chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 1..20),
        pipe in 1usize..300,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (mut here, there) = tokio::io::duplex(pipe);
            let (_to_delegate, mut at_server) = server_end(there);
            let messages: Vec<FromDelegate> = chunks.iter().zip(1u64..).map(|(bytes, seq)| {
                let bytes = Bytes::copy_from_slice(bytes);
                FromDelegate::Log(LogChunk { task: "t".into(), log: "l".into(), run: 1, seq, unit: "u".to_owned(), bytes })
            }).collect();
            let mut stream = BytesMut::new();
            for message in &messages {
                message.encode(&mut stream).unwrap();
            }
            stream.put_u8(0);
            let sending = async { here.write_all(&stream).await.unwrap(); drop(here); };
            let receiving = async {
                for message in &messages {
                    assert_eq!(at_server.recv().await.unwrap().as_ref(), Some(message));
                }
                assert!(at_server.recv().await.is_err(), "half a length is an error");
            };
            tokio::join!(sending, receiving);
        });
    }
}
