//! `any_of`: policies of which one is enough, tried in order.
//!
//! Knows none of them: whatever policies of one stage can be named here.

mod runtime;
#[cfg(test)]
mod tests;

use narthex_contract::{CompileCx, PolicyKind, Reason, Stage};

use crate::shared::combined::PolicyList;

/// The kind.
pub struct AnyOf;

impl PolicyKind for AnyOf {
    const NAME: &'static str = "any_of";
    const SUMMARY: &'static str = "Lets pass what one of several policies lets pass.";
    /// That of the policies inside decides.
    const STAGES: &'static [Stage] = &[
        Stage::Authenticate,
        Stage::Admit,
        Stage::Cors,
        Stage::Authorize,
        Stage::Limit,
        Stage::Inspect,
        Stage::Transform,
        Stage::Serve,
    ];
    const REASONS: &'static [Reason] = &[];
    type Config = PolicyList;
    type Runtime = runtime::AnyOf;

    fn compile(config: PolicyList, cx: &mut CompileCx<'_>) -> Option<runtime::AnyOf> {
        let alternatives = cx.nested(&config.0)?;
        let won = cx.slot::<u64>();
        Some(runtime::AnyOf::new(alternatives, won))
    }
}
