//! `cargo xtask dist`: the binary as it is packaged and measured. The profile `dist` once with counters in it, the benches'
//! workloads run through that, and the profile `dist` again by what was counted (ADR 10). Nothing is built twice for nothing:
//! an instrumented binary that has not changed needs no second training.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, bail};

use crate::bench::training;
use crate::shell::{cargo, command, output, run as run_command, target, triple, which};

/// Builds it and says where it is.
pub fn run() -> anyhow::Result<()> {
    println!("{}", binary()?.display());
    Ok(())
}

/// The trained binary's place, built now if it must be.
///
/// # Errors
/// A build that fails, no tool for profiles, or no load program (`wrk`, `h2load`).
pub fn binary() -> anyhow::Result<PathBuf> {
    // The program with counters writes them there, wherever it is started.
    let folder = std::path::absolute(target().join("trained"))?;
    let counts = folder.join("counts");
    let tool = profile_tool()?;
    // By the same profile of cargo's: functions are known by names that the profile is a part of.
    let flag = format!("-Cprofile-generate={}", counts.display());
    let instrumented = build(&folder.join("instrumented"), &flag)?;
    let profile = folder.join(format!("{:016x}.profdata", fingerprint(&instrumented)?));
    if !profile.exists() {
        if counts.exists() {
            fs::remove_dir_all(&counts)?;
        }
        training::train(&instrumented)?;
        // Written under another name first: a profile that is there is whole.
        let unfinished = profile.with_extension("unfinished");
        run_command(command(tool).arg("merge").arg("-o").arg(&unfinished).arg(&counts))?;
        fs::rename(unfinished, &profile)?;
    }
    // The profile's name holds what it was made from, so that cargo builds again where it is another.
    build(&folder.join("optimised"), &format!("-Cprofile-use={}", profile.display()))
}

/// The gateway by the profile `dist`, with this flag for it and all that it is made of, but not for what runs while building.
fn build(folder: &Path, flag: &str) -> anyhow::Result<PathBuf> {
    let triple = triple()?;
    let mut build = cargo();
    build.args(["build", "--profile", "dist", "--package", "narthex", "--target", &triple]);
    build.env("CARGO_TARGET_DIR", folder);
    build.env("RUSTFLAGS", format!("{} {flag}", env::var("RUSTFLAGS").unwrap_or_default()).trim());
    run_command(&mut build)?;
    Ok(folder.join(triple).join("dist/narthex"))
}

/// What a profile depends on: the instrumented program and what it is trained with.
fn fingerprint(instrumented: &Path) -> anyhow::Result<u64> {
    let mut hasher = DefaultHasher::new();
    fs::read(instrumented)
        .with_context(|| format!("cannot read {}", instrumented.display()))?
        .hash(&mut hasher);
    training::script()?.hash(&mut hasher);
    Ok(hasher.finish())
}

/// `llvm-profdata` of the toolchain itself: another version cannot read its profiles.
fn profile_tool() -> anyhow::Result<PathBuf> {
    let libraries = output(command("rustc").args(["--print", "target-libdir"]))?;
    let tool = Path::new(libraries.trim()).with_file_name("bin").join("llvm-profdata");
    if !tool.exists() {
        let rustup = which("rustup")
            .context("the toolchain has no llvm-profdata, and there is no rustup to add it")?;
        run_command(Command::new(rustup).args(["component", "add", "llvm-tools"]))?;
    }
    if !tool.exists() {
        bail!("{} is still missing after `rustup component add llvm-tools`", tool.display());
    }
    Ok(tool)
}
