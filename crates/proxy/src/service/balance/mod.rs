//! Which instance a request goes to. The plan of shares is made elsewhere (`plan`) and in advance; picking is a look-up.
//!
//! Invariant: round robin costs one load, one index and no memory, whatever else a service has configured.

mod ewma;
mod maglev;
mod plan;
mod schedule;
mod sticky;
#[cfg(test)]
mod tests;

pub use ewma::{Ewma, PENALTY};
pub use maglev::{Maglev, hash};
pub use plan::{Candidate, Plan, Spread, plan};
pub use schedule::schedule;
pub use sticky::{CookieRules, SameSite, Sticky, StickyKey, Tag};

use std::sync::Arc;

use narthex_contract::{Exchange, Variable};

use super::Instance;

/// How requests spread over instances; each by their weights.
#[derive(Debug, Clone)]
pub enum Balance {
    RoundRobin,
    /// Of two at random, the one with fewer requests in flight for its weight.
    LeastRequest,
    Random,
    /// Of two at random, the one that would answer sooner: peak EWMA of its latency by its requests in flight.
    Ewma,
    /// Equal values go to equal instances; in turn where a request has no value.
    Hash(Variable),
    /// The instance that the cookie names; in turn where there is none.
    Sticky(Sticky),
}

/// What a request itself says about where it should go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wish {
    pub hash: Option<u64>,
    pub tag: Option<Tag>,
}

impl Wish {
    /// `scratch`: memory to write the value to.
    pub fn of(balance: &Balance, exchange: &Exchange, scratch: &mut Vec<u8>) -> Self {
        match balance {
            Balance::Hash(variable) => {
                scratch.clear();
                let hash = variable.append(exchange, scratch).then(|| hash(scratch));
                Self { hash, tag: None }
            }
            Balance::Sticky(sticky) => {
                Self { hash: None, tag: sticky.read(exchange.request.head.all_str("cookie")) }
            }
            _ => Self::default(),
        }
    }
}

/// What one pick depends on beside the instances.
#[derive(Debug, Clone, Copy)]
pub struct Draw<'d> {
    /// The worker's own place in every round robin.
    pub position: u32,
    pub random: u64,
    /// Monotonic nanoseconds.
    pub now: u64,
    pub wish: Wish,
    /// Instances that failed, by id: another one is taken, if there is one.
    pub avoid: &'d [u64],
}

/// The instances of a service at one moment, and what was computed of them.
#[derive(Default)]
pub struct InstanceSet {
    pub all: Vec<Arc<Instance>>,
    pub(super) plan: Plan,
    /// Indexes in the order of weighted round robin.
    schedule: Box<[u16]>,
    pub(super) table: Option<Arc<Maglev>>,
    pub(super) tags: Option<Arc<[Tag]>>,
}

impl InstanceSet {
    pub(super) fn new(
        all: Vec<Arc<Instance>>,
        plan: Plan,
        table: Option<Arc<Maglev>>,
        tags: Option<Arc<[Tag]>>,
    ) -> Self {
        Self { schedule: schedule(&plan.weights), all, plan, table, tags }
    }

    /// Too few instances are well: all are used.
    pub fn is_panic(&self) -> bool {
        self.plan.is_panic
    }

    /// The next instance, or `None` where there is none.
    pub fn pick(&self, balance: &Balance, draw: &Draw<'_>) -> Option<&Arc<Instance>> {
        let picked = match balance {
            Balance::RoundRobin => self.at(draw.position)?,
            Balance::Random => self.at(draw.random as u32)?,
            Balance::LeastRequest => {
                let (first, second) = self.two(draw.random)?;
                if load(second) < load(first) { second } else { first }
            }
            Balance::Ewma => {
                let (first, second) = self.two(draw.random)?;
                let cost = |one: &Instance| one.standing.ewma.cost(one.in_flight(), draw.now);
                if cost(second) < cost(first) { second } else { first }
            }
            Balance::Hash(_) => match draw.wish.hash.zip(self.table.as_deref()) {
                Some((hash, table)) => return self.hashed(table, hash, draw.avoid),
                None => self.at(draw.position)?,
            },
            Balance::Sticky(_) => match self.tagged(&draw.wish) {
                Some(known) => known,
                None => self.at(draw.position)?,
            },
        };
        if !draw.avoid.contains(&picked.id) {
            return Some(picked);
        }
        (1..self.schedule.len() as u32)
            .filter_map(|step| self.at(draw.position.wrapping_add(step)))
            .find(|other| !draw.avoid.contains(&other.id))
            .or(Some(picked))
    }

    fn at(&self, position: u32) -> Option<&Arc<Instance>> {
        let length = u32::try_from(self.schedule.len()).ok().filter(|length| *length > 0)?;
        self.all.get(usize::from(self.schedule[(position % length) as usize]))
    }

    fn two(&self, random: u64) -> Option<(&Arc<Instance>, &Arc<Instance>)> {
        Some((self.at(random as u32)?, self.at((random >> 32) as u32)?))
    }

    fn is_used(&self, index: usize) -> bool {
        self.plan.weights.get(index).is_some_and(|weight| *weight > 0)
    }

    fn hashed(&self, table: &Maglev, hash: u64, avoid: &[u64]) -> Option<&Arc<Instance>> {
        let is_avoided = |index: usize| self.all.get(index).is_none_or(|one| avoid.contains(&one.id));
        let index = table
            .find(hash, |index| self.is_used(index) && !is_avoided(index))
            .or_else(|| table.find(hash, |index| self.is_used(index)))?;
        self.all.get(index)
    }

    /// The instance that the cookie names, if it is one of the service's and in use.
    fn tagged(&self, wish: &Wish) -> Option<&Arc<Instance>> {
        let index = sticky::find(self.tags.as_deref()?, wish.tag.as_ref()?)?;
        if self.is_used(index) { self.all.get(index) } else { None }
    }

    /// What the cookie should say, if it does not say it already.
    pub fn tag_of(&self, instance: &Instance, wish: &Wish) -> Option<Tag> {
        let index = self.all.iter().position(|one| one.id == instance.id)?;
        let tag = *self.tags.as_deref()?.get(index)?;
        (wish.tag != Some(tag)).then_some(tag)
    }
}

/// Requests in flight for the weight, in thousandths.
fn load(instance: &Instance) -> u64 {
    u64::from(instance.in_flight()) * 1_000 / u64::from(instance.weight.max(1))
}
