//! Crash points are where they say: every point of the list is reached somewhere in the product, and whoever writes to a journal says so.

use crate::tree::RustFile;

/// The list of points.
const LIST: &str = "crates/model/src/crash.rs";
/// Calls that write events, and what must stand in the same file.
const WRITES: [&str; 4] = [".append_many(", ".create_execution(", ".resume_execution(", ".store.append("];
/// What says so.
const SAYS: &str = "crash::journal(";
/// Where events are written on their way through, or by programs that nobody deploys with.
const THROUGH: [&str; 4] = ["crates/store/", "crates/sim/", "benches/", "crates/api/"];

/// Complaints about points that are not reached and about events that are written without a point.
pub fn check(files: &[RustFile]) -> Vec<String> {
    let Some(list) = files.iter().find(|file| file.path == LIST) else {
        return vec![format!("{LIST} is not there")];
    };
    let product: Vec<&RustFile> = files.iter().filter(|file| is_product(&file.path)).collect();
    let mut complaints: Vec<String> = points(&list.text)
        .into_iter()
        .filter(|point| !product.iter().any(|file| reaches(&file.text, point)))
        .map(|point| format!("{LIST}: no code reaches Point::{point}"))
        .collect();
    let silent = product.iter().filter(|file| !THROUGH.iter().any(|through| file.path.starts_with(through)));
    for file in silent {
        let code = code(&file.text);
        if WRITES.iter().any(|write| code.contains(write)) && !code.contains(SAYS) {
            complaints.push(format!("{}: it writes events without `{SAYS}…)` before", file.path));
        }
    }
    complaints
}

fn is_product(path: &str) -> bool {
    path != LIST && !path.starts_with("src/verify") && (path.starts_with("src/") || path.contains("/src/"))
}

/// Names of the points in the list.
fn points(text: &str) -> Vec<&str> {
    let list = text.split_once("\npoints! {").map_or("", |(_, rest)| rest);
    let list = list.split_once("\n}").map_or("", |(list, _)| list);
    list.lines().filter_map(|line| line.split_once(" => ")).map(|(name, _)| name.trim()).collect()
}

/// Whether the code, not its tests or comments, names the point.
fn reaches(text: &str, point: &str) -> bool {
    let code = code(text);
    code.split(&format!("Point::{point}"))
        .skip(1)
        .any(|after| !after.starts_with(|next: char| next.is_ascii_alphanumeric() || next == '_'))
}

/// A file without comments and without its tests.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> RustFile {
        RustFile { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn a_point_that_nobody_reaches_and_a_silent_write_are_found() {
        let list =
            "\npoints! {\n    /// Here.\n    Here => \"a\",\n    /// There.\n    HereToo => \"b\",\n}\n";
        let there = file("crates/x/src/a.rs", "crash::point(Point::HereToo);\nstore.append_many(all);");
        let complaints = check(&[file(LIST, list), there]);
        assert_eq!(complaints.len(), 2, "{complaints:?}");
        assert!(complaints.first().is_some_and(|one| one.ends_with("Point::Here")), "{complaints:?}");
        let both = "crash::point(Point::Here);crash::point(Point::HereToo);crash::journal(all);store.append_many(all);";
        assert!(check(&[file(LIST, list), file("crates/x/src/a.rs", both)]).is_empty());
    }
}
