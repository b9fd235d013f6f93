//! The simulation as a test, and the test of the test: planted defects are found.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use manifold_sim::{Options, Plant, Report, run};

/// Seeds of every run of the tests; `cargo xtask sim` has the many.
const SEEDS: u64 = if cfg!(debug_assertions) { 20 } else { 250 };
/// Within how many seeds a planted defect must be found.
const FOUND_WITHIN: u64 = 1_000;
/// Seeds run at once.
const THREADS: u64 = 2;

/// Runs seeds from `from` on until one broke a promise; that one, and how many were run.
fn first_broken(from: u64, seeds: u64, plant: Plant) -> (Option<Report>, u64) {
    let (next, runs, broken) = (AtomicU64::new(from), AtomicU64::new(0), Mutex::new(None::<Report>));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + seeds || broken.lock().unwrap().is_some() {
                        return;
                    }
                    let report = run(seed, Options { plant, ..Options::default() }).unwrap();
                    runs.fetch_add(1, Ordering::Relaxed);
                    if report.violation.is_some() {
                        broken.lock().unwrap().get_or_insert(report);
                    }
                }
            });
        }
    });
    (broken.into_inner().unwrap(), runs.into_inner())
}

fn must_hold(report: &Report) {
    let Some(violation) = &report.violation else { return };
    panic!(
        "{}\nseed {} broke: {violation}\nagain: cargo xtask sim --seed {}",
        report.last.join("\n"),
        report.seed,
        report.seed
    );
}

#[test]
fn seeds_that_broke_a_promise_once_keep_it() {
    let seeds = include_str!("../regressions.txt").lines().filter(|line| !line.starts_with('#'));
    for seed in seeds.filter_map(|line| line.split_whitespace().next()) {
        must_hold(&run(seed.parse().unwrap(), Options::default()).unwrap());
    }
}

#[test]
fn every_seed_keeps_every_promise() {
    if let (Some(report), _) = first_broken(1_000, SEEDS, Plant::Nothing) {
        must_hold(&report);
    }
}

#[test]
fn the_same_seed_is_the_same_run_in_this_process_and_in_another() {
    for seed in [11, 12, 13] {
        let first = run(seed, Options::default()).unwrap();
        let again = run(seed, Options::default()).unwrap();
        assert_eq!((first.hash, first.lines), (again.hash, again.lines), "seed {seed}");
        let output = Command::new(env!("CARGO_BIN_EXE_manifold-sim"))
            .args(["--seed", &seed.to_string()])
            .output()
            .unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        let hash = format!("trace {:016x}", first.hash);
        assert!(told.contains(&hash), "seed {seed}: another process says otherwise than {hash}");
    }
}

fn is_found(plant: Plant) {
    let (found, runs) = first_broken(1, FOUND_WITHIN, plant);
    let report = found.unwrap_or_else(|| panic!("{plant:?} was not found within {FOUND_WITHIN} seeds"));
    println!("{plant:?} was found by seed {} after {runs} seeds: {}", report.seed, report.violation.unwrap());
}

#[test]
fn a_lost_fence_check_is_found() {
    is_found(Plant::LostFence);
}

#[test]
fn a_double_append_is_found() {
    is_found(Plant::DoubleAppend);
}

#[test]
fn a_missed_wake_up_is_found() {
    is_found(Plant::MissedWakeUp);
}
