//! Rust as tokens: comments and literals blanked, functions measured, declared names found.
//! Line breaks stay where they are, so that every finding has its line.

/// A function and how many lines it takes from its `fn` to its closing brace.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    pub name: String,
    pub line: usize,
    pub lines: usize,
}

/// The text with comments, strings and characters replaced by spaces.
pub fn code(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = literal_end(bytes, at);
        if end == at {
            at += 1;
            continue;
        }
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Where the comment or literal that begins at `at` ends; `at` where none does.
fn literal_end(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let begins_word = at == 0 || !is_word(bytes[at - 1]);
    if rest.starts_with(b"//") {
        return at + rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    }
    if rest.starts_with(b"/*") {
        return block_comment_end(bytes, at);
    }
    if begins_word && (rest.starts_with(b"r\"") || rest.starts_with(b"r#") || rest.starts_with(b"br")) {
        let quote = rest.iter().position(|byte| !matches!(byte, b'b' | b'r' | b'#')).unwrap_or(0);
        if rest.get(quote) == Some(&b'"') {
            let hashes = rest[..quote].iter().filter(|byte| **byte == b'#').count();
            let close = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
            let tail = &rest[quote + 1..];
            let length = tail.windows(close.len()).position(|window| window == close);
            return length.map_or(bytes.len(), |length| at + quote + 1 + length + close.len());
        }
    }
    match rest[0] {
        b'"' => quoted_end(bytes, at, b'"'),
        // A character, not a lifetime: it closes after one character or an escape.
        b'\'' if rest.get(1) == Some(&b'\\') => quoted_end(bytes, at, b'\''),
        b'\'' => {
            let width = rest.get(1).map_or(1, |byte| match byte {
                0xf0.. => 4,
                0xe0.. => 3,
                0xc0.. => 2,
                _ => 1,
            });
            if rest.get(1 + width) == Some(&b'\'') { at + width + 2 } else { at }
        }
        _ => at,
    }
}

fn block_comment_end(bytes: &[u8], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0_usize);
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    at
}

fn quoted_end(bytes: &[u8], start: usize, quote: u8) -> usize {
    let mut at = start + 1;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The words of blanked code with their places.
fn tokens(code: &str) -> Vec<(usize, &str)> {
    let mut words = Vec::new();
    let bytes = code.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if !is_word(bytes[at]) {
            at += 1;
            continue;
        }
        let end =
            bytes[at..].iter().position(|byte| !is_word(*byte)).map_or(bytes.len(), |length| at + length);
        words.push((at, &code[at..end]));
        at = end;
    }
    words
}

fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

/// Every function with a body.
pub fn functions(code: &str) -> Vec<Function> {
    let words = tokens(code);
    let mut found = Vec::new();
    for pair in words.windows(2) {
        let ((at, keyword), (name_at, name)) = (pair[0], pair[1]);
        if keyword != "fn" || code[at + 2..name_at].contains('(') {
            continue;
        }
        let Some(end) = body_end(&code[at..]) else { continue };
        let lines = code[at..at + end].matches('\n').count() + 1;
        found.push(Function { name: name.to_owned(), line: line_of(code, at), lines });
    }
    found
}

/// The length up to the brace that closes the first one; `None` for a declaration without a body.
fn body_end(code: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut brackets = 0_i32;
    for (at, byte) in code.bytes().enumerate() {
        match byte {
            b'(' | b'[' => brackets += 1,
            b')' | b']' => brackets -= 1,
            b';' if depth == 0 && brackets == 0 => return None,
            b'{' => depth += 1,
            b'}' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// Macros that are called: line and name.
pub fn macros(code: &str) -> Vec<(usize, String)> {
    let called = |at: usize, word: &str| code[at + word.len()..].starts_with('!');
    let words = tokens(code).into_iter().filter(|(at, word)| called(*at, word));
    words.map(|(at, word)| (line_of(code, at), word.to_owned())).collect()
}

/// Names that this code gives: of items, variables, fields and parameters. Uses of others' names are not ours.
pub fn declared(code: &str) -> Vec<(usize, String)> {
    const KEYWORDS: [&str; 9] = ["fn", "struct", "enum", "trait", "mod", "type", "const", "static", "let"];
    let words = tokens(code);
    let mut found = Vec::new();
    for (index, (at, word)) in words.iter().enumerate() {
        let after = code[at + word.len()..].trim_start();
        let before = words[..index].iter().rev().map(|(_, word)| *word).find(|word| *word != "mut");
        let follows = code[..*at].trim_end().ends_with(|c: char| c.is_alphanumeric());
        let by_keyword = follows && before.is_some_and(|word| KEYWORDS.contains(&word));
        let by_type = after.starts_with(':') && !after.starts_with("::");
        if (by_keyword && *word != "mut") || by_type {
            found.push((line_of(code, *at), (*word).to_owned()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{Function, code, declared, functions};

    #[test]
    fn literals_and_comments_are_blank() {
        let text = "let a = \"fn {\"; // fn b() {\nlet c = '{'; let d: &'a str = r#\"}\"#; /* } /* } */ */";
        let blank = code(text);
        assert_eq!(blank.len(), text.len());
        assert!(!blank.contains(['{', '}', '"']), "{blank}");
        assert!(blank.contains("&'a str") && blank.contains('\n'));
    }

    #[test]
    fn functions_are_measured() {
        let text =
            "trait T { fn none(&self) -> [u8; 2]; }\nfn two() {\n}\nfn f(x: fn(u8) -> u8) { if x {} }\n";
        let two = Function { name: "two".into(), line: 2, lines: 2 };
        let one = Function { name: "f".into(), line: 4, lines: 1 };
        assert_eq!(functions(&code(text)), [two, one]);
    }

    #[test]
    fn declared_names_are_ours() {
        let names: Vec<String> = declared("let mut a = x.filter(b::c); struct D { e: F }\nfn g(h: I) {}")
            .into_iter()
            .map(|(_, name)| name)
            .collect();
        assert_eq!(names, ["a", "D", "e", "g", "h"]);
    }
}
