//! Trees to JSON and back. A number never changes its value on the way: what 64-bit integers and doubles do not hold
//! exactly keeps its digits as text in a `serde_json::Value`, and as the number it is in JSON text. serde_json's own
//! ways to keep digits (`arbitrary_precision`, `raw_value`) must stay off: with either, a body that holds an object
//! with serde_json's private key is read as something else than the service behind the gateway reads.

use crate::node::{Key, Node, Value};
use crate::source::Span;
use serde_json::{Number, Value as Json};

impl Node {
    /// The tree as JSON. A number that neither 64-bit integers nor doubles hold exactly (`1.10` they do, 32 digits they
    /// do not) becomes text with its digits unchanged. Of two equal keys the last one counts.
    pub fn to_json(&self) -> Json {
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Number(text) => exact(text).map_or_else(|| Json::String(text.clone()), Json::Number),
            Value::Text(text) => Json::String(text.clone()),
            Value::List(items) => Json::Array(items.iter().map(Node::to_json).collect()),
            Value::Map(entries) => {
                Json::Object(entries.iter().map(|(key, node)| (key.text.clone(), node.to_json())).collect())
            }
        }
    }

    /// The tree as JSON text without white space, every number with the digits that were written.
    pub fn to_json_text(&self) -> String {
        let mut out = String::new();
        write(&mut out, self);
        out
    }

    /// A tree from JSON, without spans.
    pub fn from_json(json: &Json) -> Node {
        let value = match json {
            Json::Null => Value::Null,
            Json::Bool(value) => Value::Bool(*value),
            Json::Number(number) => Value::Number(number.to_string()),
            Json::String(text) => Value::Text(text.clone()),
            Json::Array(items) => Value::List(items.iter().map(Node::from_json).collect()),
            Json::Object(entries) => Value::Map(
                entries
                    .iter()
                    .map(|(key, value)| (Key { text: key.clone(), span: Span::NONE }, Node::from_json(value)))
                    .collect(),
            ),
        };
        Node::new(Span::NONE, value)
    }
}

/// Reads JSON text (RFC 8259) as [`Node::to_json`] gives it: numbers that would change become text with their digits,
/// so that two values are equal only when their numbers are.
///
/// # Errors
/// The text is no JSON, or nests deeper than 128.
pub fn json_from_text(text: &str) -> serde_json::Result<Json> {
    // Only what is JSON may be scanned by the simple rules below.
    serde_json::from_str::<serde::de::IgnoredAny>(text)?;
    serde_json::from_str(&with_inexact_quoted(text))
}

fn with_inexact_quoted(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(c) = rest.chars().next() {
        let token = match c {
            '"' => &rest[..text_end(rest)],
            '-' | '0'..='9' => {
                let in_number = |c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E');
                &rest[..rest.find(|c| !in_number(c)).unwrap_or(rest.len())]
            }
            _ => &rest[..c.len_utf8()],
        };
        let quote = if c != '"' && token.len() > 1 && exact(token).is_none() { "\"" } else { "" };
        out.extend([quote, token, quote]);
        rest = &rest[token.len()..];
    }
    out
}

/// Behind the closing quote of the JSON text that `rest` begins with.
fn text_end(rest: &str) -> usize {
    let mut is_escaped = false;
    let close = rest.bytes().skip(1).position(|byte| {
        let is_close = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_close
    });
    close.map_or(rest.len(), |at| at + 2)
}

fn write(out: &mut String, node: &Node) {
    match &node.value {
        Value::Null => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Number(text) => out.push_str(text),
        Value::Text(text) => quote(out, text),
        Value::List(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                write(out, item);
            }
            out.push(']');
        }
        Value::Map(entries) => {
            out.push('{');
            for (at, (key, item)) in entries.iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                quote(out, &key.text);
                out.push(':');
                write(out, item);
            }
            out.push('}');
        }
    }
}

fn quote(out: &mut String, text: &str) {
    out.push_str(&Json::from(text).to_string());
}

/// The number that has the very value of this text; `None` when there is none.
fn exact(text: &str) -> Option<Number> {
    if let Ok(number) = text.parse::<u64>() {
        return Some(number.into());
    }
    // `-0` is a double, as it is for serde_json: an integer has no sign there.
    if let Some(number) = text.parse::<i64>().ok().filter(|number| *number != 0) {
        return Some(number.into());
    }
    // The standard library rounds to the nearest double; serde_json without `float_roundtrip` may miss it by one.
    let double = text.parse::<f64>().ok()?;
    let number = Number::from_f64(double)?;
    (Decimal::read(&format!("{double:e}")) == Decimal::read(text)).then_some(number)
}

/// A decimal number so written that equal values are equal: `0.digits` times ten to the exponent, no zero at either
/// end of the digits.
#[derive(PartialEq)]
struct Decimal {
    negative: bool,
    digits: String,
    exponent: i64,
}

impl Decimal {
    /// `None` when the exponent does not fit: no double is that large or small.
    fn read(text: &str) -> Option<Decimal> {
        let (negative, rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = [whole, fraction].concat();
        let significant = all.trim_start_matches('0');
        let digits = significant.trim_end_matches('0').to_owned();
        if digits.is_empty() {
            return Some(Decimal { negative, digits, exponent: 0 });
        }
        let leading = (all.len() - significant.len()) as i64;
        let exponent: i64 = exponent.parse().ok()?;
        let exponent = exponent.checked_add(whole.len() as i64)?.checked_sub(leading)?;
        Some(Decimal { negative, digits, exponent })
    }
}

#[cfg(test)]
mod tests {
    use super::{exact, json_from_text};
    use crate::{Node, Sources, Value, parse};
    use proptest::prelude::*;
    use serde_json::json;

    fn node(text: &str) -> Node {
        let mut sources = Sources::new();
        let source = sources.add("a.json", text);
        let (node, problems) = parse(text, source);
        assert!(problems.is_empty(), "{text}: {problems:?}");
        node.unwrap()
    }

    #[test]
    fn numbers_that_a_json_number_holds() {
        let held = [
            ("0", "0"),
            ("18446744073709551615", "18446744073709551615"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("1.10", "1.1"),
            ("0.1", "0.1"),
            ("1e2", "100.0"),
            ("1.5E+3", "1500.0"),
            ("0e99999999999999999999", "0.0"),
            ("-0.0", "-0.0"),
            ("123456789012345680000", "123456789012345680000.0"),
        ];
        for (text, shown) in held {
            let number = exact(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(number.as_f64(), shown.parse().ok(), "{text}");
            assert_eq!(number.is_f64(), shown.contains('.'), "{text}");
        }
    }

    #[test]
    fn numbers_that_it_does_not_hold_keep_their_digits() {
        for text in [
            "33333333333333333333333333333333",
            "18446744073709551616",
            "-9223372036854775809",
            "0.10000000000000000001",
            "1e400",
            "1e-400",
            "1e99999999999999999999",
            "-1.0000000000000000000000000000000000000001e-5",
        ] {
            assert_eq!(node(text).to_json(), json!(text));
            assert_eq!(Node::from_json(&node(text).to_json()).value, Value::Text(text.into()));
            assert_eq!(node(text).to_json_text(), text);
            assert_eq!(json_from_text(text).unwrap(), json!(text));
        }
    }

    #[test]
    fn text_is_written_and_read_with_every_digit() {
        let text = r#"{"a":[1.10,33333333333333333333333333333333,"33333333333333333333333333333334 \"1e400\\"],"é":null,"b":true,"c":{}}"#;
        let node = node(text);
        assert_eq!(node.to_json_text(), text);
        assert_eq!(json_from_text(text).unwrap(), node.to_json());
        assert_eq!(json_from_text(&format!(" {text}\n")).unwrap(), node.to_json());
        assert_ne!(json_from_text(&text.replace("333,", "334,")).unwrap(), node.to_json());
        for text in ["", "[1", "01", "1.", "\"a", "{\"a\":33333333333333333333333333333333.}"] {
            assert!(json_from_text(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_object_with_the_private_key_of_serde_json_stays_an_object() {
        for key in ["Number", "RawValue"] {
            let text = format!("{{\"$serde_json::private::{key}\":\"1\"}}");
            let json: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert!(json.is_object(), "`arbitrary_precision` or `raw_value` is on: {json}");
        }
    }

    proptest! {
        #[test]
        fn no_number_changes_its_value(text in "-?(0|[1-9][0-9]{0,24})(\\.[0-9]{1,24})?([eE][+-]?[0-9]{1,3})?") {
            let json = node(&text).to_json();
            let again = Node::from_json(&json);
            prop_assert_eq!(again.to_json(), json.clone());
            prop_assert_eq!(json_from_text(&text).unwrap(), json.clone());
            match json {
                serde_json::Value::String(kept) => prop_assert_eq!(kept, text),
                number => {
                    let shown = number.to_string();
                    prop_assert!(super::Decimal::read(&shown) == super::Decimal::read(&text));
                }
            }
        }
    }
}
