//! The command line: what there is, exit codes, how text is printed.
//!
//! Exit codes: 0 done; 1 it could not be done; 2 the command line is wrong; 3 the configuration is refused;
//! 4 a test of the configuration failed.

mod check;
mod config;
mod demo;
mod docs;
mod explain;
mod init;
mod proxy;
mod run;
mod status;
mod test;

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

const AFTER: &str = "Exit codes: 0 done; 1 it could not be done; 2 the command line is wrong; 3 the configuration is refused; \
                     4 a test of the configuration failed.\nA first gateway: `narthex demo`, `narthex proxy :8080 http://localhost:3000`, or `narthex init`.";

/// Narthex: one front door to many services.
#[derive(Debug, Parser)]
#[command(name = "narthex", version, about, after_help = AFTER, propagate_version = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway.
    Run(run::Run),
    /// Put a gateway in front of one URL, without a file.
    Proxy(proxy::Proxy),
    /// Write a first configuration, commented.
    Init(init::Init),
    /// Start three demo services and a gateway in front of them, and print what to try.
    Demo(demo::Demo),
    /// Check a configuration: every problem at once, with its place, cause and fix.
    Check(check::Check),
    /// Format a configuration; comments stay.
    Fmt(check::Fmt),
    /// Run the configuration's own `tests:`.
    Test(test::Test),
    /// List the routes as they are matched.
    Routes(check::Routes),
    /// Explain what a request would meet (`'GET /v1/home' -H 'X: 1'`), or what a reason means.
    Explain(explain::Explain),
    /// Look at the configuration as it is after includes, overlays and references.
    Config(config::Config),
    /// Print the JSON Schema of the configuration.
    Schema,
    /// Ask a running gateway how it is.
    Status(status::Status),
    /// Print the version.
    Version,
    /// Print completions for a shell.
    Completions { shell: clap_complete::Shell },
    /// Print the manual page (roff).
    Man,
    /// Write the generated reference; for the project's own use.
    #[command(hide = true)]
    Docs(docs::Docs),
}

/// The configuration that a command works on.
#[derive(Debug, Clone, Args)]
pub struct Input {
    /// The configuration file.
    #[arg(short, long, default_value = "narthex.yaml", value_name = "FILE")]
    pub config: PathBuf,
    /// A file merged over it by name; may be given several times.
    #[arg(long, value_name = "FILE")]
    pub overlay: Vec<PathBuf>,
}

/// How a command ended, when not well.
#[derive(Debug)]
pub enum Failure {
    /// It could not be done: exit code 1.
    Failed(String),
    /// The configuration is refused: exit code 3.
    Refused(String),
    /// A test failed: exit code 4.
    Tests(String),
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed(error.to_string())
    }
}

pub type Outcome = Result<(), Failure>;

impl Arguments {
    pub fn run(self) -> ExitCode {
        let outcome = match self.command {
            Command::Run(run) => run.run(),
            Command::Proxy(proxy) => proxy.run(),
            Command::Init(init) => init.run(),
            Command::Demo(demo) => demo.run(),
            Command::Check(check) => check.run(),
            Command::Fmt(fmt) => fmt.run(),
            Command::Test(test) => test.run(),
            Command::Routes(routes) => routes.run(),
            Command::Explain(explain) => explain.run(),
            Command::Config(config) => config.run(),
            Command::Schema => schema(),
            Command::Status(status) => status.run(),
            Command::Version => say(concat!("narthex ", env!("CARGO_PKG_VERSION"))),
            Command::Completions { shell } => completions(shell),
            Command::Man => man(),
            Command::Docs(docs) => docs.run(),
        };
        let (text, code) = match outcome {
            Ok(()) => return ExitCode::SUCCESS,
            Err(Failure::Failed(text)) => (text, 1),
            Err(Failure::Refused(text)) => (text, 3),
            Err(Failure::Tests(text)) => (text, 4),
        };
        // Where even this cannot be said, the exit code says it.
        let _ = writeln!(std::io::stderr(), "{}", text.trim_end());
        ExitCode::from(code)
    }
}

/// Prints a line.
pub fn say(text: impl Display) -> Outcome {
    writeln!(std::io::stdout(), "{text}").map_err(Failure::from)
}

/// Whether to colour what goes to standard output.
pub fn colour() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Whether to colour what goes to standard error.
pub fn colour_errors() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// The process log, to standard error. `NARTHEX_LOG` filters (`info` by default).
pub fn start_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("NARTHEX_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colour_errors());
    // A second start in one process keeps the first log.
    let _ = log.with_writer(std::io::stderr).try_init();
}

fn schema() -> Outcome {
    say(serde_json::to_string_pretty(&narthex::schema())?)
}

fn completions(shell: clap_complete::Shell) -> Outcome {
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "narthex", &mut out);
    std::io::stdout().write_all(&out).map_err(Failure::from)
}

fn man() -> Outcome {
    let mut out = Vec::new();
    clap_mangen::Man::new(Arguments::command()).render(&mut out)?;
    std::io::stdout().write_all(&out).map_err(Failure::from)
}

/// Now, in milliseconds since 1970: versions of an API end.
fn unix_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
