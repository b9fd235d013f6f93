//! What goes wrong between us and an API server, in words and classes (`behaviour.md` 7.1).

use std::error::Error;

use kube::core::Status;
use manifold_model::{Failure, FailureClass, code};
use rustls::CertificateError;

use crate::limits::REASON_CHARS;

/// Why a request did not do what it should.
#[derive(Debug)]
pub enum Trouble {
    /// The server refused it: 403, 404, 409, 422 and the like.
    Status(Box<Status>),
    /// It could not be asked, or what it said cannot be used.
    Failed(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Words of a 403 that is not about who asks but about what is asked for.
const ADMISSION: [&str; 6] = [
    "exceeded quota",
    "being terminated",
    "denied the request",
    "denied request",
    "violates PodSecurity",
    "maximum cpu",
];

/// The failure of a refusal; `doing` says what was asked, as `apply ns/Deployment/web`.
#[must_use]
pub fn explain(cluster: &str, trouble: Trouble, doing: &str) -> Failure {
    let status = match trouble {
        Trouble::Failed(failure) => return failure,
        Trouble::Status(status) => status,
    };
    let text = short(&status.message);
    match status.code {
        403 if !ADMISSION.iter().any(|words| status.message.contains(words)) => Failure::new(
            FailureClass::Authentication,
            code!("K8S_FORBIDDEN"),
            format!("cluster {cluster} does not let its cloud provider {doing}: {text}"),
        )
        .hint("give the cloud provider's user the role that it needs"),
        _ => Failure::new(
            FailureClass::Application,
            code!("K8S_REFUSED"),
            format!("cluster {cluster} refuses to {doing} ({}): {text}", status.code),
        ),
    }
}

/// Takes out of a refusal what the server says of a Secret: it may hold its content. The fields that it complains about stay.
#[must_use]
pub fn without_content(mut status: Box<Status>) -> Box<Status> {
    let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
    let fields: Vec<&str> =
        causes.iter().map(|cause| cause.field.as_str()).filter(|field| !field.is_empty()).collect();
    let about = if fields.is_empty() { String::new() } else { format!(" about {}", fields.join(", ")) };
    status.message = format!(
        "{}{about} (the server's words may hold the Secret's content and are left out)",
        status.reason
    );
    status
}

/// A server's text in one line, cut.
#[must_use]
pub fn short(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(REASON_CHARS) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

/// The failure of a connection: certificates are told apart from everything else, because only people can help there.
#[must_use]
pub fn broken(cluster: &str, error: &kube::Error) -> Failure {
    if let kube::Error::Auth(error) = error {
        return Failure::new(
            FailureClass::Authentication,
            code!("K8S_OWN_ACCESS"),
            format!(
                "the delegate's credentials for cluster {cluster} cannot be had: {}",
                short(&error.to_string())
            ),
        );
    }
    match tls_error(error) {
        Some(rustls::Error::InvalidCertificate(why)) => distrusted(cluster, why),
        Some(rustls::Error::AlertReceived(alert)) => Failure::new(
            FailureClass::Authentication,
            code!("K8S_UNAUTHORIZED"),
            format!("cluster {cluster} refuses the TLS connection: {alert:?}"),
        )
        .hint("check the client certificate and key of the cloud provider"),
        Some(other) => unreachable_because(cluster, &other.to_string()),
        None => unreachable_because(cluster, &innermost(error)),
    }
}

fn distrusted(cluster: &str, why: &CertificateError) -> Failure {
    let (what, hint) = match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            ("has expired", "renew the API server's certificate")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            ("is not valid yet", "check the clocks of the delegate and of the cluster")
        }
        CertificateError::UnknownIssuer => (
            "is not signed by the certificate authority that the cloud provider names (or by one of the system's)",
            "put the cluster's CA certificate into the cloud provider",
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            ("is for another host name", "use a name in the cloud provider's URL that the certificate holds")
        }
        _ => ("is not valid", "look at the API server's certificate"),
    };
    Failure::new(
        FailureClass::Connectivity,
        code!("K8S_CERTIFICATE"),
        format!("the certificate of cluster {cluster} {what} ({why})"),
    )
    .hint(hint)
}

fn unreachable_because(cluster: &str, what: &str) -> Failure {
    Failure::new(
        FailureClass::Connectivity,
        code!("K8S_UNREACHABLE"),
        format!("cluster {cluster} cannot be reached: {}", short(what)),
    )
    .hint("check the API server's address and what is between it and the delegate")
}

/// The TLS error below an error: I/O errors hide theirs from `source`.
fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if let Some(found) = inner.and_then(|inner| tls_error(inner)) {
            return Some(found);
        }
        next = error.source();
    }
    None
}

fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}
