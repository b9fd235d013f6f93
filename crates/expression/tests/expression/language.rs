//! Rules of the language beyond the documented examples.

use manifold_expression::{Nothing, Segment, Value, evaluate, scan};

fn value(expression: &str) -> Value {
    evaluate(expression, &Nothing).unwrap_or_else(|error| panic!("{expression}: {error}"))
}

fn code(expression: &str) -> String {
    evaluate(expression, &Nothing).expect_err(expression).code.to_string()
}

#[test]
fn operators_bind_as_in_jexl() {
    let table = [
        ("1 + 2 * 3", Value::Int(7)),
        ("(1 + 2) * 3", Value::Int(9)),
        ("10 - 2 - 3", Value::Int(5)),
        ("-2 + 3", Value::Int(1)),
        ("- -2", Value::Int(2)),
        ("7 / 2", Value::Int(3)),
        ("7 / 2.0", Value::Float(3.5)),
        ("'7' * 2", Value::Int(14)),
        ("'1' + 2", "12".into()),
        ("1 + 2 + 'x'", "3x".into()),
        ("true || false && false", true.into()),
        ("1 < 2 == true", true.into()),
        ("!true == false", true.into()),
        ("not (1 == 2) and 3 > 2", true.into()),
        ("'' == 0", true.into()),
        ("'abc' == 0", false.into()),
        ("null == 0", false.into()),
        ("null == null", true.into()),
        ("'b' > 'a'", true.into()),
        ("'2' < 10", true.into()),
        ("'ab' =~ ['ab', 'c']", true.into()),
        ("empty('') && empty(null) && empty([]) && empty(0)", true.into()),
        ("empty 'x'", false.into()),
        ("size('äb') + size([1, 2])", Value::Int(4)),
        ("[1, 'a'][1]", "a".into()),
        ("'it\\'s'", "it's".into()),
        ("'\\u00e4\\n\\t\\\\'", "ä\n\t\\".into()),
        ("'\\d'", "\\d".into()),
    ];
    for (expression, expected) in table {
        assert_eq!(value(expression), expected, "{expression}");
    }
}

#[test]
fn methods_are_javas() {
    let table = [
        ("'a,b,,c,,'.split(',')", Value::from(vec!["a", "b", "", "c"])),
        ("'a,b,,c,,'.split(',', -1)", Value::from(vec!["a", "b", "", "c", "", ""])),
        ("'a1b22c'.split('\\d+')", Value::from(vec!["a", "b", "c"])),
        ("'abc'.split('')", Value::from(vec!["a", "b", "c"])),
        ("'a.b'.split('.')", Value::from(vec![""])),
        ("'a.b'.split('\\.').length()", Value::Int(2)),
        ("'xay'.replaceAll('([a-z])a', '$1$1-')", "xx-y".into()),
        ("'aaa'.replaceFirst('a', '\\$')", "$aa".into()),
        ("'a.c'.replace('.', 'b')", "abc".into()),
        ("'Grün'.toUpperCase()", "GRÜN".into()),
        ("'  x '.trim()", "x".into()),
        ("'häuser'.substring(1, 3)", "äu".into()),
        ("'häuser'.charAt(1)", "ä".into()),
        ("'äöü'.indexOf('ü')", Value::Int(2)),
        ("'abab'.indexOf('b', 2)", Value::Int(3)),
        ("'abab'.lastIndexOf('a')", Value::Int(2)),
        ("'abc'.indexOf('x')", Value::Int(-1)),
        ("'abc'.startsWith('ab') && 'abc'.endsWith('bc') && 'abc'.contains('b')", true.into()),
        ("'abc'.matches('[a-c]+') && !'abcd'.matches('[a-c]+')", true.into()),
        ("'a'.concat('b').length()", Value::Int(2)),
        ("'a'.equals('a') && 'A'.equalsIgnoreCase('a') && ''.isEmpty()", true.into()),
        ("'a.b'.matches('\\Qa.b\\E') && !'axb'.matches('\\Qa.b\\E')", true.into()),
        ("'ä'.matches('\\w')", false.into()),
        ("'my-app_1'.matches('[\\w-]{1,63}')", true.into()),
        ("regex.match('b+', 'abba')", true.into()),
        ("regex.extract('x', 'abba')", "".into()),
        ("[1, 2].contains(2) && [].isEmpty() && [1, 2].get(1) == 2", true.into()),
        ("json.object('{\"a\":{\"b c\":[1.5]}}').a['b c'][0]", Value::Float(1.5)),
        ("json.select(\"$['a'][-1]\", '{\"a\":[1,2]}')", Value::Int(2)),
        ("json.select('a.*', '{\"a\":{\"x\":1,\"y\":2}}')", Value::from(vec![1_i64, 2])),
        ("json.format(json.object('{\"b\": 1}'))", "{\"b\":1}".into()),
        ("json.object('{\"a\":1}').containsKey('a')", true.into()),
        (
            "xml.select('//c[@k=\"2\"]', '<a><b><c k=\"1\">x</c><c k=\"2\"><![CDATA[<y>]]></c></b></a>')",
            "<y>".into(),
        ),
        (
            "xml.select('a/*/c', '<?xml version=\"1.0\"?><!-- no --><a><b><c>&#x41;&lt;</c></b></a>')",
            "A<".into(),
        ),
        ("xml.select('//@k', '<a><b k=\"v\"/></a>')", "v".into()),
        ("xml.select('/a/b', '<x:a><x:b>1</x:b></x:a>')", "1".into()),
    ];
    for (expression, expected) in table {
        assert_eq!(value(expression), expected, "{expression}");
    }
}

#[test]
fn failures_have_their_code() {
    let table = [
        ("'abc'.substring(2, 9)", "EXPRESSION_FAILED"),
        ("'abc'.substring(0 - 1)", "EXPRESSION_FAILED"),
        ("[1].get(1)", "EXPRESSION_FAILED"),
        ("null.trim()", "EXPRESSION_FAILED"),
        ("null + 1", "EXPRESSION_FAILED"),
        ("'a' - 1", "EXPRESSION_FAILED"),
        ("9223372036854775807 + 1", "EXPRESSION_FAILED"),
        ("5 % 0", "EXPRESSION_FAILED"),
        ("'x' < 1", "EXPRESSION_FAILED"),
        ("'x'.replaceAll('x', '$9')", "EXPRESSION_FAILED"),
        ("json.select('a.b', '{')", "EXPRESSION_FAILED"),
        ("json.select('a..b', '{}')", "EXPRESSION_FAILED"),
        ("json.select('a', '{}')", "EXPRESSION_FAILED"),
        ("json.list('a', '{\"a\":1}')", "EXPRESSION_FAILED"),
        ("json.nothing('a')", "EXPRESSION_FAILED"),
        ("xml.select('/a', '<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>')", "EXPRESSION_FAILED"),
        ("xml.select('/a', '<a><b></a>')", "EXPRESSION_FAILED"),
        ("xml.select('/a[position()>1]', '<a/>')", "EXPRESSION_FAILED"),
        ("xml.select('/b', '<a/>')", "EXPRESSION_FAILED"),
        ("'a'.split('(?=b)')", "EXPRESSION_PATTERN"),
        ("'a'.matches('a)(b')", "EXPRESSION_PATTERN"),
        ("'a' && true", "EXPRESSION_NOT_BOOLEAN"),
        ("x", "EXPRESSION_UNRESOLVED"),
        ("99999999999999999999", "EXPRESSION_SYNTAX"),
        ("1 2", "EXPRESSION_SYNTAX"),
        ("(1", "EXPRESSION_SYNTAX"),
        ("a & b", "EXPRESSION_SYNTAX"),
        ("new", "EXPRESSION_SYNTAX"),
        ("'x' ?: 'y'", "EXPRESSION_SYNTAX"),
    ];
    for (expression, expected) in table {
        assert_eq!(code(expression), expected, "{expression}");
    }
}

#[test]
fn messages_say_what_to_do() {
    let error = evaluate("a == 1 ? 'x' : 'y'", &Nothing).expect_err("no ternary");
    assert!(error.message.contains("ternary") && error.hint.is_some());
    let problem = error.problem("a == 1 ? 'x' : 'y'");
    assert_eq!(problem.detail.as_deref(), Some("`?` at character 8"));
    assert_eq!(evaluate("a = 1", &Nothing).expect_err("one sign").hint.as_deref(), Some("compare with `==`"));
}

#[test]
fn values_read_as_java_prints_them() {
    let table = [
        ("1.0 * 2", "2.0"),
        ("1.5 + 0", "1.5"),
        ("10000000.0 * 1", "1.0E7"),
        ("0.00025 + 0", "2.5E-4"),
        ("null", "null"),
    ];
    for (expression, expected) in table {
        assert_eq!(value(expression).display(), expected);
    }
}

#[test]
fn the_scanner_finds_spans_whatever_stands_in_them() {
    let spans = |text: &str| -> Vec<String> {
        let inner = scan(text).into_iter().filter_map(|segment| match segment {
            Segment::Span { inner, .. } => Some(text[inner].to_owned()),
            _ => None,
        });
        inner.collect()
    };
    assert_eq!(spans("a ${b} ${c}"), ["b", "c"]);
    assert_eq!(spans("${a${b}c}"), ["a${b}c"]);
    assert_eq!(spans("${'}'} ${\"\\\"}\"}"), ["'}'", "\"\\\"}\""]);
    assert_eq!(spans("${\"${secrets.getValue(\"x\")}\"}"), ["\"${secrets.getValue(\"x\")}\""]);
    assert_eq!(spans("${a{b}c}"), ["a{b}c"]);
    assert_eq!(spans("${a $b {"), Vec::<String>::new());
    assert_eq!(scan("${"), [Segment::Open(0..2)]);
}
