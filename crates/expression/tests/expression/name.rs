//! Names and references.

use manifold_expression::{check_name, check_publish_name, condition_references, references, whole_variable};

#[test]
fn names() {
    for name in ["infra", "Infra_2", "_", "9", "size"] {
        assert_eq!(check_name(name), Ok(()), "{name}");
    }
    for name in ["", "a-b", "a b", "ä", "a.b", "${a}", "a\n"] {
        assert_eq!(&*check_name(name).expect_err(name).code.0, "NAME_ILLEGAL");
    }
    for name in ["or", "mod", "null", "shellScriptProvisioner"] {
        assert_eq!(&*check_name(name).expect_err(name).code.0, "NAME_RESERVED");
        assert_eq!(&*check_publish_name(name).expect_err(name).code.0, "NAME_RESERVED");
    }
    assert_eq!(check_name("terraform"), Ok(()));
    assert_eq!(&*check_publish_name("terraform").expect_err("terraform").code.0, "NAME_RESERVED");
    assert_eq!(check_publish_name("build"), Ok(()));
}

#[test]
fn whole_variables() {
    let table = [
        ("${infra}", Some("infra")),
        (" ${ infra } ", Some("infra")),
        ("${workflow.variables.infra}", Some("infra")),
        ("infra", None),
        ("${infra}-x", None),
        ("${a}${b}", None),
        ("${a.b}", None),
        ("${workflow.variables.a.b}", None),
        ("${null}", None),
        ("${a-b}", None),
        ("${", None),
    ];
    for (text, expected) in table {
        assert_eq!(whole_variable(text), expected, "{text}");
    }
}

#[test]
fn references_of_texts() {
    let table: [(&str, &[&str]); 11] = [
        ("plain", &[]),
        ("${artifact.buildNo} ${env.name}", &["artifact.buildNo", "env.name"]),
        ("${artifact.metadata.image.split(':')[0]}", &["artifact.metadata.image"]),
        ("${instance.name}", &["instance.name"]),
        // The documented way around the artifact prompt.
        ("${artifact${\".metadata.image\"}}", &[]),
        ("${x${workflow.variables.y}}", &["workflow.variables.y"]),
        ("${json.select('a', httpResponseBody)}", &["httpResponseBody"]),
        ("${secrets.getValue('x')}", &[]),
        ("${BASE:-${env.name}}", &["env.name"]),
        ("${artifact.buildNo ? 1 : 2}", &["artifact.buildNo"]),
        ("${artifact.buildNo", &["artifact.buildNo"]),
    ];
    for (text, expected) in table {
        assert_eq!(references(text), expected, "{text}");
    }
    assert_eq!(
        condition_references("artifact.buildNo == '1' && ${env.name} == 'x'"),
        ["artifact.buildNo", "env.name"]
    );
    assert_eq!(condition_references("\"${env.name}\" == 'x'"), ["env.name"]);
}
