//! `narthex status`: asks a running gateway's admin listener.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use clap::Args;

use super::{Failure, Outcome, say};

/// Bytes of a status.
const ANSWER_BYTES: u64 = 64 * 1024 * 1024;

#[derive(Debug, Args)]
pub struct Status {
    /// The admin listener.
    #[arg(long, default_value = "127.0.0.1:9900", value_name = "ADDRESS")]
    admin: String,
    /// Its bearer token.
    #[arg(long, env = "NARTHEX_ADMIN_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

impl Status {
    pub fn run(self) -> Outcome {
        say(serde_json::to_string_pretty(&status(&self.admin, self.token.as_deref())?)?)
    }
}

/// The status of the gateway whose admin listener is at `admin`.
pub(super) fn status(admin: &str, token: Option<&str>) -> Result<serde_json::Value, Failure> {
    let answer = ask(admin, token).map_err(|error| {
        Failure::Failed(format!(
            "no gateway answers on {admin}: {error}\nhelp: is `admin:` in its configuration, and at this address (--admin)?"
        ))
    })?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).unwrap_or_default();
    if status != "200" {
        return Err(Failure::Failed(format!("the gateway answered {status}: {}", body.trim())));
    }
    Ok(serde_json::from_str(body)?)
}

fn ask(admin: &str, token: Option<&str>) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(admin)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    // HTTP/1.0: the answer is neither chunked nor kept alive.
    write!(stream, "GET /status HTTP/1.0\r\nHost: {admin}\r\n{token}\r\n")?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES).read_to_string(&mut answer)?;
    Ok(answer)
}
