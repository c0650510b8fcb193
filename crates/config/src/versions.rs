//! `versions` of a gateway: where a request says which version of the API it means, which there are, and when they end.
//! Plain data and the checks that need no registry; the router finds the version, the proxy gives it meaning.

use std::borrow::{Borrow, Cow};
use std::fmt;

use narthex_document::{Diagnostic, Node, OneOrMany, Spanned, Table, Value, read};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de::Error};

use crate::bounds::VersionBounds;
use crate::date::Date;
use crate::gateway::Gateway;
use crate::matching::MatchMap;

/// Most versions of one gateway.
const MOST: usize = 64;

/// The versions of an API. Every request of the gateway is one of a version; a route serves all of them unless its `match`
/// names some.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Versions {
    /// Where a request names its version: one place or a list, of which the first that names one decides.
    pub from: OneOrMany<Spanned<VersionPlace>, 1>,
    /// The versions by name, as requests write them: letters, digits, `.`, `_`, `-`; case does not count. At most 64.
    pub known: Table<VersionName, Version>,
    /// The version of a request that names none. Default: such a request is answered with 400 `api_version_missing`.
    #[serde(default)]
    pub default: Option<Spanned<String>>,
    /// The version of a request that names one that there is not, but for media types, where 406 is the answer. Default:
    /// such a request is answered with 404 `api_version_unknown`.
    #[serde(default)]
    pub fallback: Option<Spanned<String>>,
    /// The bounds.
    #[serde(default)]
    pub bounds: VersionBounds,
}

/// One place of a request.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VersionPlace {
    /// The beginning of the path: `/v{version}` for `/v2/users`; routes match what follows, `/users`.
    Path(PathVersion),
    /// A header by name, such as `X-Api-Version`.
    Header(HeaderName),
    /// `Accept`: the vendor, such as `vnd.shop` for `application/vnd.shop.v2+json`, or a map. `application/json;version=2` is
    /// understood too.
    MediaType(MediaTypeVersion),
    /// A parameter of the query by name; the first of several counts.
    Query(Spanned<String>),
}

/// A version in the path.
#[derive(Debug, Clone, PartialEq)]
pub struct PathVersion {
    /// What stands before the version.
    pub prefix: String,
    /// The service is sent the path without it.
    pub strip: bool,
}

/// The name of a header (RFC 9110, section 5.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderName(pub String);

/// A version in the media type that a client accepts.
#[derive(Debug, Clone, PartialEq)]
pub struct MediaTypeVersion {
    /// `None`: every vendor's.
    pub vendor: Option<String>,
    /// The parameter of any media type.
    pub parameter: String,
}

/// The name of a version.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VersionName(pub String);

/// One version. Without any key it is simply there.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Version {
    /// Since when, or from when on, it should no longer be used: `Deprecation` in every answer (RFC 9745).
    pub deprecated: Option<Spanned<Date>>,
    /// When it ends: `Sunset` in every answer (RFC 8594), and from then on 410 `api_version_gone`.
    pub sunset: Option<Spanned<Date>>,
    /// Where to read more: `Link` in every answer.
    pub links: VersionLinks,
}

/// References (RFC 8288) that every answer of a version carries: `https://shop.example/docs/v2`, `/v2`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct VersionLinks {
    /// About the deprecation: `rel="deprecation"` (RFC 9745).
    pub deprecation: Option<Reference>,
    /// About the end: `rel="sunset"` (RFC 8594).
    pub sunset: Option<Reference>,
    /// The version to use instead: `rel="successor-version"` (RFC 5829).
    pub successor: Option<Reference>,
}

/// A URI reference in ASCII.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference(pub String);

impl<'de> Deserialize<'de> for PathVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Map {
            prefix: Prefix,
            #[serde(default)]
            strip: bool,
        }
        let node = Node::deserialize(deserializer)?;
        let (Prefix(prefix), strip) = match &node.value {
            Value::Map(_) => {
                let map: Map = read(&node)?;
                (map.prefix, map.strip)
            }
            _ => (read(&node)?, false),
        };
        Ok(PathVersion { prefix, strip })
    }
}

impl JsonSchema for PathVersion {
    fn schema_name() -> Cow<'static, str> {
        "PathVersion".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let prefix = json_schema!({ "type": "string", "pattern": "^/([^{}]*)\\{version\\}$" });
        json_schema!({
            "description": "`/v{version}`, or a map; `strip: true`: the service is sent the path without it (default: false).",
            "anyOf": [prefix, {
                "type": "object",
                "properties": { "prefix": prefix, "strip": { "type": "boolean" } },
                "required": ["prefix"],
                "additionalProperties": false
            }]
        })
    }
}

/// `/v` of `/v{version}`.
struct Prefix(String);

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"/-._~".contains(&b);
        match text.strip_suffix("{version}") {
            Some(prefix)
                if prefix.starts_with('/') && !prefix.contains("//") && prefix.bytes().all(plain) =>
            {
                Ok(Prefix(prefix.to_owned()))
            }
            _ => Err(D::Error::custom(format_args!(
                "`{text}` is no prefix of a path with a version\nhelp: write \"/v{{version}}\", with {{version}} at its end"
            ))),
        }
    }
}

impl<'de> Deserialize<'de> for HeaderName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if is_token(&text) {
            return Ok(HeaderName(text));
        }
        Err(D::Error::custom(format_args!(
            "`{text}` is not a header's name\nhelp: write one as in X-Api-Version"
        )))
    }
}

impl JsonSchema for HeaderName {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "HeaderName".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$" })
    }
}

impl<'de> Deserialize<'de> for MediaTypeVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Map {
            #[serde(default)]
            vendor: Option<String>,
            #[serde(default)]
            parameter: Option<String>,
        }
        let node = Node::deserialize(deserializer)?;
        let (vendor, parameter) = match &node.value {
            Value::Map(_) => {
                let map: Map = read(&node)?;
                (map.vendor, map.parameter.unwrap_or_else(|| "version".to_owned()))
            }
            _ => (Some(read(&node)?), "version".to_owned()),
        };
        if let Some(vendor) = vendor.as_ref().filter(|vendor| !is_token(vendor) || vendor.contains('+')) {
            return Err(D::Error::custom(format_args!(
                "`{vendor}` is not a vendor's part of a media type\nhelp: write vnd.shop for application/vnd.shop.v2+json"
            )));
        }
        if !is_token(&parameter) || parameter.eq_ignore_ascii_case("q") {
            return Err(D::Error::custom(format_args!(
                "`{parameter}` is not a parameter of a media type that can name a version\nhelp: write version for ;version=2"
            )));
        }
        Ok(MediaTypeVersion { vendor, parameter })
    }
}

impl JsonSchema for MediaTypeVersion {
    fn schema_name() -> Cow<'static, str> {
        "MediaTypeVersion".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "The vendor, as in `vnd.shop`, or a map. Default of `vendor`: every vendor; of `parameter`: `version`.",
            "anyOf": [{ "type": "string" }, {
                "type": "object",
                "properties": { "vendor": { "type": "string" }, "parameter": { "type": "string" } },
                "additionalProperties": false
            }]
        })
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

impl<'de> Deserialize<'de> for VersionName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let is_good = text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.len() <= 32
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if is_good {
            return Ok(VersionName(text));
        }
        Err(D::Error::custom(format_args!(
            "`{text}` is not a version\nhelp: a letter or a digit, then at most 31 letters, digits, `.`, `_`, `-`: \"2\", 2026-01-31"
        )))
    }
}

impl JsonSchema for VersionName {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "VersionName".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$" })
    }
}

impl Borrow<str> for VersionName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VersionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let is_good = !text.is_empty()
            && text.len() <= 2000
            && text.bytes().all(|b| b.is_ascii_graphic() && !b"<>\"\\^`{|}".contains(&b));
        if is_good {
            return Ok(Reference(text));
        }
        Err(D::Error::custom(format_args!(
            "`{text}` is not a URL\nhelp: write https://shop.example/docs/v2 or /docs/v2, other characters as %20"
        )))
    }
}

impl JsonSchema for Reference {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Reference".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "uri-reference" })
    }
}

impl Versions {
    fn check(&self, problems: &mut Vec<Diagnostic>) {
        let places = &self.from.0;
        for (at, place) in places.iter().enumerate() {
            if let Some(first) = places[..at].iter().find(|first| first.value == place.value) {
                let problem = Diagnostic::error("conflict", place.span, "this place stands twice")
                    .with_label(first.span, "first here");
                problems.push(problem.with_help("remove one of the two"));
            }
        }
        for (at, (name, version)) in self.known.iter().enumerate() {
            if at == MOST {
                let problem = Diagnostic::error("invalid_value", name.span, "the versions are too many");
                problems.push(problem.with_help(format!("at most {MOST}: remove those that have ended")));
            }
            let same = |(other, _): &&(Spanned<VersionName>, Version)| other.0.eq_ignore_ascii_case(&name.0);
            if let Some((first, _)) = self.known.iter().take(at).find(same) {
                let message = format!("`{first}` and `{name}` are one version: case does not count");
                let problem = Diagnostic::error("conflict", name.span, message);
                problems.push(problem.with_label(first.span, "first here").with_help("rename one of them"));
            }
            if let (Some(deprecated), Some(sunset)) = (&version.deprecated, &version.sunset)
                && sunset.value < deprecated.value
            {
                let message = format!("version `{name}` ends before it is deprecated");
                let problem = Diagnostic::error("invalid_value", sunset.span, message);
                let help = "`sunset` is the same day or a later one (RFC 9745, section 4)";
                problems.push(problem.with_label(deprecated.span, "deprecated here").with_help(help));
            }
        }
        for name in self.default.iter().chain(&self.fallback) {
            self.check_name(name, problems);
        }
        let is_media_type = |place: &Spanned<VersionPlace>| matches!(**place, VersionPlace::MediaType(_));
        if let Some(fallback) = self.fallback.as_ref().filter(|_| places.iter().all(is_media_type)) {
            let message = "`fallback` has no effect: an unknown media type is answered with 406";
            let problem = Diagnostic::error("conflict", fallback.span, message);
            problems.push(problem.with_help("remove it, or add another place to `from`"));
        }
    }

    fn check_name(&self, name: &Spanned<String>, problems: &mut Vec<Diagnostic>) {
        if self.known.get(name.as_str()).is_none() {
            problems.push(self.known.undefined("version", name, name.span));
        }
    }
}

/// Pushes every problem of a gateway's versions and of the routes that name them.
pub(crate) fn check(gateway: &Gateway, problems: &mut Vec<Diagnostic>) {
    if let Some(versions) = &gateway.versions {
        versions.check(problems);
    }
    for (_, route) in &gateway.routes {
        check_match(gateway.versions.as_ref(), &route.matches.map, problems);
    }
}

fn check_match(versions: Option<&Versions>, map: &MatchMap, problems: &mut Vec<Diagnostic>) {
    for name in &map.version.0 {
        match versions {
            Some(versions) => versions.check_name(name, problems),
            None => {
                let problem =
                    Diagnostic::error("undefined", name.span, "the gateway of this route has no versions");
                problems.push(problem.with_help("give the gateway `versions`, or test a header or the path"));
            }
        }
    }
    for inner in map.any.iter().chain(&map.all).chain(map.not.as_deref()) {
        check_match(versions, inner, problems);
    }
}
