//! Collections by name: order as written, look-up by name, the same after a clone.

use narthex_document::{NameMap, Sources, from_node, parse};

#[test]
fn names_are_found_and_keep_their_order() {
    let text: String = (0..5000).rev().map(|n| format!("name-{n}: {n}\n")).collect();
    let mut sources = Sources::new();
    let id = sources.add("t", text.as_str());
    let (node, mut problems) = parse(&text, id);
    let table: NameMap<u32> = from_node(&node.unwrap(), &mut problems).unwrap();
    let clone = table.clone();
    for table in [&table, &clone] {
        assert_eq!((table.get("name-17"), table.place("name-17")), (Some(&17), Some(4982)));
        assert_eq!(table.at(4982).map(|(name, value)| (name.as_str(), *value)), Some(("name-17", 17)));
        let span = table.span_of("name-4999").unwrap();
        assert_eq!(&text[span.start as usize..span.end as usize], "name-4999");
        assert_eq!((table.get("name-5000"), table.span_of("name"), table.at(5000)), (None, None, None));
    }
    assert_eq!(table, clone);
    assert!(table.names().eq((0..5000).rev().map(|n| format!("name-{n}"))));
}
