//! `cargo +nightly fuzz run yaml`: no bytes make the reading, checking or printing of a document panic, and printing reads back.
#![no_main]

mod document;

libfuzzer_sys::fuzz_target!(|data: &[u8]| document::exercise(data));
