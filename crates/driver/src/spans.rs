//! Text files with their spans replaced. Which spans there are was found when the plan was made; here they are only looked up, so that no
//! driver parses expressions (`design.md` 5).

use std::collections::{BTreeMap, HashMap};

use manifold_model::task::FileSource;
use manifold_model::{Failure, FailureClass, Rendered, code};

use crate::{Filled, Resolver};

/// The text of a file, its spans replaced.
///
/// # Errors
/// As [`Resolver::text_file`].
pub async fn replaced<R: Resolver + ?Sized>(
    resolver: &R,
    source: &FileSource,
    spans: &BTreeMap<String, Rendered>,
) -> Result<Filled, Failure> {
    let bytes = resolver.file(source).await?;
    let text = std::str::from_utf8(&bytes).map_err(|error| not_text(source, error.valid_up_to()))?;
    let used: Vec<(&str, &Rendered)> = spans
        .iter()
        .filter(|(span, _)| text.contains(span.as_str()))
        .map(|(span, value)| (span.as_str(), value))
        .collect();
    let mut values = HashMap::with_capacity(used.len());
    let mut secret = false;
    for (span, value) in used {
        let filled = resolver.render(value, &BTreeMap::new()).await?;
        secret |= filled.secret;
        values.insert(span, filled.text);
    }
    Ok(Filled { text: replace(text, &values), secret })
}

/// One pass from left to right: what was put in is not looked at again.
fn replace(text: &str, values: &HashMap<&str, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let longest =
            values.iter().filter(|(span, _)| from.starts_with(**span)).max_by_key(|(span, _)| span.len());
        let taken = match longest {
            Some((span, value)) => {
                out.push_str(value);
                span.len()
            }
            None => {
                out.push_str("${");
                2
            }
        };
        rest = from.get(taken..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

fn not_text(source: &FileSource, at: usize) -> Failure {
    let name = match source {
        FileSource::Document { path, .. } => path.as_str(),
        FileSource::Secret { name } => name.as_str(),
    };
    Failure::new(
        FailureClass::Application,
        code!("FILE_NOT_TEXT"),
        format!("the file {name} is not UTF-8 text: byte {at} begins no character"),
    )
    .hint("save the file as UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_replaced_once_and_the_rest_stays() {
        let values = HashMap::from([
            ("${a}", "${b}".to_owned()),
            ("${b}", "2".to_owned()),
            ("${x${b}}", "nested".to_owned()),
        ]);
        assert_eq!(replace("1 ${a} ${b} ${x${b}} ${c:-d} $b ${", &values), "1 ${b} 2 nested ${c:-d} $b ${");
    }
}
