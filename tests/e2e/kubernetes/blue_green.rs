//! Blue/green deployments: two sets, two services, the swap and its way back.

use anyhow::{Result, ensure};
use manifold_testkit::server::string;

use super::cluster_tree::{DEPLOYMENT, on_cluster, stage_deployment, swap};
use super::world::{Place, Shop};
use crate::shared::run;
use crate::story::Story;

const SERVICE: &str = "\
apiVersion: v1
kind: Service
metadata: { name: web }
spec:
  selector: { app: web }
  ports: [{ port: 80 }]
";

/// The colours that the primary and the stage service select.
fn colours(place: &Place) -> Result<[String; 2]> {
    let colour = |service: &str| string(&place.get("service", service)?, "/spec/selector/harness.io~1color");
    Ok([colour("web")?, colour("web-stage")?])
}

/// Fails unless the services select these colours and the sets run these builds.
fn ensure_sets(place: &Place, [primary, stage]: [&str; 2], sets: &[(&str, &str)]) -> Result<()> {
    let found = colours(place)?;
    ensure!(found == [primary, stage], "{}: primary and stage select {found:?}", place.cluster.name());
    let names: Vec<String> = sets.iter().map(|(colour, _)| format!("web-{colour}")).collect();
    ensure!(place.names("deployments")? == names, "{:?}", place.names("deployments")?);
    for (colour, build) in sets {
        let labels = format!("app=web,harness.io/color={colour}");
        ensure!(place.serving(&labels)? == [*build], "{colour}: {:?}", place.serving(&labels)?);
    }
    Ok(())
}

#[test]
fn services_are_swapped_and_swapped_back_where_the_check_fails() {
    run(async {
        let shop = Shop::open("Colours").await?;
        let check = Story::fails_if(
            "[ ${infra.name} ${artifact.buildNo} = 'west v2' ] || [ '${infra.name} ${artifact.buildNo}' = 'west v2' ]",
        );
        let workflow = on_cluster("BLUE_GREEN", &[stage_deployment(), swap(), check], &[swap()]);
        let tree =
            shop.tree(&[("web.yaml", DEPLOYMENT), ("service.yaml", SERVICE)]).workflow("roll", workflow);
        shop.tell(tree).await?;
        shop.arrives("v1").await?;
        for place in shop.places() {
            ensure_sets(place, ["blue", "blue"], &[("blue", "v1")])?;
        }
        let shipped = shop.ship("v2").await?;
        shop.ensure_legs(&shipped, &["SUCCESS", "FAILED"]).await?;
        ensure_sets(&shop.east, ["green", "blue"], &[("blue", "v1"), ("green", "v2")])?;
        ensure_sets(&shop.west, ["blue", "green"], &[("blue", "v1"), ("green", "v2")])?;
        shop.arrives("v3").await?;
        ensure_sets(&shop.east, ["blue", "green"], &[("blue", "v3"), ("green", "v2")])?;
        ensure_sets(&shop.west, ["green", "blue"], &[("blue", "v1"), ("green", "v3")])
    });
}

#[test]
fn a_set_that_does_not_get_ready_is_never_served() {
    run(async {
        let shop = Shop::open("IllSet").await?;
        let deployment = DEPLOYMENT.replace("replicas: 2", "replicas: 2\n  progressDeadlineSeconds: 6");
        let workflow = on_cluster("BLUE_GREEN", &[stage_deployment(), swap()], &[swap()]);
        let tree =
            shop.tree(&[("web.yaml", &deployment), ("service.yaml", SERVICE)]).workflow("roll", workflow);
        shop.tell(tree).await?;
        shop.arrives("v1").await?;
        let shipped = shop.ship("v2-crash-west").await?;
        shop.ensure_legs(&shipped, &["SUCCESS", "FAILED"]).await?;
        let found = colours(&shop.west)?;
        ensure!(found[0] == "blue", "primary and stage select {found:?}");
        ensure!(shop.west.serving("app=web,harness.io/color=blue")? == ["v1"]);
        shop.arrives("v3").await?;
        ensure!(shop.west.serving("app=web,harness.io/color=green")? == ["v3"]);
        ensure!(colours(&shop.west)?[0] == "green");
        Ok(())
    });
}
