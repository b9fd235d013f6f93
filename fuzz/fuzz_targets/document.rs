//! What is tried with one input; the ordinary tests run it over the committed corpus as well.

use manifold_model::canonical::print;
use manifold_model::import::check_one;
use manifold_model::yaml::{ENTITY_BUDGET, parse};

/// Places whose documents are read in different ways.
const PATHS: [&str; 9] = [
    "Setup/Applications/A/Index.yaml",
    "Setup/Applications/A/Workflows/w.yaml",
    "Setup/Applications/A/Pipelines/p.yaml",
    "Setup/Applications/A/Triggers/t.yaml",
    "Setup/Applications/A/Services/s/Index.yaml",
    "Setup/Applications/A/Services/s/Commands/c.yaml",
    "Setup/Applications/A/Environments/e/Index.yaml",
    "Setup/Applications/A/Environments/e/Infrastructure Definitions/i.yaml",
    "Setup/Applications/A/Environments/e/Service Infrastructure/i.yaml",
];

/// Everything the crate does with the bytes of a document.
pub fn exercise(data: &[u8]) {
    let Ok(parsed) = parse("f.yaml", data, &ENTITY_BUDGET) else { return };
    let printed = print(&parsed.root);
    // Escapes can make a text longer, and indentation a tree wider, than the budget.
    if let Ok(again) = parse("f.yaml", printed.as_bytes(), &ENTITY_BUDGET) {
        assert_eq!(print(&again.root), printed);
    } else {
        assert!(printed.len() > ENTITY_BUDGET.bytes, "does not read back: {printed:?}");
    }
    for path in PATHS {
        let check = check_one(path, data, None);
        for problem in check.errors.iter().chain(&check.warnings) {
            assert!(!problem.message.is_empty() && problem.place.is_some(), "{problem:?}");
        }
        for document in check.documents {
            let again = check_one(path, &document.body, None);
            assert_eq!(again.documents.first().map(|again| &again.body), Some(&document.body));
        }
    }
}
