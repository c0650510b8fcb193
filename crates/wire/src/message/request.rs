//! [`RequestHead`]: a request without its body. The block that was read is its arena; path, query and
//! authority are ranges of it, edits append. It is never copied.

use ascii::{AsAsciiStr, AsciiStr};

use super::{Connection, Extras, keep_surplus, store_value};
use crate::error::{InvalidTarget, InvalidValue};
use crate::h1::target;
use crate::head::{Head, Mark, Span};
use crate::method::{Framing, Method, Scheme, Version};

/// Which of the four forms the request target has (RFC 9112 section 3.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Form {
    /// `/path?query`; also what an absolute-form target is once its authority is taken out.
    #[default]
    Origin,
    /// `*`, for `OPTIONS`.
    Asterisk,
    /// `host:port`, for `CONNECT`.
    Authority,
}

/// The ranges that make up the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Target {
    pub form: Form,
    pub raw: Span,
    pub path: Span,
    pub query: Option<Span>,
    pub authority: Span,
    pub scheme: Option<Scheme>,
}

/// The head of a request.
#[derive(Clone, Debug, Default)]
pub struct RequestHead {
    pub method: Method,
    pub version: Version,
    /// The scheme of the connection that it came in on, set by whoever owns the connection.
    pub scheme: Scheme,
    pub framing: Framing,
    pub connection: Connection,
    /// `Expect: 100-continue`; never from HTTP/1.0.
    pub expect_continue: bool,
    /// `TE: trailers`.
    pub te_trailers: bool,
    pub head: Head,
    pub(crate) target: Target,
    pub(crate) extras: Extras,
}

/// A host name or an IP address, with or without a port: checked once, where it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority(Box<str>);

impl Authority {
    /// # Errors
    /// When it is neither a host name nor an IP address, with or without a port.
    pub fn parse(text: &str) -> Result<Authority, InvalidTarget> {
        if !target::is_authority(text.as_bytes(), false) {
            return Err(InvalidTarget::Authority);
        }
        Ok(Authority(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A point in the history of a [`RequestHead`].
#[derive(Clone, Debug)]
pub struct RequestMark {
    head: Mark,
    method: Method,
    target: Target,
    upgrade: Option<Span>,
    te_trailers: bool,
}

impl RequestHead {
    /// `GET /` without authority and fields, HTTP/1.1.
    pub fn new() -> RequestHead {
        RequestHead::default()
    }

    /// A head that is read into this vector; its contents are dropped, its capacity is kept.
    pub fn with_buffer(buffer: Vec<u8>) -> RequestHead {
        RequestHead { head: Head::with_arena(buffer), ..RequestHead::default() }
    }

    /// Back to [`RequestHead::new`], keeping capacity and scheme.
    pub fn clear(&mut self) {
        self.head.clear();
        self.reset_fields();
    }

    /// Makes this the head of the next request on the connection: the surplus without its first
    /// `consumed` bytes (the body of the request before) becomes the buffer. Edits are dropped.
    pub fn next_request(&mut self, consumed: usize) {
        keep_surplus(&mut self.head, self.extras.surplus, consumed);
        self.reset_fields();
    }

    fn reset_fields(&mut self) {
        self.method = Method::Get;
        self.version = Version::Http11;
        self.framing = Framing::None;
        self.connection = Connection::default();
        self.expect_continue = false;
        self.te_trailers = false;
        self.target = Target::default();
        self.extras = Extras::default();
    }

    /// The buffer that bytes are read into (appended) until the parser says `Complete`; it is the arena
    /// of the head, so nothing may be appended afterwards, and nothing may ever be removed.
    pub fn buffer_mut(&mut self) -> &mut Vec<u8> {
        &mut self.head.arena
    }

    /// Bytes that were read behind the head: the start of the body, or of the next request.
    pub fn surplus(&self) -> &[u8] {
        self.extras.surplus.of(&self.head.arena)
    }

    /// The host and port that the request is for, as sent: from `Host`, an absolute-form target or
    /// `:authority`. Empty when HTTP/1.0 gave none.
    pub fn authority(&self) -> &str {
        self.text(self.target.authority)
    }

    /// The path, beginning with `/`; `*` for `OPTIONS *`; empty for `CONNECT`.
    pub fn path(&self) -> &str {
        match self.target.form {
            Form::Asterisk => "*",
            Form::Authority => "",
            Form::Origin => match self.text(self.target.path) {
                "" => "/",
                path => path,
            },
        }
    }

    /// The query without its `?`; `Some("")` when there is only the `?`.
    pub fn query(&self) -> Option<&str> {
        self.target.query.map(|query| self.text(query))
    }

    /// The target as the client sent it, query and all; edits do not change it.
    pub fn raw_path(&self) -> &str {
        match self.text(self.target.raw) {
            "" => self.path(),
            raw => raw,
        }
    }

    /// The scheme of an absolute-form target; the caller decides whether it may differ from `scheme`.
    pub fn target_scheme(&self) -> Option<Scheme> {
        self.target.scheme
    }

    /// `OPTIONS *`.
    pub fn is_asterisk(&self) -> bool {
        self.target.form == Form::Asterisk
    }

    /// `CONNECT host:port`.
    pub fn is_authority_form(&self) -> bool {
        self.target.form == Form::Authority
    }

    /// The value of `Upgrade`, when `Connection: upgrade` came with it.
    pub fn upgrade(&self) -> Option<&[u8]> {
        self.extras.upgrade.map(|upgrade| upgrade.of(&self.head.arena))
    }

    /// The value of `Trailer`: the names of trailer fields that the client announced.
    pub fn announced_trailers(&self) -> Option<&[u8]> {
        self.extras.trailer.map(|trailer| trailer.of(&self.head.arena))
    }

    /// Whether the client's connection may carry another request (RFC 9112 section 9.3).
    pub fn keep_alive(&self) -> bool {
        match self.version {
            Version::Http10 => self.connection.keep_alive && !self.connection.close,
            _ => !self.connection.close,
        }
    }

    /// Sets method, path and query from an h2 `:path` or any other target in origin-form or `*`; it
    /// also becomes [`RequestHead::raw_path`].
    ///
    /// # Errors
    /// When a character is not allowed, or `*` comes with another method than `OPTIONS`.
    pub fn set_target(&mut self, method: Method, raw: &str) -> Result<(), InvalidTarget> {
        if !self.head.has_room(raw.len()) {
            return Err(InvalidTarget::TooLong);
        }
        let asterisk = raw == "*" && method == Method::Options;
        if !asterisk && (!raw.starts_with('/') || !target::is_target(raw.as_bytes())) {
            return Err(InvalidTarget::Path);
        }
        let span = self.head.store(raw.as_bytes());
        let (path, query) = target::split_query(span, raw.as_bytes());
        let form = if asterisk { Form::Asterisk } else { Form::Origin };
        self.target = Target { form, raw: span, path, query, ..self.target };
        self.method = method;
        Ok(())
    }

    /// Sets method and authority of a `CONNECT`.
    ///
    /// # Errors
    /// When it is not a host and a port.
    pub fn set_connect(&mut self, authority: &str) -> Result<(), InvalidTarget> {
        if !target::is_authority(authority.as_bytes(), true) {
            return Err(InvalidTarget::Authority);
        }
        self.set_authority(authority)?;
        let authority = self.target.authority;
        self.target = Target { form: Form::Authority, raw: authority, authority, ..Target::default() };
        self.method = Method::Connect;
        Ok(())
    }

    /// Sets host and port; sent as `Host` or `:authority`.
    ///
    /// # Errors
    /// When it is neither a host name nor an IP address, with or without a port.
    pub fn set_authority(&mut self, authority: &str) -> Result<(), InvalidTarget> {
        if !target::is_authority(authority.as_bytes(), false) {
            return Err(InvalidTarget::Authority);
        }
        self.target.authority = self.store(authority)?;
        Ok(())
    }

    /// As [`RequestHead::set_authority`], with one that was checked before.
    ///
    /// # Errors
    /// When the head is full.
    pub fn point_to(&mut self, authority: &Authority) -> Result<(), InvalidTarget> {
        self.target.authority = self.store(&authority.0)?;
        Ok(())
    }

    /// Replaces the path.
    ///
    /// # Errors
    /// When it does not begin with `/` or holds `?` or a character that no target may hold.
    pub fn set_path(&mut self, path: &str) -> Result<(), InvalidTarget> {
        let bytes = path.as_bytes();
        if !path.starts_with('/') || bytes.contains(&b'?') || !target::is_target(bytes) {
            return Err(InvalidTarget::Path);
        }
        self.target.path = self.store(path)?;
        self.target.form = Form::Origin;
        Ok(())
    }

    /// Replaces or removes the query; it is given without its `?`.
    ///
    /// # Errors
    /// When it holds a character that no target may hold.
    pub fn set_query(&mut self, query: Option<&str>) -> Result<(), InvalidTarget> {
        self.target.query = match query {
            None => None,
            Some(query) if !target::is_target(query.as_bytes()) => return Err(InvalidTarget::Query),
            Some(query) => Some(self.store(query)?),
        };
        Ok(())
    }

    /// Sets or removes `Upgrade` and, with it, `Connection: upgrade`.
    ///
    /// # Errors
    /// When the value holds a control character.
    pub fn set_upgrade(&mut self, protocol: Option<&[u8]>) -> Result<(), InvalidValue> {
        self.extras.upgrade = protocol.map(|value| store_value(&mut self.head, value)).transpose()?;
        self.connection.upgrade = self.extras.upgrade.is_some();
        Ok(())
    }

    /// This point in time: method, path, query, authority, upgrade, `TE` and fields.
    pub fn mark(&self) -> RequestMark {
        RequestMark {
            head: self.head.mark(),
            method: self.method.clone(),
            target: self.target,
            upgrade: self.extras.upgrade,
            te_trailers: self.te_trailers,
        }
    }

    /// Undoes every edit of what [`RequestHead::mark`] covers.
    pub fn rollback(&mut self, mark: RequestMark) {
        self.head.rollback(mark.head);
        self.method = mark.method;
        self.target = mark.target;
        self.extras.upgrade = mark.upgrade;
        self.te_trailers = mark.te_trailers;
        self.connection.upgrade = mark.upgrade.is_some();
    }

    fn store(&mut self, text: &str) -> Result<Span, InvalidTarget> {
        if !self.head.has_room(text.len()) {
            return Err(InvalidTarget::TooLong);
        }
        Ok(self.head.store(text.as_bytes()))
    }

    /// Invariant: what these spans point at was checked to be ASCII.
    fn text(&self, span: Span) -> &str {
        span.of(&self.head.arena).as_ascii_str().map(AsciiStr::as_str).unwrap_or_default()
    }
}
