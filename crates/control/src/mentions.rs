//! Where documents name a secret. References to secrets are text (`wire.md` 4.4), so they are looked for in the text.

use crate::Snapshot;

/// Keys whose value is the name of a credential.
const CREDENTIAL_KEYS: [&str; 5] = [
    "hostConnectionAttrsName",
    "hostConnectionAttrs",
    "winRmConnectionAttributesName",
    "sshKeyRefName",
    "connectionAttributes",
];

impl Snapshot {
    /// Paths of the documents that name a secret or credential.
    pub fn mentions_of<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s str> + 's {
        self.documents
            .values()
            .filter(|row| !row.is_file)
            .filter(move |row| std::str::from_utf8(&row.body).is_ok_and(|text| mentions(text, name)))
            .map(|row| row.path.as_str())
    }
}

fn mentions(text: &str, name: &str) -> bool {
    if !text.contains(name) {
        return false;
    }
    if [format!("getValue(\"{name}\")"), format!("getValue('{name}')"), format!("getValue(\\\"{name}\\\")")]
        .iter()
        .any(|call| text.contains(call))
    {
        return true;
    }
    let mut before: Option<&str> = None;
    for line in text.lines() {
        let trimmed = line.trim_start().trim_start_matches("- ");
        let Some((key, value)) = trimmed.split_once(": ") else {
            before = None;
            continue;
        };
        let value = value.trim().trim_matches(['\'', '"']);
        let is_name = value == name;
        if is_name && CREDENTIAL_KEYS.contains(&key) {
            return true;
        }
        // `secretName:x`, `gcpkms:x`: one prefix, no blank.
        if value.split_once(':').is_some_and(|(manager, rest)| {
            rest == name && !manager.is_empty() && manager.chars().all(char::is_alphanumeric)
        }) {
            return true;
        }
        // A variable: `value: x` with `valueType: ENCRYPTED_TEXT` after it.
        if key == "valueType" && value == "ENCRYPTED_TEXT" && before == Some(name) {
            return true;
        }
        before = (key == "value").then_some(value);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::mentions;

    #[test]
    fn references_are_found_and_other_words_are_not() {
        for text in [
            "password: secretName:db\n",
            "password: gcpkms:db\n",
            "hostConnectionAttrsName: db\n",
            "- name: a\n  value: db\n  valueType: ENCRYPTED_TEXT\n",
            "command: echo ${secrets.getValue(\"db\")}\n",
        ] {
            assert!(mentions(text, "db"), "{text}");
        }
        for text in
            ["name: db\n", "value: db\nvalueType: TEXT\n", "password: secretName:db2\n", "url: http://db\n"]
        {
            assert!(!mentions(text, "db"), "{text}");
        }
    }
}
