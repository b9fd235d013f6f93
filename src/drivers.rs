//! The drivers of this build, as the delegate inside the server and one of its own start them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use manifold_driver::Driver;
use manifold_driver::noop::NoopDriver;
use manifold_driver_http::HttpDriver;
use manifold_driver_kubernetes::{KubernetesDriver, KubernetesSettings};
use manifold_driver_script::ScriptDriver;
use manifold_driver_ssh::{ArtifactDriver, Dialer, HostKeyPolicy, SshConfig, SshDriver};
use manifold_model::unused::Offer;
use manifold_model::{Problem, code};

use crate::config::HostKeys;

/// What drivers are told.
#[derive(Clone, Debug)]
pub struct DriverSettings {
    /// Folder of the delegate: attempts, known hosts.
    pub data: PathBuf,
    /// Host keys of SSH targets.
    pub host_keys: HostKeys,
    /// Known-hosts files; empty: the usual ones.
    pub known_hosts: Vec<PathBuf>,
    /// Program `helm`; absent: the one in `PATH`, if it is there.
    pub helm: Option<PathBuf>,
    /// Kubeconfig; absent: the pod's service account, else the usual file.
    pub kubeconfig: Option<PathBuf>,
    /// Kinds for tests.
    pub enable_test_kinds: bool,
}

impl DriverSettings {
    /// Whether the files that are named are there.
    ///
    /// # Errors
    /// `CONFIG_INVALID`, naming the one that is not.
    pub fn check(&self) -> Result<(), Box<Problem>> {
        for (name, path) in [("helm", &self.helm), ("kubeconfig", &self.kubeconfig)] {
            if let Some(missing) = path.as_ref().filter(|path| !path.is_file()) {
                let what = format!("{name} is set to {}, which is not a file", missing.display());
                let problem = Problem::new(code!("CONFIG_INVALID"), what);
                return Err(Box::new(problem.hint("correct the path, or leave the setting out")));
            }
        }
        Ok(())
    }

    /// The program `helm`: as set, else the one in `PATH`.
    pub fn helm(&self) -> Option<PathBuf> {
        self.helm.clone().or_else(|| {
            let path = std::env::var_os("PATH")?;
            std::env::split_paths(&path).map(|folder| folder.join("helm")).find(|file| file.is_file())
        })
    }

    /// Known-hosts files, the first of which `accept-new` writes to.
    pub fn known_hosts(&self) -> Vec<PathBuf> {
        if !self.known_hosts.is_empty() {
            return self.known_hosts.clone();
        }
        let mut files = vec![self.data.join("known_hosts")];
        if let Some(home) = std::env::var_os("HOME") {
            files.push(Path::new(&home).join(".ssh/known_hosts"));
        }
        files.push(PathBuf::from("/etc/ssh/ssh_known_hosts"));
        files
    }

    fn ssh(&self) -> SshConfig {
        SshConfig {
            host_keys: match self.host_keys {
                HostKeys::KnownHosts => HostKeyPolicy::KnownHosts,
                HostKeys::AcceptNew => HostKeyPolicy::AcceptNew,
            },
            known_hosts: self.known_hosts(),
            ..SshConfig::default()
        }
    }
}

/// All drivers, and the capabilities that they bring.
pub fn drivers(settings: &DriverSettings) -> (Vec<Arc<dyn Driver>>, Vec<String>) {
    let kubernetes = KubernetesDriver::new(KubernetesSettings {
        helm: settings.helm(),
        kubeconfig: settings.kubeconfig.clone(),
    });
    let capabilities = kubernetes.capabilities();
    let ssh = settings.ssh();
    let here = manifold_driver::command::Settings {
        root: settings.data.join("attempts").to_string_lossy().into_owned(),
        kubeconfig: settings.kubeconfig.clone(),
        ..manifold_driver::command::Settings::default()
    };
    let mut drivers: Vec<Arc<dyn Driver>> = vec![
        Arc::new(SshDriver::new(ssh.clone())),
        Arc::new(ArtifactDriver::new(Arc::new(Dialer::new(ssh)), here.clone())),
        Arc::new(ScriptDriver::new(here)),
        Arc::new(HttpDriver::default()),
        Arc::new(kubernetes),
    ];
    if settings.enable_test_kinds {
        drivers.push(Arc::new(NoopDriver));
    }
    (drivers, capabilities)
}

/// What this build can run: the kinds of steps that the engine plays and those of its drivers. A script on a host is the same step as one on the
/// delegate to whoever writes it.
pub fn offer() -> Offer {
    let (drivers, _) = drivers(&crate::config::Settings::default().drivers());
    let mut kinds = manifold_engine::kinds();
    kinds.extend(drivers.iter().flat_map(|driver| driver.kinds()));
    Offer::of(&kinds)
}
