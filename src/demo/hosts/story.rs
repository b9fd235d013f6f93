//! What the demonstration does and what must come out of it.

use anyhow::{Context, Result};
use manifold_cli::client::Client;

use super::{INFRASTRUCTURES, runtime_path};
use crate::demo::{expect, ship};
use crate::fleet::Fleet;
use crate::server::Server;

/// The infrastructure whose hosts lack what release 2.0 needs.
const LAGGARD: &str = "ap";

/// Deploys 1.0 everywhere, then 2.0; `Ok(false)` when the hosts do not run what they should.
pub async fn tell(client: &Client, fleet: &Fleet) -> Result<bool> {
    say!("\n1. Release 1.0 goes to {}\n", INFRASTRUCTURES.join(", "));
    let first = ship(client, &INFRASTRUCTURES, "1.0").await?.status;
    let mut as_told = expect(first == "SUCCESS", &format!("the first deployment ended {first}"));
    as_told &= expect_releases(fleet, |_| "1.0");

    say!("\n2. Release 2.0 needs a currency service, which {LAGGARD} does not have yet\n");
    withhold_currency_service(fleet)?;
    let second = ship(client, &INFRASTRUCTURES, "2.0").await?.status;
    as_told &= expect(second == "FAILED", &format!("the second deployment ended {second}"));
    as_told &= expect_releases(fleet, |infrastructure| if infrastructure == LAGGARD { "1.0" } else { "2.0" });
    say!("\n{LAGGARD} failed its health check, rolled back alone and serves 1.0; the others keep 2.0");
    Ok(as_told)
}

/// Says where to look at what happened.
pub fn where_to_look(server: &Server, as_told: bool) {
    say!("{}", if as_told { "all went as told" } else { "not all went as told" });
    crate::demo::where_to_look(server, &["eu", "us"]);
    say!("\nCtrl-C ends it and removes everything.");
}

fn withhold_currency_service(fleet: &Fleet) -> Result<()> {
    let laggards = fleet.infrastructures.iter().filter(|(name, _)| name == LAGGARD);
    for host in laggards.flat_map(|(_, hosts)| hosts) {
        std::fs::write(host.home.join("no-currency-service"), "").context("change a host")?;
    }
    Ok(())
}

/// Compares what every host serves with what it should.
fn expect_releases(fleet: &Fleet, expected: impl Fn(&str) -> &'static str) -> bool {
    let mut as_told = true;
    for (name, hosts) in &fleet.infrastructures {
        for host in hosts {
            let serving = std::fs::read_to_string(runtime_path(&host.home, name).join("serving"));
            let serving = serving.unwrap_or_else(|error| format!("nothing: {error}"));
            let wanted = format!("ok {}", expected(name));
            as_told &= expect(
                serving.starts_with(&wanted),
                &format!("{} in {name} serves {:?}, expected {wanted:?}", host.address, serving.trim()),
            );
        }
    }
    as_told
}
