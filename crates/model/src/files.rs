//! Which file documents belong to a service or an environment: manifests and values (`behaviour.md` 22, "Decided"). Only their places count; what
//! is in them is read when they are deployed.

use crate::entity::{ManifestFile, ValuesOverride};

/// The file that holds values, whoever has it.
pub const VALUES_FILE: &str = "values.yaml";
/// Below the folder of a service: its manifests.
const MANIFESTS: &str = "Manifests/Files/";
/// Below the folder of a service or an environment: its values.
const VALUES: &str = "Values/";
/// Below the values of an environment: those for one service each.
const OF_SERVICES: &str = "Values/Services/";

/// Manifests and values of a service, whose folder (with a slash at the end) holds these files, given in the order of their paths.
pub(crate) fn of_service<'a>(
    folder: &str,
    files: impl IntoIterator<Item = &'a str>,
) -> (Vec<ManifestFile>, Vec<String>) {
    let (mut manifests, mut values) = (Vec::new(), Vec::new());
    for document in files {
        let Some(below) = document.strip_prefix(folder) else { continue };
        if let Some(path) = below.strip_prefix(MANIFESTS) {
            if path == VALUES_FILE {
                values.push(document.to_owned());
            } else if !is_hidden(path) {
                manifests.push(ManifestFile { document: document.to_owned(), path: path.to_owned() });
            }
        } else if below.strip_prefix(VALUES) == Some(VALUES_FILE) {
            values.push(document.to_owned());
        }
    }
    // In path order `Manifests` comes before `Values`, which is the order of their precedence.
    (manifests, values)
}

/// `.helmignore` and the like are kept beside the manifests and are none.
fn is_hidden(path: &str) -> bool {
    path.split('/').any(|segment| segment.starts_with('.'))
}

/// Values of an environment, whose folder (with a slash at the end) holds these files, given in the order of their paths.
pub(crate) fn of_environment<'a>(
    folder: &str,
    files: impl IntoIterator<Item = &'a str>,
) -> Vec<ValuesOverride> {
    let mut values = Vec::new();
    for document in files {
        let Some(below) = document.strip_prefix(folder) else { continue };
        let service = below.strip_prefix(OF_SERVICES).and_then(|below| below.split_once('/'));
        let service_name = match service {
            Some((service, VALUES_FILE)) => Some(service.to_owned()),
            None if below.strip_prefix(VALUES) == Some(VALUES_FILE) => None,
            _ => continue,
        };
        values.push(ValuesOverride { service_name, document: document.to_owned() });
    }
    values.sort_by(|a, b| a.service_name.cmp(&b.service_name));
    values
}

/// Whether a file below the folder of a service or environment is one of those that an entity is made of.
pub(crate) fn counts(below: &str) -> bool {
    below.starts_with(MANIFESTS)
        || (below.starts_with(VALUES) && below.rsplit('/').next() == Some(VALUES_FILE))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
    use super::*;

    #[test]
    fn files_of_a_service_are_told_apart() {
        let files = [
            "s/Manifests/Files/.helmignore",
            "s/Manifests/Files/b.yaml",
            "s/Manifests/Files/templates/a.yaml",
            "s/Manifests/Files/templates/values.yaml",
            "s/Manifests/Files/values.yaml",
            "s/Manifests/README",
            "s/Values/other.yaml",
            "s/Values/values.yaml",
        ];
        let (manifests, values) = of_service("s/", files);
        let paths: Vec<&str> = manifests.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["b.yaml", "templates/a.yaml", "templates/values.yaml"]);
        assert_eq!(manifests[0].document, "s/Manifests/Files/b.yaml");
        assert_eq!(values, ["s/Manifests/Files/values.yaml", "s/Values/values.yaml"]);
    }

    #[test]
    fn values_of_an_environment_name_their_service() {
        let files = [
            "e/Values/Services/cart (eu)/values.yaml",
            "e/Values/Services/x/y/values.yaml",
            "e/Values/values.yaml",
        ];
        let values = of_environment("e/", files);
        let names: Vec<Option<&str>> = values.iter().map(|one| one.service_name.as_deref()).collect();
        assert_eq!(names, [None, Some("cart (eu)")]);
    }
}
