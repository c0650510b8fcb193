//! `narthex demo`: three services, a gateway in front of them, and what to try.

use clap::Args;
use narthex::{AccessOption, ConfigInput, StartOptions};

use super::{Failure, Outcome, run, say, start_log};

#[derive(Debug, Args)]
pub struct Demo {
    /// Where the gateway listens.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    listen: String,
    /// Print the gateway's configuration too.
    #[arg(long)]
    print_config: bool,
}

impl Demo {
    pub fn run(self) -> Outcome {
        start_log();
        let services = narthex_demo::start().map_err(|error| Failure::Failed(error.to_string()))?;
        let text = narthex_demo::config(&services, &self.listen);
        if self.print_config {
            say(&text)?;
        }
        let config = ConfigInput::Text { text, name: "demo.yaml".into() };
        let running =
            run::start(StartOptions { config, access_log: AccessOption::Off, ..StartOptions::default() })?;
        let address =
            running.address("main").ok_or_else(|| Failure::Failed("the demo does not listen".into()))?;
        say(format_args!("\nThe gateway listens on http://{address}. In another terminal, try:\n"))?;
        for command in narthex_demo::commands(&format!("http://{address}")) {
            say(format_args!("  # {}\n  {}\n", command.what, command.command))?;
        }
        say("Ctrl-C ends it.")?;
        run::until_signalled(running)
    }
}
