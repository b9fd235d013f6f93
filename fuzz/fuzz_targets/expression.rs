//! `cargo +nightly fuzz run expression`: no text makes the expression crate panic, hang or report a place outside the text.
#![no_main]

mod exercise;

libfuzzer_sys::fuzz_target!(|data: &[u8]| exercise::expression(data));
