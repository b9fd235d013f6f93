//! Certificate authorities and what they sign. Keys live as long as a test.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};

/// How long a certificate holds: longer than any test.
const LIFE: Duration = Duration::from_secs(10 * 24 * 3600);
/// How long ago one that has expired did.
const EXPIRED: Duration = Duration::from_secs(24 * 3600);

/// A certificate or private key, in PEM.
pub type Pem = String;

/// An authority of its own.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: Pem,
}

/// What a certificate is for.
#[derive(Debug, Clone, Copy)]
pub enum Purpose {
    /// A server at 127.0.0.1 and `localhost`.
    Server,
    /// The same, but its time is over.
    ExpiredServer,
    /// A client of Kubernetes: user and group.
    Client {
        /// Common name.
        user: &'static str,
        /// Organisation.
        group: &'static str,
    },
}

impl Authority {
    /// A new one.
    ///
    /// # Errors
    /// No key can be made.
    pub fn new(name: &str) -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        live(&mut params, SystemTime::now() + LIFE);
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key).context("sign an authority")?.pem();
        Ok(Self { issuer: Issuer::new(params, key), pem })
    }

    /// Its certificate.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Signs a new certificate: itself and its key.
    ///
    /// # Errors
    /// No key can be made.
    pub fn sign(&self, purpose: Purpose) -> Result<(Pem, Pem)> {
        let (names, usage, end) = match purpose {
            Purpose::Server => (HOSTS, ExtendedKeyUsagePurpose::ServerAuth, SystemTime::now() + LIFE),
            Purpose::ExpiredServer => {
                (HOSTS, ExtendedKeyUsagePurpose::ServerAuth, SystemTime::now() - EXPIRED)
            }
            Purpose::Client { .. } => {
                (&[] as &[&str], ExtendedKeyUsagePurpose::ClientAuth, SystemTime::now() + LIFE)
            }
        };
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = named("127.0.0.1");
        if let Purpose::Client { user, group } = purpose {
            params.distinguished_name = named(user);
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        live(&mut params, end);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer).context("sign a certificate")?;
        Ok((certificate.pem(), key.serialize_pem()))
    }
}

/// Names of a server that tests reach.
const HOSTS: &[&str] = &["127.0.0.1", "localhost"];

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

/// From well before now to an end.
fn live(params: &mut CertificateParams, end: SystemTime) {
    params.not_before = (SystemTime::now() - 2 * EXPIRED).into();
    params.not_after = end.into();
}
