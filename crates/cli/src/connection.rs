//! Which server, with which key: flags, then the environment, then a profile file, then the default.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;

use crate::client::Client;
use crate::error::Error;
use crate::print::Output;

/// Where a server listens unless it was told otherwise.
const DEFAULT_URL: &str = "http://127.0.0.1:8080";
/// Profile that is taken when none is named.
const DEFAULT_PROFILE: &str = "default";
/// Bytes of a key file or a profile file.
const FILE_LIMIT: u64 = 1 << 20;

/// Flags of every command that asks a server.
#[derive(Args, Clone, Debug, Default)]
pub struct Connection {
    /// Address of the server [default: http://127.0.0.1:8080]
    #[arg(long, env = "MANIFOLD_URL", value_name = "URL", global = true, help_heading = "Server")]
    pub url: Option<String>,
    /// File with the API key; else MANIFOLD_API_KEY holds the key
    #[arg(long, value_name = "FILE", global = true, help_heading = "Server")]
    pub api_key_file: Option<PathBuf>,
    /// Account
    #[arg(
        long,
        env = "MANIFOLD_ACCOUNT_ID",
        value_name = "ID",
        global = true,
        allow_hyphen_values = true,
        help_heading = "Server"
    )]
    pub account_id: Option<String>,
    /// Profile of ~/.config/manifold/config.toml [default: default, when there is one]
    #[arg(long, env = "MANIFOLD_PROFILE", value_name = "NAME", global = true, help_heading = "Server")]
    pub profile: Option<String>,
    /// How data is printed
    #[arg(short, long, value_enum, default_value_t, global = true, value_name = "FORMAT")]
    pub output: Output,
}

/// A profile file.
#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields)]
struct Profiles {
    #[serde(default)]
    profiles: BTreeMap<String, Profile>,
}

/// One server.
#[derive(Deserialize, Clone, PartialEq, Eq, Debug, Default)]
#[serde(deny_unknown_fields)]
struct Profile {
    url: Option<String>,
    api_key_file: Option<PathBuf>,
    account_id: Option<String>,
}

impl Connection {
    /// A client of the server that is meant.
    ///
    /// # Errors
    /// When there is no key, or a file cannot be read.
    pub fn client(&self) -> Result<Client, Error> {
        let profile = self.read_profile()?;
        let url = self.url.clone().or(profile.url).unwrap_or_else(|| DEFAULT_URL.to_owned());
        let account = self.account_id.clone().or(profile.account_id).unwrap_or_default();
        let in_environment = std::env::var("MANIFOLD_API_KEY").ok().filter(|key| !key.trim().is_empty());
        let key = match (&self.api_key_file, in_environment, &profile.api_key_file) {
            (Some(file), _, _) | (None, None, Some(file)) => key_in(file)?,
            (None, Some(key), _) => key,
            (None, None, None) => {
                return Err(Error::Usage(
                    "there is no API key; set MANIFOLD_API_KEY, give --api-key-file, or name a file in a profile".to_owned(),
                ));
            }
        };
        Ok(Client::new(&url, &key, &account)?)
    }

    fn read_profile(&self) -> Result<Profile, Error> {
        let named = self.profile.as_deref();
        let absent = |what: &str| match named {
            Some(name) => Err(Error::Usage(format!("there is no profile {name:?}: {what}"))),
            None => Ok(Profile::default()),
        };
        let Some(path) = profile_path() else { return absent("neither XDG_CONFIG_HOME nor HOME is set") };
        if !path.exists() {
            return absent(&format!("{} does not exist", path.display()));
        }
        let text = bounded(&path)?;
        let mut profiles =
            parse(&text).map_err(|error| Error::Usage(format!("{}: {error}", path.display())))?.profiles;
        match profiles.remove(named.unwrap_or(DEFAULT_PROFILE)) {
            Some(profile) => Ok(profile),
            None => {
                let names: Vec<&str> = profiles.keys().map(String::as_str).collect();
                absent(&format!("{} has {}", path.display(), names.join(", ")))
            }
        }
    }
}

/// Reads a profile file; what is wrong is said with line and column.
fn parse(text: &str) -> Result<Profiles, toml::de::Error> {
    toml::from_str(text)
}

fn profile_path() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = folder("XDG_CONFIG_HOME").or_else(|| Some(folder("HOME")?.join(".config")))?;
    Some(base.join("manifold").join("config.toml"))
}

fn key_in(path: &Path) -> Result<String, Error> {
    let key = bounded(path)?.trim().to_owned();
    if key.is_empty() {
        return Err(Error::Usage(format!("{} holds no API key", path.display())));
    }
    Ok(key)
}

/// Text of a small file.
pub(crate) fn bounded(path: &Path) -> Result<String, Error> {
    let unreadable = |source| Error::File { what: "read", path: path.to_owned(), source };
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > FILE_LIMIT {
        return Err(Error::Usage(format!(
            "{} has {size} bytes, at most {FILE_LIMIT} are read",
            path.display()
        )));
    }
    std::fs::read_to_string(path).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn profiles_are_read_and_unknown_keys_refused_with_their_place() {
        let text = "[profiles.default]\nurl = \"http://h\"\napi_key_file = \"/k\"\naccount_id = \"-a\"\n";
        let profile = parse(text).unwrap().profiles["default"].clone();
        assert_eq!(profile.url.as_deref(), Some("http://h"));
        let error = parse("[profiles.x]\nurll = \"h\"\n").unwrap_err().to_string();
        assert!(error.contains("line 2, column 1") && error.contains("urll"), "{error}");
    }
}
