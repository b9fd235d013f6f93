//! Whether what lies in the folder of programs was made from what the repository says now.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A file beside the programs that has the digest of what they were made from.
pub struct Stamp {
    file: PathBuf,
    digest: String,
}

impl Stamp {
    /// Of programs that are made from these files and words.
    pub fn new(bin: &Path, name: &str, files: &[PathBuf], words: &[&str]) -> Result<Self> {
        let mut hasher = DefaultHasher::new();
        for file in files {
            std::fs::read(file).with_context(|| format!("read {}", file.display()))?.hash(&mut hasher);
        }
        words.hash(&mut hasher);
        Ok(Self { file: bin.join(format!(".{name}.stamp")), digest: format!("{:016x}", hasher.finish()) })
    }

    /// Whether they are there and need not be made again.
    pub fn holds(&self, bin: &Path, programs: &[&str]) -> bool {
        let written = std::fs::read_to_string(&self.file).unwrap_or_default();
        written == self.digest && programs.iter().all(|program| bin.join(program).is_file())
    }

    /// They are made.
    pub fn write(&self) -> Result<()> {
        std::fs::write(&self.file, &self.digest).with_context(|| format!("write {}", self.file.display()))
    }
}
