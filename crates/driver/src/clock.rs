//! The wall clock, for the times in outcomes.

use std::time::{SystemTime, UNIX_EPOCH};

use manifold_model::Millis;

/// Milliseconds since 1970-01-01 UTC.
#[must_use]
pub fn now() -> Millis {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |now| Millis::try_from(now.as_millis()).unwrap_or(Millis::MAX))
}
