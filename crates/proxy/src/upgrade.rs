//! Changes of protocol: which a request may ask for, and whether the service's agreement is one. In HTTP/1.1 they are
//! `Upgrade` and 101, in HTTP/2 extended CONNECT and 2xx (RFC 8441); here both look like the former. Moves no bytes.

use narthex_contract::{Detail, Reply, core};
use narthex_wire::{Framing, Method, Name, RequestHead, Version, websocket};

use crate::answer::{Answer, refusal};
use crate::exchange::Run;
use crate::problem::put;
use crate::snapshot::Upgrades;
use crate::worker::Worker;

const WEBSOCKET: &[u8] = b"websocket";

fn key_name() -> Name {
    Name::parse("Sec-WebSocket-Key").expect("it is a token")
}

fn accept_name() -> Name {
    Name::parse("Sec-WebSocket-Accept").expect("it is a token")
}

/// Before the request goes to a service: leaves the upgrade that it may ask for, and no other. `Some`: a refusal.
///
/// What HTTP/1.1 asks for by `Upgrade` may be ignored (RFC 9110 7.8), and is, as `Upgrade: h2c` stands in ordinary
/// requests; a WebSocket's handshake has no other meaning, nor has an extended CONNECT.
pub fn settle(run: &mut Run, worker: &Worker, allowed: Upgrades) -> Option<Reply> {
    let request = &mut run.exchange.request;
    let asked = request.upgrade()?;
    let is_websocket =
        asked.split(|byte| *byte == b',').any(|one| one.trim_ascii().eq_ignore_ascii_case(WEBSOCKET));
    let is_extended_connect = request.version == Version::Http2;
    if is_extended_connect && !is_websocket {
        return Some(refused("unknown_protocol"));
    }
    let is_handshake = is_websocket && request.method == Method::Get && request.framing == Framing::None;
    if is_handshake && !allowed.websocket {
        return Some(refused("websocket"));
    }
    let stored = request.set_upgrade(is_handshake.then_some(WEBSOCKET));
    debug_assert!(stored.is_ok(), "it is a token");
    if !is_handshake {
        return None;
    }
    if is_extended_connect {
        let mut random = [0; 16];
        random[..8].copy_from_slice(&worker.random().to_be_bytes());
        random[8..].copy_from_slice(&worker.random().to_be_bytes());
        put(&mut request.head, &key_name(), websocket::make_key(random).as_bytes());
        return None;
    }
    (!has_key(request)).then(|| Reply::problem_with(core::BAD_REQUEST, Detail::client("websocket_key")))
}

fn refused(what: &'static str) -> Reply {
    Reply::problem_with(core::UPGRADE_REFUSED, Detail::client(what))
}

/// Exactly one key, and a valid one (RFC 6455 4.2.1).
fn has_key(request: &RequestHead) -> bool {
    let name = key_name();
    let mut keys = request.head.get_all(&name);
    let first = keys.next();
    first.is_some_and(websocket::is_key) && keys.next().is_none()
}

/// The service has answered 101. `Err`: it may not, or not so.
pub fn check(run: &mut Run) -> Result<(), &'static str> {
    let request = &run.exchange.request;
    let Some(asked) = request.upgrade() else { return Err("101 without an upgrade") };
    if !run.response.upgrade().is_some_and(|given| given.eq_ignore_ascii_case(asked)) {
        return Err("101 to another protocol than was asked for");
    }
    let Some(key) = request.head.get(&key_name()) else { return Ok(()) };
    let (name, accept) = (accept_name(), websocket::accept_of(key));
    if run.response.version == Version::Http2 {
        // Of a client on HTTP/1.1 the service never saw the key.
        put(&mut run.response.head, &name, accept.as_bytes());
    } else if request.version == Version::Http2
        && run.response.head.get(&name).is_none_or(|given| given != accept.as_bytes())
    {
        // The key was the gateway's: nobody else can check it.
        return Err("101 with a wrong `Sec-WebSocket-Accept`");
    }
    Ok(())
}

/// To an extended CONNECT each 2xx says that the tunnel is there: an ordinary one needs another status.
pub fn refuse_success(run: &mut Run, answer: &Answer) -> Option<Answer> {
    let request = &run.exchange.request;
    let is_extended_connect = request.version == Version::Http2 && request.upgrade().is_some();
    if !is_extended_connect || !(200..300).contains(&run.response.status) || matches!(answer, Answer::Tunnel)
    {
        return None;
    }
    let detail = Detail::operator(format!("answered with {} and no WebSocket", run.response.status));
    Some(refusal(run, core::UPGRADE_REFUSED, detail))
}
