//! Guards: what one transaction at a time may change, although it has no row of its own to lock, or many. Each is an advisory lock that a
//! transaction holds until it ends; those who wait for one get it in their order.

use super::db::Db;
use crate::Result;

/// Guards that a transaction holds one by one; one that needs more holds the guard of all of them, so that the database's table of locks
/// does not fill (by default it has room for 64 a connection).
const GUARDS_ONE_BY_ONE: usize = 500;

/// Keeps the guards apart from advisory locks of other programs on the same database.
const SPACE: &str = "manifold";

/// Something that one transaction at a time changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Guard<'a> {
    /// All guards.
    All,
    /// Migrations.
    Schema,
    /// The catalog.
    Catalog,
    /// Account records whose names are theirs alone.
    Records,
    /// Holders and queue of a lock key.
    LockKey(&'a str),
    /// Holders and queue of a resource constraint, one of its units.
    Permits {
        /// Constraint id.
        constraint: &'a str,
        /// Unit.
        unit: &'a str,
    },
    /// The barriers of a scope.
    Barriers(&'a str),
    /// The lease with this fence: whoever writes under it holds it together with others, whoever takes it away holds it alone.
    Lease(u64),
    /// All leases: whoever writes under one shares it, whoever takes more than a few away holds it alone.
    Leases,
    /// Joining and leaving of servers and connections; held before any guard of a lease.
    Servers,
    /// Executions created with an idempotency key.
    Idempotency(&'a str),
}

impl Guard<'_> {
    /// The number of its advisory lock: the same in every release, for servers of two releases may share a database during an upgrade.
    pub(super) fn number(&self) -> i64 {
        match self {
            Self::All => hash(&["all"]),
            Self::Schema => hash(&["schema"]),
            Self::Catalog => hash(&["catalog"]),
            Self::Records => hash(&["records"]),
            Self::LockKey(key) => hash(&["lock", key]),
            Self::Permits { constraint, unit } => hash(&["permits", constraint, unit]),
            Self::Barriers(scope) => hash(&["barriers", scope]),
            Self::Lease(fence) => hash(&["lease", &fence.to_string()]),
            Self::Leases => hash(&["leases"]),
            Self::Servers => hash(&["servers"]),
            Self::Idempotency(key) => hash(&["idempotency", key]),
        }
    }
}

/// FNV-1a over the parts, 64 bits.
fn hash(parts: &[&str]) -> i64 {
    let mut sum: u64 = 0xcbf2_9ce4_8422_2325;
    for part in std::iter::once(&SPACE).chain(parts) {
        // The byte between parts occurs in no text.
        for byte in part.bytes().chain([0xff]) {
            sum = (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    sum.cast_signed()
}

/// Waits for guards and holds them until the transaction ends, all taken in one order, so that two that need the same do not wait for each
/// other. Statements after it see what earlier holders wrote. A guard that the transaction holds already costs no wait.
pub(super) async fn hold(db: &Db<'_>, guards: &[Guard<'_>]) -> Result<()> {
    let mut numbers: Vec<i64> = guards.iter().map(Guard::number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    hold_numbers(db, &numbers).await
}

async fn hold_numbers(db: &Db<'_>, numbers: &[i64]) -> Result<()> {
    if numbers.is_empty() {
        return Ok(());
    }
    let all = Guard::All.number();
    if numbers.len() > GUARDS_ONE_BY_ONE {
        db.rows("SELECT pg_advisory_xact_lock($1)", &[&all]).await?;
        return Ok(());
    }
    // Evaluated in the order of the list.
    db.rows(
        "SELECT CASE WHEN number = $1 THEN pg_advisory_xact_lock_shared(number) ELSE pg_advisory_xact_lock(number) END \
         FROM unnest($2::bigint[]) AS number",
        &[&all, &[&[all], numbers].concat()],
    )
    .await?;
    Ok(())
}

/// Waits until nobody writes under these leases; nobody does until the transaction ends.
pub(super) async fn hold_leases(db: &Db<'_>, fences: &[u64]) -> Result<()> {
    if fences.len() > GUARDS_ONE_BY_ONE {
        return hold(db, &[Guard::Leases]).await;
    }
    let guards: Vec<Guard<'_>> = fences.iter().map(|fence| Guard::Lease(*fence)).collect();
    hold(db, &guards).await
}

/// Shares the guards of leases with others who write under them, until the transaction ends.
pub(super) async fn share_leases(db: &Db<'_>, fences: &[u64]) -> Result<()> {
    let mut numbers: Vec<i64> = fences.iter().map(|fence| Guard::Lease(*fence).number()).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers.insert(0, Guard::Leases.number());
    db.rows(SHARE, &[&numbers]).await?;
    Ok(())
}

/// The statement of [`share_leases`].
pub(super) const SHARE: &str =
    "SELECT pg_advisory_xact_lock_shared(number) FROM unnest($1::bigint[]) AS number";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_never_change() {
        assert_eq!(Guard::LockKey("a").number(), -7_744_860_170_297_411_498);
        assert_ne!(Guard::LockKey("a").number(), Guard::Barriers("a").number());
        let (one, other) =
            (Guard::Permits { constraint: "ab", unit: "c" }, Guard::Permits { constraint: "a", unit: "bc" });
        assert_ne!(one.number(), other.number());
    }
}
