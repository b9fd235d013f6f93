//! What a delegate finds out about the machine that it runs on.

use std::time::Duration;

use manifold_model::delegate::DelegateType;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::dial::Endpoint;

/// Memory that one task is reckoned with, MiB.
const MIB_PER_TASK: u64 = 16;
/// Places of the smallest and of the largest machine.
const PLACES: (u64, u64) = (4, 512);
/// How long finding out the address may take.
const LOOK_UP: Duration = Duration::from_secs(2);

/// Host name; empty when the system does not tell.
pub fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}

/// The private address from which servers are reached; empty when none can be found. Nothing is sent.
pub async fn address(endpoints: &[Endpoint]) -> String {
    let Some(endpoint) = endpoints.first() else { return String::new() };
    let look = async {
        let target = tokio::net::lookup_host(endpoint.host()).await.ok()?.next()?;
        let any = if target.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
        let socket = UdpSocket::bind(any).await.ok()?;
        socket.connect(target).await.ok()?;
        Some(socket.local_addr().ok()?.ip().to_string())
    };
    timeout(LOOK_UP, look).await.ok().flatten().unwrap_or_default()
}

/// How it was installed.
pub fn installed_as() -> DelegateType {
    if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
        DelegateType::Kubernetes
    } else if std::path::Path::new("/.dockerenv").exists() {
        DelegateType::Docker
    } else {
        DelegateType::ShellScript
    }
}

/// Places for tasks that the memory of this machine allows.
pub fn places() -> u32 {
    let about = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let (least, most) = PLACES;
    let places = available_mib(&about).map_or(least, |mib| (mib / MIB_PER_TASK).clamp(least, most));
    u32::try_from(places).unwrap_or(u32::MAX)
}

fn available_mib(about: &str) -> Option<u64> {
    let line = about.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn available_memory_is_read() {
        let about = "MemTotal:       16384 kB\nMemAvailable:    8388608 kB\n";
        assert_eq!(available_mib(about), Some(8192));
        assert_eq!(available_mib("MemAvailable: lots"), None);
    }
}
