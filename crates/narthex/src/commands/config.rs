//! `narthex config show`: the configuration after includes, overlays and references, with where each value came from.

use clap::{Args, Subcommand};

use super::{Failure, Input, Outcome, colour_errors, say};

#[derive(Debug, Args)]
pub struct Config {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print it, with where each value came from; secrets are `***`.
    Show(Input),
}

impl Config {
    pub fn run(self) -> Outcome {
        let Action::Show(input) = self.action;
        let loaded = narthex::load_path(&input.config, &input.overlay);
        let Some(shown) = narthex_config::show(&loaded) else {
            return Err(Failure::Refused(loaded.render(colour_errors())));
        };
        say(shown.trim_end())?;
        if loaded.is_good() { Ok(()) } else { Err(Failure::Refused(loaded.render(colour_errors()))) }
    }
}
