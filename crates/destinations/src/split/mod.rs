//! `split`: shares a route's requests out among services by weight, at random or so that a caller stays with one.
//!
//! Chooses only: the service is asked through the ordinary machinery.

mod runtime;
#[cfg(test)]
mod tests;

use narthex_contract::{CompileCx, DestinationKind, Reason};
use narthex_document::{Spanned, Table};
use schemars::JsonSchema;
use serde::Deserialize;

/// The kind.
pub struct Split;

/// The services with their weights, and what keeps a caller with one.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Services by name, each with its weight: its share is its weight in the sum of all. 0 is none.
    pub split: Table<String, Spanned<u32>>,
    /// A variable, such as `caller.id`, whose value decides instead of chance: equal values get the same service.
    #[serde(default)]
    pub sticky: Option<Spanned<String>>,
}

impl DestinationKind for Split {
    const NAME: &'static str = "split";
    const SUMMARY: &'static str = "Shares requests out among services by weight.";
    const REASONS: &'static [Reason] = &[];
    const FORWARDS: bool = true;
    type Config = Config;
    type Runtime = runtime::Split;

    fn compile(config: Config, cx: &mut CompileCx<'_>) -> Option<runtime::Split> {
        let mut is_valid = true;
        if config.split.iter().all(|(_, weight)| weight.value == 0) {
            let message =
                if config.split.is_empty() { "`split` names no service" } else { "all weights are 0" };
            cx.error(
                "empty_split",
                cx.span,
                message,
                "give at least one service a weight, as in `split: { a: 95, b: 5 }`",
            );
            is_valid = false;
        }
        let mut arms = Vec::new();
        for (name, weight) in &config.split {
            match cx.service(name, name.span) {
                Some(service) => arms.push(runtime::Arm::new(service, name, weight.value)),
                None => is_valid = false,
            }
        }
        let sticky = match &config.sticky {
            None => None,
            Some(text) => {
                let variable = cx.variable(text, text.span);
                is_valid &= variable.is_some();
                variable
            }
        };
        is_valid.then(|| runtime::Split::new(arms, sticky))
    }
}
