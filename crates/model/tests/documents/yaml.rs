use std::time::{Duration, Instant};

use manifold_model::yaml::{Budget, ENTITY_BUDGET, Parsed, parse};
use proptest::prelude::*;

fn read(text: &str) -> Parsed {
    parse("f.yaml", text.as_bytes(), &ENTITY_BUDGET).unwrap()
}

fn refused(text: &[u8]) -> (String, u32, u32) {
    let problem = parse("f.yaml", text, &ENTITY_BUDGET).expect_err("must be refused");
    let place = problem.place.expect("has a place");
    assert_eq!(place.path, "f.yaml");
    (problem.code.0.into_owned(), place.line, place.column)
}

#[test]
fn positions_count_from_one() {
    let root = read("a: 1\nb:\n- x\n- type: Y\n  näme: z\n").root;
    assert_eq!((root.line, root.column), (1, 1));
    let b = root.as_mapping().unwrap().entry("b").unwrap();
    assert_eq!((b.line, b.column), (2, 1));
    let items = b.value.as_sequence().unwrap();
    assert_eq!((items[0].line, items[0].column), (3, 3));
    let name = items[1].as_mapping().unwrap().entry("näme").unwrap();
    assert_eq!((name.line, name.column), (5, 3));
    assert_eq!((name.value.line, name.value.column), (5, 9));
}

#[test]
fn scalars_keep_their_source() {
    let root = read("a: '2'\nb: 0\nc: yes\nd:\ne: ~\nf: 1.50\ng: \"x\\ty\"\nh: 'null'\n").root;
    let text = |key: &str| root.get(key).unwrap().as_scalar().unwrap().text.clone();
    assert_eq!(root.get("a").unwrap().as_str(), Some("2"));
    assert_eq!(root.get("b").unwrap().as_scalar().unwrap().as_i64(), Some(0));
    assert_eq!(root.get("c").unwrap().as_str(), Some("yes"));
    assert!(root.get("d").unwrap().is_null() && root.get("e").unwrap().is_null());
    assert_eq!((text("d").as_str(), text("e").as_str(), text("f").as_str()), ("", "~", "1.50"));
    assert_eq!(root.get("g").unwrap().as_str(), Some("x\ty"));
    assert_eq!(root.get("h").unwrap().as_str(), Some("null"));
}

#[test]
fn an_empty_file_is_a_null() {
    assert!(read("").root.is_null());
    assert!(read("# nothing\n").root.is_null());
    assert!(read("\u{feff}a: 1").root.as_mapping().is_some());
}

#[test]
fn broken_documents_are_refused_with_their_place() {
    assert_eq!(refused(b"a: 1\nb: [1, 2\n").0, "YAML_SYNTAX");
    assert_eq!(refused(b"a: b: c\n").0, "YAML_SYNTAX");
    assert_eq!(refused(b"a:\n\t- b\n").0, "YAML_SYNTAX");
    assert_eq!(refused(b"a: 1\nb: 2\na: 3\n"), ("YAML_DUPLICATE_KEY".into(), 3, 1));
    assert_eq!(refused(b"a: \"x\"\n\"a\": 3\n"), ("YAML_DUPLICATE_KEY".into(), 2, 1));
    assert_eq!(refused(b"a: 1\n---\nb: 2\n"), ("YAML_SYNTAX".into(), 2, 1));
    assert_eq!(refused(b"a: 1\nb: x\xff\n"), ("YAML_SYNTAX".into(), 2, 5));
    assert_eq!(refused(b"a: 1\nb: x\0y\n"), ("YAML_SYNTAX".into(), 2, 5));
    assert_eq!(refused(b"a: !!binary xx\n"), ("YAML_SYNTAX".into(), 1, 13));
    assert_eq!(refused(b"a: !Ref xx\n"), ("YAML_SYNTAX".into(), 1, 9));
    assert_eq!(refused(b"a: *nobody\n").0, "YAML_SYNTAX");
    assert_eq!(refused(b"a: &a [*a]\n").0, "YAML_SYNTAX");
    assert_eq!(refused(b"x: &x {a: 1}\ny:\n  <<: *x\n"), ("YAML_SYNTAX".into(), 3, 3));
    assert_eq!(refused(b"? [a]\n: b\n").0, "YAML_SYNTAX");
    assert_eq!(refused(b"{a: 1}: b\n").0, "YAML_SYNTAX");
}

#[test]
fn budgets_hold() {
    assert_eq!(refused(&vec![b'a'; (1 << 20) + 1]).0, "YAML_LIMIT");
    for levels in [70, 300, 100_000] {
        let deep = format!("a: {}{}", "[".repeat(levels), "]".repeat(levels));
        assert_eq!(refused(deep.as_bytes()).0, "YAML_LIMIT");
    }
    let fits = format!("a: {}{}", "[".repeat(63), "]".repeat(63));
    assert!(parse("f", fits.as_bytes(), &ENTITY_BUDGET).is_ok());
    let small = Budget { nodes: 10, ..ENTITY_BUDGET };
    assert!(parse("f", b"[1,2,3,4,5,6,7,8,9]", &small).is_ok());
    assert!(parse("f", b"[1,2,3,4,5,6,7,8,9,10]", &small).is_err());
    let key = format!("{}: 1", "k".repeat(300));
    assert_eq!(refused(key.as_bytes()).0, "YAML_LIMIT");
}

#[test]
fn an_alias_brings_its_anchor_and_a_bomb_is_refused() {
    let root = read("a: &x {b: 1}\nc: *x\nd: [*x, *x]\n").root;
    assert_eq!(root.get("a"), root.get("c"));
    let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for level in 1..12 {
        let inner = vec![format!("*a{}", level - 1); 10].join(",");
        bomb.push_str(&format!("a{level}: &a{level} [{inner}]\n"));
    }
    let began = Instant::now();
    assert_eq!(refused(bomb.as_bytes()).0, "YAML_LIMIT");
    assert!(began.elapsed() < Duration::from_secs(5));
    let mut tower = String::from("a0: &a0 [x]\n");
    for level in 1..80 {
        tower.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
    }
    assert_eq!(refused(tower.as_bytes()).0, "YAML_LIMIT");
}

#[test]
fn comments_are_seen_and_other_number_signs_are_not() {
    assert_eq!(read("a: b#c\nd: 'x # y'\ne: |\n  # in a script\n  ls\nf: \"# no\"\n").comments, None);
    let comments = read("a: ä # one\n# two\nb: |\n  # script\n# three\nc: 1\n").comments.unwrap();
    assert_eq!((comments.first_line, comments.first_column, comments.count), (1, 6, 3));
    assert_eq!(read("a: | # header\n  x\n").comments.unwrap().count, 1);
    assert_eq!(read("a: 'it''s # no' # yes\nb: \"\\\" # no\" # yes\n").comments.unwrap().count, 2);
}

/// Inputs that cost a naive reader its stack, its memory or its patience.
#[test]
fn nasty_inputs_end_quickly() {
    let megabyte = 1 << 20;
    let inputs: Vec<String> = vec![
        "[".repeat(megabyte),
        "{".repeat(megabyte),
        "{a: ".repeat(megabyte / 4),
        "- ".repeat(megabyte / 2),
        "? ".repeat(megabyte / 2),
        ": ".repeat(megabyte / 2),
        "a: ".repeat(megabyte / 3),
        "\n".repeat(megabyte),
        " ".repeat(megabyte),
        "\t".repeat(megabyte),
        "&a ".repeat(megabyte / 3),
        "*a ".repeat(megabyte / 3),
        "!".repeat(megabyte),
        "%TAG ! !\n".repeat(megabyte / 10),
        "---\n".repeat(megabyte / 4),
        "'".repeat(megabyte),
        "\"".repeat(megabyte),
        "\"\\".repeat(megabyte / 2),
        format!("a: |\n{}", "  x\n".repeat(megabyte / 5)),
        format!("a: >\n{}", "  x\n\n".repeat(megabyte / 6)),
        format!("a: |9\n{}", " ".repeat(megabyte - 10)),
        (0..70_000).map(|n| format!("k{n}: v\n")).collect(),
        (0..9_000).map(|n| format!("k{n}: &a{n} *a{}\n", n - 1)).collect(),
        format!("a: {}", "x ".repeat(megabyte / 2 - 4)),
        format!("a: '{}'", "x\n ".repeat(megabyte / 3 - 4)),
        "a:\r\n  b:\r  c: 1\r\n".repeat(100),
        "\u{2028}\u{85}\u{feff}: \u{1f600}".repeat(1000),
        "# ".repeat(megabyte / 2),
        "#\n".repeat(megabyte / 2),
    ];
    for (number, input) in inputs.iter().enumerate() {
        let began = Instant::now();
        let _ = parse("f.yaml", input.as_bytes(), &ENTITY_BUDGET);
        assert!(began.elapsed() < Duration::from_secs(20), "input {number} took {:?}", began.elapsed());
    }
}

#[test]
fn the_fuzzing_corpus() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/yaml");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        crate::fuzzed::exercise(&std::fs::read(entry.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count >= 8);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse("f.yaml", &bytes, &ENTITY_BUDGET);
    }

    #[test]
    fn never_panics_on_yaml_like_text(parts in proptest::collection::vec(part(), 0..60)) {
        crate::fuzzed::exercise(parts.concat().as_bytes());
    }
}

fn part() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::sample::select(vec![
            "- ",
            "a",
            ": ",
            "\n",
            "  ",
            "? ",
            "[",
            "]",
            "{",
            "}",
            ",",
            "&x ",
            "*x",
            "!!str ",
            "!t ",
            "'",
            "\"",
            "|",
            ">",
            "|2-\n",
            "#",
            " #",
            "\t",
            "---",
            "...",
            "%YAML 1.2\n",
            "\r",
            "~",
            "1",
            "0x1",
            "\\",
            "<<",
            "é",
            "\u{85}",
            "\u{2028}",
            "@",
            "`",
            "|+\n",
            ">-\n",
        ])
        .prop_map(str::to_owned),
        "[ -~\n]{0,6}",
    ]
}
