//! The workloads: what each asks for, with which program, over which protocol, and how its answers are counted.
//! An answer that is not a success is an error: a gateway that fails is cheap.

use std::fs;
use std::process::Command;

use anyhow::{Context, bail, ensure};

use super::lineups::Lineup;
use super::process::{pinned, scratch};
use super::setup::{Candidate, LOAD, tool};
use crate::needs::{self, Need};
use crate::shell::{output, which};

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Workload {
    Get1k,
    Get64k,
    Post4k,
    Http2,
    NewConnection,
    Tls,
    NewTlsConnection,
    WebSocket,
    Grpc,
    Guarded,
}

/// A workload, the word for it on the command line, its title, who runs it, and what a reader must know beside.
pub const WORKLOADS: [(Workload, &str, &str, Lineup, &str); 10] = [
    (Workload::Get1k, "get1k", "GET 1 KiB", Lineup::Plain, ""),
    (Workload::Get64k, "get64k", "GET 64 KiB", Lineup::Plain, ""),
    (Workload::Post4k, "post4k", "POST 4 KiB", Lineup::Plain, ""),
    (Workload::Http2, "h2", "HTTP/2 GET 1 KiB", Lineup::Plain, ""),
    (Workload::NewConnection, "connect", "GET 1 KiB, a connection each", Lineup::Plain, ""),
    (
        Workload::Tls,
        "tls-get1k",
        "TLS GET 1 KiB",
        Lineup::Tls,
        "TLS 1.3 to the client, kept connections, plain HTTP to the service; AES-128-GCM, X25519, an ECDSA P-256 \
         certificate: the client offers nothing else.",
    ),
    (
        Workload::NewTlsConnection,
        "tls-connect",
        "TLS GET 1 KiB, a connection each",
        Lineup::Tls,
        "As *TLS GET 1 KiB*, with a full handshake for each request: the gateways send tickets as they do by default, the client \
         never takes a session up again.",
    ),
    (
        Workload::WebSocket,
        "ws-echo",
        "WebSocket, 1 KiB messages echoed",
        Lineup::WebSocket,
        "64 connections with one message in flight each; a request is a message and its echo.",
    ),
    (
        Workload::Grpc,
        "grpc",
        "gRPC unary, 1 KiB messages",
        Lineup::Grpc,
        "HTTP/2 without TLS on both sides, 8 connections with 16 calls in flight each, 1 KiB there and back.",
    ),
    (
        Workload::Guarded,
        "guarded",
        "GET 1 KiB, guarded",
        Lineup::Guarded,
        "narthex with active health checks, a circuit breaker, retries with a budget and the ejection of outliers, which \
         account for each request. `bare` is narthex without them; the others are as in *GET 1 KiB*.",
    ),
];

/// A gRPC message: five bytes of prefix and 1 KiB.
const MESSAGE: usize = 5 + 1024;

const POST: &str = "wrk.method = \"POST\"\nwrk.body = string.rep(\"x\", 4096)\n\
                    wrk.headers[\"Content-Type\"] = \"application/octet-stream\"\n";

/// What a client of OpenSSL's offers, in place of what the machine's own configuration says.
const OPENSSL: &str = "openssl_conf = bench\n[bench]\nssl_conf = modules\n[modules]\nsystem_default = tls\n[tls]\n\
                       MinProtocol = TLSv1.3\nCiphersuites = TLS_AES_128_GCM_SHA256\nGroups = X25519\n";

const NEEDS: [Need; 2] =
    [("wrk", "wrk", "load of HTTP/1.1"), ("h2load", "nghttp2-client", "load of HTTP/2 and gRPC")];

/// Makes sure that the load programs are there and writes what they read.
pub fn prepare() -> anyhow::Result<()> {
    needs::install(&NEEDS)?;
    let folder = scratch()?;
    fs::write(folder.join("post.lua"), POST)?;
    fs::write(folder.join("openssl.cnf"), OPENSSL)?;
    let mut message = vec![b'm'; MESSAGE];
    // Not compressed, 1024 bytes.
    message[..5].copy_from_slice(&[0, 0, 0, 4, 0]);
    Ok(fs::write(folder.join("message.grpc"), message)?)
}

/// Where the candidate is asked, if it speaks the workload's protocol.
pub fn port(candidate: &Candidate, workload: Workload) -> Option<u16> {
    match workload {
        Workload::Http2 => candidate.h2_port,
        // The relay connects to the service for each client: that is no floor for a gateway with a pool.
        Workload::NewConnection if candidate.name == "relay" => None,
        _ => Some(candidate.port),
    }
}

/// One second of load; how many requests were answered. An answer that is not a success is an error.
pub fn load(port: u16, workload: Workload) -> anyhow::Result<u64> {
    match workload {
        Workload::Http2 => h2load(port, &[]),
        Workload::Grpc => grpc(port),
        Workload::WebSocket => own("messages", port, "/svc57/echo", 64),
        Workload::NewTlsConnection => own("handshakes", port, "/svc57/1k", 64),
        _ => wrk(port, workload),
    }
}

/// A load program of the crate `benches`, which ends with an error of its own.
fn own(program: &str, port: u16, path: &str, connections: u32) -> anyhow::Result<u64> {
    let mut command = pinned(LOAD, &tool(program));
    let text = output(command.args([&port.to_string(), path, &connections.to_string(), "1"]))?;
    let done = text.trim().parse().with_context(|| format!("{program} says `{}`", text.trim()))?;
    ensure!(done > 0, "{program}: no request was answered");
    Ok(done)
}

/// Calls whose failure is an HTTP answer of 200: the bytes that came back tell how many had a message.
fn grpc(port: u16) -> anyhow::Result<u64> {
    let message = scratch()?.join("message.grpc");
    let body = message.to_string_lossy();
    h2load(port, &["-d", &body, "-H", "content-type: application/grpc", "-H", "te: trailers"])
}

fn h2load(port: u16, arguments: &[&str]) -> anyhow::Result<u64> {
    let mut command = pinned(LOAD, &which("h2load").context("h2load is missing")?);
    command.args(["-t1", "-c8", "-m16", "-D1"]).args(arguments);
    let text = output(command.arg(format!("http://127.0.0.1:{port}/svc57/1k")))?;
    let find = |start: &str| text.lines().find(|line| line.starts_with(start));
    let line = find("requests:").context("h2load says nothing")?;
    let number = |word: &str| {
        let part = line.split(',').find(|part| part.ends_with(word));
        part.and_then(|part| part.split_whitespace().next()?.parse::<u64>().ok())
    };
    let (done, failed) = (number(" succeeded").unwrap_or(0), number(" failed").unwrap_or(0));
    if done == 0 || failed > done / 1000 {
        bail!("h2load: {line}");
    }
    // `traffic: 10.2MB (10695876) total, ... (411380) headers (space savings 54.05%), 9.45MB (9909270) data`
    let traffic = find("traffic:").context("h2load says nothing of bytes")?;
    let bytes = traffic.rsplit_once('(').and_then(|(_, end)| end.strip_suffix(") data")?.parse::<u64>().ok());
    ensure!(bytes.is_some_and(|bytes| bytes >= done * 1024), "answers without their body: {line}; {traffic}");
    Ok(done)
}

fn wrk(port: u16, workload: Workload) -> anyhow::Result<u64> {
    let mut command = pinned(LOAD, &which("wrk").context("wrk is missing")?);
    command.args(["-t1", "-c64", "-d1s"]);
    let mut base = format!("http://127.0.0.1:{port}");
    let path = match workload {
        Workload::Get64k => "64k",
        Workload::Post4k => {
            command.arg("-s").arg(scratch()?.join("post.lua"));
            "echo"
        }
        Workload::NewConnection => {
            command.args(["-H", "Connection: close"]);
            "1k"
        }
        Workload::Tls => {
            base = format!("https://localhost:{port}");
            command.env("OPENSSL_CONF", scratch()?.join("openssl.cnf"));
            "1k"
        }
        _ => "1k",
    };
    counted(&mut command, &format!("{base}/svc57/{path}"))
}

fn counted(command: &mut Command, url: &str) -> anyhow::Result<u64> {
    let text = output(command.arg(url))?;
    let line = text.lines().find(|line| line.contains(" requests in ")).context("wrk says nothing")?;
    let done: u64 = line.split_whitespace().next().unwrap_or_default().parse()?;
    let fault = text.lines().find(|line| line.contains("Non-2xx") || fatal(line));
    if let Some(fault) = fault.or((done == 0).then_some("no request was answered")) {
        bail!("wrk: {}", fault.trim());
    }
    Ok(done)
}

/// wrk counts the reads that end a `Connection: close` exchange as errors; connects and time-outs are real ones.
fn fatal(line: &str) -> bool {
    let Some(counts) = line.trim().strip_prefix("Socket errors: connect ") else { return false };
    !counts.starts_with("0,") || !counts.ends_with("timeout 0")
}
