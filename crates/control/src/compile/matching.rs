//! `match` as written to the router's own form.

use std::sync::Arc;

use narthex_config as config;
use narthex_document::{Diagnostic, Span, Spanned};
use narthex_router::{ClientType, Match, PathPattern, ValueTest, VersionSet};

use super::Work;

/// `None`: problems were pushed. `versions`: the names of the gateway's.
pub(super) fn compile(
    work: &mut Work<'_>,
    map: &config::MatchMap,
    versions: Option<&Arc<[Box<str>]>>,
) -> Option<Match> {
    let path = match &map.path {
        Some(path) => Some(pattern(work, path)?),
        None => None,
    };
    let mut nested = |maps: &[config::MatchMap]| -> Option<Vec<Match>> {
        maps.iter().map(|map| compile(work, map, versions)).collect()
    };
    let (any, all) = (nested(&map.any)?, nested(&map.all)?);
    let not = match &map.not {
        Some(not) => vec![compile(work, not, versions)?],
        None => Vec::new(),
    };
    Some(Match {
        methods: map
            .method
            .iter()
            .flat_map(|methods| methods.0.iter().map(|method| method.0.clone()))
            .collect(),
        path,
        hosts: map.host.0.iter().map(|host| host.to_string()).collect(),
        headers: tests(&map.headers),
        query: tests(&map.query),
        client: map.client.0.iter().map(|client| client_type(**client)).collect(),
        versions: versions.filter(|_| !map.version.0.is_empty()).map(|all| {
            VersionSet::new(all, |name| map.version.0.iter().any(|wanted| wanted.as_str() == name))
        }),
        any,
        all,
        not,
    })
}

/// A path, a template, or `~` and a regular expression.
pub(super) fn pattern(work: &mut Work<'_>, path: &Spanned<String>) -> Option<PathPattern> {
    if let Some(expression) = path.strip_prefix('~') {
        return Some(PathPattern::Regex(expression.trim_start().to_owned()));
    }
    match PathPattern::parse(path) {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            let span = within(path.span, error.offset, path.len());
            let (message, help) = cause_and_fix(&error.message);
            work.problems.push(match help {
                Some(help) => Diagnostic::error("bad_path", span, message).with_help(help),
                None => Diagnostic::error("bad_path", span, message),
            });
            None
        }
    }
}

/// Points into a scalar, where its text stands in the file as it is (quotes shift it by one).
fn within(span: Span, offset: usize, length: usize) -> Span {
    let written = (span.end - span.start) as usize;
    let quotes = match written.checked_sub(length) {
        Some(0) => 0,
        Some(2) => 1,
        _ => return span,
    };
    let at = span.start + (offset.min(length) + quotes) as u32;
    Span { start: at, end: span.end.max(at), ..span }
}

/// The router says "cause: fix" in one sentence; diagnostics show them apart.
pub(super) fn cause_and_fix(message: &str) -> (String, Option<String>) {
    // A colon inside backticks belongs to what is quoted.
    let is_outside = |at: &usize| message[..*at].matches('`').count().is_multiple_of(2);
    match message.rmatch_indices(": ").map(|(at, _)| at).find(is_outside) {
        Some(at) => (message[..at].to_owned(), Some(message[at + 2..].to_owned())),
        None => (message.to_owned(), None),
    }
}

fn tests(table: &narthex_document::Table<String, Spanned<config::Predicate>>) -> Vec<(String, ValueTest)> {
    let test = |predicate: &config::Predicate| match predicate {
        config::Predicate::Exact(text) => ValueTest::Exact(text.clone()),
        config::Predicate::Present => ValueTest::Present,
        config::Predicate::Absent => ValueTest::Absent,
        config::Predicate::Regex(text) => ValueTest::Regex(text.clone()),
        config::Predicate::Prefix(text) => ValueTest::Prefix(text.clone()),
    };
    table.iter().map(|(name, predicate)| (name.to_string(), test(predicate))).collect()
}

fn client_type(kind: config::ClientKind) -> ClientType {
    match kind {
        config::ClientKind::Mobile => ClientType::Mobile,
        config::ClientKind::Tablet => ClientType::Tablet,
        config::ClientKind::Desktop => ClientType::Desktop,
        config::ClientKind::Bot => ClientType::Bot,
    }
}
