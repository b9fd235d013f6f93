//! Typed ids. An id is 16 bytes as 22 characters of URL-safe base64 (`wire.md` 1.7); it may begin with `-` or `_`, is
//! case-sensitive, and clients treat it as opaque, so any string that a seed brings is kept as it is.

use std::fmt;
use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};

fn random() -> String {
    BASE64URL_NOPAD.encode(uuid::Uuid::new_v4().as_bytes())
}

fn derived(parts: &[&str]) -> String {
    let mut hash = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    for part in parts {
        hash.update(&(part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let digest = hash.finish();
    BASE64URL_NOPAD.encode(digest.as_ref().get(..16).unwrap_or_default())
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// A new random id.
            #[must_use]
            pub fn random() -> Self {
                Self(random().into())
            }

            /// The id that always follows from the same parts: the first 16 bytes of their SHA-256.
            #[must_use]
            pub fn derived(parts: &[&str]) -> Self {
                Self(derived(parts).into())
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

id!(
    /// A configuration entity: application, service, environment, infrastructure definition, workflow, pipeline, …
    EntityId
);
id!(
    /// A resource constraint.
    ConstraintId
);
id!(
    /// One execution: a pipeline's or a workflow's (a leg is a workflow execution with a parent).
    ExecutionId
);
id!(
    /// One thing a delegate was asked to do.
    TaskId
);
id!(
    /// One element of a pipeline stage; the same in every execution of the same pipeline revision.
    ElementId
);
id!(
    /// A secret record.
    SecretId
);
id!(
    /// A delegate.
    DelegateId
);
id!(
    /// An API key record (not the key).
    KeyId
);
id!(
    /// One collected artifact (build).
    ArtifactId
);
id!(
    /// One log: of a step, attempt and instance.
    LogId
);

/// SHA-256 of a frozen plan's bytes, as lower-case hexadecimal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Debug)]
#[serde(transparent)]
pub struct PlanDigest(pub Arc<str>);

impl PlanDigest {
    /// The digest of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
        Self(data_encoding::HEXLOWER.encode(digest.as_ref()).into())
    }
}

impl fmt::Display for PlanDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_22_characters_and_derive_from_their_parts_alone() {
        assert_eq!(EntityId::random().as_str().len(), 22);
        assert_ne!(EntityId::random(), EntityId::random());
        assert_eq!(TaskId::derived(&["a", "b"]), TaskId::derived(&["a", "b"]));
        assert_ne!(TaskId::derived(&["ab", ""]), TaskId::derived(&["a", "b"]));
        assert_eq!(TaskId::derived(&["a"]).as_str().len(), 22);
    }
}
