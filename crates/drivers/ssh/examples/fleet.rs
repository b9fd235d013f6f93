//! Measures P1 of the performance targets without the server: a fleet of real sshd, five units a host, the driver against a bare russh
//! client that runs the same wrapper, and against one that runs bare commands. Arguments: hosts, rounds. Prints ratios.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use manifold_driver::command::{Attempt, CommandSpec, Directory, Language, Program, Settings};
use manifold_driver::contract::{self, Known};
use manifold_driver::{Driver, OpenCredential, Resolver, SecretBytes};
use manifold_driver_ssh::{SshConfig, SshDriver};
use manifold_model::kind::Class;
use manifold_model::secret::SshMethod;
use manifold_model::task::{CommandTask, HostTarget, Payload, Task, TaskResult, Unit, UnitAction};
use manifold_model::{FailureClass, LogId, Rendered, SecretId, TaskId};
use manifold_testkit::sshd::Fleet;
use russh::client;
use russh::keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate, decode_secret_key};

const SCRIPTS: [&str; 5] =
    ["mkdir -p r; echo unpack", "echo switch", "echo restart", "test -d / && echo check", "echo healthy"];

struct Trusting;

impl client::Handler for Trusting {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

fn spec(settings: &Arc<Settings>, task: &TaskId, number: usize) -> CommandSpec {
    CommandSpec {
        attempt: Attempt::of(settings, task, 1),
        unit: number.to_string(),
        log_unit: String::new(),
        script: zeroize::Zeroizing::new(SCRIPTS[number].to_owned()),
        language: Language::Bash,
        directory: Directory::Login,
        environment: Vec::new(),
        kubeconfig: None,
        outputs: Vec::new(),
        keeps_environment: false,
        last: number + 1 == SCRIPTS.len(),
    }
}

async fn bare(fleet: Arc<Fleet>, host: usize, wrapped: bool) {
    let config = Arc::new(client::Config { nodelay: true, ..client::Config::default() });
    let mut connection = client::connect(config, fleet.hosts()[host], Trusting).await.unwrap();
    let key = Arc::new(decode_secret_key(&fleet.user_key().unwrap(), None).unwrap());
    connection.authenticate_publickey(fleet.user(), PrivateKeyWithHashAlg::new(key, None)).await.unwrap();
    let (settings, task) = (Arc::new(Settings::default()), TaskId::random());
    for (number, script) in SCRIPTS.iter().enumerate() {
        let mut channel = connection.channel_open_session().await.unwrap();
        if wrapped {
            let program = Program::run(&spec(&settings, &task, number), 0);
            channel.exec(true, program.line()).await.unwrap();
            channel.data_bytes(bytes::Bytes::from(program.stdin.to_vec())).await.unwrap();
        } else {
            channel.exec(true, *script).await.unwrap();
        }
        channel.eof().await.unwrap();
        while channel.wait().await.is_some() {}
    }
    connection.disconnect(russh::Disconnect::ByApplication, "", "").await.unwrap();
}

async fn driven(driver: Arc<SshDriver>, known: Arc<Known>, host: String) {
    let units = SCRIPTS.map(|script| Unit {
        name: script.to_owned(),
        action: UnitAction::Exec {
            script: Rendered::text(script),
            directory: Rendered::default(),
            keeps_environment: false,
            failure: FailureClass::Application,
        },
    });
    let target = HostTarget { host, credential: "key".into(), pinned_keys: Vec::new() };
    let payload = Payload::Command(CommandTask {
        host: target,
        units: units.to_vec(),
        environment: vec![],
        artifact: None,
    });
    let task = Task {
        id: TaskId::random(),
        kind: "COMMAND".into(),
        class: Class::Probeable,
        attempt: 1,
        step: None,
        log: LogId::random(),
        timeout_ms: 60_000,
        selectors: Vec::new(),
        capabilities: Vec::new(),
        payload,
    };
    let (context, _) = contract::context(known as Arc<dyn Resolver>);
    let outcome = driver.perform(&task, &context).await;
    assert_eq!(outcome.result, TaskResult::Succeeded, "{outcome:?}");
}

async fn together<F: Future<Output = ()> + Send + 'static>(work: impl Iterator<Item = F>) -> Duration {
    let began = Instant::now();
    let all: Vec<_> = work.map(tokio::spawn).collect();
    for one in all {
        one.await.unwrap();
    }
    began.elapsed()
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<usize>().unwrap());
    let (hosts, rounds) = (arguments.next().unwrap_or(100), arguments.next().unwrap_or(3));
    let fleet = Arc::new(Fleet::start(hosts).unwrap());
    let credential = OpenCredential {
        user_name: fleet.user().to_owned(),
        port: 22,
        method: SshMethod::SshKey { key: SecretId::from("k"), passphrase: None },
        secret: Some(SecretBytes::new(fleet.user_key().unwrap().into_bytes())),
        passphrase: None,
    };
    let known =
        Arc::new(Known { credentials: BTreeMap::from([("key".into(), credential)]), ..Known::default() });
    let config = SshConfig { known_hosts: vec![fleet.known_hosts()], ..SshConfig::default() };
    for round in 1..=rounds {
        let plain = together((0..hosts).map(|host| bare(Arc::clone(&fleet), host, false))).await;
        let wrapped = together((0..hosts).map(|host| bare(Arc::clone(&fleet), host, true))).await;
        let driver = Arc::new(SshDriver::new(config.clone()));
        let names: Vec<String> = fleet.hosts().iter().map(ToString::to_string).collect();
        let own =
            together(names.into_iter().map(|host| driven(Arc::clone(&driver), Arc::clone(&known), host)))
                .await;
        println!(
            "round {round}: {hosts} hosts, bare {plain:.2?}, bare with wrapper {wrapped:.2?}, driver {own:.2?}; \
             driver / bare with wrapper {:.2}, driver / bare {:.2}",
            own.as_secs_f64() / wrapped.as_secs_f64(),
            own.as_secs_f64() / plain.as_secs_f64()
        );
    }
}
