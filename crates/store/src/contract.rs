//! Contract suite over any home.
