//! What a process has used so far, as Linux tells it.

use anyhow::{Context, Result};
use std::time::Duration;

/// A clock tick of `/proc/PID/stat`: Linux reports 100 a second to every program.
const TICK: Duration = Duration::from_millis(10);

/// CPU time of a process so far, user and system.
///
/// # Errors
/// There is no such process.
pub fn cpu(pid: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("read a process's CPU time")?;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u32 = after_name
        .split_ascii_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u32>().ok())
        .sum();
    Ok(TICK * ticks)
}

/// Most memory that a process has had resident, MiB.
///
/// # Errors
/// There is no such process.
pub fn peak_memory(pid: u32) -> Result<f64> {
    status(pid, "VmHWM:")
}

/// Memory that a process has resident, MiB.
///
/// # Errors
/// There is no such process.
pub fn memory(pid: u32) -> Result<f64> {
    status(pid, "VmRSS:")
}

fn status(pid: u32, key: &str) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("read a process's memory")?;
    let line = status.lines().find_map(|line| line.strip_prefix(key)).with_context(|| format!("no {key}"))?;
    let kib: f64 =
        line.trim().trim_end_matches("kB").trim().parse().with_context(|| format!("read {key}"))?;
    Ok(kib / 1024.0)
}
