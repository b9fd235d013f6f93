//! Opening the database: how it is reached, no newer schema, no other program's tables, the schema brought up to date by one server at a time.

use std::time::Duration;

use manifold_model::{Code, code};
use tokio_postgres::config::Host;
use tokio_postgres::{Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::guards::Guard;
use super::tls;

refinery::embed_migrations!("migrations/postgres");

/// How long a connection may take to come about.
pub(super) const CONNECT: Duration = Duration::from_secs(5);
/// How long sent bytes may stay unacknowledged before the connection counts as lost.
const UNHEARD: Duration = Duration::from_secs(15);
/// After how long a silent connection is asked whether it is still there.
const SILENT: Duration = Duration::from_secs(15);
/// Settings of every connection: limits for a statement, a wait for somebody else's lock, and a transaction in which nothing happens (a server
/// that was stopped within one holds nobody up for longer). Plans are made for the tables as they are: one that is kept from when they were
/// empty would read all of them when they are large. Statements are short, compiling them would take longer.
const SETTINGS: &str = "-c statement_timeout=30s -c lock_timeout=10s -c idle_in_transaction_session_timeout=5s \
     -c plan_cache_mode=force_custom_plan -c jit=off";
/// Limits while the schema is brought up to date: one server does it, the others wait for it.
const MIGRATION_LIMITS: &str =
    "SET statement_timeout = 0; SET lock_timeout = '300s'; SET idle_in_transaction_session_timeout = 0";
/// Tables by which a schema without migration history is known to be taken.
const TELLTALE: &str = "catalog_revisions";

/// Why the store cannot be opened. No message holds the password.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Written by a newer Manifold.
    #[error(
        "{place} has schema version {found}, this Manifold knows up to {known}; run the newer Manifold again, or restore a backup made before the upgrade"
    )]
    Newer {
        /// Host and database.
        place: String,
        /// Version found.
        found: i64,
        /// Newest version known.
        known: i64,
    },
    /// Its tables are damaged or another program's.
    #[error(
        "{place} is damaged or no Manifold store: {found}; give Manifold a database of its own, or restore a backup"
    )]
    Damaged {
        /// Host and database.
        place: String,
        /// What was found.
        found: String,
    },
    /// The address cannot be read, or the database cannot be reached or written.
    #[error(
        "{place} cannot be used; check the address, that the database runs, and what its user may do there"
    )]
    Unusable {
        /// Host and database.
        place: String,
        /// Cause.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl OpenError {
    /// Stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Newer { .. } => code!("STORE_NEWER"),
            Self::Damaged { .. } => code!("STORE_DAMAGED"),
            Self::Unusable { .. } => code!("STORE_UNUSABLE"),
        }
    }
}

/// A database and how to reach it.
#[derive(Clone)]
pub(crate) struct Address {
    pub(super) config: Config,
    pub(super) tls: MakeRustlsConnect,
    /// For messages: host and database, no password.
    pub(super) place: String,
}

impl Address {
    /// Reads `postgres://user:password@host:port/database?sslmode=…`, or `host=… dbname=…`.
    pub(crate) fn parse(url: &str) -> Result<Self, OpenError> {
        let mut config: Config = url.parse().map_err(|error: tokio_postgres::Error| OpenError::Unusable {
            place: "the address of the database".to_owned(),
            cause: Box::new(error),
        })?;
        let place = place(&config);
        let tls = tls::connector(config.get_ssl_mode())
            .map_err(|cause| OpenError::Unusable { place: place.clone(), cause })?;
        // What the address says itself comes last and holds.
        let options = format!("{SETTINGS} {}", config.get_options().unwrap_or_default());
        config.options(options.trim());
        if config.get_application_name().is_none() {
            config.application_name("manifold");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT);
        }
        config.keepalives_idle(SILENT).tcp_user_timeout(UNHEARD);
        Ok(Self { config, tls, place })
    }

    /// A connection of its own; it ends with its client.
    pub(crate) async fn connect(&self) -> Result<Client, OpenError> {
        let (client, connection) =
            self.config.connect(self.tls.clone()).await.map_err(|error| self.unusable(error))?;
        // What goes wrong on it is the answer to the next statement.
        tokio::spawn(async move { connection.await.ok() });
        Ok(client)
    }

    fn unusable(&self, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> OpenError {
        OpenError::Unusable { place: self.place.clone(), cause: error.into() }
    }

    fn damaged(&self, found: impl Into<String>) -> OpenError {
        OpenError::Damaged { place: self.place.clone(), found: found.into() }
    }

    /// Brings the schema up to date. Of servers that start at once one does it and the others find it done.
    pub(crate) async fn prepare(&self) -> Result<(), OpenError> {
        let (mut client, connection) =
            self.config.connect(self.tls.clone()).await.map_err(|error| self.unusable(error))?;
        let driven = tokio::spawn(connection);
        let done = self.migrate(&mut client).await;
        drop(client);
        // It ends with its client; what went wrong on it was an answer to a statement already.
        let _ = driven.await;
        done
    }

    async fn migrate(&self, client: &mut Client) -> Result<(), OpenError> {
        if self.is_current(client).await? {
            return Ok(());
        }
        client.batch_execute(MIGRATION_LIMITS).await.map_err(|error| self.unusable(error))?;
        client
            .query_one("SELECT pg_advisory_lock($1)", &[&Guard::Schema.number()])
            .await
            .map_err(|error| self.unusable(error))?;
        // Another server may have done it meanwhile. The lock goes with the connection.
        if self.is_current(client).await? {
            return Ok(());
        }
        migrations::runner().run_async(client).await.map_err(|error| self.unusable(error))?;
        Ok(())
    }

    /// Whether the schema is the one that this Manifold knows; refuses newer ones and those of others before anything is written.
    async fn is_current(&self, client: &Client) -> Result<bool, OpenError> {
        let tables = client
            .query_one(
                "SELECT to_regclass('refinery_schema_history') IS NOT NULL, to_regclass($1) IS NOT NULL",
                &[&TELLTALE],
            )
            .await
            .map_err(|error| self.unusable(error))?;
        match (tables.get::<_, bool>(0), tables.get::<_, bool>(1)) {
            (true, _) => self.compare(client).await,
            (false, true) => {
                Err(self.damaged("it has tables under Manifold's names, but not how they came about"))
            }
            (false, false) => Ok(false),
        }
    }

    /// Compares the migrations that were applied with those of this Manifold.
    async fn compare(&self, client: &Client) -> Result<bool, OpenError> {
        let applied = client
            .query(
                "SELECT version::bigint, name::text, checksum::text, applied_on::timestamptz IS NOT NULL \
                 FROM refinery_schema_history ORDER BY 1",
                &[],
            )
            .await
            .map_err(|error| match error.code() {
                // An answer of the database: the table is not the one that we know.
                Some(_) => self.damaged(format!("refinery_schema_history: {}", text(&error))),
                None => self.unusable(error),
            })?;
        let runner = migrations::runner();
        let known = runner.get_migrations();
        let newest = known.iter().map(|step| i64::from(step.version())).max().unwrap_or_default();
        for row in &applied {
            let (version, name, checksum) =
                (row.get::<_, i64>(0), row.get::<_, Option<String>>(1), row.get::<_, Option<String>>(2));
            if version > newest {
                return Err(OpenError::Newer { place: self.place.clone(), found: version, known: newest });
            }
            let same = known.iter().any(|step| {
                i64::from(step.version()) == version
                    && name.as_deref() == Some(step.name())
                    && checksum.as_deref() == Some(step.checksum().to_string().as_str())
                    && row.get::<_, Option<bool>>(3) == Some(true)
            });
            if !same {
                return Err(self.damaged(format!("its schema version {version} is not Manifold's")));
            }
        }
        Ok(applied.len() == known.len())
    }
}

fn text(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), |answer| answer.message().to_owned())
}

/// Hosts and database, as messages name them.
fn place(config: &Config) -> String {
    let hosts: Vec<String> = config
        .get_hosts()
        .iter()
        .map(|host| match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(path) => path.display().to_string(),
        })
        .collect();
    let database = config.get_dbname().or(config.get_user()).unwrap_or("?");
    format!("database {database} on {}", hosts.join(", "))
}

/// The newest schema version known.
pub(crate) fn newest_schema() -> i64 {
    migrations::runner()
        .get_migrations()
        .iter()
        .map(|step| i64::from(step.version()))
        .max()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_address_that_cannot_be_read_is_told_without_its_password() {
        let refused = Address::parse("postgres://me:hunter2@host:port/x").err().unwrap();
        assert_eq!(refused.code().to_string(), "STORE_UNUSABLE");
        let mut said = refused.to_string();
        let mut cause = std::error::Error::source(&refused);
        while let Some(next) = cause {
            said.push_str(&next.to_string());
            cause = next.source();
        }
        assert!(!said.contains("hunter2"), "{said}");
    }

    #[test]
    fn limits_go_with_every_connection_and_the_address_can_change_them() {
        let address = Address::parse(
            "postgres://me:hunter2@db.example/manifold?sslmode=disable&options=-c%20lock_timeout%3D1s",
        )
        .unwrap();
        let options = address.config.get_options().unwrap();
        assert!(options.contains("statement_timeout=30s"));
        assert!(options.ends_with("-c lock_timeout=1s"), "{options}");
        assert_eq!(address.place, "database manifold on db.example");
    }
}
