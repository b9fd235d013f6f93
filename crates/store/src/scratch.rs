//! Databases that come and go on a PostgreSQL server: the self-test gives each of its trials one.

use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config, NoTls};

use crate::{Result, StoreError};

/// Longest name of a database in PostgreSQL, bytes.
const LONGEST_NAME: usize = 63;

/// A PostgreSQL server on which databases may be made.
pub struct Scratch {
    url: String,
    client: Client,
}

impl Scratch {
    /// Connects to the database of this URL; the user must be allowed to make others beside it.
    ///
    /// # Errors
    /// The URL is none, it asks for TLS, or the server says no.
    pub async fn connect(url: &str) -> Result<Self> {
        let config: Config = url.parse().map_err(broken("read the URL of the database"))?;
        if config.get_ssl_mode() == SslMode::Require {
            return Err(StoreError::Broken {
                action: "make scratch databases",
                cause: "they are made over a plain connection; leave sslmode=require out".into(),
            });
        }
        let (client, connection) = config.connect(NoTls).await.map_err(broken("connect to the database"))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the connection for scratch databases ended");
            }
        });
        Ok(Self { url: url.to_owned(), client })
    }

    /// Makes a database of this name, as a copy of another one that nobody is connected to; returns its URL.
    ///
    /// # Errors
    /// The name is none for a scratch database, is taken, or the server says no.
    pub async fn create(&self, name: &str, of: Option<&str>) -> Result<String> {
        let of = match of {
            Some(of) => format!(" TEMPLATE {}", quoted(of)?),
            None => String::new(),
        };
        let statement = format!("CREATE DATABASE {}{of}", quoted(name)?);
        self.client.batch_execute(&statement).await.map_err(broken("make a scratch database"))?;
        Ok(with_database(&self.url, name))
    }

    /// Drops a database of this name, whoever is connected to it; none is no error.
    ///
    /// # Errors
    /// The server says no.
    pub async fn drop(&self, name: &str) -> Result<()> {
        let statement = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", quoted(name)?);
        self.client.batch_execute(&statement).await.map_err(broken("drop a scratch database"))
    }
}

fn broken(action: &'static str) -> impl FnOnce(tokio_postgres::Error) -> StoreError {
    move |error| StoreError::Broken { action, cause: Box::new(error) }
}

/// A name for a statement: nothing that would need quoting is let through.
fn quoted(name: &str) -> Result<String> {
    let fits = !name.is_empty() && name.len() <= LONGEST_NAME;
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if fits && name.chars().all(plain) {
        return Ok(format!("\"{name}\""));
    }
    Err(StoreError::Broken {
        action: "name a scratch database",
        cause: format!("{name:?} has other characters than a-z, 0-9 and _").into(),
    })
}

/// The URL with another database in it: of `postgres://…/name?…`, or of `key=value` words, where the last one counts.
fn with_database(url: &str, name: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return format!("{url} dbname={name}") };
    let (front, query) = match rest.split_once('?') {
        Some((front, query)) => (front, format!("?{query}")),
        None => (rest, String::new()),
    };
    let authority = front.split('/').next().unwrap_or_default();
    format!("{scheme}://{authority}/{name}{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_of_a_url_is_replaced() {
        let cases = [
            ("postgres://u:p@h:5432/main?sslmode=disable", "postgres://u:p@h:5432/x?sslmode=disable"),
            ("postgresql://h", "postgresql://h/x"),
            ("postgres:///main?host=/run/pg", "postgres:///x?host=/run/pg"),
            ("host=h dbname=main", "host=h dbname=main dbname=x"),
        ];
        for (url, wanted) in cases {
            assert_eq!(with_database(url, "x"), wanted);
            assert!(
                wanted.parse::<Config>().is_ok_and(|config| config.get_dbname() == Some("x")),
                "{wanted}"
            );
        }
    }

    #[test]
    fn a_name_cannot_end_a_statement() {
        assert!(quoted("manifold_verify_1").is_ok());
        for name in ["", "a\"; DROP", "A", &"x".repeat(64)] {
            assert!(quoted(name).is_err(), "{name}");
        }
    }
}
