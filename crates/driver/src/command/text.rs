//! Text for shells: quoting, expansion of paths, and the lines around a script.

use zeroize::Zeroizing;

use super::{CommandSpec, Directory};
use crate::kubeconfig::{self, Kubeconfig};

/// Whether a shell variable can have this name.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// A text as one literal word of a POSIX shell.
#[must_use]
pub fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// A path as one word in which a leading `~` and `$NAME`, `${NAME}` are expanded by the shell; everything else is literal.
#[must_use]
pub fn expand(path: &str) -> String {
    let mut word = String::from("\"");
    let mut rest = path;
    if path == "~" || path.starts_with("~/") {
        word.push_str("$HOME");
        rest = path.get(1..).unwrap_or_default();
    }
    while let Some(character) = rest.chars().next() {
        let after = rest.get(character.len_utf8()..).unwrap_or_default();
        if character == '$'
            && let Some((name, left)) = variable(after)
        {
            word.push_str("${");
            word.push_str(name);
            word.push('}');
            rest = left;
            continue;
        }
        if matches!(character, '$' | '`' | '"' | '\\') {
            word.push('\\');
        }
        word.push(character);
        rest = after;
    }
    word.push('"');
    word
}

/// `NAME…` or `{NAME}…` at the beginning of a text.
fn variable(text: &str) -> Option<(&str, &str)> {
    if let Some(braced) = text.strip_prefix('{') {
        return braced.split_once('}').filter(|(name, _)| is_name(name));
    }
    let end =
        text.bytes().position(|byte| !byte.is_ascii_alphanumeric() && byte != b'_').unwrap_or(text.len());
    let (name, rest) = text.split_at_checked(end)?;
    is_name(name).then_some((name, rest))
}

/// The text that the shell of a unit reads: what comes before the script is one line with the script's first, so that line numbers in its
/// error messages are the script's own.
#[must_use]
pub fn around(spec: &CommandSpec, nonce: &str) -> Zeroizing<Vec<u8>> {
    // Set by the wrapper: it knows where the login directory is, whatever the script's environment says.
    let folder = "\"$MANIFOLD_FOLDER\"";
    let mut out = Zeroizing::new(Vec::with_capacity(spec.script.len() + 1024));
    out.extend_from_slice(exports(&spec.environment).as_bytes());
    out.extend_from_slice(format!("[ ! -f {folder}/env ] || . {folder}/env; ").as_bytes());
    if let Some(kubeconfig) = &spec.kubeconfig {
        out.extend_from_slice(with_kubeconfig(kubeconfig, folder).as_bytes());
    }
    match &spec.directory {
        Directory::Login => {}
        Directory::Attempt => out.extend_from_slice(format!("cd -- {folder} || exit 1; ").as_bytes()),
        Directory::Runtime => out.extend_from_slice(
            format!(
                "{{ [ -n \"$WINGS_RUNTIME_PATH\" ] && cd -- \"$WINGS_RUNTIME_PATH\" 2>/dev/null; }} || cd -- {folder} || exit 1; "
            )
            .as_bytes(),
        ),
        Directory::Path(path) => {
            out.extend_from_slice(format!("cd -- {} || exit 1; ", expand(path)).as_bytes());
        }
    }
    out.extend_from_slice(spec.script.as_bytes());
    // An empty line, should the script end with a backslash.
    out.extend_from_slice(b"\n\n");
    if !spec.outputs.is_empty() || spec.keeps_environment {
        out.extend_from_slice(after(spec, folder).as_bytes());
    }
    out.extend_from_slice(format!("#end-{nonce}").as_bytes());
    out
}

/// Writes the kubeconfig for its owner alone, and names it. `printf` is the shell's own, so that nothing of it stands in the list of processes.
fn with_kubeconfig(kubeconfig: &Kubeconfig, folder: &str) -> Zeroizing<String> {
    let text = Zeroizing::new(quote(&kubeconfig.0));
    let path = format!("{folder}/kubeconfig");
    let mut line = Zeroizing::new(format!("(umask 077; printf %s {} >{path}) || exit 1; ", text.as_str()));
    for name in kubeconfig::VARIABLES {
        line.push_str(&format!("export {name}={path}; "));
    }
    line
}

/// What comes after the script: its exit code is kept, its variables are written. A script that leaves early never comes here
/// (`behaviour.md` 23).
fn after(spec: &CommandSpec, folder: &str) -> String {
    let mut lines = String::from("{ manifold_code=$?; set +exuC; } 2>/dev/null\n");
    if !spec.outputs.is_empty() {
        lines.push_str("{\n");
        for name in &spec.outputs {
            lines.push_str(&format!(
                "if [ -n \"${{{name}+x}}\" ]; then printf '1%s\\000' \"${name}\"; else printf '0\\000'; fi\n"
            ));
        }
        lines.push_str(&format!("}} >{folder}/{}.vars\n", spec.unit));
    }
    if spec.keeps_environment && !spec.last {
        // In POSIX form, for the shell that expands a directory may be another one.
        lines.push_str(&format!("(umask 077; unset manifold_code; [ -z \"$BASH_VERSION\" ] || set -o posix; export -p >{folder}/env)\n"));
    }
    lines.push_str("exit $manifold_code\n");
    lines
}

/// `export …; ` in one line.
#[must_use]
pub fn exports(environment: &[(String, Zeroizing<String>)]) -> Zeroizing<String> {
    let mut line = Zeroizing::new(String::new());
    let breaks = environment.iter().any(|(_, value)| value.contains('\n'));
    if breaks {
        line.push_str("manifold_nl=$(printf '\\nx'); manifold_nl=${manifold_nl%x}; ");
    }
    for (name, value) in environment {
        line.push_str("export ");
        line.push_str(name);
        line.push('=');
        line.push_str(&Zeroizing::new(assigned(name, value)));
        line.push_str("; ");
    }
    if breaks {
        line.push_str("unset manifold_nl; ");
    }
    line
}

/// A value as a word: literal, but that paths may begin at the login directory of a host that nobody knows beforehand
/// (`RUNTIME_PATH: $HOME/…`, `behaviour.md` 18.3); the paths of Manifold's own variables are expanded everywhere.
fn assigned(name: &str, value: &str) -> String {
    if name.starts_with("WINGS_") && !value.contains('\n') {
        return expand(value);
    }
    for home in ["$HOME", "${HOME}", "~"] {
        if let Some(rest) = value.strip_prefix(home)
            && (rest.is_empty() || rest.starts_with('/'))
        {
            return format!("\"$HOME\"{}", literal(rest));
        }
    }
    literal(value)
}

/// A literal word without a line break in the text.
fn literal(value: &str) -> String {
    quote(value).replace('\n', "'\"$manifold_nl\"'")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use std::process::Command;

    fn said(script: &str) -> String {
        let out = Command::new("/bin/sh").arg("-c").arg(script).env("HOME", "/home/x").output().unwrap();
        String::from_utf8(out.stdout).unwrap()
    }

    #[test]
    fn paths_expand_variables_and_nothing_else() {
        assert_eq!(
            said(&format!("A=b; printf %s {}", expand("~/x $A/${A}c$(id)`id`\"\\$ ${a:-b}"))),
            "/home/x/x b/bc$(id)`id`\"\\$ ${a:-b}"
        );
        assert_eq!(said(&format!("printf %s {}", expand("a~/b"))), "a~/b");
    }

    #[test]
    fn a_value_may_begin_at_the_login_directory() {
        let environment = vec![
            ("A".to_owned(), Zeroizing::new("$HOME/a $B".to_owned())),
            ("B".to_owned(), Zeroizing::new("$HOMELESS".to_owned())),
            ("WINGS_RUNTIME_PATH".to_owned(), Zeroizing::new("$A/r".to_owned())),
        ];
        let text = exports(&environment);
        assert_eq!(
            said(&format!("{} printf '%s|' \"$A\" \"$B\" \"$WINGS_RUNTIME_PATH\"", text.as_str())),
            "/home/x/a $B|$HOMELESS|/home/x/a $B/r|"
        );
    }

    #[test]
    fn scripts_run_in_the_runtime_folder_when_it_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let (runtime, attempt) = (folder.path().join("runtime"), folder.path().join("attempt"));
        std::fs::create_dir(&attempt).unwrap();
        let spec = CommandSpec {
            attempt: crate::command::Attempt { settings: std::sync::Arc::default(), folder: String::new() },
            unit: "0".to_owned(),
            log_unit: String::new(),
            script: Zeroizing::new("pwd".to_owned()),
            language: crate::command::Language::Bash,
            directory: Directory::Runtime,
            environment: vec![(
                "WINGS_RUNTIME_PATH".to_owned(),
                Zeroizing::new(runtime.to_string_lossy().into_owned()),
            )],
            kubeconfig: None,
            outputs: Vec::new(),
            keeps_environment: false,
            last: true,
        };
        let text = String::from_utf8(around(&spec, "").to_vec()).unwrap();
        let said = || said(&format!("MANIFOLD_FOLDER='{}'; {text}", attempt.display()));
        assert_eq!(said().trim(), attempt.to_string_lossy());
        std::fs::create_dir(&runtime).unwrap();
        assert_eq!(said().trim(), runtime.to_string_lossy());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn values_come_back_as_they_were(value in "[^\\x00]{0,40}") {
            prop_assume!(!value.starts_with(['~', '$']));
            let environment = vec![("V".to_owned(), Zeroizing::new(value.clone()))];
            let text = exports(&environment);
            prop_assert!(!text.contains('\n'));
            prop_assert_eq!(said(&format!("{} printf %s. \"$V\"", text.as_str())), format!("{value}."));
        }
    }
}
