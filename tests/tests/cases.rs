//! Runs every `.case` file by its name: those of the whole gateway here, those of policies and destinations beside them.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests over real sockets run in real time, and a panic is their failure"
)]

use libtest_mimic::{Arguments, Failed, Trial};
use narthex_testkit::{Case, find_cases, run_case};
use narthex_tests::Narthex;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Where cases are, from the root of the workspace.
const PLACES: [&str; 3] = ["tests/cases", "crates/policies/src", "crates/destinations/src"];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let root = root.canonicalize().unwrap_or(root);
    let mut trials = Vec::new();
    for place in PLACES {
        let below = root.join(place);
        if !below.is_dir() {
            continue;
        }
        match find_cases(&below) {
            Ok(paths) => trials.extend(paths.into_iter().map(|path| trial(&root, path))),
            Err(error) => trials.push(Trial::test(place, move || Err(Failed::from(error.to_string())))),
        }
    }
    // A tree without cases is a mistake of the runner's, not a success.
    trials.push(Trial::test("there_are_cases", {
        let count = trials.len();
        move || if count >= 50 { Ok(()) } else { Err(format!("only {count} cases were found").into()) }
    }));
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial(root: &Path, path: PathBuf) -> Trial {
    let short = path.strip_prefix(root).unwrap_or(&path).to_owned();
    let name = short.with_extension("").display().to_string();
    let name = name.strip_prefix("tests/cases/").unwrap_or(&name).replace('/', "::");
    Trial::test(name, move || {
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let case = Case::parse(&short, &text).map_err(|error| error.to_string())?;
        run_case(&case, &Narthex).map_err(|error| error.to_string().into())
    })
}
