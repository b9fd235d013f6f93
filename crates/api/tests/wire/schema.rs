//! `schema.graphql` at the root is the schema.

#[test]
fn the_committed_schema_is_the_schema() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../schema.graphql");
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == manifold_api::schema_sdl(),
        "schema.graphql differs from the schema; write it anew with `cargo run -q -p manifold-api --example schema > schema.graphql`"
    );
}
