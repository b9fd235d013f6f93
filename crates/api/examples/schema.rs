//! Prints the GraphQL schema.

fn main() {
    print!("{}", manifold_api::schema_sdl());
}
