//! Addresses as people write them: `:443`, `127.0.0.1:8081`, `unix:/run/a.sock`, `http://users:8080`. Only syntax, no look-ups.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de::Error};
use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// An address to listen on: `:443` (every address of the machine), `127.0.0.1:8081`, `[::1]:8081`. Port 0 lets the
/// system choose one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// `None` for every address of the machine.
    pub ip: Option<IpAddr>,
    /// The port.
    pub port: u16,
}

/// How a service is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// HTTP/1.1 on plain TCP.
    Http,
    /// Raw bytes on plain TCP, for listeners that pass connections through; the port is always given.
    Tcp,
    /// TLS; HTTP/1.1 unless the service's `protocol` says otherwise.
    Https,
    /// HTTP/2 on plain TCP, with prior knowledge (`h2c://`, `grpc://`).
    H2c,
    /// HTTP/2 on TLS (`grpcs://`).
    H2,
}

/// Where a service is: scheme, host and port, or a Unix socket; no path, query or user.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServiceUrl {
    /// How it is spoken to.
    pub scheme: Scheme,
    /// A DNS name in lower case or an IP address (version 6 without brackets).
    pub host: String,
    /// The port; default 80 or, on TLS, 443.
    pub port: u16,
    /// The path of the Unix socket, as in `http+unix:/run/app.sock`; its host is `localhost`.
    pub socket: Option<String>,
}

impl ServiceUrl {
    /// Whether the host is an IP address, which needs no look-up.
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// `host:port`, version 6 addresses in brackets; `localhost` on a Unix socket.
    pub fn authority(&self) -> String {
        if self.socket.is_some() {
            return self.host.clone();
        }
        match self.host.parse::<Ipv6Addr>() {
            Ok(ip) => format!("[{ip}]:{}", self.port),
            Err(_) => format!("{}:{}", self.host, self.port),
        }
    }
}

/// Where a listener listens: by TCP, or on a Unix socket, as in `unix:/run/narthex.sock`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// An IP address, or every one of the machine.
    Tcp(HostPort),
    /// The absolute path of a Unix socket.
    Unix(String),
}

/// The longest path of a Unix socket that the kernel takes.
const PATH_BYTES: usize = 107;

/// An absolute path that the kernel takes as one of a Unix socket.
fn socket_path(path: &str) -> Result<String, String> {
    let is_plain = path.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'));
    if !path.starts_with('/') || path.ends_with('/') || !is_plain {
        return Err(format!(
            "`{path}` is no absolute path of a socket\nhelp: write it as in unix:/run/app.sock, without spaces and quotes"
        ));
    }
    if path.len() > PATH_BYTES {
        return Err(format!("the path has {} bytes; a socket's may have {PATH_BYTES}", path.len()));
    }
    Ok(path.to_owned())
}

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some(path) => socket_path(path).map(Self::Unix),
            None => text.parse().map(Self::Tcp),
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{path}"),
        }
    }
}

const LISTEN_HELP: &str = "\nhelp: write `:443` for every address of this machine, or an IP address and a port as in \
                           127.0.0.1:8081 or [::1]:8081";

impl FromStr for HostPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, port) =
            text.rsplit_once(':').ok_or_else(|| format!("`{text}` has no port{LISTEN_HELP}"))?;
        let port = number(port).ok_or_else(|| format!("`{port}` is not a port (0 to 65535){LISTEN_HELP}"))?;
        let ip = match host {
            "" | "*" => None,
            "localhost" => {
                return Err(format!(
                    "`localhost` may be two addresses\nhelp: write 127.0.0.1:{port} or [::1]:{port}"
                ));
            }
            _ => {
                let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
                let ip = bare.parse().map_err(|_| format!("`{host}` is not an IP address{LISTEN_HELP}"))?;
                if matches!(ip, IpAddr::V6(_)) && bare == host {
                    return Err(format!("an IPv6 address needs brackets\nhelp: write [{ip}]:{port}"));
                }
                Some(ip)
            }
        };
        Ok(HostPort { ip, port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip {
            None => write!(f, ":{}", self.port),
            Some(IpAddr::V4(ip)) => write!(f, "{ip}:{}", self.port),
            Some(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
        }
    }
}

fn number(text: &str) -> Option<u16> {
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

impl FromStr for ServiceUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((scheme, rest)) = text.split_once("+unix:") {
            return on_unix_socket(scheme, rest);
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(format!(
                "`{text}` has no scheme\nhelp: write http://{text}, or https://, h2c://, grpc://, grpcs://"
            ));
        };
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "tcp" => Scheme::Tcp,
            "https" => Scheme::Https,
            "h2c" | "grpc" => Scheme::H2c,
            "grpcs" => Scheme::H2,
            _ => {
                return Err(format!(
                    "the scheme `{scheme}` is not known\nhelp: there are http, https, h2c, grpc, grpcs, tcp"
                ));
            }
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        if authority.contains('@') {
            return Err("a user or password does not belong into a service's url\nhelp: set the header with a policy, \
                        the secret by `{ env: … }`"
                .into());
        }
        if !matches!(tail, "" | "/") {
            return Err(format!(
                "the path `{tail}` does not belong into a service's url\nhelp: leave it out and use the route's \
                 `rewrite:` to put it in front of the path"
            ));
        }
        let (host, port) = host_and_port(authority, scheme)?;
        Ok(ServiceUrl { scheme, host, port, socket: None })
    }
}

fn on_unix_socket(scheme: &str, rest: &str) -> Result<ServiceUrl, String> {
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "http" => Scheme::Http,
        "tcp" => Scheme::Tcp,
        "h2c" | "grpc" => Scheme::H2c,
        "https" | "grpcs" => {
            return Err("TLS is not spoken on a Unix socket\nhelp: nobody else can listen there: write http+unix: or \
                        h2c+unix:"
                .into());
        }
        _ => {
            return Err(format!(
                "the scheme `{scheme}+unix` is not known\nhelp: there are http+unix, h2c+unix, grpc+unix, tcp+unix"
            ));
        }
    };
    // With an empty authority or without one.
    let path = rest.strip_prefix("//").unwrap_or(rest);
    let socket = socket_path(path).map_err(|error| error.replace("as in unix:", "as in http+unix:"))?;
    Ok(ServiceUrl { scheme, host: "localhost".into(), port: 80, socket: Some(socket) })
}

fn host_and_port(authority: &str, scheme: Scheme) -> Result<(String, u16), String> {
    let default = if matches!(scheme, Scheme::Https | Scheme::H2) { 443 } else { 80 };
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (ip, rest) = rest.split_once(']').ok_or("the bracket of the IPv6 address is not closed")?;
        let ip: Ipv6Addr = ip.parse().map_err(|_| format!("`{ip}` is not an IPv6 address"))?;
        let port = match rest {
            "" => None,
            rest => {
                Some(rest.strip_prefix(':').ok_or_else(|| format!("`{rest}` cannot follow the address"))?)
            }
        };
        (ip.to_string(), port)
    } else {
        match authority.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err(format!("an IPv6 address needs brackets\nhelp: write [{authority}]"));
            }
            Some((host, port)) => (host.to_ascii_lowercase(), Some(port)),
            None => (authority.to_ascii_lowercase(), None),
        }
    };
    let port = match port {
        None if scheme == Scheme::Tcp => {
            return Err(format!("a tcp:// url needs a port\nhelp: write tcp://{authority}:5432"));
        }
        None => default,
        Some(port) => number(port)
            .filter(|port| *port != 0)
            .ok_or_else(|| format!("`{port}` is not a port\nhelp: write a number from 1 to 65535"))?,
    };
    if host.contains(':') || is_host(&host) {
        return Ok((host, port));
    }
    Err(if host.is_empty() { "the host is missing".into() } else { format!("`{host}` is not a host name") })
}

/// A DNS name (underscores allowed, as service names of containers have them) or an IPv4 address.
pub(crate) fn is_host(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    !text.is_empty() && text.len() <= 253 && text.strip_suffix('.').unwrap_or(text).split('.').all(label)
}

impl fmt::Display for ServiceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Tcp => "tcp",
            Scheme::Https => "https",
            Scheme::H2c => "h2c",
            Scheme::H2 => "grpcs",
        };
        match &self.socket {
            Some(path) => write!(f, "{scheme}+unix:{path}"),
            None => write!(f, "{scheme}://{}", self.authority()),
        }
    }
}

macro_rules! by_text {
    ($($kind:ident, $description:literal, $pattern:literal;)*) => {
        $(impl<'de> Deserialize<'de> for $kind {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
        impl serde::Serialize for $kind {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl JsonSchema for $kind {
            fn schema_name() -> Cow<'static, str> {
                stringify!($kind).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "description": $description, "pattern": $pattern })
            }
        })*
    };
}

by_text! {
    ListenAddress, "An address to listen on: `:443`, `127.0.0.1:8081`, `[::1]:8081`, `unix:/run/narthex.sock`.", "^((\\*|[0-9.]+|\\[[0-9a-fA-F:.]+\\])?:[0-9]{1,5}|unix:/.+)$";
    HostPort, "An address to listen on: `:443`, `127.0.0.1:8081`, `[::1]:8081`.", "^(\\*|[0-9.]+|\\[[0-9a-fA-F:.]+\\])?:[0-9]{1,5}$";
    ServiceUrl, "Scheme, host and port: `http://users:8080`, `https://…`, `h2c://…`, `grpc://…`, `grpcs://…`, `tcp://…`; or a Unix socket: `http+unix:/run/app.sock`.", "^((http|https|h2c|grpc|grpcs|tcp)://[^/?#@]+/?|(http|h2c|grpc|tcp)\\+unix:(//)?/.+)$";
}
