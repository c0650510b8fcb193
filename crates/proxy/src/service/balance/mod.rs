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

use ahash::AHashMap;
use narthex_contract::{Exchange, Variable};
use narthex_wire::Name;

use super::{Instance, Settings};

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

/// Which instances a request may go to: those whose label has the value of its header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subset {
    pub header: Name,
    /// Where no usable instance has it, every one may answer.
    pub or_any: bool,
}

/// What a request itself says about where it should go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wish {
    pub hash: Option<u64>,
    pub tag: Option<Tag>,
    /// The hash of the label that is asked for, and whether others will do.
    pub subset: Option<(u64, bool)>,
}

impl Wish {
    /// `scratch`: memory to write the value to.
    pub fn of(settings: &Settings, exchange: &Exchange, scratch: &mut Vec<u8>) -> Self {
        let subset = settings.subset.as_ref().and_then(|subset| {
            let value = exchange.request.head.get(&subset.header)?;
            Some((hash(value), subset.or_any))
        });
        match &settings.balance {
            Balance::Hash(variable) => {
                scratch.clear();
                let hash = variable.append(exchange, scratch).then(|| hash(scratch));
                Self { hash, tag: None, subset }
            }
            Balance::Sticky(sticky) => {
                Self { hash: None, tag: sticky.read(exchange.request.head.all_str("cookie")), subset }
            }
            _ => Self { hash: None, tag: None, subset },
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
    /// The same for those alone that have a label, by its hash.
    labelled: AHashMap<u64, Box<[u16]>>,
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
        let labelled = labelled(&all, &plan);
        Self { schedule: schedule(&plan.weights), labelled, all, plan, table, tags }
    }

    /// Too few instances are well: all are used.
    pub fn is_panic(&self) -> bool {
        self.plan.is_panic
    }

    /// The next instance, or `None` where there is none.
    pub fn pick(&self, balance: &Balance, draw: &Draw<'_>) -> Option<&Arc<Instance>> {
        let may = self.may(&draw.wish)?;
        let picked = match balance {
            Balance::RoundRobin => self.at(may, draw.position)?,
            Balance::Random => self.at(may, draw.random as u32)?,
            Balance::LeastRequest => {
                let (first, second) = self.two(may, draw.random)?;
                if load(second) < load(first) { second } else { first }
            }
            Balance::Ewma => {
                let (first, second) = self.two(may, draw.random)?;
                let cost = |one: &Instance| one.standing.ewma.cost(one.in_flight(), draw.now);
                if cost(second) < cost(first) { second } else { first }
            }
            Balance::Hash(_) => match draw.wish.hash.zip(self.table.as_deref()) {
                Some((hash, table)) => return self.hashed(table, hash, may, draw.avoid),
                None => self.at(may, draw.position)?,
            },
            Balance::Sticky(_) => match self.tagged(may, &draw.wish) {
                Some(known) => known,
                None => self.at(may, draw.position)?,
            },
        };
        if !draw.avoid.contains(&picked.id) {
            return Some(picked);
        }
        (1..may.len() as u32)
            .filter_map(|step| self.at(may, draw.position.wrapping_add(step)))
            .find(|other| !draw.avoid.contains(&other.id))
            .or(Some(picked))
    }

    /// The schedule of those that the request may go to; `None`: there are none, and others will not do.
    fn may(&self, wish: &Wish) -> Option<&[u16]> {
        let Some((label, or_any)) = wish.subset else { return Some(&self.schedule) };
        match self.labelled.get(&label) {
            Some(labelled) => Some(labelled),
            None => or_any.then_some(&*self.schedule),
        }
    }

    fn at(&self, may: &[u16], position: u32) -> Option<&Arc<Instance>> {
        let length = u32::try_from(may.len()).ok().filter(|length| *length > 0)?;
        self.all.get(usize::from(may[(position % length) as usize]))
    }

    fn two(&self, may: &[u16], random: u64) -> Option<(&Arc<Instance>, &Arc<Instance>)> {
        Some((self.at(may, random as u32)?, self.at(may, (random >> 32) as u32)?))
    }

    fn is_used(&self, may: &[u16], index: usize) -> bool {
        let is_among =
            || std::ptr::eq(may, &*self.schedule) || may.iter().any(|one| usize::from(*one) == index);
        self.plan.weights.get(index).is_some_and(|weight| *weight > 0) && is_among()
    }

    fn hashed(&self, table: &Maglev, hash: u64, may: &[u16], avoid: &[u64]) -> Option<&Arc<Instance>> {
        let is_avoided = |index: usize| self.all.get(index).is_none_or(|one| avoid.contains(&one.id));
        let index = table
            .find(hash, |index| self.is_used(may, index) && !is_avoided(index))
            .or_else(|| table.find(hash, |index| self.is_used(may, index)))?;
        self.all.get(index)
    }

    /// The instance that the cookie names, if it is one of the service's and in use.
    fn tagged(&self, may: &[u16], wish: &Wish) -> Option<&Arc<Instance>> {
        let index = sticky::find(self.tags.as_deref()?, wish.tag.as_ref()?)?;
        if self.is_used(may, index) { self.all.get(index) } else { None }
    }

    /// What the cookie should say, if it does not say it already.
    pub fn tag_of(&self, instance: &Instance, wish: &Wish) -> Option<Tag> {
        let index = self.all.iter().position(|one| one.id == instance.id)?;
        let tag = *self.tags.as_deref()?.get(index)?;
        (wish.tag != Some(tag)).then_some(tag)
    }
}

/// A schedule for each label, of those that are used; nobody who is in none pays for it.
fn labelled(all: &[Arc<Instance>], plan: &Plan) -> AHashMap<u64, Box<[u16]>> {
    let mut weights: AHashMap<&str, Vec<u32>> = AHashMap::new();
    for (index, (instance, weight)) in all.iter().zip(&plan.weights).enumerate() {
        if let Some(label) = instance.place.label.as_deref().filter(|_| *weight > 0) {
            weights.entry(label).or_insert_with(|| vec![0; all.len()])[index] = *weight;
        }
    }
    weights.into_iter().map(|(label, weights)| (hash(label.as_bytes()), schedule(&weights))).collect()
}

/// Requests in flight for the weight, in thousandths.
fn load(instance: &Instance) -> u64 {
    u64::from(instance.in_flight()) * 1_000 / u64::from(instance.weight.max(1))
}
