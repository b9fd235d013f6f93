//! The URL of a database: it may hold a password, so it is shown without one wherever it is shown.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};

/// The URL of a PostgreSQL database (`postgres://user:password@host:port/database`).
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    /// With its password, for whoever connects.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Without its password. What cannot be told from one goes with it.
    fn shown(&self) -> String {
        let (scheme, rest) = self.0.split_once("://").unwrap_or(("postgres", ""));
        let (user, place) = match rest.rsplit_once('@') {
            Some((sign_in, place)) => {
                (format!("{}@", sign_in.split([':', '@', '/', '?']).next().unwrap_or_default()), place)
            }
            None => (String::new(), rest),
        };
        let (place, parameters) = place.split_once('?').unwrap_or((place, ""));
        let kept: Vec<&str> = parameters
            .split('&')
            .filter(|one| !one.is_empty() && !one.to_ascii_lowercase().contains("password"))
            .collect();
        let mark = if kept.is_empty() { "" } else { "?" };
        format!("{scheme}://{user}{place}{mark}{}", kept.join("&"))
    }
}

impl FromStr for DatabaseUrl {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        Self::try_from(url.to_owned())
    }
}

impl TryFrom<String> for DatabaseUrl {
    type Error = String;

    fn try_from(url: String) -> Result<Self, String> {
        match url.split_once("://") {
            Some(("postgres" | "postgresql", rest)) if !rest.is_empty() => Ok(Self(url)),
            // The value is not repeated: it may hold a password.
            _ => Err("the URL of a database begins with postgres:// or postgresql://".to_owned()),
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

impl Serialize for DatabaseUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.shown())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_never_shown() {
        for (url, shown) in [
            ("postgres://me:s3cret@db:5432/deploy", "postgres://me@db:5432/deploy"),
            (
                "postgresql://db/deploy?sslmode=require&password=s3cret",
                "postgresql://db/deploy?sslmode=require",
            ),
            ("postgres://me:s3/cr?e@t@db/deploy?user=you", "postgres://me@db/deploy?user=you"),
            ("postgres://me@db/deploy", "postgres://me@db/deploy"),
            ("postgres://:s3cret@/deploy?host=/run/pg", "postgres://@/deploy?host=/run/pg"),
        ] {
            let parsed: DatabaseUrl = url.parse().unwrap();
            assert_eq!(format!("{parsed:?}"), shown);
            assert_eq!(serde_json::to_value(&parsed).unwrap(), shown);
            assert_eq!(parsed.expose(), url);
        }
        let refused = "mysql://me:s3cret@db".parse::<DatabaseUrl>().unwrap_err();
        assert!(!refused.contains("s3cret"));
    }
}
