//! The words of ARCHITECTURE.md in our own names: one thing has one name, in code as in the documentation.

use super::scan::declared;

/// A banned word, and the word that is meant.
const BANNED: [(&str, &str); 8] = [
    ("filter", "policy"),
    ("middleware", "policy"),
    ("plugin", "policy"),
    ("backend", "service"),
    ("cluster", "service"),
    ("upstream", "service"),
    ("target", "service"),
    ("endpoint", "instance"),
];

/// Where a banned word means something else: folder, word, why.
const ALLOWED: [(&str, &str, &str); 8] = [
    ("crates/wire/", "target", "the request target of RFC 9112, section 3.2"),
    ("crates/net/", "target", "the request target of RFC 9112, section 3.2"),
    ("crates/proxy/", "target", "the request target of RFC 9112, section 3.2"),
    ("crates/testkit/", "target", "the request target of RFC 9112, section 3.2"),
    ("crates/control/src/compile/listeners.rs", "target", "the bound of the request target of RFC 9112"),
    ("crates/control/src/simulate.rs", "target", "the request target of RFC 9112, section 3.2"),
    ("crates/document/", "target", "the associated type of the standard library's Deref"),
    ("crates/narthex/", "filter", "the log filter of tracing-subscriber"),
];

pub fn check(name: &str, code: &str, problems: &mut Vec<String>) {
    for (line, identifier) in declared(code) {
        for word in split(&identifier) {
            let Some((banned, instead)) =
                BANNED.iter().find(|(banned, _)| word == *banned || plural(&word, banned))
            else {
                continue;
            };
            let allowed = ALLOWED.iter().any(|(folder, word, _)| name.starts_with(folder) && word == banned);
            if !allowed {
                problems.push(format!(
                    "{name}:{line}: `{identifier}`: not {banned}, but {instead} or what it is"
                ));
            }
        }
    }
}

fn plural(word: &str, singular: &str) -> bool {
    word.strip_suffix('s') == Some(singular)
}

/// The words of a name in snake case or camel case, in lower case.
fn split(identifier: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = '_';
    for c in identifier.chars() {
        if c == '_' || (c.is_uppercase() && before.is_lowercase()) {
            words.push(String::new());
        }
        if c != '_' {
            words.last_mut().expect("it begins with one").extend(c.to_lowercase());
        }
        before = c;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::{check, split};

    #[test]
    fn names_are_split() {
        assert_eq!(split("BackendPool"), ["backend", "pool"]);
        assert_eq!(split("MAX_TARGET"), ["max", "target"]);
    }

    #[test]
    fn allowed_where_a_reason_is_given() {
        let mut problems = Vec::new();
        check("crates/wire/src/a.rs", "fn target() {}", &mut problems);
        check("crates/policies/src/a.rs", "fn x(filters: u8) {}", &mut problems);
        assert_eq!(problems.len(), 1);
    }
}
