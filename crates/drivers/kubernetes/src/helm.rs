//! Go templates, rendered by `helm template` in a chart made for it. The chart with its values lives in memory only (an anonymous file that
//! the process gets as its standard input): nothing is left behind, and nothing stands in arguments or variables. Helm 3 and 4 take the same
//! arguments here.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use manifold_model::{Failure, FailureClass, code};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process_group, prlimit};
use serde_json::{Map, Value};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::limits::TEXT_LIMIT;

/// How long one rendering may take, beside the deadline of its task.
pub const HELM_LIMIT: Duration = Duration::from_secs(60);

/// Address space of one rendering; helm itself takes half a gibibyte of it.
const MEMORY_LIMIT: u64 = 2 << 30;

/// Renderings at once: each takes some 60 MB and a core.
const AT_ONCE: usize = 4;

/// Bytes of helm's complaint that are kept for the failure.
const COMPLAINT_LIMIT: usize = 4 << 10;

/// Name of the chart.
const CHART: &str = "manifests";

/// The longest name of a release that helm takes.
const NAME_LIMIT: usize = 53;

/// The program.
#[derive(Clone, Debug)]
pub struct Helm {
    program: PathBuf,
    places: Arc<Semaphore>,
}

/// What is rendered.
#[derive(Clone, Copy, Debug)]
pub struct Chart<'a> {
    /// Release name, for `.Release.Name`.
    pub release: &'a str,
    /// For `.Release.Namespace`.
    pub namespace: &'a str,
    /// Templates: path and text. Those whose names begin with `_` hold definitions only.
    pub templates: &'a [(&'a str, &'a str)],
    /// Values.
    pub values: &'a Map<String, Value>,
}

impl Helm {
    /// The program at a path.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), places: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// The `helm` in the folders of a `PATH`.
    #[must_use]
    pub fn find(path: Option<&OsStr>) -> Option<Self> {
        use std::os::unix::fs::PermissionsExt;
        std::env::split_paths(path?).map(|folder| folder.join("helm")).find_map(|program| {
            let meta = std::fs::metadata(&program).ok()?;
            (meta.is_file() && meta.permissions().mode() & 0o111 != 0).then(|| Self::new(program))
        })
    }

    /// Where it is.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Renders a chart: YAML documents, each under `# Source: manifests/templates/<path>`. Dropped, it stops.
    ///
    /// # Errors
    /// A template is wrong, never ends, or brings too much; helm cannot be started.
    pub async fn template(&self, chart: &Chart<'_>, deadline: Instant) -> Result<String, Failure> {
        let failed = |error: io::Error| {
            let message = format!("cannot render with {}: {error}", self.program.display());
            Failure::new(FailureClass::Delegate, code!("K8S_HELM_FAILED"), message)
                .hint("check that helm 3 or 4 is installed where the delegate runs")
        };
        let waited = timeout_at(deadline, self.places.acquire()).await;
        let _place = waited.map_err(|_| too_late("other renderings took all the time"))?;
        let mut process = self.start(chart).map_err(failed)?;
        let until = deadline.min(Instant::now() + HELM_LIMIT);
        let run = timeout_at(until, process.collect()).await;
        process.stop().await;
        match run {
            Err(_) => Err(too_late("the templates were still being rendered")),
            Ok(Err(error)) => Err(failed(error)),
            Ok(Ok(Run { success: true, output, .. })) if output.len() <= TEXT_LIMIT => {
                String::from_utf8(output).map_err(|_| wrong("they rendered to bytes that are not UTF-8 text"))
            }
            Ok(Ok(Run { output, .. })) if output.len() > TEXT_LIMIT => {
                Err(wrong(&format!("they rendered to more than {TEXT_LIMIT} bytes")))
            }
            Ok(Ok(Run { complaint, .. })) => Err(wrong(&words(&complaint))),
        }
    }

    fn start(&self, chart: &Chart<'_>) -> io::Result<Process> {
        let mut command = Command::new(&self.program);
        command
            .args(["template", release_name(chart.release), "/proc/self/fd/0"])
            .args(["--namespace", chart.namespace])
            .env_clear()
            // Nothing of a person's helm: no plugins, repositories or settings, and no cluster.
            .env("HOME", "/nonexistent")
            .current_dir("/")
            .process_group(0)
            .kill_on_drop(true)
            .stdin(Stdio::from(in_memory(&archive(chart)?)?))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = command.spawn()?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = group {
            let limit = Rlimit { current: Some(MEMORY_LIMIT), maximum: Some(MEMORY_LIMIT) };
            if let Err(error) = prlimit(Some(pid), Resource::As, limit) {
                tracing::debug!(%error, "the memory of a rendering is not limited");
            }
        }
        Ok(Process { child, group })
    }
}

/// The name that helm takes for the release: its own rule is narrower than that of the cluster.
fn release_name(name: &str) -> &str {
    let parts = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let fits = name.len() <= NAME_LIMIT
        && name.chars().all(parts)
        && name.split('.').all(|part| edge(part.chars().next()) && edge(part.chars().last()));
    if fits { name } else { "release" }
}

/// An anonymous file in memory that begins with these bytes.
fn in_memory(bytes: &[u8]) -> io::Result<std::fs::File> {
    let mut file = std::fs::File::from(memfd_create("chart", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    Ok(file)
}

/// The chart as helm packs it.
fn archive(chart: &Chart<'_>) -> io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    let mut add = |path: String, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        tar.append_data(&mut header, path, bytes)
    };
    add(
        format!("{CHART}/Chart.yaml"),
        format!("apiVersion: v2\nname: {CHART}\nversion: 0.0.0\n").as_bytes(),
    )?;
    add(format!("{CHART}/values.yaml"), &serde_json::to_vec(chart.values)?)?;
    for (path, text) in chart.templates {
        add(format!("{CHART}/templates/{path}"), text.as_bytes())?;
    }
    tar.into_inner()?.finish()
}

/// How helm ended.
struct Run {
    success: bool,
    output: Vec<u8>,
    complaint: Vec<u8>,
}

/// A running helm. Dropped, it is killed with all that it started.
struct Process {
    child: Child,
    /// Its process group; `None` once it has ended, for then the number may be somebody else's.
    group: Option<Pid>,
}

impl Process {
    /// Reads what it says to its end, or until it has said too much.
    async fn collect(&mut self) -> io::Result<Run> {
        let (Some(mut out), Some(mut err)) = (self.child.stdout.take(), self.child.stderr.take()) else {
            return Err(io::Error::other("the process has no pipes"));
        };
        let (mut output, mut complaint) = (Vec::new(), Vec::new());
        let ((), ()) = tokio::try_join!(
            async {
                read(&mut out, &mut output, TEXT_LIMIT + 1).await?;
                // Closed when there is more, so that the writer ends.
                drop(out);
                Ok::<(), io::Error>(())
            },
            async {
                read(&mut err, &mut complaint, COMPLAINT_LIMIT).await?;
                tokio::io::copy(&mut err, &mut tokio::io::sink()).await?;
                Ok(())
            }
        )?;
        let status = self.child.wait().await?;
        self.group = None;
        Ok(Run { success: status.success(), output, complaint })
    }

    /// Ends it, unless it has ended.
    async fn stop(&mut self) {
        /// A process that was killed is gone at once, unless the machine itself hangs.
        const REAP: Duration = Duration::from_secs(5);
        if self.group.is_none() {
            return;
        }
        self.kill();
        if tokio::time::timeout(REAP, self.child.wait()).await.is_err() {
            tracing::warn!("helm was killed and has not ended");
        }
    }

    fn kill(&mut self) {
        if let Some(Err(error)) = self.group.take().map(|group| kill_process_group(group, Signal::KILL)) {
            tracing::debug!(%error, "helm had ended");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn read(from: &mut (impl AsyncRead + Unpin), into: &mut Vec<u8>, limit: usize) -> io::Result<()> {
    from.take(limit as u64).read_to_end(into).await.map(|_| ())
}

/// Helm's complaint in a few words.
fn words(complaint: &[u8]) -> String {
    let text = String::from_utf8_lossy(complaint);
    if text.contains("out of memory") && text.contains("goroutine") {
        return format!("they took more than {} MiB of memory", MEMORY_LIMIT >> 20);
    }
    let text = text.replace(&format!("{CHART}/templates/"), "");
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("Use --debug"))
        .collect();
    let joined = lines.join(" ");
    // What stands before it are warnings.
    match joined.split_once("Error: ").map_or(joined.as_str(), |(_, error)| error) {
        "" => "helm failed without a word".to_owned(),
        words => words.to_owned(),
    }
}

fn wrong(what: &str) -> Failure {
    let message = format!("the templates of the manifests cannot be rendered: {what}");
    Failure::new(FailureClass::Application, code!("K8S_TEMPLATE_FAILED"), message)
}

fn too_late(what: &str) -> Failure {
    let message = format!("the manifests were not rendered in time: {what}");
    Failure::new(FailureClass::Timeout, code!("K8S_TEMPLATE_TIMEOUT"), message).hint(format!(
        "look for loops over very many items; one rendering may take {} s, within the step's timeout",
        HELM_LIMIT.as_secs()
    ))
}

/// The document that helm wrote under a `# Source:` comment, with the path of its template.
#[must_use]
pub fn source_of(text: &str) -> Option<(&str, &str)> {
    let rest = text.strip_prefix("---").unwrap_or(text).trim_start_matches(['\r', '\n']);
    let (line, rest) = rest.split_once('\n').unwrap_or((rest, ""));
    let path =
        line.trim_end().strip_prefix("# Source: ")?.strip_prefix(CHART)?.strip_prefix("/templates/")?;
    Some((path, rest))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_that_helm_refuses_are_not_told() {
        assert_eq!(release_name("release-1a2b"), "release-1a2b");
        for name in ["", "A", "-a", "a-", "a..b", "--post-renderer=x", &"a".repeat(54)] {
            assert_eq!(release_name(name), "release", "{name}");
        }
    }

    #[test]
    fn complaints_are_shortened() {
        let complaint = b"Error: manifests/templates/a.yaml:2:12\n  executing \"x\":\n    nil pointer\n\nUse --debug flag to render out invalid YAML\n";
        assert_eq!(words(complaint), "a.yaml:2:12 executing \"x\": nil pointer");
        assert_eq!(words(b"\xff\n"), "\u{fffd}");
        assert_eq!(words(b""), "helm failed without a word");
    }

    /// A program that starts another and says so, then never ends.
    fn endless(folder: &Path) -> Helm {
        use std::os::unix::fs::PermissionsExt;
        let program = folder.join("helm");
        let script = format!(
            "#!/bin/sh\n/bin/sleep 1000 &\necho $! > {0}/new && /bin/mv {0}/new {0}/pid\nwait\n",
            folder.display()
        );
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
        Helm::new(program)
    }

    /// Waits until a condition holds.
    async fn until(mut holds: impl FnMut() -> bool) {
        let end = Instant::now() + Duration::from_secs(10);
        while !holds() {
            assert!(Instant::now() < end, "not in time");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn what_is_no_longer_wanted_is_killed_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let helm = endless(folder.path());
        let (values, file) = (Map::new(), folder.path().join("pid"));
        let chart = Chart { release: "r", namespace: "n", templates: &[], values: &values };
        let rendering = helm.template(&chart, Instant::now() + Duration::from_secs(60));
        tokio::select! {
            _ = rendering => unreachable!("it never ends"),
            () = until(|| file.exists()) => {}
        }
        let pid = std::fs::read_to_string(&file).unwrap();
        let command = format!("/proc/{}/cmdline", pid.trim());
        until(|| {
            std::fs::read_to_string(&command).is_ok_and(|line| !line.contains("sleep"))
                || !Path::new(&command).exists()
        })
        .await;
        // So is what takes longer than its deadline.
        let failure = helm.template(&chart, Instant::now() + Duration::from_millis(300)).await.unwrap_err();
        assert_eq!(failure.class, FailureClass::Timeout);
    }

    #[test]
    fn sources_are_told() {
        let text = "---\n# Source: manifests/templates/sub/a.yaml\na: 1\n";
        assert_eq!(source_of(text), Some(("sub/a.yaml", "a: 1\n")));
        assert_eq!(source_of("a: 1\n"), None);
    }
}
