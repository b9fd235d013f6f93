//! The store inside the binary: SQLite.
