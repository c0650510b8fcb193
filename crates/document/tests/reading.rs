//! What the reader says about the commonest mistakes, to the letter, and that no text makes it panic.

use narthex_document::{Diagnostic, Sources, Value, format, parse, render_all};
use proptest::prelude::*;

fn problems(text: &str) -> String {
    let mut sources = Sources::new();
    let id = sources.add("t.yaml", text);
    let (_, problems) = parse(text, id);
    render_all(&problems, &sources, false)
}

#[test]
fn mistakes_say_where_and_what_to_quote() {
    let table = [
        (
            "a: {path: /x/{id}, b: 1}\n",
            "t.yaml:1:11: error[unquoted]: an unquoted `{…}` inside `{ }` or `[ ]` reads as a map\n   1 | a: {path: /x/{id}, b: 1}\n     |           ^^^^^^^\nhelp: quote it: \"/x/{id}\"\n",
        ),
        (
            "hosts: [é, *.example.com]\n",
            "t.yaml:1:12: error[unquoted]: `*` starts an alias in YAML, and aliases are not read\n   1 | hosts: [é, *.example.com]\n     |            ^^^^^^^^^^^^^\nhelp: quote it: \"*.example.com\"\n",
        ),
        (
            "a: @foo\n",
            "t.yaml:1:4: error[unquoted]: a plain text cannot start with `@`\n   1 | a: @foo\n     |    ^^^^\nhelp: quote it: \"@foo\"\n",
        ),
        (
            "a: #fff\n",
            "t.yaml:1:4: error[truncated]: everything from ` #` on is a comment, so the value is empty\n   1 | a: #fff\n     |    ^^^^\nhelp: quote it: \"#fff\"; or put a space after `#`\n",
        ),
        (
            "a: one #two\n",
            "t.yaml:1:8: warning[truncated]: everything from ` #` on is a comment, not part of the value\n   1 | a: one #two\n     |        ^^^^\nhelp: quote the whole value if it belongs to it; put a space after `#` if it is a comment\n",
        ),
        (
            "a: 1\nb: 2\na: 3\n",
            "t.yaml:3:1: error[duplicate_key]: the key `a` stands here twice\n   3 | a: 3\n     | ^\nt.yaml:1:1: note: first here\n   1 | a: 1\n     | ^\nhelp: remove or rename one of the two\n",
        ),
        (
            "a:\n\tb: 1\n",
            "t.yaml:2:1: error[tab]: a tab stands in the indentation\n   2 |  b: 1\n     | ^\nhelp: indent with spaces\n",
        ),
        (
            "---\na: 1\n---\nb: 2\n",
            "t.yaml:3:1: error[several_documents]: a second document starts here\n   3 | ---\n     | ^^^\nhelp: remove the `---`; use `include:` to split a file\n",
        ),
    ];
    for (text, wanted) in table {
        assert_eq!(problems(text), wanted, "{text:?}");
    }
}

#[test]
fn refused_features_have_their_codes() {
    let table = [
        ("a: &x 1\n", "anchor"),
        ("a: !x y\n", "tag"),
        ("<<: 1\n", "merge_key"),
        ("? [a]\n: b\n", "odd_key"),
        ("a: b: c\n", "syntax"),
        ("a: \"x\n", "syntax"),
        ("a: \u{0}\n", "control_character"),
    ];
    for (text, code) in table {
        assert!(problems(text).contains(&format!("error[{code}]")), "{text:?}: {}", problems(text));
    }
}

#[test]
fn depth_and_number_of_nodes_are_bounded() {
    assert!(problems(&"[".repeat(100)).contains("error[too_deep]"));
    assert!(problems(&"- ".repeat(100_000)).contains("error[too_deep]"));
    // The parser would hold the tokens of all of it at once: it is never asked.
    let marks = format!("[{}]", "1,".repeat(narthex_document::MAX_NODES));
    assert!(problems(&marks).contains("of the characters"));
    let large = " ".repeat(narthex_document::MAX_BYTES + 1);
    assert!(problems(&large).contains("error[too_large]"));
}

/// Each line would hold nine times what the line before holds, were aliases read.
#[test]
fn aliases_are_refused_and_never_multiply() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..1000 {
        let one = format!("*a{}", level - 1);
        text += &format!("a{level}: &a{level} [{}]\n", [one.as_str(); 9].join(", "));
    }
    let mut sources = Sources::new();
    let id = sources.add("t", text.as_str());
    let (node, problems) = parse(&text, id);
    assert!(node.is_none() && problems.len() < 200);
    assert!(problems.iter().all(|problem| matches!(problem.code, "anchor" | "unquoted")));
}

#[test]
fn many_problems_are_cut_and_many_warnings_cost_no_tree() {
    let mut sources = Sources::new();
    let text: String = (0..300).map(|n| format!("k{n}: a #b\n")).collect();
    let id = sources.add("t", text.as_str());
    let (node, problems) = parse(&text, id);
    assert_eq!((node.unwrap().entries().len(), problems.len()), (300, 100));
    let text = "a: 1\n".repeat(1000);
    let (node, problems) = parse(&text, id);
    assert!(node.is_none() && problems.len() < 200);
}

#[test]
fn all_duplicates_are_told_at_once() {
    assert_eq!(problems("a: 1\na: 2\nb: {c: 1, c: 2}\n").matches("error[duplicate_key]").count(), 2);
}

#[test]
fn scalars_read_as_json_does_and_numbers_keep_their_text() {
    let mut sources = Sources::new();
    let text =
        "n: 1.10\nz: 010\no: on\nt: true\nT: True\nu: ~\ne:\nd: 2026-01-01\nx: 0x1F\nq: \"1\"\nm: -1.5e+3\n";
    let id = sources.add("t", text);
    let (node, problems) = parse(text, id);
    assert!(problems.is_empty());
    let node = node.unwrap();
    let is = |key: &str, value: Value| assert_eq!(node.get(key).unwrap().value, value, "{key}");
    let text_of = |s: &str| Value::Text(s.into());
    is("n", Value::Number("1.10".into()));
    is("z", text_of("010"));
    is("o", text_of("on"));
    is("t", Value::Bool(true));
    is("T", text_of("True"));
    is("u", Value::Null);
    is("e", Value::Null);
    is("d", text_of("2026-01-01"));
    is("x", text_of("0x1F"));
    is("q", text_of("1"));
    is("m", Value::Number("-1.5e+3".into()));
}

#[test]
fn spans_are_bytes_and_columns_are_characters() {
    let mut sources = Sources::new();
    let text = "\u{feff}é: { ü: [x, \"y z\"] }\r\nb: |\n  text\nc: plain # c\n";
    let id = sources.add("t", text);
    let (node, problems) = parse(text, id);
    assert!(problems.is_empty(), "{problems:?}");
    let node = node.unwrap();
    let list = node.get("é").unwrap().get("ü").unwrap();
    assert_eq!(sources.slice(list.span), Some("[x, \"y z\"]"));
    assert_eq!(sources.slice(list.items()[1].span), Some("\"y z\""));
    assert_eq!(sources.place(list.span).unwrap(), "t:1:9");
    assert_eq!(sources.slice(node.get("c").unwrap().span), Some("plain"));
}

#[test]
fn json_carries_every_place() {
    let mut sources = Sources::new();
    let id = sources.add("t", "a: 1\na: 2\n");
    let (_, problems) = parse("a: 1\na: 2\n", id);
    let json = problems[0].to_json(&sources);
    assert_eq!((json["line"].as_u64(), json["column"].as_u64()), (Some(2), Some(1)));
    assert_eq!(json["labels"][0]["line"], 1);
    assert_eq!(json["code"], "duplicate_key");
}

fn fmt(text: &str) -> String {
    let mut sources = Sources::new();
    let id = sources.add("t", text);
    format(text, id).expect("readable")
}

#[test]
fn layout_is_made_regular() {
    let text = "\n\na:   # c\n    b: 1\n    # in b\n\n\n\n    c:\n    -   x: 1\n        y: 2   \n    -   z\n# end\nd: {\n a: 1, # one\n    b: [\n 2\n ]\n }\n\n\n";
    let wanted = "a:   # c\n  b: 1\n  # in b\n\n  c:\n  - x: 1\n    y: 2\n  - z\n# end\nd: {\n  a: 1, # one\n  b: [\n    2\n  ]\n}\n";
    assert_eq!(fmt(text), wanted);
}

#[test]
fn block_and_folded_texts_keep_their_content() {
    let text = "a:\n    b: |  # c\n        # text\n          y\n\n        z\n\n\n    c: >-\n      foo\nd: |+\n  k\n\n\ne: \"x\n     y\n\n\n  z\"\nf: plain\n     more # c";
    let wanted = "a:\n  b: |  # c\n      # text\n        y\n\n      z\n\n  c: >-\n    foo\nd: |+\n  k\n\n\ne: \"x\n  y\n\n\n  z\"\nf: plain\n  more # c\n";
    assert_eq!(fmt(text), wanted);
}

/// White space of Unicode that is none of YAML's.
#[test]
fn wide_spaces_are_content() {
    for space in ['\u{3000}', '\u{a0}', '\u{2028}'] {
        let text = format!("a:\n    b: x{space}\n    c: {space}  # c\n    d: >\n        e{space}\n\n");
        let wanted = format!("a:\n  b: x{space}\n  c: {space}  # c\n  d: >\n      e{space}\n");
        assert_eq!(fmt(&text), wanted);
        let folded = format!(">\nb\n\nc= \n:{space}");
        assert_eq!(fmt(&fmt(&folded)), fmt(&folded));
    }
}

#[test]
fn unreadable_text_is_not_formatted() {
    let mut sources = Sources::new();
    let id = sources.add("t", "a: [");
    assert!(format("a: [", id).is_err_and(|problems| problems.iter().any(Diagnostic::is_error)));
}

/// Fragments that are likely to go together into something readable, or nearly.
fn yamlish() -> impl Strategy<Value = String> {
    let fragment = prop::sample::select(vec![
        "a",
        "b:",
        ": ",
        "- ",
        "\n",
        "\n  ",
        "\n    ",
        "\n\n",
        "  ",
        "{",
        "}",
        "[",
        "]",
        ", ",
        "# c",
        " #c",
        "\"",
        "'",
        "x y",
        "|\n",
        ">-\n",
        "|+\n",
        "key: 1\n",
        "- 1\n",
        "*",
        "&a",
        "!t",
        "%",
        "@",
        "\t",
        "é",
        "\r\n",
        "? ",
        "---\n",
        "...\n",
        "\\",
        "{id}",
        "/x",
        "1.10",
        "~",
        "c: |\n    t\n  #x\n",
        "<<",
        "\u{feff}",
        "\u{85}",
        "\u{3000}",
    ]);
    prop::collection::vec(fragment, 0..24).prop_map(|parts| parts.concat())
}

/// Readable documents in odd layouts, with comments.
fn document() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "1",
        "text",
        "\"q # no\"",
        "'it''s'",
        "[1, {a: b}]",
        "{ x: [ ] }",
        "",
        "|\n@@  lit\n@@   more\n",
        "two\n@@  lines",
        "[ 1,\n@@ 2 ] # c",
        ">+\n@@ f\n\n\n",
        "# alone",
        "\"a\n@@  b\n\n@@c\"",
        "{\n@@ a: 1, # in\n\n@@ b: [\n@@ 2]\n@@ }",
    ]);
    let line = (
        0usize..4,
        leaf,
        0usize..3,
        any::<bool>(),
        prop::sample::select(vec!["", "  ", " # note", "\n\n\n", "\n   # c"]),
    );
    (prop::collection::vec(line, 1..12), 1usize..5).prop_map(|(lines, width)| {
        let mut out = String::new();
        let mut depth = 0;
        let mut open = false;
        for (at, (level, leaf, gap, dash, tail)) in lines.into_iter().enumerate() {
            depth = if open { depth + 1 } else { level.min(depth) };
            let indent = " ".repeat(depth * width);
            open = leaf.is_empty() && !dash;
            let value = leaf.replace("@@", &format!("{indent}  "));
            let lead = " ".repeat(gap + 1);
            let item = if dash { format!("\n{indent} -{lead}{value}") } else { format!("{lead}{value}") };
            let tail = if value.contains(['\n', '#']) || open { "" } else { tail };
            out.push_str(&format!("{indent}k{at}:{item}{tail}\n"));
        }
        out
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_text_makes_the_reader_panic(text in yamlish()) {
        let said = problems(&text);
        let _ = said;
    }

    #[test]
    fn no_characters_make_the_reader_panic(text in "\\PC{0,40}") {
        let _ = problems(&text);
    }

    #[test]
    fn formatting_keeps_tree_and_comments_and_is_stable(text in prop_oneof![document(), yamlish()]) {
        let mut sources = Sources::new();
        let id = sources.add("t", text.as_str());
        if let Ok(once) = format(&text, id) {
            let (before, _) = parse(&text, id);
            let (after, _) = parse(&once, id);
            prop_assert!(before.unwrap().same(&after.unwrap()));
            prop_assert_eq!(text.matches("# note").count(), once.matches("# note").count());
            prop_assert_eq!(format(&once, id).unwrap(), once);
        }
    }

    #[test]
    fn what_is_written_reads_back(text in prop_oneof![document(), yamlish()]) {
        let mut sources = Sources::new();
        let id = sources.add("t", text.as_str());
        if let (Some(node), problems) = parse(&text, id) {
            prop_assume!(!problems.iter().any(Diagnostic::is_error));
            let written = narthex_document::to_yaml(&node, narthex_document::Shown::Origins(&sources));
            let (again, problems) = parse(&written, id);
            prop_assert!(problems.is_empty(), "{written}");
            prop_assert!(again.unwrap().same(&node), "{written}");
        }
    }
}

/// The generator must make readable documents that really change, or the property above says nothing.
#[test]
fn most_generated_documents_are_laid_out_anew() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut readable, mut changed) = (0, 0);
    for _ in 0..400 {
        let text = document().new_tree(&mut runner).unwrap().current();
        let mut sources = Sources::new();
        let id = sources.add("t", text.as_str());
        if let Ok(once) = format(&text, id) {
            readable += 1;
            changed += usize::from(once != text);
        }
    }
    assert!(readable > 100 && changed > readable / 2, "{readable} readable, {changed} changed");
}
