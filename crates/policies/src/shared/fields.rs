//! Fields whose value is a comma-separated list (RFC 9110 section 5.6.1), `Vary` above all.

use narthex_wire::{Head, Known, Name};

use super::scratch::with_scratch;

const VARY: Name = Name::known(Known::Vary);

/// The members of a list field, over all its lines, without surrounding whitespace and without empty ones.
pub fn members(head: &Head, known: Known) -> impl Iterator<Item = &[u8]> {
    head.all_known(known).flat_map(split)
}

/// The members of one list value.
pub fn split(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// Whether a list field has this member, in any case.
pub fn has_member(head: &Head, known: Known, member: &str) -> bool {
    members(head, known).any(|one| one.eq_ignore_ascii_case(member.as_bytes()))
}

/// Makes the response vary by these request fields too: one `Vary` line, no name twice, `*` kept as it is.
pub fn add_vary(head: &mut Head, names: &[&str]) {
    let is_there = |name: &&&str| has_member(head, Known::Vary, name);
    if has_member(head, Known::Vary, "*") || names.iter().all(|name| is_there(&name)) {
        return;
    }
    with_scratch(|value| {
        for member in members(head, Known::Vary).chain(names.iter().map(|name| name.as_bytes())) {
            if !split(value).any(|known| known.eq_ignore_ascii_case(member)) {
                if !value.is_empty() {
                    value.extend_from_slice(b", ");
                }
                value.extend_from_slice(member);
            }
        }
        let stored = head.set(&VARY, value);
        debug_assert!(stored.is_ok(), "members of a valid field are a valid value");
    });
}

/// A value that consists of tokens (RFC 9110 section 5.6.2) and commas only: safe to be sent back.
pub fn is_token_list(value: &[u8]) -> bool {
    split(value).all(is_token)
}

/// One token.
pub fn is_token(text: &[u8]) -> bool {
    !text.is_empty()
        && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn varied(given: &[&str], added: &[&str]) -> Vec<String> {
        let mut head = Head::new();
        for value in given {
            head.append(&VARY, value.as_bytes()).unwrap();
        }
        add_vary(&mut head, added);
        head.all_known(Known::Vary).map(|value| String::from_utf8(value.to_vec()).unwrap()).collect()
    }

    #[test]
    fn vary_is_merged_without_duplicates() {
        assert_eq!(varied(&[], &["Origin"]), ["Origin"]);
        assert_eq!(varied(&["Accept"], &["Origin"]), ["Accept, Origin"]);
        assert_eq!(varied(&["Accept, origin"], &["Origin"]), ["Accept, origin"]);
        assert_eq!(
            varied(&["Accept", "Accept-Language, ACCEPT"], &["Origin"]),
            ["Accept, Accept-Language, Origin"]
        );
        assert_eq!(varied(&["*"], &["Origin"]), ["*"]);
        assert_eq!(varied(&["Accept, *"], &["Origin"]), ["Accept, *"]);
        assert_eq!(varied(&[" , ,"], &["Origin", "Accept"]), ["Origin, Accept"]);
    }

    #[test]
    fn token_lists() {
        for good in ["x-a", "x-a, X-B", "", "a,,b", "a,\tb"] {
            assert!(is_token_list(good.as_bytes()), "{good}");
        }
        for bad in ["a b", "a;b", "a, \"b\"", "a, ü", "a\u{b}b"] {
            assert!(!is_token_list(bad.as_bytes()), "{bad}");
        }
    }
}
