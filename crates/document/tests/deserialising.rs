//! The spanned deserialiser and the compact scalars: what they read, and what they say when they cannot.

use narthex_document::{
    ByteSize, NameMap, Node, Origin, Percent, Rate, Sources, Spanned, Time, Value, from_node, parse,
    render_all, sort,
};
use serde::Deserialize;
use std::time::Duration;

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Server {
    address: Spanned<String>,
    #[serde(default)]
    port: u16,
    #[serde(default)]
    time: Time,
    #[serde(default)]
    on: bool,
    #[serde(default)]
    kind: Option<Shape>,
    #[serde(default)]
    list: Vec<u8>,
    #[serde(default)]
    any: Option<Node>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Shape {
    Flat,
    Round { radius: u32 },
    Named(String),
}

fn read<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    let mut sources = Sources::new();
    let id = sources.add("t", text);
    let (node, mut problems) = parse(text, id);
    let value = from_node(&node.expect("readable"), &mut problems);
    sort(&mut problems);
    value.ok_or_else(|| render_all(&problems, &sources, false))
}

#[test]
fn every_problem_of_every_entry_is_told_in_one_go() {
    let text = "a: { adress: x, port: 70000 }\nb: { address: 1.10, on: yes, list: [1, 300, x] }\nc: { address: y, kind: { round: { radius: -1 } }, time: 5 }\nd: { address: {id}, kind: { round: {} } }\nE: { address: z, kind: sqare }\n";
    let wanted = "\
t:1:6: error[unknown_key]: `adress` is not a key here
t:1:23: error[wrong_type]: a whole number from 0 to 65535 is wanted here, found the number 70000
t:2:15: error[wrong_type]: text is wanted here, found the number 1.10
t:2:25: error[wrong_type]: true or false is wanted here, found the text \"yes\"
t:2:40: error[wrong_type]: a whole number from 0 to 255 is wanted here, found the number 300
t:2:45: error[wrong_type]: a whole number from 0 to 255 is wanted here, found the text \"x\"
t:3:43: error[wrong_type]: a whole number from 0 to 4294967295 is wanted here, found the number -1
t:3:57: error[invalid_value]: the time `5` lacks a unit
t:4:15: error[wrong_type]: text is wanted here, found a map
t:4:29: error[missing_key]: `round` lacks the key `radius`
t:5:1: error[invalid_value]: `E` is not a name
";
    let said = read::<NameMap<Server>>(text).unwrap_err();
    let heads: String =
        said.lines().filter(|line| line.starts_with("t:")).map(|line| format!("{line}\n")).collect();
    // The entry under the bad key `E` is skipped as a whole, so its own problem waits until the key is right.
    assert_eq!(heads, wanted, "{said}");
    // A misspelt key explains a missing one; an unrelated problem does not.
    assert!(read::<NameMap<Server>>("a: { port: x }\n").unwrap_err().contains("`a` lacks the key `address`"));
    for help in [
        "help: did you mean `address`? the keys are: address, port, time, on, kind, list, any",
        "help: quote it: \"1.10\"",
        "help: write true",
        "help: add one: 5s for seconds, 5ms for milliseconds (also m, h, d)",
        "help: `{id}` without quotes reads as a map; quote the whole text: \"{id}\"",
        "help: write `e`: a lower-case letter, then at most 62 of a-z, 0-9, `_`, `-`",
    ] {
        assert!(said.contains(help), "{help}\n{said}");
    }
}

#[test]
fn values_spans_and_trees_come_through() {
    let server: Server =
        read("address: host\nport: 80\nkind: { named: x }\nany: { n: 1.10 }\ntime: 1m30s\n").expect("good");
    assert_eq!(server.address.span.start, 9);
    assert_eq!(server.kind, Some(Shape::Named("x".into())));
    assert_eq!(server.any.unwrap().get("n").unwrap().value, Value::Number("1.10".into()));
    assert_eq!(server.time.get(), Duration::from_secs(90));
    assert_eq!(read::<Shape>("flat").unwrap(), Shape::Flat);
    assert!(read::<Shape>("named").unwrap_err().contains("a map `{ named: … }` is wanted here"));
    assert!(read::<Shape>("{ flat: 1 }").unwrap_err().contains("nothing is wanted here"));
    assert!(
        read::<Shape>("{ flat: , round: }").unwrap_err().contains("exactly one key (flat, round, named)")
    );
    assert_eq!(read::<NameMap<u8>>("b: 1\na: 2\n").unwrap().names().collect::<Vec<_>>(), ["b", "a"]);
}

#[test]
fn other_deserialisers_work_without_spans() {
    let server: Server = serde_json::from_str(r#"{"address":"h","port":1,"any":[1]}"#).unwrap();
    assert!(server.address.span.is_none());
    assert_eq!(server.any.unwrap().items().len(), 1);
}

#[test]
fn secrets_are_read_as_what_is_wanted_and_never_shown() {
    let secret = |text: &str| Node {
        origin: Origin::Env("X".into()),
        ..Node::new(narthex_document::Span::NONE, Value::Text(text.into()))
    };
    let mut problems = Vec::new();
    assert_eq!(from_node::<u16>(&secret("80"), &mut problems), Some(80));
    assert_eq!(from_node::<bool>(&secret("true"), &mut problems), Some(true));
    assert_eq!(from_node::<String>(&secret("1.10"), &mut problems).as_deref(), Some("1.10"));
    assert_eq!(from_node::<ByteSize>(&secret("1MiB"), &mut problems), Some(ByteSize::mib(1)));
    assert!(problems.is_empty());
    from_node::<u16>(&secret("hunter2"), &mut problems);
    from_node::<Time>(&secret("hunter2"), &mut problems);
    from_node::<Shape>(&secret("hunter2"), &mut problems);
    from_node::<bool>(&secret("hunter2"), &mut problems);
    from_node::<narthex_document::Name>(&secret("Hunter2!"), &mut problems);
    from_node::<Vec<u8>>(&secret("hunter2"), &mut problems);
    assert_eq!(problems.len(), 6);
    assert!(!format!("{problems:?}").to_lowercase().contains("hunter2"), "{problems:?}");
}

fn error<T: std::str::FromStr<Err = narthex_document::ScalarError> + std::fmt::Debug>(text: &str) -> String {
    text.parse::<T>().expect_err("not a scalar").message
}

#[test]
fn compact_scalars_read_and_write() {
    for (text, millis) in
        [("250ms", 250), ("5s", 5_000), ("1m30s", 90_000), ("2h", 7_200_000), ("10d", 864_000_000)]
    {
        let time: Time = text.parse().unwrap();
        assert_eq!((time, time.to_string()), (Time::from_millis(millis), text.to_owned()));
    }
    for text in
        ["", "s", "5 s", "5x", "-5s", "1.5s", "30s1m", "1s1s", "99999999999999999999s", "36501d", "5é"]
    {
        assert!(text.parse::<Time>().is_err(), "{text}");
    }
    assert_eq!(error::<Time>("15"), "the time `15` lacks a unit");
    for (text, bytes) in
        [("0", 0), ("512", 512), ("64KiB", 65_536), ("1MiB", 1 << 20), ("10MB", 10_000_000), ("3 B", 3)]
    {
        assert_eq!(text.parse::<ByteSize>().unwrap(), ByteSize(bytes));
        assert_eq!(ByteSize(bytes).to_string().parse::<ByteSize>().unwrap(), ByteSize(bytes));
    }
    assert_eq!("64k".parse::<ByteSize>().unwrap_err().help, "the unit is written KiB (1024) or KB (1000)");
    assert_eq!(error::<ByteSize>("99999999TiB"), "`99999999TiB` is too large");
    for (text, count, secs) in
        [("100/min", 100, 60), ("50/s", 50, 1), ("5000/h", 5000, 3600), ("10/d", 10, 86_400)]
    {
        let rate: Rate = text.parse().unwrap();
        assert_eq!((rate, rate.to_string()), (Rate::new(count, Duration::from_secs(secs)), text.to_owned()));
    }
    for text in ["", "/s", "5", "5/", "0/s", "+5/s", "5/week", "9999999999999999/s"] {
        assert!(text.parse::<Rate>().is_err(), "{text}");
    }
    for (text, hundredths) in
        [("0%", 0), ("5%", 500), ("0.25%", 25), ("12.5%", 1250), ("100%", 10_000), ("100.00%", 10_000)]
    {
        assert_eq!(text.parse::<Percent>().unwrap().hundredths(), hundredths, "{text}");
    }
    for text in ["5", "%", "101%", "100.01%", "999%", "1.234%", "-1%", ".5%"] {
        assert!(text.parse::<Percent>().is_err(), "{text}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_a_scalar_panic_and_written_ones_read_back(text in "[0-9.]{0,20}[a-zA-Z%/ é]{0,5}[0-9]{0,3}[a-z]{0,2}") {
        if let Ok(time) = text.parse::<Time>() {
            proptest::prop_assert_eq!(time.to_string().parse::<Time>().unwrap(), time);
        }
        if let Ok(size) = text.parse::<ByteSize>() {
            proptest::prop_assert_eq!(size.to_string().parse::<ByteSize>().unwrap(), size);
        }
        if let Ok(rate) = text.parse::<Rate>() {
            proptest::prop_assert_eq!(rate.to_string().parse::<Rate>().unwrap(), rate);
        }
        if let Ok(percent) = text.parse::<Percent>() {
            proptest::prop_assert_eq!(percent.to_string().parse::<Percent>().unwrap(), percent);
        }
    }
}

#[test]
fn one_or_many_takes_both_and_an_empty_list_where_it_may() {
    type Any = narthex_document::OneOrMany<u8>;
    type Some = narthex_document::OneOrMany<u8, 1>;
    fn of<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
        let mut sources = narthex_document::Sources::new();
        let id = sources.add("t", text);
        let (node, mut problems) = narthex_document::parse(text, id);
        narthex_document::from_node(&node.unwrap(), &mut problems).ok_or_else(|| problems[0].message.clone())
    }
    assert_eq!(of::<Any>("1"), Ok(narthex_document::OneOrMany(vec![1])));
    assert_eq!(of::<Some>("[1, 2]"), Ok(narthex_document::OneOrMany(vec![1, 2])));
    assert_eq!(of::<Any>("[]"), Ok(narthex_document::OneOrMany(vec![])));
    assert_eq!(of::<Some>("[]").unwrap_err(), "the list holds 0 values; at least 1 is needed");
    assert!(of::<Any>("[1, x]").is_err() && of::<Some>("x").is_err());
    let schema = |schema: schemars::Schema| schema.as_value()["anyOf"][1]["minItems"].as_u64();
    assert_eq!(schema(schemars::schema_for!(Any)), None);
    assert_eq!(schema(schemars::schema_for!(Some)), Some(1));
}
