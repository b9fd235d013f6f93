//! Step logs as zstd chunks.
