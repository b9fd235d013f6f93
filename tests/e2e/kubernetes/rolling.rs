//! Rolling deployments.

use anyhow::{Result, ensure};

use super::cluster_tree::{DEPLOYMENT, rolling};
use super::world::Shop;
use crate::shared::run;

#[test]
fn a_list_of_names_rolls_out_in_both_clusters_and_only_the_failed_release_goes_back() {
    run(async {
        let shop = Shop::open("Regions").await?;
        shop.tell(shop.tree(&[("web.yaml", DEPLOYMENT)]).workflow("roll", rolling())).await?;
        shop.arrives("v1").await?;
        for place in shop.places() {
            ensure!(place.serving("app=web")? == ["v1"]);
            place.ensure_history(&["SUCCEEDED"])?;
        }
        Ok(())
    });
}
