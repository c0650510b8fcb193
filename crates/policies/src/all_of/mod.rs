//! `all_of`: policies that must all let a request pass, as one policy.
//!
//! Knows none of them: whatever policies of one stage can be named here.

mod runtime;
#[cfg(test)]
mod tests;

use narthex_contract::{CompileCx, PolicyKind, Reason, Stage};

use crate::shared::combined::PolicyList;

/// The kind.
pub struct AllOf;

impl PolicyKind for AllOf {
    const NAME: &'static str = "all_of";
    const SUMMARY: &'static str = "Lets pass what all of several policies let pass.";
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
    type Runtime = runtime::AllOf;

    fn compile(config: PolicyList, cx: &mut CompileCx<'_>) -> Option<runtime::AllOf> {
        Some(runtime::AllOf::new(cx.nested(&config.0)?))
    }
}
