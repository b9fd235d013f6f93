use super::Home;
pub(super) async fn run<H: Home>(_make: &impl Fn() -> H) {}
