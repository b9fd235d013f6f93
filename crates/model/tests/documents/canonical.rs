use manifold_model::canonical::{normalise, print};
use manifold_model::node::{Content, Entry, Mapping, Node, Scalar};
use manifold_model::yaml::{ENTITY_BUDGET, parse};
use proptest::prelude::*;

fn read(text: &str) -> Node {
    parse("f.yaml", text.as_bytes(), &ENTITY_BUDGET)
        .map_err(|problem| format!("{problem}\n{text}"))
        .unwrap()
        .root
}

fn again(text: &str) -> String {
    let mut root = read(text);
    normalise(&mut root);
    print(&root)
}

#[track_caller]
fn unchanged(text: &str) {
    assert_eq!(again(text), text);
}

#[test]
fn keys_are_ordered() {
    let text = "zeta: 1\nlist:\n    - z: 1\n      name: n\n      a:\n        type: T\n        b: 1\n      type: T\ntype: X\nharnessApiVersion: \"1.0\"\n";
    let printed = "harnessApiVersion: '1.0'\ntype: X\nlist:\n- type: T\n  name: n\n  a:\n    b: 1\n    type: T\n  z: 1\nzeta: 1\n";
    assert_eq!(again(text), printed);
    unchanged(printed);
}

#[test]
fn canonical_text_comes_back_unchanged() {
    unchanged("harnessApiVersion: '1.0'\ntype: APPLICATION\ndescription: ''\n");
    unchanged(
        "harnessApiVersion: '1.0'\ntype: X\na:\nb: null\nc: ~\nd: []\ne: {}\nf: 'null'\ng: '2'\nh: 2\ni: 1.50\nj: 'true'\nk: false\n",
    );
    unchanged("type: X\na: yes\nb: 'yes'\nc: 2001-01-01\nd: '2001-01-01'\ne: v1.2.3\nf: 10.0.0.1\ng: 'on'\n");
    unchanged(
        "type: X\na: ${app.name}/x\nb: it's\nc: '# no'\nd: 'a: b'\ne: a:b\nf: '- x'\ng: -x\nh: '@x'\ni: 'x '\nj: '%'\nk: a, b\n",
    );
    unchanged(
        "type: X\na: |-\n  one\n  two\nb: |\n  one\n\n  two\nc: |+\n  one\n\nd: |2-\n    deep\n  less\ne: end\n",
    );
    unchanged("type: X\na: \"\\t\"\nb: \"a\\rb\"\nc: \"\\n\"\nd: \"\\x07\"\n");
    unchanged(
        "type: X\nl:\n- - 1\n  - 2\n- []\n-\n- |-\n  a\n  b\n- - |-\n    a\n    b\n- - x: 1\n    y:\n    - z\n",
    );
    unchanged("type: X\n'1': 1\n1a: 1\na b: 1\n'a: b': 1\nnull: 1\n");
}

#[test]
fn only_the_helm_version_is_added() {
    assert_eq!(
        again("harnessApiVersion: '1.0'\ntype: SERVICE\nartifactType: DOCKER\ndeploymentType: KUBERNETES\n"),
        "harnessApiVersion: '1.0'\ntype: SERVICE\nartifactType: DOCKER\ndeploymentType: KUBERNETES\nhelmVersion: V2\n"
    );
    unchanged(
        "harnessApiVersion: '1.0'\ntype: SERVICE\nartifactType: DOCKER\ndeploymentType: HELM\nhelmVersion: V3\n",
    );
    unchanged("harnessApiVersion: '1.0'\ntype: SERVICE\nartifactType: WAR\ndeploymentType: SSH\n");
    unchanged("type: KUBERNETES_CLUSTER\nskipValidation: true\n");
}

#[test]
fn long_lines_are_not_folded() {
    unchanged(&format!("type: X\na: {}\n", "word ".repeat(200).trim_end()));
}

fn text() -> impl Strategy<Value = String> {
    let pieces = vec![
        " ",
        "  ",
        "\n",
        "\n\n",
        "\t",
        "a",
        "b c",
        ": ",
        ":",
        " #",
        "#",
        "- ",
        "-",
        "'",
        "\"",
        "\\",
        "[",
        "]",
        "{",
        "}",
        ",",
        "&",
        "*",
        "!",
        "|",
        ">",
        "%",
        "@",
        "`",
        "?",
        "=",
        "<<",
        "~",
        "null",
        "true",
        "1",
        "1.5",
        "0x1",
        "yes",
        "---",
        "...",
        "\r",
        "\u{7}",
        "\u{85}",
        "\u{2028}",
        "\u{feff}",
        "é",
        "\u{1f600}",
        "2001-01-01",
        "${x}",
        "\u{fffe}",
    ];
    prop_oneof![
        3 => proptest::collection::vec(proptest::sample::select(pieces), 0..6).prop_map(|parts| parts.concat()),
        1 => "[ -~]{0,12}",
        1 => proptest::collection::vec(any::<char>().prop_filter("no NUL", |c| *c != '\0'), 0..6)
            .prop_map(|characters| characters.into_iter().collect()),
    ]
}

fn scalar() -> impl Strategy<Value = Scalar> {
    prop_oneof![
        4 => (text(), any::<bool>()).prop_map(|(text, quoted)| Scalar { quoted, ..Scalar::string(text) }),
        1 => proptest::sample::select(vec!["", "~", "null", "true", "0", "-1", "1.50", ".inf", "0x1F"])
            .prop_map(Scalar::plain),
    ]
}

fn key() -> impl Strategy<Value = Scalar> {
    text()
        .prop_map(|text| {
            text.chars()
                .filter(|c| !c.is_control() && !"\u{2028}\u{2029}\u{feff}\u{fffe}\u{ffff}".contains(*c))
                .collect::<String>()
        })
        .prop_map(Scalar::string)
}

fn node() -> impl Strategy<Value = Node> {
    scalar().prop_map(|scalar| Node::new(Content::Scalar(scalar))).prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5)
                .prop_map(|items| Node::new(Content::Sequence(items))),
            mapping(inner).prop_map(|mapping| Node::new(Content::Mapping(mapping))),
        ]
    })
}

fn mapping(inner: impl Strategy<Value = Node>) -> impl Strategy<Value = Mapping> {
    proptest::collection::vec((key(), inner), 0..5).prop_map(|pairs| {
        let mut mapping = Mapping::default();
        for (key, value) in pairs {
            if mapping.get(&key.text).is_none() {
                mapping.entries.push(Entry { key, line: 0, column: 0, value });
            }
        }
        mapping
    })
}

/// The same tree with keys sorted by name, so that two orders of one mapping compare equal.
fn sorted(node: &Node) -> Node {
    Node::new(match &node.content {
        Content::Mapping(mapping) => {
            let mut entries: Vec<Entry> = mapping
                .entries
                .iter()
                .map(|entry| Entry { value: sorted(&entry.value), ..entry.clone() })
                .collect();
            entries.sort_by(|a, b| a.key.text.cmp(&b.key.text));
            Content::Mapping(Mapping { entries })
        }
        Content::Sequence(items) => Content::Sequence(items.iter().map(sorted).collect()),
        content => content.clone(),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn reading_what_was_printed_gives_it_back(root in mapping(node()).prop_map(|m| Node::new(Content::Mapping(m)))) {
        let printed = print(&root);
        let back = parse("f.yaml", printed.as_bytes(), &ENTITY_BUDGET);
        prop_assert!(back.is_ok(), "{:?}\n{printed}", back.err());
        let back = back.unwrap().root;
        prop_assert_eq!(sorted(&back), sorted(&root), "\n{}", printed);
        prop_assert_eq!(print(&back), printed);
    }

    #[test]
    fn texts_survive(text in text()) {
        let mut mapping = Mapping::default();
        mapping.set("a", Node::text(text.clone()));
        mapping.set("l", Node::new(Content::Sequence(vec![Node::text(text.clone())])));
        mapping.set("z", Node::text("end"));
        let printed = print(&Node::new(Content::Mapping(mapping)));
        let back = read(&printed);
        prop_assert_eq!(back.get("a").unwrap().as_str(), Some(text.as_str()), "{}", &printed);
        prop_assert_eq!(back.get("l").unwrap().as_sequence().unwrap()[0].as_str(), Some(text.as_str()), "{}", printed);
    }
}
