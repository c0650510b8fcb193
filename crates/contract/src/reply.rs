//! Answers that a policy or a destination makes itself, and the two kinds of text that go with a refusal.

use std::borrow::Cow;

use bytes::Bytes;
use narthex_wire::{Name, ResponseHead};

use crate::{Body, Reason};

/// Text that a client may read. Never holds addresses, names of services, or a library's error text.
#[derive(Debug, Clone)]
pub struct ClientText(pub Cow<'static, str>);

/// Text for the operator: log and `explain` only.
#[derive(Debug, Clone)]
pub struct OperatorText(pub Cow<'static, str>);

/// What a refusal says beside its reason.
#[derive(Debug, Clone, Default)]
pub struct Detail {
    pub client: Option<ClientText>,
    pub operator: Option<OperatorText>,
    /// Fields of the answer: `WWW-Authenticate`, `Retry-After`, `Allow`.
    pub fields: Vec<(Name, Vec<u8>)>,
}

impl Detail {
    pub fn operator(text: impl Into<Cow<'static, str>>) -> Self {
        Self { operator: Some(OperatorText(text.into())), ..Self::default() }
    }

    pub fn client(text: impl Into<Cow<'static, str>>) -> Self {
        Self { client: Some(ClientText(text.into())), ..Self::default() }
    }

    #[must_use]
    pub fn field(mut self, name: Name, value: impl Into<Vec<u8>>) -> Self {
        self.fields.push((name, value.into()));
        self
    }
}

/// A full answer.
#[derive(Debug)]
pub struct Response {
    pub head: ResponseHead,
    pub body: Body,
}

impl Response {
    pub fn new(status: u16, body: impl Into<Bytes>) -> Self {
        let bytes: Bytes = body.into();
        let body = if bytes.is_empty() { Body::Empty } else { Body::Bytes(bytes) };
        Self { head: ResponseHead::new(status), body }
    }
}

/// A refusal, or a full answer (cache hit, preflight, redirect).
#[derive(Debug)]
pub enum Reply {
    Problem { reason: Reason, detail: Box<Detail> },
    Response(Box<Response>),
}

impl Reply {
    pub fn problem(reason: Reason) -> Self {
        Self::Problem { reason, detail: Box::default() }
    }

    pub fn problem_with(reason: Reason, detail: Detail) -> Self {
        Self::Problem { reason, detail: Box::new(detail) }
    }

    /// The status that the client will see.
    pub fn status(&self) -> u16 {
        match self {
            Self::Problem { reason, .. } => reason.status(),
            Self::Response(response) => response.head.status,
        }
    }
}

impl From<Reason> for Reply {
    fn from(reason: Reason) -> Self {
        Self::problem(reason)
    }
}
