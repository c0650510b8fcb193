//! What `Router::build` finds wrong. Each says which route, the cause and the fix; the caller adds the place.

/// One problem. Routes are indices into the list given to `Router::build`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("the route `{name}` stands twice: give one of them another name")]
    DuplicateName { route: usize, first: usize, name: String },
    #[error("the routes `{a_name}` and `{b_name}` match exactly the same requests{}: remove one, or say which precedes with `over: [..]`", example(.witness))]
    Duplicate { a: usize, b: usize, a_name: String, b_name: String, witness: Option<String> },
    #[error("the routes `{a_name}` and `{b_name}` tie: both may match one request{}, and neither is more specific: {hint}", example(.witness))]
    Tie { a: usize, b: usize, a_name: String, b_name: String, witness: Option<String>, hint: String },
    #[error(
        "the route `{name}` is never reached: `{by_name}` comes first and takes every request it could match; {hint}"
    )]
    Unreachable { route: usize, by: usize, name: String, by_name: String, hint: String },
    #[error(
        "the route `{name}` is never reached: {by_names} come first and together serve every version that it could: remove it, or take a version away from the others"
    )]
    UnreachableVersions { route: usize, by: usize, name: String, by_names: String },
    #[error("the route `{name}` can match no request: {message}")]
    Contradiction { route: usize, name: String, message: String },
    #[error("{message}")]
    BadTemplate { route: usize, message: String, offset: usize },
    #[error("{message}")]
    BadRegex { route: usize, message: String },
    #[error("{message}")]
    BadMethod { route: usize, message: String },
    #[error("{message}")]
    BadHost { route: usize, message: String },
    #[error("`{name}` is no header name: letters, digits and `-`")]
    BadHeader { route: usize, name: String },
    #[error("`over` names `{over}`, which is no other route of this gateway{}", .near.as_ref().map(|n| format!(": did you mean `{n}`?")).unwrap_or_default())]
    UnknownOver { route: usize, over: String, near: Option<String> },
    #[error(
        "`over: [{over}]` does nothing: the routes never tie, so their order is decided by how specific they are; remove it"
    )]
    UselessOver { route: usize, over: String },
    #[error("`over` goes round in a circle: {circle}")]
    OverCircle { route: usize, circle: String },
    #[error(
        "too many routes share the path of `{name}` to compare them all: give them an exact header or query value that tells them apart"
    )]
    TooMany { route: usize, name: String },
    #[error("{count} more problems of this kind are not shown")]
    More { route: usize, count: usize },
}

fn example(witness: &Option<String>) -> String {
    witness.as_ref().map(|w| format!(" (for example {w})")).unwrap_or_default()
}

impl Problem {
    /// The route to point at.
    pub fn route(&self) -> usize {
        match self {
            Problem::Duplicate { a, .. } | Problem::Tie { a, .. } => *a,
            Problem::DuplicateName { route, .. }
            | Problem::Unreachable { route, .. }
            | Problem::UnreachableVersions { route, .. }
            | Problem::Contradiction { route, .. }
            | Problem::BadTemplate { route, .. }
            | Problem::BadRegex { route, .. }
            | Problem::BadMethod { route, .. }
            | Problem::BadHost { route, .. }
            | Problem::BadHeader { route, .. }
            | Problem::UnknownOver { route, .. }
            | Problem::UselessOver { route, .. }
            | Problem::OverCircle { route, .. }
            | Problem::TooMany { route, .. }
            | Problem::More { route, .. } => *route,
        }
    }

    /// The other route concerned, to point at second.
    pub fn other(&self) -> Option<usize> {
        match self {
            Problem::Duplicate { b, .. } | Problem::Tie { b, .. } => Some(*b),
            Problem::Unreachable { by, .. } | Problem::UnreachableVersions { by, .. } => Some(*by),
            Problem::DuplicateName { first, .. } => Some(*first),
            _ => None,
        }
    }
}
