//! Text files with their spans replaced. Which spans there are was found when the plan was made; here they are only looked up, so that no
//! driver parses expressions (`design.md` 5).

use std::collections::BTreeMap;
use std::ops::Range;

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
    let found = find(text, spans);
    let mut values = BTreeMap::new();
    let mut secret = false;
    for span in found.iter().filter_map(|place| text.get(place.clone())) {
        if let (None, Some(value)) = (values.get(span), spans.get(span)) {
            let filled = resolver.render(value, &BTreeMap::new()).await?;
            secret |= filled.secret;
            values.insert(span, filled.text);
        }
    }
    Ok(Filled { text: put(text, &found, &values), secret })
}

/// Where spans stand, from left to right; of several that begin at one place the longest.
fn find<T>(text: &str, spans: &BTreeMap<String, T>) -> Vec<Range<usize>> {
    let mut lengths: Vec<usize> = spans.keys().map(String::len).filter(|length| *length > 0).collect();
    lengths.sort_unstable_by(|a, b| b.cmp(a));
    lengths.dedup();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(start) = text.get(at..).and_then(|rest| rest.find("${")).map(|place| at + place) {
        let longest = lengths
            .iter()
            .map(|length| start..start + length)
            .find(|place| text.get(place.clone()).is_some_and(|candidate| spans.contains_key(candidate)));
        // What was replaced is not looked at again; inside of what was not there may be more.
        at = longest.as_ref().map_or(start + 2, |place| place.end);
        found.extend(longest);
    }
    found
}

/// The text with values at these places.
fn put(text: &str, places: &[Range<usize>], values: &BTreeMap<&str, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for place in places {
        let span = text.get(place.clone()).unwrap_or_default();
        out.push_str(text.get(at..place.start).unwrap_or_default());
        out.push_str(values.get(span).map_or(span, String::as_str));
        at = place.end;
    }
    out.push_str(text.get(at..).unwrap_or_default());
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
        let values = [("${a}", "${b}"), ("${b}", "2"), ("${x${b}}", "nested"), ("${é}", "e")];
        let spans: BTreeMap<String, ()> = values.iter().map(|(span, _)| ((*span).to_owned(), ())).collect();
        let values = values.iter().map(|(span, value)| (*span, (*value).to_owned())).collect();
        let replace = |text: &str| put(text, &find(text, &spans), &values);
        assert_eq!(replace("1 ${a} ${b} ${x${b}} ${c:-d} $b ${"), "1 ${b} 2 nested ${c:-d} $b ${");
        assert_eq!(replace("${q${a}}ö${é}é${"), "${q${b}}öeé${");
        assert_eq!(replace(""), "");
    }
}
