//! One host for one task: a connection that is made when first needed and again when lost, and the channels on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use manifold_driver::Resolver;
use manifold_driver::command::{Piece, Program, Shell, Stream};
use manifold_model::task::HostTarget;
use manifold_model::{Failure, FailureClass, code};
use russh::client::Msg;
use russh::{Channel, ChannelMsg, Disconnect};
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::connection::{Connection, Dialer};

/// How long opening a channel may take.
const OPEN_LIMIT: Duration = Duration::from_secs(30);
/// How long telling a host that a channel is closed may take.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);
/// Bytes of a short program's answer.
const ANSWER_LIMIT: usize = 64 * 1024;

/// A host.
pub struct Host {
    dialer: Arc<Dialer>,
    target: HostTarget,
    resolver: Arc<dyn Resolver>,
    state: Mutex<State>,
    /// Programs still to come, so that a channel for the next is opened while this one runs: half the round trips.
    to_come: AtomicUsize,
}

#[derive(Default)]
struct State {
    connection: Option<Arc<Connection>>,
    next: Option<AbortOnDropHandle<Result<Channel<Msg>, russh::Error>>>,
}

impl Host {
    /// A host that is not connected yet. `programs`: how many are about to run on it.
    pub fn new(
        dialer: Arc<Dialer>,
        target: HostTarget,
        resolver: Arc<dyn Resolver>,
        programs: usize,
    ) -> Self {
        Self { dialer, target, resolver, state: Mutex::default(), to_come: AtomicUsize::new(programs) }
    }

    async fn channel(&self) -> Result<Channel<Msg>, Failure> {
        let mut state = self.state.lock().await;
        let connection = match &state.connection {
            Some(connection) if !connection.is_closed() => Arc::clone(connection),
            _ => {
                state.next = None;
                let connection = Arc::new(self.dialer.dial(&self.target, self.resolver.as_ref()).await?);
                Arc::clone(state.connection.insert(connection))
            }
        };
        let opening = async {
            match state.next.take() {
                Some(next) => next.await.unwrap_or(Err(russh::Error::SendError)),
                None => connection.channel_open_session().await,
            }
        };
        let opened = timeout(OPEN_LIMIT, opening).await;
        let channel = match opened {
            Ok(Ok(channel)) => channel,
            Ok(Err(russh::Error::ChannelOpenFailure(reason))) => {
                let message = format!("{} refused a channel: {reason:?}", self.place());
                return Err(Failure::new(FailureClass::Connectivity, code!("CHANNEL_REFUSED"), message)
                    .hint("raise MaxSessions in the host's sshd_config"));
            }
            Ok(Err(error)) => {
                state.connection = None;
                return Err(self.lost(&error.to_string()));
            }
            Err(_) => {
                state.connection = None;
                return Err(self.lost(&format!("no channel within {} s", OPEN_LIMIT.as_secs())));
            }
        };
        let left =
            self.to_come.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if left.is_ok_and(|before| before > 1) {
            let opening = tokio::spawn(async move { connection.channel_open_session().await });
            state.next = Some(AbortOnDropHandle::new(opening));
        }
        Ok(channel)
    }

    fn lost(&self, why: &str) -> Failure {
        let message = format!("the connection to {} was lost: {why}", self.place());
        Failure::new(FailureClass::Connectivity, code!("CONNECTION_LOST"), message)
    }

    async fn exec(&self, program: &Program) -> Result<Channel<Msg>, Failure> {
        let channel = self.channel().await?;
        channel.exec(true, program.line()).await.map_err(|error| self.lost(&error.to_string()))?;
        Ok(channel)
    }

    /// Runs a program that reads a stream and answers in few words; gives what it printed.
    pub async fn feed(
        &self,
        program: &Program,
        mut content: BoxStream<'_, Result<Bytes, Failure>>,
    ) -> Result<String, Failure> {
        let channel = self.exec(program).await?;
        let (mut from, to) = channel.split();
        let head = Bytes::from_owner(program.stdin.clone());
        let send = async {
            to.data_bytes(head).await.map_err(|error| self.lost(&error.to_string()))?;
            while let Some(chunk) = content.next().await {
                to.data_bytes(chunk?).await.map_err(|error| self.lost(&error.to_string()))?;
            }
            to.eof().await.map_err(|error| self.lost(&error.to_string()))
        };
        let receive = async {
            let mut answer = Vec::new();
            let mut ended = false;
            while let Some(message) = from.wait().await {
                match message {
                    ChannelMsg::Data { data } if answer.len() + data.len() <= ANSWER_LIMIT => {
                        answer.extend_from_slice(&data);
                    }
                    ChannelMsg::ExitStatus { .. } | ChannelMsg::ExitSignal { .. } => ended = true,
                    ChannelMsg::Failure => return Err(self.refused()),
                    _ => {}
                }
            }
            if ended { Ok(answer) } else { Err(self.lost("it ended before the host's answer")) }
        };
        tokio::pin!(receive);
        // The host may answer before everything is sent: when its disk is full.
        let answer = tokio::select! {
            answer = &mut receive => answer,
            sent = send => match sent {
                Ok(()) => receive.await,
                Err(failure) => Err(failure),
            },
        };
        close(&to).await;
        Ok(String::from_utf8_lossy(&answer?).into_owned())
    }

    fn refused(&self) -> Failure {
        let message = format!("{} refused to run a command", self.place());
        Failure::new(FailureClass::Authentication, code!("EXEC_REFUSED"), message)
            .hint("the user needs a shell there, and no ForceCommand that forbids it")
    }

    /// Takes leave.
    pub async fn leave(&self) {
        let mut state = self.state.lock().await;
        state.next = None;
        if let Some(connection) = state.connection.take() {
            leave(&connection).await;
        }
    }
}

impl Drop for Host {
    /// A task that was dropped where it stood leaves no open connection: dropping a connection sends nothing.
    fn drop(&mut self) {
        let state = self.state.get_mut();
        state.next = None;
        if let (Some(connection), Ok(runtime)) =
            (state.connection.take(), tokio::runtime::Handle::try_current())
        {
            runtime.spawn(async move { leave(&connection).await });
        }
    }
}

async fn leave(connection: &Connection) {
    let leaving = connection.disconnect(Disconnect::ByApplication, "done", "");
    if !matches!(timeout(CLOSE_LIMIT, leaving).await, Ok(Ok(()))) {
        tracing::debug!("a connection could not be closed in order");
    }
}

async fn close(channel: &russh::ChannelWriteHalf<Msg>) {
    if !matches!(timeout(CLOSE_LIMIT, channel.close()).await, Ok(Ok(()))) {
        tracing::debug!("a channel could not be closed in order");
    }
}

#[async_trait]
impl Shell for Host {
    async fn start(&self, program: &Program) -> Result<Box<dyn Stream>, Failure> {
        let channel = self.exec(program).await?;
        let (from, to) = channel.split();
        let stream = ExecStream { from, to: Some(to), ended: false, place: self.place() };
        if let Some(to) = &stream.to {
            if !program.stdin.is_empty() {
                let input = Bytes::from_owner(program.stdin.clone());
                to.data_bytes(input).await.map_err(|error| self.lost(&error.to_string()))?;
            }
            to.eof().await.map_err(|error| self.lost(&error.to_string()))?;
        }
        Ok(Box::new(stream))
    }

    fn place(&self) -> String {
        format!("host {}", self.target.host)
    }
}

struct ExecStream {
    from: russh::ChannelReadHalf,
    to: Option<russh::ChannelWriteHalf<Msg>>,
    ended: bool,
    place: String,
}

#[async_trait]
impl Stream for ExecStream {
    async fn next(&mut self) -> Result<Piece, Failure> {
        loop {
            match self.from.wait().await {
                Some(ChannelMsg::Data { data }) => return Ok(Piece::Output(data)),
                Some(ChannelMsg::ExtendedData { data, .. }) => return Ok(Piece::Report(data)),
                Some(ChannelMsg::ExitStatus { .. } | ChannelMsg::ExitSignal { .. }) => self.ended = true,
                Some(ChannelMsg::Failure) => {
                    let message = format!("{} refused to run a command", self.place);
                    return Err(Failure::new(FailureClass::Authentication, code!("EXEC_REFUSED"), message)
                        .hint("the user needs a shell there, and no ForceCommand that forbids it"));
                }
                Some(_) => {}
                None if self.ended => return Ok(Piece::End),
                None => {
                    let message = format!("the connection to {} was lost", self.place);
                    return Err(Failure::new(FailureClass::Connectivity, code!("CONNECTION_LOST"), message));
                }
            }
        }
    }

    async fn close(&mut self) {
        if let Some(to) = self.to.take() {
            close(&to).await;
        }
    }
}

impl Drop for ExecStream {
    /// Dropping a channel sends nothing, and the host's `MaxSessions` would fill up.
    fn drop(&mut self) {
        if let (Some(to), Ok(runtime)) = (self.to.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move { close(&to).await });
        }
    }
}
