//! What the demonstration does on clusters and what must come out of it.

use std::time::Duration;

use anyhow::{Context, Result};
use manifold_cli::client::Client;
use manifold_cli::deploy::End;
use tokio::time::{Instant, sleep};

use super::IMAGE;
use super::namespaces::{Namespaces, Running};
use super::sites::Site;
use crate::demo::{expect, ship};

/// How long a cluster may take to show what a deployment that has ended says.
const SHOWN: Duration = Duration::from_secs(10);
/// Pause between two looks at it.
const LOOK: Duration = Duration::from_millis(200);

/// A release and the tag of its image.
struct Release {
    number: &'static str,
    tag: &'static str,
}

const FIRST: Release = Release { number: "1.0", tag: "1.36.1" };
const SECOND: Release = Release { number: "2.0", tag: "1.37.0" };

/// Deploys 1.0 everywhere, then 2.0; `Ok(false)` when the clusters do not run what they should.
pub async fn tell(client: &Client, namespaces: &Namespaces) -> Result<bool> {
    let names: Vec<&str> = namespaces.sites.iter().map(|site| site.name.as_str()).collect();
    let laggard = *names.last().context("no infrastructure")?;
    say!("\n1. Release 1.0 goes to {}\n", names.join(", "));
    let first = ship(client, &names, FIRST.number).await?;
    let mut as_told = expect_legs(&first, "first", |_| true);
    as_told &= expect_images(namespaces, |_| &FIRST).await;
    if !as_told {
        return Ok(false);
    }

    say!("\n2. Release 2.0 names an image for {laggard} that its nodes cannot pull\n");
    let second = ship(client, &names, SECOND.number).await?;
    as_told &= expect_legs(&second, "second", |name| name != laggard);
    as_told &= expect_images(namespaces, |site| if site.name == laggard { &FIRST } else { &SECOND }).await;
    if as_told {
        say!(
            "\n{laggard} could not pull the image of 2.0, rolled back alone and runs 1.0; the others run 2.0"
        );
    }
    Ok(as_told)
}

/// Compares how the legs ended with how they should have.
fn expect_legs(end: &End, which: &str, well: impl Fn(&str) -> bool) -> bool {
    let mut as_told = expect(end.legs().next().is_some(), &format!("the {which} deployment had no legs"));
    for leg in end.legs() {
        let name = leg.label();
        let rollback = leg.rollback.as_deref().unwrap_or("without a rollback");
        let (wanted, held) = match well(name) {
            true => ("SUCCESS", leg.status == "SUCCESS"),
            false => ("FAILED and ROLLED_BACK", leg.status == "FAILED" && rollback == "ROLLED_BACK"),
        };
        let otherwise =
            format!("{name} ended {} ({rollback}) in the {which} deployment, expected {wanted}", leg.status);
        as_told &= expect(held, &otherwise);
    }
    as_told
}

/// Prints what every cluster runs and compares it with what it should.
async fn expect_images(namespaces: &Namespaces, release: impl Fn(&Site) -> &'static Release) -> bool {
    say!("\nAs the clusters themselves say:\n");
    let width = namespaces.sites.iter().map(|site| site.name.len()).max().unwrap_or_default();
    let mut as_told = true;
    for site in &namespaces.sites {
        let Release { number, tag } = release(site);
        let image = format!("{IMAGE}:{tag}");
        match settled(namespaces, site, &image, number).await {
            Ok(running) => {
                let Running { image: runs, ready, wanted, page, pods, .. } = &running;
                let name = &site.name;
                say!("  {name:width$}  {runs}  {ready} of {wanted} pods ready  page {page:?}");
                let images: Vec<&str> = running.images.iter().map(String::as_str).collect();
                let has = format!("{pods} pods of {} with the page {page:?}", images.join(" and "));
                let otherwise =
                    format!("{name} has {has}, expected {wanted} of {image} with that of {number}");
                as_told &= expect(running.is(&image, number), &otherwise);
            }
            Err(error) => as_told &= expect(false, &format!("{}: {error:#}", site.name)),
        }
    }
    as_told
}

/// What runs in a namespace, once it is as it should be or has had time to.
async fn settled(namespaces: &Namespaces, site: &Site, image: &str, release: &str) -> Result<Running> {
    let end = Instant::now() + SHOWN;
    loop {
        let running = namespaces.running(site).await?;
        if running.is(image, release) || Instant::now() >= end {
            return Ok(running);
        }
        sleep(LOOK).await;
    }
}
