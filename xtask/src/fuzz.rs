//! `cargo xtask fuzz TARGET`: builds one target of `fuzz/` with coverage instrumentation and runs it for a while.
//! With `--keep` it adds some of what runs have found, as far as it reaches new code, to the checked-in seeds.
//! The workspace in `fuzz/` is its own; nothing but cargo and a C++ compiler is needed, cargo-fuzz least of all.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};

use crate::shell::{cargo, command, number, root, run as run_command, target, triple};

/// What cargo-fuzz passes too, for the sanitizer's coverage without a sanitizer: works on the stable compiler.
const FLAGS: [&str; 9] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
    "-Cdebug-assertions",
    "-Coverflow-checks",
    "--cfg=fuzzing",
];
const SECONDS: u64 = 60;
/// Inputs that are kept for one target, chosen seeds among them.
const KEPT: usize = 256;
/// Bytes of one kept input: larger ones are found again.
const KEPT_INPUT_BYTES: u64 = 1024;

pub fn run(arguments: &[String]) -> anyhow::Result<()> {
    let names = names()?;
    let name = arguments.first().map_or("list", String::as_str);
    if name == "list" {
        println!("{}", names.join("\n"));
        return Ok(());
    }
    if !names.iter().any(|known| known == name) {
        bail!("there is no fuzz target `{name}`: {}", names.join(", "));
    }
    let seconds = number(arguments, "--seconds", SECONDS)?;
    // Given explicitly, so that build scripts are built without instrumentation.
    let triple = triple()?;
    let built = target().join("fuzz");
    let mut build = cargo();
    build.current_dir(root().join("fuzz")).env("CARGO_TARGET_DIR", &built);
    build.env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"));
    run_command(build.args(["build", "--release", "--target", &triple, "--bin", name]))?;

    let binary = built.join(&triple).join("release").join(name);
    let seeds = root().join("fuzz/corpus").join(name);
    // What is found while fuzzing goes to the target directory; the checked-in corpus holds chosen seeds only.
    let grown = built.join("corpus").join(name);
    let artifacts = built.join("artifacts").join(name);
    fs::create_dir_all(&grown)?;
    fs::create_dir_all(&artifacts)?;
    if arguments.iter().any(|argument| argument == "--keep") {
        return keep(&binary, &seeds, &grown, &built.join("merged").join(name));
    }
    let mut fuzz = command(binary);
    fuzz.arg(&grown).arg(seeds);
    fuzz.arg(format!("-max_total_time={seconds}")).arg(format!("-artifact_prefix={}/", artifacts.display()));
    fuzz.args(["-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"]);
    run_command(&mut fuzz).with_context(|| format!("a finding: see {}", artifacts.display()))
}

/// Copies to the seeds, of the least that covers all that the grown corpus covers, as much as the bounds allow.
fn keep(binary: &Path, seeds: &Path, grown: &Path, merged: &Path) -> anyhow::Result<()> {
    if merged.exists() {
        fs::remove_dir_all(merged)?;
    }
    fs::create_dir_all(merged)?;
    let mut merge = command(binary);
    merge.arg("-set_cover_merge=1").arg("-timeout=10").arg(format!("-max_len={KEPT_INPUT_BYTES}"));
    run_command(merge.arg(merged).arg(seeds).arg(grown))?;
    let seeds_now = fs::read_dir(seeds)?.map(|entry| fs::read(entry?.path()));
    let known = seeds_now.collect::<Result<Vec<_>, _>>()?;
    let mut found = Vec::new();
    for entry in fs::read_dir(merged)? {
        let path = entry?.path();
        let content = fs::read(&path)?;
        if content.len() as u64 <= KEPT_INPUT_BYTES && !known.contains(&content) {
            found.push((content.len(), path));
        }
    }
    found.sort();
    // Of all sizes: the small ones alone reach the least.
    let room = KEPT.saturating_sub(known.len()).max(1);
    for (_, path) in
        found.iter().step_by(found.len().div_ceil(room).max(1)).take(KEPT - known.len().min(KEPT))
    {
        fs::copy(path, seeds.join(path.file_name().unwrap_or_default()))?;
    }
    Ok(())
}

/// The targets: one file each.
fn names() -> anyhow::Result<Vec<String>> {
    let files = crate::shell::files(&root().join("fuzz/targets"), ".rs")?;
    let names = files.iter().filter_map(|file| file.file_stem());
    Ok(names.map(|name| name.to_string_lossy().into_owned()).collect())
}
