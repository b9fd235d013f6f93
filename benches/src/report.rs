//! How figures are printed: one line each, the target beside it.

use std::time::Duration;

/// Rounds of each measurement; the middle one counts.
pub const ROUNDS: usize = 3;

/// Prints a heading.
pub fn head(title: &str) {
    println!("\n{title}");
}

/// Prints a figure with its target.
pub fn figure(name: &str, value: f64, unit: &str, target: &str) {
    let target = if target.is_empty() { String::new() } else { format!("   (target {target})") };
    println!("  {name:<58} {value:>10.2} {unit}{target}");
}

/// The middle of some measurements; zero of none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Milliseconds.
pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}
