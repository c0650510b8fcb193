//! `cargo xtask new-policy NAME`: a folder that compiles, passes conformance and does something small, its registry
//! line, a case and a changelog line. What it writes are the templates beside this file.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail, ensure};

use crate::shell::root;

/// What is written: the place under the root, and the template.
const TEMPLATES: [(&str, &str); 5] = [
    ("crates/policies/src/{{name}}/mod.rs", include_str!("policy/mod.rs.txt")),
    ("crates/policies/src/{{name}}/runtime.rs", include_str!("policy/runtime.rs.txt")),
    ("crates/policies/src/{{name}}/tests.rs", include_str!("policy/tests.rs.txt")),
    ("crates/policies/src/{{name}}/README.md", include_str!("policy/readme.txt")),
    ("crates/policies/src/{{name}}/cases/marks.case", include_str!("policy/case.txt")),
];
const REGISTRY: &str = "crates/policies/src/lib.rs";
const LIST: &str = "crates/policies/README.md";
const CHANGELOG: &str = "CHANGELOG.md";

pub fn run(arguments: &[String]) -> anyhow::Result<()> {
    let [name] = arguments else { bail!("give one name, such as `cargo xtask new-policy ip_access`") };
    write(root(), name)?;
    println!(
        "wrote crates/policies/src/{name}/ and a line each in {REGISTRY}, {LIST} and {CHANGELOG}.\n\
         next: cargo test -p narthex-policies {name}, then CONTRIBUTING.md, \"Add a policy in five steps\""
    );
    Ok(())
}

/// Writes everything under `root`; nothing when anything stands in the way.
pub fn write(root: &Path, name: &str) -> anyhow::Result<()> {
    let mut letters = name.chars();
    ensure!(
        letters.next().is_some_and(|c| c.is_ascii_lowercase())
            && letters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'),
        "`{name}` is not a policy's name: lower case letters, digits and `_`, such as `rate_limit`"
    );
    ensure!(
        !root.join("crates/policies/src").join(name).exists(),
        "there is a policy `{name}` already, or something in its place"
    );
    let fill = |text: &str| {
        text.replace("{{name}}", name)
            .replace("{{Name}}", &camel(name))
            .replace("{{NAME}}", &name.to_uppercase())
    };
    let registry =
        fs::read_to_string(root.join(REGISTRY)).with_context(|| format!("cannot read {REGISTRY}"))?;
    let registry = registered(&registry, name)?;
    let changelog =
        fs::read_to_string(root.join(CHANGELOG)).with_context(|| format!("cannot read {CHANGELOG}"))?;
    let list = fs::read_to_string(root.join(LIST)).with_context(|| format!("cannot read {LIST}"))?;
    let row =
        fill("| [`{{name}}`](src/{{name}}/README.md) | transform | marks requests with a header field |");
    let list = insert(&list, "| [`", &row).with_context(|| format!("{LIST} has no table of policies"))?;
    let changelog = logged(&changelog, name)?;
    for (place, template) in TEMPLATES {
        let path = root.join(fill(place));
        fs::create_dir_all(path.parent().context("a template has a folder")?)?;
        fs::write(path, fill(template))?;
    }
    fs::write(root.join(REGISTRY), registry)?;
    fs::write(root.join(LIST), list)?;
    fs::write(root.join(CHANGELOG), changelog)?;
    Ok(())
}

/// `rate_limit` is `RateLimit`.
fn camel(name: &str) -> String {
    let words = name.split('_').filter(|word| !word.is_empty());
    words.map(|word| word[..1].to_uppercase() + &word[1..]).collect()
}

/// The registry with the module and the entry, each in alphabetical order.
fn registered(text: &str, name: &str) -> anyhow::Result<String> {
    let module = format!("pub mod {name};");
    let entry = format!("    &PolicyEntry::<{name}::{}>::NEW,", camel(name));
    let text = insert(text, "pub mod ", &module).context("the registry has no modules")?;
    insert(&text, "    &PolicyEntry::<", &entry).context("the registry has no entries")
}

/// Puts `line` among the lines that begin with `prefix`, in order.
fn insert(text: &str, prefix: &str, line: &str) -> Option<String> {
    let mut lines: Vec<&str> = text.lines().collect();
    let last = lines.iter().rposition(|other| other.starts_with(prefix))?;
    let after = |other: &&str| other.starts_with(prefix) && *other > line;
    let at = lines.iter().position(after).unwrap_or(last + 1);
    lines.insert(at, line);
    Some(lines.join("\n") + "\n")
}

/// The changelog with a line under the first `### Added`.
fn logged(text: &str, name: &str) -> anyhow::Result<String> {
    let mark = "### Added\n";
    let at = text.find(mark).context("the changelog has no `### Added` under `[Unreleased]`")? + mark.len();
    let rest = text[at..].trim_start_matches('\n');
    Ok(format!("{}\n- Policy `{name}`.\n{rest}", &text[..at]))
}

#[cfg(test)]
mod tests {
    use super::{camel, logged, registered};

    #[test]
    fn lines_are_put_in_order() {
        let text = "pub mod cors;\npub mod jwt;\n\n&[\n    &PolicyEntry::<cors::Cors>::NEW,\n    &PolicyEntry::<jwt::Jwt>::NEW,\n];\n";
        let with = registered(text, "ip_access").unwrap();
        let lines: Vec<&str> = with.lines().collect();
        assert_eq!(lines[1], "pub mod ip_access;");
        assert_eq!(lines[6], "    &PolicyEntry::<ip_access::IpAccess>::NEW,");
        assert!(
            registered(text, "z").unwrap().contains("<jwt::Jwt>::NEW,\n    &PolicyEntry::<z::Z>::NEW,\n]")
        );
    }

    #[test]
    fn names_and_changelog() {
        assert_eq!(camel("rate_limit"), "RateLimit");
        assert_eq!(logged("### Added\n\n- A.\n", "b").unwrap(), "### Added\n\n- Policy `b`.\n- A.\n");
    }
}
