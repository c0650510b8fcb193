//! The compiler's side of `CompileCx`: diagnostics, services, slots.

use narthex_contract::{CompileHost, ServiceId};
use narthex_document::Diagnostic;

use super::Work;

/// One chain's compilation.
pub(super) struct Host<'h, 'w> {
    pub work: &'h mut Work<'w>,
    /// The next free slot of the chain.
    pub slots: &'h mut u32,
}

impl CompileHost for Host<'_, '_> {
    fn push(&mut self, diagnostic: Diagnostic) {
        self.work.problems.push(diagnostic);
    }

    fn service(&self, name: &str) -> Option<ServiceId> {
        self.work.service_id(name)
    }

    fn service_names(&self) -> Vec<String> {
        self.work.service_names.clone()
    }

    fn next_slot(&mut self) -> u32 {
        let slot = *self.slots;
        *self.slots += 1;
        slot
    }
}
