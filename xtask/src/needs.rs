//! Programs that a command of ours calls. What is missing is installed with apt-get where that is allowed (Debian, as
//! root); elsewhere the command to type is said.

use std::io::ErrorKind;

use anyhow::bail;

use crate::shell::{command, output, run as run_command, which};

/// A program, the Debian package that brings it, and what for.
pub type Need = (&'static str, &'static str, &'static str);

/// Makes sure that all of them are there.
///
/// # Errors
/// One is missing and may not be installed: the message is the command that does it.
pub fn install(needs: &[Need]) -> anyhow::Result<()> {
    let missing: Vec<_> = needs.iter().filter(|(program, _, _)| which(program).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for (program, package, purpose) in &missing {
        eprintln!("missing: {program} (Debian's {package}), for {purpose}");
    }
    let packages: Vec<&str> = missing.iter().map(|(_, package, _)| *package).collect();
    let by_hand = format!("apt-get install --yes {}", packages.join(" "));
    if which("apt-get").is_none() || !is_root()? {
        bail!("install what is missing first; on Debian: sudo {by_hand}");
    }
    eprintln!("installing with apt-get, as root");
    run_command(command("apt-get").args(["update", "--quiet"]))?;
    let mut install = command("apt-get");
    install.env("DEBIAN_FRONTEND", "noninteractive");
    run_command(install.args(["install", "--yes", "--no-install-recommends"]).args(&packages))
}

fn is_root() -> anyhow::Result<bool> {
    match output(command("id").arg("-u")) {
        Ok(id) => Ok(id.trim() == "0"),
        Err(error)
            if error.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == ErrorKind::NotFound) =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}
