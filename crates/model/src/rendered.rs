//! Text whose expressions have been replaced as far as the server can; what only a delegate can know travels as typed holes
//! (`design.md` 5).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Text with holes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
#[serde(transparent)]
pub struct Rendered(pub Vec<Piece>);

/// A piece of rendered text.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub enum Piece {
    /// Known text.
    Text(String),
    /// Filled on the delegate.
    Hole(Hole),
}

/// What the delegate fills in.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Hole {
    /// The value of a secret, by name. Only ever concatenated.
    Secret {
        /// The secret's name.
        name: String,
    },
    /// An expression over facts that only the delegate has (`instance.*`, `httpResponseCode`, …).
    Expression {
        /// The expression without `${` and `}`.
        text: String,
        /// Values of the references in it that the server did know.
        known: BTreeMap<String, serde_json::Value>,
    },
}

impl Rendered {
    /// Text without holes.
    pub fn text(text: impl Into<String>) -> Self {
        Self(vec![Piece::Text(text.into())])
    }

    /// The text when nothing is left to fill.
    #[must_use]
    pub fn known(&self) -> Option<String> {
        let mut out = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Hole(_) => return None,
            }
        }
        Some(out)
    }

    /// For people: secrets as asterisks, other holes as written.
    #[must_use]
    pub fn masked(&self) -> String {
        self.0
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => text.clone(),
                Piece::Hole(Hole::Secret { .. }) => "******".to_owned(),
                // A condition holds its spans itself.
                Piece::Hole(Hole::Expression { text, .. }) if text.contains("${") => text.clone(),
                Piece::Hole(Hole::Expression { text, .. }) => format!("${{{text}}}"),
            })
            .collect()
    }
}
