//! The form of the messages on the wire: protocol-buffer messages of protocol version 1. Numbers are never used again for something
//! else; a new field is optional for its reader. Model types travel as JSON bytes inside, as they rest in the store.

use bytes::Bytes;

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct DelegateFrame {
    #[prost(oneof = "delegate::Body", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9")]
    pub(crate) body: Option<delegate::Body>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ServerFrame {
    #[prost(oneof = "server::Body", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9")]
    pub(crate) body: Option<server::Body>,
}

pub(crate) mod delegate {
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(crate) enum Body {
        #[prost(message, tag = "1")]
        Hello(super::Hello),
        #[prost(uint32, tag = "2")]
        Credit(u32),
        #[prost(message, tag = "3")]
        Started(super::Started),
        #[prost(message, tag = "4")]
        Outcome(super::Outcome),
        #[prost(message, tag = "5")]
        Log(super::Log),
        #[prost(message, tag = "6")]
        Request(super::Request),
        #[prost(uint32, tag = "7")]
        Heartbeat(u32),
        #[prost(uint64, tag = "8")]
        Pong(u64),
        #[prost(bool, tag = "9")]
        Leaving(bool),
    }
}

pub(crate) mod server {
    use bytes::Bytes;

    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(crate) enum Body {
        #[prost(message, tag = "1")]
        Welcome(super::Welcome),
        /// A failure as JSON.
        #[prost(bytes = "bytes", tag = "2")]
        Refused(Bytes),
        #[prost(message, tag = "3")]
        Task(super::Task),
        #[prost(string, tag = "4")]
        Cancel(String),
        #[prost(message, tag = "5")]
        OutcomeAck(super::OutcomeAck),
        #[prost(uint64, tag = "6")]
        LogCredit(u64),
        #[prost(message, tag = "7")]
        Answer(super::Answer),
        #[prost(uint64, tag = "8")]
        Ping(u64),
        #[prost(bool, tag = "9")]
        Drain(bool),
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Hello {
    #[prost(uint32, repeated, tag = "1")]
    pub(crate) versions: Vec<u32>,
    #[prost(string, tag = "2")]
    pub(crate) program: String,
    #[prost(string, tag = "3")]
    pub(crate) delegate: String,
    #[prost(string, tag = "4")]
    pub(crate) name: String,
    #[prost(string, repeated, tag = "5")]
    pub(crate) selectors: Vec<String>,
    /// Kind specs as a JSON list.
    #[prost(bytes = "bytes", tag = "6")]
    pub(crate) kinds: Bytes,
    #[prost(string, repeated, tag = "7")]
    pub(crate) capabilities: Vec<String>,
    #[prost(uint32, tag = "8")]
    pub(crate) free: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Lease {
    #[prost(string, tag = "1")]
    pub(crate) holder: String,
    #[prost(uint64, tag = "2")]
    pub(crate) fence: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Welcome {
    #[prost(uint32, tag = "1")]
    pub(crate) version: u32,
    #[prost(message, optional, tag = "2")]
    pub(crate) lease: Option<Lease>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Task {
    /// Task as JSON.
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) task: Bytes,
    #[prost(uint32, tag = "2")]
    pub(crate) deliveries: u32,
    #[prost(uint64, tag = "3")]
    pub(crate) fence: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Started {
    #[prost(string, tag = "1")]
    pub(crate) task: String,
    #[prost(uint64, tag = "2")]
    pub(crate) fence: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Outcome {
    #[prost(string, tag = "1")]
    pub(crate) task: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) lease: Option<Lease>,
    /// Outcome as JSON.
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) outcome: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct OutcomeAck {
    #[prost(string, tag = "1")]
    pub(crate) task: String,
    #[prost(uint64, tag = "2")]
    pub(crate) fence: u64,
    #[prost(bool, tag = "3")]
    pub(crate) recorded: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Log {
    #[prost(string, tag = "1")]
    pub(crate) log: String,
    #[prost(uint64, tag = "2")]
    pub(crate) run: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) seq: u64,
    #[prost(string, tag = "4")]
    pub(crate) unit: String,
    #[prost(bytes = "bytes", tag = "5")]
    pub(crate) bytes: Bytes,
    #[prost(string, tag = "6")]
    pub(crate) task: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Request {
    #[prost(uint64, tag = "1")]
    pub(crate) id: u64,
    #[prost(string, tag = "2")]
    pub(crate) task: String,
    #[prost(oneof = "Ask", tags = "3, 4, 5, 6")]
    pub(crate) ask: Option<Ask>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Ask {
    #[prost(string, tag = "3")]
    Secret(String),
    #[prost(string, tag = "4")]
    Credential(String),
    #[prost(message, tag = "5")]
    File(File),
    #[prost(message, tag = "6")]
    Seal(Seal),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct File {
    /// File source as JSON.
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) source: Bytes,
    #[prost(uint64, tag = "2")]
    pub(crate) offset: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub(crate) struct Seal {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Answer {
    #[prost(uint64, tag = "1")]
    pub(crate) id: u64,
    #[prost(oneof = "Reply", tags = "2, 3, 4, 5, 6")]
    pub(crate) reply: Option<Reply>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Reply {
    #[prost(message, tag = "2")]
    Secret(Secret),
    #[prost(message, tag = "3")]
    Credential(Credential),
    #[prost(message, tag = "4")]
    File(FilePart),
    #[prost(string, tag = "5")]
    Sealed(String),
    /// A failure as JSON.
    #[prost(bytes = "bytes", tag = "6")]
    Refused(Bytes),
}

#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub(crate) struct Secret {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub(crate) struct Credential {
    #[prost(string, tag = "1")]
    pub(crate) user_name: String,
    #[prost(uint32, tag = "2")]
    pub(crate) port: u32,
    /// SSH method as JSON; names secrets by id only.
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) method: Vec<u8>,
    #[prost(bytes = "vec", optional, tag = "4")]
    pub(crate) secret: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "5")]
    pub(crate) passphrase: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct FilePart {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) bytes: Bytes,
    #[prost(uint64, tag = "2")]
    pub(crate) total: u64,
}

/// Debug output of messages that carry secrets: their name only.
macro_rules! opaque {
    ($($name:ident),*) => {$(
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($name), "(******)"))
            }
        }
    )*};
}
opaque!(Seal, Secret, Credential);
