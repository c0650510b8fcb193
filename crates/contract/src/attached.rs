//! What a compiled policy or destination depends on beside its settings: feeds, values of each worker, policies inside it.

use std::sync::Arc;

use narthex_document::Span;

use crate::local::LocalSpec;
use crate::{AnyFeed, Detail, Policy, Reply, Stage, core};

/// Collected while something is compiled; empty for almost everything.
#[derive(Clone, Default)]
pub struct Attached {
    pub feeds: Vec<Arc<dyn AnyFeed>>,
    pub locals: Vec<Arc<LocalSpec>>,
    /// Policies inside this one, by name. They answer for themselves what they need.
    pub nested: Vec<(Arc<str>, Attached)>,
}

impl Attached {
    /// As it is kept beside the policy: nothing, mostly.
    pub fn kept(self) -> Option<Arc<Self>> {
        let is_empty = self.feeds.is_empty() && self.locals.is_empty() && self.nested.is_empty();
        (!is_empty).then(|| Arc::new(self))
    }

    /// The refusal where a feed has no value yet: what cannot be judged is not let pass. `what`: `the policy`.
    pub fn refusal(&self, what: &str, name: &str) -> Option<Reply> {
        let missing = self.feeds.iter().find(|feed| !feed.core().is_available())?.core();
        let trouble = missing.trouble();
        let why = trouble.as_deref().unwrap_or("nothing came yet");
        let detail = Detail::operator(format!("{what} `{name}` waits for {}: {why}", missing.key().text));
        Some(Reply::problem_with(core::POLICY_UNAVAILABLE, detail))
    }

    /// Calls `see` with each feed and the name of the innermost policy that needs it.
    pub fn each_feed(&self, name: &Arc<str>, see: &mut dyn FnMut(&Arc<str>, &Arc<dyn AnyFeed>)) {
        self.feeds.iter().for_each(|feed| see(name, feed));
        self.nested.iter().for_each(|(name, inner)| inner.each_feed(name, see));
    }

    /// Every value of each worker's own, those of policies inside among them.
    pub fn each_local(&self, see: &mut dyn FnMut(&Arc<LocalSpec>)) {
        self.locals.iter().for_each(&mut *see);
        self.nested.iter().for_each(|(_, inner)| inner.each_local(see));
    }
}

/// A policy inside another one.
pub struct Nested {
    pub name: Arc<str>,
    /// The kind's name.
    pub kind: &'static str,
    pub stage: Stage,
    pub policy: Box<dyn Policy>,
    /// Where it was written.
    pub span: Span,
    pub attached: Option<Arc<Attached>>,
}

impl Nested {
    /// The refusal where what it depends on is not there. Whoever calls its hooks asks this first.
    pub fn refusal(&self) -> Option<Reply> {
        self.attached.as_ref()?.refusal("the policy", &self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Feed, FeedKey, FeedOutput};

    #[test]
    fn the_operator_reads_who_waits_for_what_and_why() {
        let feed = Feed::new(FeedKey::new::<u32>("keys of id"), |output: FeedOutput<u32>| async move {
            output.fail("refused");
            output.set(1);
        });
        let attached = Attached { feeds: vec![feed.erased()], ..Attached::default() };
        let text = |attached: &Attached| match attached.refusal("the policy", "who") {
            Some(Reply::Problem { reason, detail }) => {
                assert!(reason == core::POLICY_UNAVAILABLE && detail.client.is_none());
                detail.operator.map(|text| text.0.into_owned())
            }
            _ => None,
        };
        assert_eq!(
            text(&attached).as_deref(),
            Some("the policy `who` waits for keys of id: nothing came yet")
        );
        let outer = Attached { nested: vec![("who".into(), attached.clone())], ..Attached::default() };
        assert_eq!(text(&outer), None, "who is inside answers for itself");
        let mut seen = Vec::new();
        outer.each_feed(&"outer".into(), &mut |name, feed| {
            seen.push((name.clone(), feed.core().key().clone()))
        });
        assert_eq!(seen, [("who".into(), FeedKey::new::<u32>("keys of id"))]);
        feed.core().start(|mut task| {
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(task.as_mut().poll(&mut cx).is_ready());
            Box::new(())
        });
        assert_eq!(text(&attached), None);
        assert!(Attached::default().kept().is_none() && outer.kept().is_some());
    }
}
