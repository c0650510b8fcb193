//! `docs/benchmarks.md`: each bench replaces its own section, with the date, the machine and the versions.

use std::path::Path;

use anyhow::Context;

use super::process::pinned;
use crate::shell::{command, output, root};

pub const FILE: &str = "docs/benchmarks.md";

const INTRODUCTION: &str = "\
# Benchmarks

How fast the gateway is, measured by `cargo xtask bench`: how it is measured is said in `benches/README.md`. Two figures
count: user instructions per request, which are repeatable, and CPU per request against other gateways, which is a ratio of
slices taken in turns on one machine. Absolute times belong to the machine; read the ratios.
";

/// Puts `text` between the marks of `section`, adding the section where it is new.
pub fn write(section: &str, text: &str) -> anyhow::Result<()> {
    let path = root().join(FILE);
    let old = std::fs::read_to_string(&path).unwrap_or_else(|_| INTRODUCTION.to_owned());
    let (begin, end) = (format!("<!-- {section} -->"), format!("<!-- end of {section} -->"));
    let new = format!("{begin}\n{}\n{end}", text.trim());
    let whole = match (old.find(&begin), old.find(&end)) {
        (Some(from), Some(to)) if from < to => {
            format!("{}{new}{}", &old[..from], &old[to + end.len()..])
        }
        _ => format!("{}\n\n{new}\n", old.trim_end()),
    };
    print!("\n{}\n", text.trim());
    std::fs::create_dir_all(root().join("docs"))?;
    std::fs::write(&path, whole).with_context(|| format!("cannot write {FILE}"))
}

/// What stands below the heading `title` of `section` as it was written last.
pub fn part(section: &str, title: &str) -> Option<String> {
    let text = std::fs::read_to_string(root().join(FILE)).ok()?;
    part_of(&text, section, title).map(str::to_owned)
}

fn part_of<'a>(text: &'a str, section: &str, title: &str) -> Option<&'a str> {
    let (_, text) = text.split_once(&format!("<!-- {section} -->"))?;
    let (text, _) = text.split_once(&format!("<!-- end of {section} -->"))?;
    let (_, text) = text.split_once(&format!("\n### {title}\n"))?;
    Some(text.split_once("\n### ").map_or(text, |(part, _)| part).trim())
}

/// One line on where and with what it was measured.
pub fn conditions(binary: &Path) -> String {
    let date = output(command("date").args(["-u", "+%Y-%m-%d"])).unwrap_or_default();
    let release = output(command("uname").arg("-r")).unwrap_or_default();
    // What a vendor adds behind the version says nothing about speed.
    let kernel = release.split('-').next().unwrap_or_default().to_owned();
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown processor");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let version = output(pinned(0, binary).arg("version")).unwrap_or_default();
    let commit = output(command("git").args(["rev-parse", "--short", "HEAD"])).unwrap_or_default();
    format!(
        "{}, {} ({cores} cores), Linux {}, {} at {}.",
        date.trim(),
        model.trim_start_matches([' ', '\t', ':']),
        kernel.trim(),
        version.trim(),
        commit.trim()
    )
}

#[cfg(test)]
mod tests {
    use super::part_of;

    #[test]
    fn a_part_ends_with_the_next_heading_or_its_section() {
        let text =
            "### A\n\nelsewhere\n<!-- s -->\n## S\n\n### A\n\none\n\n### A b\n\ntwo\n<!-- end of s -->\nmore";
        assert_eq!(part_of(text, "s", "A"), Some("one"));
        assert_eq!(part_of(text, "s", "A b"), Some("two"));
        assert_eq!(part_of(text, "s", "B"), None);
        assert_eq!(part_of(text, "t", "A"), None);
    }
}
