//! Where in a request's way a policy stands, and which of its hooks the chain calls.

use std::fmt;

/// The order of policies on the request side; the response side runs in reverse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Bans, IP lists, early limits. Of a gateway: before routing, so that a 404 passes through it too.
    Admit,
    /// Cross-origin rules. Of a gateway: before routing.
    Cors,
    /// Finds out who asks.
    Authenticate,
    /// Decides whether they may.
    Authorize,
    /// Rate limits and quotas.
    Limit,
    /// Looks into the request: schemas, attacks.
    Inspect,
    /// Changes the request or the response.
    Transform,
    /// Answers in the destination's stead: cache, mock.
    Serve,
}

impl Stage {
    pub const ALL: [Self; 8] = [
        Self::Admit,
        Self::Cors,
        Self::Authenticate,
        Self::Authorize,
        Self::Limit,
        Self::Inspect,
        Self::Transform,
        Self::Serve,
    ];

    /// The word used in configuration (`stage: admit`), metrics and documentation.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admit => "admit",
            Self::Cors => "cors",
            Self::Authenticate => "authenticate",
            Self::Authorize => "authorize",
            Self::Limit => "limit",
            Self::Inspect => "inspect",
            Self::Transform => "transform",
            Self::Serve => "serve",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.as_str() == text)
    }

    /// A gateway's policies of these stages run before a route is chosen.
    pub const fn runs_before_routing(self) -> bool {
        matches!(self, Self::Admit | Self::Cors)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The hooks that a policy implements; the chain calls no others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hooks(u8);

impl Hooks {
    pub const NONE: Self = Self(0);
    pub const REQUEST: Self = Self(1);
    pub const REQUEST_BODY: Self = Self(1 << 1);
    pub const FAILURE: Self = Self(1 << 2);
    pub const RESPONSE: Self = Self(1 << 3);
    pub const BODY_STEP: Self = Self(1 << 4);
    pub const END: Self = Self(1 << 5);

    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}
