//! What the shell needs: completion scripts, manual pages, ids that can be pasted.

use std::path::PathBuf;

use clap::Args;

use crate::error::Error;
use crate::print::{out, say};

/// Name of the binary.
const NAME: &str = "manifold";

/// Flags of `completion`.
#[derive(Args, Clone, Debug)]
pub struct CompletionFlags {
    /// The shell
    shell: clap_complete::Shell,
}

/// Flags of `man`.
#[derive(Args, Clone, Debug)]
pub struct ManFlags {
    /// Write the pages of all commands into this folder
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Prints a completion script.
///
/// # Errors
/// When standard output is closed.
pub fn completion(flags: &CompletionFlags, mut root: clap::Command) -> Result<u8, Error> {
    let mut script = Vec::new();
    clap_complete::generate(flags.shell, &mut root, NAME, &mut script);
    out(&String::from_utf8_lossy(&script))?;
    Ok(0)
}

/// Prints the manual page, or writes all of them.
///
/// # Errors
/// When a page cannot be written.
pub fn man(flags: &ManFlags, root: clap::Command) -> Result<u8, Error> {
    let Some(folder) = &flags.dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(root).render(&mut page).map_err(Error::Output)?;
        out(&String::from_utf8_lossy(&page))?;
        return Ok(0);
    };
    let failed = |source| Error::File { what: "write into", path: folder.clone(), source };
    std::fs::create_dir_all(folder).map_err(failed)?;
    clap_mangen::generate_to(root, folder).map_err(failed)?;
    say(&format!("the pages are in {}", folder.display()));
    Ok(0)
}

/// An id as it can be pasted behind a command: one that begins with `-` needs `--` before it.
#[must_use]
pub fn quoted_id(id: &str) -> String {
    if id.starts_with('-') { format!("-- {id}") } else { id.to_owned() }
}
