//! Every whole configuration in the documentation passes `narthex check`: a fenced `yaml` block whose first
//! line is `narthex: 1`. Other blocks are fragments and are not judged.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::shell::{cargo, command, files, output, root, run as run_command, target};

pub fn run() -> anyhow::Result<()> {
    run_command(cargo().args(["build", "--quiet", "--package", "narthex"]))?;
    let folder = target().join("examples-of-docs");
    fs::create_dir_all(&folder)?;
    certificates(&folder)?;
    let (mut checked, mut refused) = (0, Vec::new());
    for page in pages()? {
        let text = fs::read_to_string(&page).with_context(|| format!("cannot read {}", page.display()))?;
        for (line, block) in configurations(&text) {
            let file = folder.join("narthex.yaml");
            fs::write(&file, block)?;
            let mut narthex = command(target().join("debug/narthex"));
            checked += 1;
            if let Err(error) = output(narthex.arg("check").arg("-c").arg(&file)) {
                refused.push(format!("{}:{line}: {error}", page.display()));
            }
        }
    }
    if !refused.is_empty() {
        bail!("configurations that are refused:\n{}", refused.join("\n"));
    }
    if checked == 0 {
        bail!("no configuration was found in the documentation: the search is broken");
    }
    eprintln!("{checked} configurations are good");
    Ok(())
}

/// The files that examples of TLS name.
fn certificates(folder: &Path) -> anyhow::Result<()> {
    let made = rcgen::generate_simple_self_signed(vec!["shop.example".to_owned()])?;
    let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    for name in ["shop.pem", "api.pem", "edge.pem", "partners.pem", "internal-ca.pem"] {
        fs::write(folder.join(name), &cert)?;
    }
    for name in ["shop.key", "api.key", "edge.key"] {
        fs::write(folder.join(name), &key)?;
    }
    fs::write(folder.join("tickets.keys"), "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n")?;
    Ok(())
}

fn pages() -> anyhow::Result<Vec<PathBuf>> {
    let mut pages = files(&root().join("docs"), ".md")?;
    pages.push(root().join("README.md"));
    Ok(pages)
}

/// Line and text of each block.
fn configurations(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        if line.trim() != "```yaml" {
            continue;
        }
        let block: Vec<&str> =
            lines.by_ref().map(|(_, line)| line).take_while(|line| line.trim() != "```").collect();
        let first = block.iter().find(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
        if first.is_some_and(|line| line.starts_with("narthex:")) {
            found.push((at + 2, block.join("\n") + "\n"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::configurations;

    #[test]
    fn whole_configurations_only() {
        let page =
            "a\n```yaml\nnarthex: 1\nlisteners: {}\n```\n```yaml\njwt: {}\n```\n```sh\nnarthex: 1\n```\n";
        assert_eq!(configurations(page), [(3, "narthex: 1\nlisteners: {}\n".to_owned())]);
    }
}
