//! `narthex check`, `fmt` and `routes`.

use std::path::PathBuf;

use clap::Args;
use narthex_document::Sources;

use super::{Failure, Input, Outcome, colour, colour_errors, say};

/// Loads and compiles, or fails with every problem.
pub fn checked(input: &Input) -> Result<(narthex::Checked, narthex_control::Compiled), Failure> {
    let mut checked = narthex::check_loaded(narthex::load_path(&input.config, &input.overlay));
    match checked.compiled.take() {
        Some(compiled) => Ok((checked, compiled)),
        None => Err(Failure::Refused(checked.render(colour_errors()))),
    }
}

#[derive(Debug, Args)]
pub struct Check {
    #[command(flatten)]
    input: Input,
    /// Print the problems as JSON.
    #[arg(long)]
    json: bool,
}

impl Check {
    pub fn run(self) -> Outcome {
        let checked = narthex::check_loaded(narthex::load_path(&self.input.config, &self.input.overlay));
        if self.json {
            let problems: Vec<_> =
                checked.diagnostics.iter().map(|problem| problem.to_json(&checked.loaded.sources)).collect();
            say(serde_json::to_string_pretty(&problems)?)?;
        }
        let Some(compiled) = &checked.compiled else {
            let text = if self.json {
                "the configuration is refused".into()
            } else {
                checked.render(colour_errors())
            };
            return Err(Failure::Refused(text));
        };
        if self.json {
            return Ok(());
        }
        if !checked.diagnostics.is_empty() {
            say(checked.render(colour()).trim_end())?;
        }
        let (routes, file) = (compiled.routes.len(), self.input.config.display());
        say(format_args!("{file}: good ({routes} routes, {} warnings)", checked.warnings()))
    }
}

#[derive(Debug, Args)]
pub struct Fmt {
    /// The files.
    #[arg(default_value = "narthex.yaml")]
    files: Vec<PathBuf>,
    /// Only say which files are not formatted (exit code 1).
    #[arg(long)]
    check: bool,
}

impl Fmt {
    pub fn run(self) -> Outcome {
        let mut unformatted = Vec::new();
        for file in &self.files {
            let unreadable = |error: std::io::Error| Failure::Failed(format!("{}: {error}", file.display()));
            let text = std::fs::read_to_string(file).map_err(unreadable)?;
            let mut sources = Sources::new();
            let source = sources.add(file.display().to_string(), text.as_str());
            let formatted = narthex_document::format(&text, source).map_err(|problems| {
                Failure::Refused(narthex_document::render_all(&problems, &sources, colour_errors()))
            })?;
            if formatted == text {
                continue;
            }
            unformatted.push(file.display().to_string());
            if !self.check {
                std::fs::write(file, formatted).map_err(unreadable)?;
                say(format_args!("formatted {}", file.display()))?;
            }
        }
        if self.check && !unformatted.is_empty() {
            return Err(Failure::Failed(format!("not formatted: {}", unformatted.join(", "))));
        }
        Ok(())
    }
}

#[derive(Debug, Args)]
pub struct Routes {
    #[command(flatten)]
    input: Input,
    #[arg(long)]
    json: bool,
}

impl Routes {
    pub fn run(self) -> Outcome {
        let (_, compiled) = checked(&self.input)?;
        if self.json {
            let rows = compiled.routes.iter().map(|route| {
                serde_json::json!({
                    "gateway": route.gateway, "hosts": route.hosts, "route": route.route, "match": route.matches,
                    "versions": route.versions, "policies": route.policies, "to": route.to, "public": route.public,
                })
            });
            return say(serde_json::to_string_pretty(&rows.collect::<Vec<_>>())?);
        }
        let head = ["GATEWAY", "HOSTS", "ROUTE", "MATCH", "TO", "POLICIES"].map(str::to_owned);
        let rows = compiled.routes.iter().map(|route| {
            let hosts = if route.hosts.is_empty() { "*".to_owned() } else { route.hosts.join(",") };
            let policies = if route.policies.is_empty() { "-".to_owned() } else { route.policies.join(", ") };
            [route.gateway.clone(), hosts, route.route.clone(), matches(route), route.to.clone(), policies]
        });
        let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
        say(table(&rows))
    }
}

/// The predicates, and the versions where there are any.
fn matches(route: &narthex_control::RoutePlan) -> String {
    if route.versions.is_empty() {
        return route.matches.clone();
    }
    format!("{} (version {})", route.matches, route.versions.join(", "))
}

/// Columns as wide as they need to be.
fn table(rows: &[[String; 6]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..6).map(width).collect();
    let line = |row: &[String; 6]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}
