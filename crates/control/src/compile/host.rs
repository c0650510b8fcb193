//! The compiler's side of `CompileCx`: diagnostics, services, slots, what outlives a reload, policies inside policies.

use std::any::Any;
use std::sync::Arc;

use narthex_contract::{AnyFeed, CompileHost, FeedKey, KeepKey, Nested, NestedIn, ServiceId};
use narthex_document::{Diagnostic, Node};

use super::{Work, nested};

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

    fn service(&mut self, name: &str) -> Option<ServiceId> {
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

    fn keep(
        &mut self,
        key: KeepKey,
        make: &mut dyn FnMut() -> Arc<dyn Any + Send + Sync>,
    ) -> Arc<dyn Any + Send + Sync> {
        self.work.keep.state(key, make)
    }

    fn feed(&mut self, key: &FeedKey, make: &mut dyn FnMut() -> Arc<dyn AnyFeed>) -> Arc<dyn AnyFeed> {
        self.work.keep.feed(key, make)
    }

    fn nested(&mut self, list: &[Node], of: NestedIn<'_>) -> Option<Vec<Nested>> {
        nested::compile(self, list, of)
    }
}
