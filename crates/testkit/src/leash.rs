//! Processes that die with the one that started them, however it dies.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// Waits until nobody holds the other end of its input, then kills the group that the last line names, and removes the folder. A process that
/// was killed just now may still write into the folder: hence the second try.
const SCRIPT: &str = r#"group=; while read -r line; do group=$line; done
[ -n "$group" ] && kill -s KILL -- "-$group"
rm -rf -- "$1" 2>/dev/null || { sleep 1; rm -rf -- "$1"; }"#;

/// Pause between two looks at whether processes have ended.
const LOOK: Duration = Duration::from_millis(10);

/// A group of processes and a folder that are gone when this is.
///
/// `PR_SET_PDEATHSIG` would not do: it looks at the thread that started the process, and tests are threads that end.
pub struct Leash {
    holder: Child,
    end: Option<ChildStdin>,
    children: Vec<Child>,
    group: Option<i32>,
}

impl Leash {
    /// One without processes.
    pub fn new(folder: &Path) -> Result<Self> {
        let mut holder = Command::new("sh")
            .args(["-c", SCRIPT, "leash"])
            .arg(folder)
            // A group of its own: Ctrl-C ends who holds the other end, and this must live longer.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("run sh")?;
        let end = holder.stdin.take();
        Ok(Self { holder, end, children: Vec::new(), group: None })
    }

    /// Starts a process of the group.
    pub fn spawn(&mut self, command: &mut Command) -> Result<()> {
        let child = command
            .process_group(self.group.unwrap_or(0))
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("run {}", command.get_program().to_string_lossy()))?;
        if self.group.is_none() {
            self.group = Some(i32::try_from(child.id())?);
            let mut end = self.end.as_ref().context("the leash has no end")?;
            writeln!(end, "{}", child.id()).context("tell the group")?;
        }
        self.children.push(child);
        Ok(())
    }

    /// Asks all processes to end, waits until they have, and is ready for others.
    pub fn stop(&mut self, signal: &str, limit: Duration) -> Result<()> {
        let ids = self.children.iter().map(|child| child.id().to_string());
        // One that has ended by itself cannot be told to.
        Command::new("kill").args(["-s", signal, "--"]).args(ids).stderr(Stdio::null()).status()?;
        let end = Instant::now() + limit;
        while self.ended()? < self.children.len() {
            ensure!(Instant::now() < end, "the processes have not ended in {limit:?} after {signal}");
            std::thread::sleep(LOOK);
        }
        self.children.clear();
        self.group = None;
        writeln!(self.end.as_ref().context("the leash has no end")?).context("tell that the group is no more")
    }

    /// How many of the processes have ended.
    pub fn ended(&mut self) -> Result<usize> {
        let mut ended = 0;
        for child in &mut self.children {
            ended += usize::from(child.try_wait()?.is_some());
        }
        Ok(ended)
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        drop(self.end.take());
        // Their ends are no news here: they were killed.
        let _ = self.holder.wait();
        for child in &mut self.children {
            let _ = child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::process::Command;

    use super::Leash;

    #[test]
    fn processes_their_children_and_the_folder_go_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut leash = Leash::new(folder.path()).unwrap();
        leash.spawn(Command::new("sh").args(["-c", "sleep 1000 & sleep 1000"])).unwrap();
        leash.spawn(Command::new("sleep").arg("1000")).unwrap();
        assert_eq!(leash.ended().unwrap(), 0);
        let group = leash.group.unwrap();
        drop(leash);
        assert!(!folder.path().exists());
        // A process that nobody has waited for yet counts as there: its new parent will.
        let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while Command::new("kill").args(["-0", "--", &format!("-{group}")]).output().unwrap().status.success()
        {
            assert!(std::time::Instant::now() < end, "the group {group} lives");
        }
    }
}
