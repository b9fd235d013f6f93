//! Typed messages to wire messages and back. Everything that comes from the peer is checked here.

use bytes::Bytes;
use manifold_model::{DelegateId, Failure, LogId, TaskId};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::LinkError;
use crate::limits::{FILE_PART, MAX_LOG_CHUNK};
use crate::message::{
    Answer, Ask, Credential, FromDelegate, FromServer, Hello, Lease, LogChunk, OutcomeAck, Request,
    Sensitive, TaskFrame, TaskOutcome, Welcome,
};
use crate::wire;

type Result<T> = std::result::Result<T, LinkError>;

fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value)
        .map_err(|cause| LinkError::malformed(format!("a value cannot be written: {cause}")))
}

fn read<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|cause| LinkError::malformed(format!("bad {what}: {cause}")))
}

fn present<T>(part: Option<T>, what: &str) -> Result<T> {
    part.ok_or_else(|| LinkError::malformed(format!("{what} is missing or not known here")))
}

fn id<T: From<String>>(text: String, what: &str) -> Result<T> {
    if text.is_empty() { Err(LinkError::malformed(format!("{what} is empty"))) } else { Ok(T::from(text)) }
}

impl From<&Lease> for wire::Lease {
    fn from(lease: &Lease) -> Self {
        Self { holder: lease.holder.clone(), fence: lease.fence }
    }
}

impl From<wire::Lease> for Lease {
    fn from(lease: wire::Lease) -> Self {
        Self { holder: lease.holder, fence: lease.fence }
    }
}

pub(crate) fn delegate_to_wire(message: &FromDelegate) -> Result<wire::DelegateFrame> {
    use wire::delegate::Body;
    let body = match message {
        FromDelegate::Hello(hello) => Body::Hello(wire::Hello {
            versions: hello.versions.clone(),
            program: hello.program.clone(),
            delegate: hello.delegate.as_ref().map(|id| id.as_str().to_owned()).unwrap_or_default(),
            name: hello.name.clone(),
            selectors: hello.selectors.clone(),
            kinds: json(&hello.kinds)?.into(),
            capabilities: hello.capabilities.clone(),
            free: hello.free,
        }),
        FromDelegate::Credit { tasks } => Body::Credit(*tasks),
        FromDelegate::Started { task, fence } => {
            Body::Started(wire::Started { task: task.to_string(), fence: *fence })
        }
        FromDelegate::Outcome(ended) => Body::Outcome(wire::Outcome {
            task: ended.task.to_string(),
            lease: Some((&ended.lease).into()),
            outcome: json(&ended.outcome)?.into(),
        }),
        FromDelegate::Log(chunk) => Body::Log(wire::Log {
            task: chunk.task.to_string(),
            log: chunk.log.to_string(),
            run: chunk.run,
            seq: chunk.seq,
            unit: chunk.unit.clone(),
            bytes: chunk.bytes.clone(),
        }),
        FromDelegate::Request(request) => Body::Request(request_to_wire(request)?),
        FromDelegate::Heartbeat { running } => Body::Heartbeat(*running),
        FromDelegate::Pong { nonce } => Body::Pong(*nonce),
        FromDelegate::Leaving => Body::Leaving(true),
    };
    Ok(wire::DelegateFrame { body: Some(body) })
}

pub(crate) fn delegate_from_wire(frame: wire::DelegateFrame) -> Result<FromDelegate> {
    use wire::delegate::Body;
    Ok(match present(frame.body, "the message")? {
        Body::Hello(hello) => FromDelegate::Hello(Hello {
            versions: hello.versions,
            program: hello.program,
            delegate: (!hello.delegate.is_empty()).then(|| DelegateId::from(hello.delegate)),
            name: hello.name,
            selectors: hello.selectors,
            kinds: read(&hello.kinds, "list of kinds")?,
            capabilities: hello.capabilities,
            free: hello.free,
        }),
        Body::Credit(tasks) => FromDelegate::Credit { tasks },
        Body::Started(started) => {
            FromDelegate::Started { task: id(started.task, "a task id")?, fence: started.fence }
        }
        Body::Outcome(ended) => FromDelegate::Outcome(TaskOutcome {
            task: id(ended.task, "a task id")?,
            lease: present(ended.lease, "the lease of an outcome")?.into(),
            outcome: read(&ended.outcome, "outcome")?,
        }),
        Body::Log(chunk) => FromDelegate::Log(log_from_wire(chunk)?),
        Body::Request(request) => FromDelegate::Request(request_from_wire(request)?),
        Body::Heartbeat(running) => FromDelegate::Heartbeat { running },
        Body::Pong(nonce) => FromDelegate::Pong { nonce },
        Body::Leaving(_) => FromDelegate::Leaving,
    })
}

fn log_from_wire(chunk: wire::Log) -> Result<LogChunk> {
    if chunk.bytes.len() > MAX_LOG_CHUNK {
        return Err(LinkError::malformed(format!(
            "a log chunk of {} bytes is larger than {MAX_LOG_CHUNK}",
            chunk.bytes.len()
        )));
    }
    Ok(LogChunk {
        task: TaskId::from(chunk.task),
        log: id::<LogId>(chunk.log, "a log id")?,
        run: chunk.run,
        seq: chunk.seq,
        unit: chunk.unit,
        bytes: chunk.bytes,
    })
}

fn request_to_wire(request: &Request) -> Result<wire::Request> {
    let ask = match &request.ask {
        Ask::Secret { name } => wire::Ask::Secret(name.clone()),
        Ask::Credential { name } => wire::Ask::Credential(name.clone()),
        Ask::File { source, offset } => {
            wire::Ask::File(wire::File { source: json(source)?.into(), offset: *offset })
        }
        Ask::Seal { name, value } => {
            wire::Ask::Seal(wire::Seal { name: name.clone(), value: value.0.to_vec() })
        }
    };
    Ok(wire::Request { id: request.id, task: request.task.to_string(), ask: Some(ask) })
}

fn request_from_wire(request: wire::Request) -> Result<Request> {
    let ask = match present(request.ask, "what a request asks for")? {
        wire::Ask::Secret(name) => Ask::Secret { name },
        wire::Ask::Credential(name) => Ask::Credential { name },
        wire::Ask::File(file) => {
            Ask::File { source: read(&file.source, "file source")?, offset: file.offset }
        }
        wire::Ask::Seal(seal) => Ask::Seal { name: seal.name, value: Sensitive::new(seal.value) },
    };
    Ok(Request { id: request.id, task: id::<TaskId>(request.task, "a task id")?, ask })
}

pub(crate) fn server_to_wire(message: &FromServer) -> Result<wire::ServerFrame> {
    use wire::server::Body;
    let body = match message {
        FromServer::Welcome(welcome) => {
            Body::Welcome(wire::Welcome { version: welcome.version, lease: Some((&welcome.lease).into()) })
        }
        FromServer::Refused(failure) => Body::Refused(json(failure)?.into()),
        FromServer::Task(frame) => Body::Task(wire::Task {
            task: json(&frame.task)?.into(),
            deliveries: frame.deliveries,
            fence: frame.fence,
        }),
        FromServer::Cancel { task } => Body::Cancel(task.to_string()),
        FromServer::OutcomeAck(ack) => Body::OutcomeAck(wire::OutcomeAck {
            task: ack.task.to_string(),
            fence: ack.fence,
            recorded: ack.recorded,
        }),
        FromServer::LogCredit { bytes } => Body::LogCredit(*bytes),
        FromServer::Answer { id, answer } => {
            Body::Answer(wire::Answer { id: *id, reply: Some(answer_to_wire(answer)?) })
        }
        FromServer::Ping { nonce } => Body::Ping(*nonce),
        FromServer::Drain => Body::Drain(true),
    };
    Ok(wire::ServerFrame { body: Some(body) })
}

pub(crate) fn server_from_wire(frame: wire::ServerFrame) -> Result<FromServer> {
    use wire::server::Body;
    Ok(match present(frame.body, "the message")? {
        Body::Welcome(welcome) => FromServer::Welcome(Welcome {
            version: welcome.version,
            lease: present(welcome.lease, "the lease of a welcome")?.into(),
        }),
        Body::Refused(failure) => FromServer::Refused(Box::new(read::<Failure>(&failure, "failure")?)),
        Body::Task(frame) => FromServer::Task(Box::new(TaskFrame {
            task: read(&frame.task, "task")?,
            deliveries: frame.deliveries,
            fence: frame.fence,
        })),
        Body::Cancel(task) => FromServer::Cancel { task: id(task, "a task id")? },
        Body::OutcomeAck(ack) => FromServer::OutcomeAck(OutcomeAck {
            task: id(ack.task, "a task id")?,
            fence: ack.fence,
            recorded: ack.recorded,
        }),
        Body::LogCredit(bytes) => FromServer::LogCredit { bytes },
        Body::Answer(answer) => FromServer::Answer {
            id: answer.id,
            answer: answer_from_wire(present(answer.reply, "the reply of an answer")?)?,
        },
        Body::Ping(nonce) => FromServer::Ping { nonce },
        Body::Drain(_) => FromServer::Drain,
    })
}

fn answer_to_wire(answer: &Answer) -> Result<wire::Reply> {
    Ok(match answer {
        Answer::Secret(value) => wire::Reply::Secret(wire::Secret { value: value.0.to_vec() }),
        Answer::Credential(credential) => wire::Reply::Credential(wire::Credential {
            user_name: credential.user_name.clone(),
            port: u32::from(credential.port),
            method: json(&credential.method)?,
            secret: credential.secret.as_ref().map(|value| value.0.to_vec()),
            passphrase: credential.passphrase.as_ref().map(|value| value.0.to_vec()),
        }),
        Answer::File { bytes, total } => {
            wire::Reply::File(wire::FilePart { bytes: bytes.clone(), total: *total })
        }
        Answer::Sealed { name } => wire::Reply::Sealed(name.clone()),
        Answer::Refused(failure) => wire::Reply::Refused(json(failure)?.into()),
    })
}

fn answer_from_wire(reply: wire::Reply) -> Result<Answer> {
    Ok(match reply {
        wire::Reply::Secret(secret) => Answer::Secret(Sensitive::new(secret.value)),
        wire::Reply::Credential(credential) => Answer::Credential(Box::new(Credential {
            user_name: credential.user_name,
            port: u16::try_from(credential.port)
                .map_err(|_| LinkError::malformed(format!("{} is no port", credential.port)))?,
            method: read(&credential.method, "SSH method")?,
            secret: credential.secret.map(Sensitive::new),
            passphrase: credential.passphrase.map(Sensitive::new),
        })),
        wire::Reply::File(part) => file_from_wire(part.bytes, part.total)?,
        wire::Reply::Sealed(name) => Answer::Sealed { name },
        wire::Reply::Refused(failure) => Answer::Refused(Box::new(read::<Failure>(&failure, "failure")?)),
    })
}

fn file_from_wire(bytes: Bytes, total: u64) -> Result<Answer> {
    if bytes.len() > FILE_PART {
        return Err(LinkError::malformed(format!(
            "a file part of {} bytes is larger than {FILE_PART}",
            bytes.len()
        )));
    }
    Ok(Answer::File { bytes, total })
}
