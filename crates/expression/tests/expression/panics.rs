//! No text makes anything panic, and errors point into the text.

use std::path::Path;

use proptest::prelude::*;

use crate::exercise;

#[test]
fn the_fuzzing_corpus() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/expression");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        exercise::expression(&std::fs::read(entry.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count > 20, "the corpus is committed");
}

/// Pieces of the language, put together without sense.
fn fragments() -> impl Strategy<Value = String> {
    let fragment = prop_oneof![
        Just("${"),
        Just("}"),
        Just("'"),
        Just("\""),
        Just("\\"),
        Just("("),
        Just(")"),
        Just("["),
        Just("]"),
        Just("."),
        Just(","),
        Just("a"),
        Just("a.b.c"),
        Just("a.b.d"),
        Just("instance.name"),
        Just("workflow.variables.x"),
        Just("workflow.variables.y"),
        Just("s"),
        Just("body"),
        Just(" == "),
        Just(" && "),
        Just(" || "),
        Just("!"),
        Just(" =~ "),
        Just(" =^ "),
        Just("+"),
        Just("-"),
        Just("*"),
        Just("/"),
        Just("%"),
        Just("<"),
        Just(" not "),
        Just(" and "),
        Just("empty("),
        Just("size("),
        Just("null"),
        Just("true"),
        Just("0"),
        Just("9223372036854775807"),
        Just("1.5"),
        Just(":-"),
        Just("?"),
        Just("é"),
        Just("\u{10ffff}"),
        Just("\0"),
        Just(".split("),
        Just(".substring("),
        Just(".replaceAll("),
        Just(".get("),
        Just("regex.extract("),
        Just("json.select("),
        Just("xml.select("),
        Just("secrets.getValue("),
        Just("json.object("),
        Just("$.x[*]"),
        Just("//b[1]/@c"),
        Just("<b c='d'>"),
        Just("{\"x\":[1]}"),
        Just("(a*)*"),
        Just("[a-z]{9}"),
        Just("$1"),
        Just("\\u00e9"),
        Just("\n"),
        Just("$"),
        Just("{"),
    ];
    prop::collection::vec(fragment, 0..40).prop_map(|fragments| fragments.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text(text in "\\PC{0,200}") {
        exercise::expression(text.as_bytes());
    }

    #[test]
    fn any_sentence(text in fragments()) {
        exercise::expression(text.as_bytes());
    }

    #[test]
    fn any_expression(text in fragments()) {
        exercise::expression(format!("${{{text}}}").as_bytes());
    }
}
