//! `narthex init`: a first configuration with comments.

use std::path::PathBuf;

use clap::Args;

use super::{Failure, Outcome, say};

/// The file that is written; a test checks it and runs its tests.
pub const FIRST: &str = include_str!("first.yaml");

#[derive(Debug, Args)]
pub struct Init {
    /// The file to write.
    #[arg(default_value = "narthex.yaml")]
    file: PathBuf,
    /// Replace a file that is there.
    #[arg(long)]
    force: bool,
}

impl Init {
    pub fn run(self) -> Outcome {
        if self.file.exists() && !self.force {
            let text = format!("{} is there already: give another name, or --force", self.file.display());
            return Err(Failure::Failed(text));
        }
        std::fs::write(&self.file, FIRST)?;
        let file = self.file.display();
        say(format_args!(
            "wrote {file}\n\nnext:\n  narthex check -c {file}\n  narthex test -c {file}\n  narthex run -c {file}"
        ))
    }
}
