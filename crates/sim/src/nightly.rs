//! Many seeds, a few at once, and what they came to.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use manifold_sim::{Options, Report, run};

/// Failing seeds that are told in full.
const TOLD: usize = 5;

/// Which seeds are run.
pub struct Night {
    /// How many.
    pub seeds: u64,
    /// The first.
    pub from: u64,
    /// How many at once.
    pub threads: u64,
}

impl Default for Night {
    fn default() -> Self {
        Self { seeds: 10_000, from: 1, threads: 2 }
    }
}

#[derive(Default)]
struct Sum {
    runs: u64,
    lines: u64,
    simulated: Duration,
    faults: BTreeMap<&'static str, u64>,
    failed: Vec<Report>,
}

impl Night {
    /// Runs them all; whether no promise was broken.
    ///
    /// # Errors
    /// The simulation itself cannot be set up.
    pub fn run(&self) -> Result<bool> {
        let (next, sum) = (AtomicU64::new(self.from), Mutex::new(Sum::default()));
        let began = Instant::now();
        std::thread::scope(|scope| -> Result<()> {
            let workers: Vec<_> = (0..self.threads).map(|_| scope.spawn(|| self.work(&next, &sum))).collect();
            for worker in workers {
                worker.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
            }
            Ok(())
        })?;
        let sum = sum.into_inner().map_err(|_| anyhow::anyhow!("a thread panicked"))?;
        let seconds = began.elapsed().as_secs_f64();
        println!(
            "{} seeds from {} in {seconds:.1} s: {:.1} seeds/s, {} simulated hours, {} trace lines",
            sum.runs,
            self.from,
            sum.runs as f64 / seconds.max(0.001),
            sum.simulated.as_secs() / 3600,
            sum.lines
        );
        sum.faults.iter().for_each(|(kind, count)| println!("  {count:>8} {kind}"));
        sum.failed.iter().take(TOLD).for_each(tell);
        let seeds: Vec<String> = sum.failed.iter().map(|report| report.seed.to_string()).collect();
        println!("{} failed {}", seeds.len(), seeds.join(" "));
        Ok(sum.failed.is_empty())
    }

    fn work(&self, next: &AtomicU64, sum: &Mutex<Sum>) -> Result<()> {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= self.from.saturating_add(self.seeds) {
                return Ok(());
            }
            let report = run(seed, Options::default()).with_context(|| format!("seed {seed}"))?;
            let mut sum = sum.lock().map_err(|_| anyhow::anyhow!("a thread panicked"))?;
            sum.runs += 1;
            sum.lines += report.lines;
            sum.simulated += report.simulated;
            for (kind, count) in &report.faults {
                *sum.faults.entry(kind).or_default() += count;
            }
            if let Some(violation) = &report.violation {
                println!("seed {seed} broke: {violation}");
                sum.failed.push(report);
            }
        }
    }
}

/// Tells what a run came to, and how to run it again.
pub fn tell(report: &Report) {
    let (servers, delegates, executions) = report.size;
    println!(
        "seed {}: {servers} servers, {delegates} delegates, {executions} executions, {} simulated s, {} lines, trace {:016x}",
        report.seed,
        report.simulated.as_secs(),
        report.lines,
        report.hash
    );
    let Some(violation) = &report.violation else { return };
    report.last.iter().for_each(|line| println!("    {line}"));
    println!("  broken: {violation}\n  again:  cargo xtask sim --seed {}", report.seed);
}
