#![no_main]
//! Documents: any text is read or refused with places inside it, in bounded time; formatting keeps the content,
//! and formatting twice changes nothing more.

use libfuzzer_sys::fuzz_target;
use narthex_document::{Diagnostic, Sources, format, parse, render_all};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut sources = Sources::new();
    let source = sources.add("fuzz.yaml", text);
    let (node, problems) = parse(text, source);
    for problem in &problems {
        let (start, end) = (problem.span.start as usize, problem.span.end as usize);
        assert!(start <= end && end <= text.len(), "{problem:?} stands outside");
    }
    let rendered = render_all(&problems, &sources, false);
    assert_eq!(rendered.is_empty(), problems.is_empty());
    let refused = problems.iter().any(Diagnostic::is_error);
    assert!(refused || node.is_some() || text.trim().is_empty() || !text.is_empty());
    if let Some(node) = &node {
        let json = node.to_json();
        let again = narthex_document::Node::from_json(&json).to_json();
        assert_eq!(json, again, "JSON and back");
        let read = narthex_document::json_from_text(&node.to_json_text());
        assert_eq!(read.ok().as_ref(), Some(&json), "JSON text and back");
    }
    let Ok(formatted) = format(text, source) else {
        assert!(refused, "what is read can be formatted");
        return;
    };
    let second = sources.add("formatted.yaml", formatted.as_str());
    let (after, _) = parse(&formatted, second);
    match (&node, &after) {
        (Some(before), Some(after)) => assert!(before.same(after), "formatting changed the content"),
        (before, after) => assert_eq!(before.is_some(), after.is_some()),
    }
    assert_eq!(format(&formatted, second).ok().as_ref(), Some(&formatted), "formatting twice changes more");
});
