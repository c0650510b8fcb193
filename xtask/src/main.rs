//! The house's own commands: `cargo xtask {check,test,bench,dist,docs,fuzz,new-policy}`.
//! Standard library and anyhow only, so that it builds in seconds on a fresh machine.

mod bench;
mod check;
mod deny;
mod dist;
mod docs;
mod examples;
mod fuzz;
mod needs;
mod policy;
mod shell;
mod suite;
mod tidy;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask COMMAND

  check                     formatting, clippy, tidy, licences and bans, documentation up to date
  test                      installs what the tests need, then runs every test and every documentation test
  tidy                      only the rules of the house that no other tool knows
  docs                      writes docs/reference/ again
  bench [WHAT] [OPTIONS]    instructions (default), peers, latency, memory, routes, or all: see benches/README.md
  dist                      builds the binary that is packaged: trained by the benches' workloads; says where it is
  fuzz TARGET [--seconds N] fuzzes one target of fuzz/ (`fuzz list` names them); 60 s by default;
                           --keep: adds what was found to the seeds
  new-policy NAME           makes a policy's folder, its registry line and its changelog line";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rest = arguments.get(1..).unwrap_or_default();
    let outcome = match arguments.first().map(String::as_str) {
        Some("check") => check::run(),
        Some("test") => suite::run(rest),
        Some("tidy") => tidy::run(),
        Some("docs") => docs::write(),
        Some("bench") => bench::run(rest),
        Some("dist") => dist::run(),
        Some("fuzz") => fuzz::run(rest),
        Some("new-policy") => policy::run(rest),
        None | Some("help" | "--help" | "-h") => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Some(other) => {
            eprintln!("there is no `{other}`\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
