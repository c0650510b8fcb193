//! The rules of the house that no other tool knows: lengths, headers, words, paths, the steps of a request.
//! A scanner of tokens, not a parser: it must stay simple enough to be believed.

mod scan;
mod words;

use std::fs;
use std::path::Path;

use anyhow::bail;

use crate::shell::{files, root};

const FUNCTION_LINES: usize = 70;
const FILE_LINES: usize = 800;
/// Above this a file is mentioned, not refused.
const LONG_FILE_LINES: usize = 400;
const REQUEST_LINES: usize = 300;
const REQUEST: &str = "crates/proxy/src/request.rs";
const LIFE: &str = "docs/life-of-a-request.md";

/// Finds everything at once; any finding is an error.
pub fn run() -> anyhow::Result<()> {
    let mut problems = Vec::new();
    for path in files(root(), ".rs")? {
        let name = relative(&path);
        let text = fs::read_to_string(&path)?;
        source(&name, &text, &mut problems);
    }
    for suffix in [".rs", ".md", ".toml", ".yaml", ".yml", ".case", "run"] {
        for path in files(root(), suffix)? {
            // A file that is no text holds no such words.
            places(&relative(&path), &fs::read_to_string(&path).unwrap_or_default(), &mut problems);
        }
    }
    let request = fs::read_to_string(root().join(REQUEST))?;
    let life = fs::read_to_string(root().join(LIFE))?;
    life_of_a_request(&request, &life, &mut problems);
    for problem in &problems {
        eprintln!("{problem}");
    }
    if !problems.is_empty() {
        bail!("tidy found {} problems", problems.len());
    }
    Ok(())
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).to_string_lossy().into_owned()
}

/// Tests are exempt from lengths: tables of cases may be long.
fn is_test(name: &str) -> bool {
    name.ends_with("/tests.rs") || name.split('/').any(|part| part == "tests")
}

fn source(name: &str, text: &str, problems: &mut Vec<String>) {
    if !text.starts_with("//!") && !text.starts_with("#![no_main]") {
        problems.push(format!("{name}:1: begin with `//!`: what lives here and what it must never do"));
    }
    let code = scan::code(text);
    for function in scan::functions(&code) {
        if function.lines > FUNCTION_LINES && !is_test(name) {
            let (line, lines) = (function.line, function.lines);
            problems.push(format!(
                "{name}:{line}: `{}` is {lines} lines long: {FUNCTION_LINES} at most",
                function.name
            ));
        }
    }
    let body = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or(text);
    let lines = body.lines().count();
    if !is_test(name) && lines > FILE_LINES {
        problems.push(format!("{name}:1: {lines} lines without tests: {FILE_LINES} at most"));
    } else if !is_test(name) && lines > LONG_FILE_LINES {
        eprintln!("{name}: {lines} lines without tests; aim below {LONG_FILE_LINES}");
    }
    let marks = ["TO DO", "FIX ME"].map(|mark| mark.replace(' ', ""));
    for (at, line) in text.lines().enumerate() {
        if marks.iter().any(|mark| line.contains(mark)) {
            problems.push(format!("{name}:{}: finish it, or file it: no notes to self in the code", at + 1));
        }
    }
    for (line, macro_name) in scan::macros(&code) {
        if matches!(macro_name.as_str(), "unimplemented" | "todo") {
            problems.push(format!("{name}:{line}: `{macro_name}!`: nothing is left for later"));
        }
    }
    if name.starts_with("crates/") && name.contains("/src/") {
        words::check(name, &code, problems);
    }
}

/// Paths of one machine. Written apart here, so that this file passes.
fn places(name: &str, text: &str, problems: &mut Vec<String>) {
    let banned = [["/", "work/"].concat(), ["/", "tmp/"].concat()];
    for (at, line) in text.lines().enumerate() {
        if let Some(place) = banned.iter().find(|place| mentions(line, place)) {
            problems.push(format!("{name}:{}: `{place}` is a place on one machine", at + 1));
        }
    }
}

/// Whether the line names that absolute path: not as the tail of another path or of a URL's path.
fn mentions(line: &str, place: &str) -> bool {
    line.match_indices(place).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| !(c.is_alphanumeric() || matches!(c, '.' | '}' | '-' | '_' | '*')))
    })
}

fn life_of_a_request(request: &str, life: &str, problems: &mut Vec<String>) {
    let lines = request.lines().count();
    if lines >= REQUEST_LINES {
        problems
            .push(format!("{REQUEST}: {lines} lines: fewer than {REQUEST_LINES}, or nobody reads it aloud"));
    }
    let steps = |text: &str, mark: &str| -> Vec<String> {
        let lines = text.lines().filter_map(|line| line.trim_start().strip_prefix(mark));
        let numbered = |line: &&str| line.split_once(". ").is_some_and(|(n, _)| n.parse::<u8>().is_ok());
        lines.filter(numbered).map(|line| line.trim().to_owned()).collect()
    };
    let (code, page) = (steps(request, "// "), steps(life, "## "));
    let expected: Vec<String> = (1..=7).map(|number| format!("{number}. ")).collect();
    let counted =
        code.len() == 7 && code.iter().zip(&expected).all(|(step, number)| step.starts_with(number));
    if !counted {
        problems.push(format!("{REQUEST}: its comments do not number the steps 1 to 7: {code:?}"));
    }
    if code != page {
        problems
            .push(format!("{LIFE}: its headings are not the steps of {REQUEST}:\n  {page:?}\n  {code:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::{life_of_a_request, mentions, source};

    fn found(text: &str) -> Vec<String> {
        let mut problems = Vec::new();
        source("crates/a/src/lib.rs", text, &mut problems);
        problems
    }

    #[test]
    fn a_good_file_has_no_problem() {
        assert_eq!(found("//! What.\n\nfn small() {\n    let x = \"{\";\n}\n"), Vec::<String>::new());
    }

    #[test]
    fn each_rule_finds_its_breach() {
        let long = format!("//! What.\nfn long() {{\n{}}}\n", "    let a = 1;\n".repeat(70));
        assert!(found(&long)[0].contains("`long` is 72 lines"));
        assert!(found("fn a() {}\n")[0].contains("begin with"));
        let note = ["//! What.\n// TO", "DO: later\n"].concat();
        assert!(found(&note)[0].contains("no notes"));
        let lines = format!("//! What.\n{}", "const A: u8 = 1;\n".repeat(800));
        assert!(found(&lines)[0].contains("801 lines"));
        assert!(found("//! What.\nfn a() { unimplemented!() }\n")[0].contains("nothing is left"));
        assert!(found("//! What.\nstruct BackendPool;\n")[0].contains("backend"));
    }

    #[test]
    fn paths_of_a_machine() {
        let place = ["/", "tmp/"].concat();
        assert!(mentions(&format!("see {place}x"), &place));
        assert!(mentions(&format!("\"{place}x\""), &place));
        assert!(!mentions(&format!("var{place}x"), &place));
    }

    #[test]
    fn steps_must_be_the_same() {
        let code: String = (1..=7).map(|n| format!("    // {n}. Step {n}.\n")).collect();
        let page: String = (1..=7).map(|n| format!("## {n}. Step {n}.\ntext\n")).collect();
        let mut problems = Vec::new();
        life_of_a_request(&code, &page, &mut problems);
        assert!(problems.is_empty(), "{problems:?}");
        life_of_a_request(&code, &page.replace("Step 3", "Step three"), &mut problems);
        life_of_a_request(&code.replace("// 4", "// 5"), &page, &mut problems);
        assert_eq!(problems.len(), 3);
    }
}
