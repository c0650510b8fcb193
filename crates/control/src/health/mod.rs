//! Watches services' instances on the control runtime: asks them (active checks), and tells the data plane when it is time
//! to judge. What a result means is decided there, not here.

mod probe;

pub use probe::Checks;

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use narthex_net::Clock;
use narthex_proxy::{Health, HealthChange, Instance, State};
use tokio::sync::Semaphore;

use crate::feeds::Ends;

/// How often activation looks whether everybody was asked.
const LOOK: Duration = Duration::from_millis(10);

/// Tells the service's state when it is time to judge, and the operator what came of it.
pub async fn keep(service: String, state: Arc<State>, clock: Clock) {
    loop {
        let now = clock.monotonic();
        let tick = state.tick(now);
        tick.changes.iter().for_each(|change| say(&service, change));
        let left = tick.next.map(|next| Duration::from_nanos(next.saturating_sub(now).max(1_000_000)));
        tokio::select! {
            () = state.changed() => {}
            () = tokio::time::sleep(left.unwrap_or_default()), if left.is_some() => {}
        }
    }
}

fn say(service: &str, change: &HealthChange) {
    match change {
        HealthChange::Ejected { instance, cause, time } => {
            let cause = cause.as_str();
            tracing::warn!(service, %instance, cause, ?time, "an instance is ejected");
        }
        HealthChange::Returned { instance } => {
            tracing::info!(service, %instance, "an instance is back from its ejection");
        }
        HealthChange::Panic { begins: true, well, all } => {
            tracing::error!(service, well, all, "too few instances are well: all are used");
        }
        HealthChange::Panic { begins: false, well, all } => {
            tracing::info!(service, well, all, "enough instances are well again");
        }
    }
}

/// Asks every instance of the service, now and then, whichever they are at the time.
pub async fn check(service: Arc<str>, state: Arc<State>, checks: Arc<Checks>) {
    let places = Arc::new(Semaphore::new(checks.at_once));
    let mut running: BTreeMap<u64, Ends> = BTreeMap::new();
    loop {
        let set = state.current();
        running.retain(|id, _| set.all.iter().any(|instance| instance.id == *id));
        for instance in &set.all {
            running.entry(instance.id).or_insert_with(|| {
                let one = One {
                    service: Arc::clone(&service),
                    state: Arc::clone(&state),
                    checks: Arc::clone(&checks),
                    instance: Arc::clone(instance),
                    places: Arc::clone(&places),
                };
                Ends::new(tokio::spawn(one.ask()))
            });
        }
        drop(set);
        state.moved().await;
    }
}

/// One instance that is asked.
struct One {
    service: Arc<str>,
    state: Arc<State>,
    checks: Arc<Checks>,
    instance: Arc<Instance>,
    places: Arc<Semaphore>,
}

impl One {
    async fn ask(self) {
        let mut is_first = true;
        loop {
            let result = {
                let Ok(_place) = self.places.acquire().await else { return };
                self.checks.ask(self.instance.address).await
            };
            self.note(&result);
            // The first pause is any part of the whole: instances that came together are not asked together for ever.
            let pause = if is_first { random_share(0.0, 1.0) } else { random_share(0.9, 1.1) };
            is_first = false;
            tokio::time::sleep(self.checks.every.mul_f64(pause)).await;
        }
    }

    fn note(&self, result: &Result<(), String>) {
        if !self.state.checked(&self.instance, result.is_ok()) {
            return;
        }
        let (service, instance) = (&*self.service, self.instance.address);
        match result {
            Ok(()) => tracing::info!(service, %instance, "an instance is healthy"),
            Err(cause) => tracing::warn!(service, %instance, cause, "an instance is unhealthy"),
        }
    }
}

/// Returns when each instance was asked once.
pub async fn first_results(service: &str, state: &State, clock: &Clock) {
    let is_unknown = |instance: &Arc<Instance>| instance.standing.health() == Health::Unknown;
    while state.current().all.iter().any(is_unknown) {
        tokio::time::sleep(LOOK).await;
    }
    // The shares follow the results before anybody is sent there.
    state.tick(clock.monotonic()).changes.iter().for_each(|change| say(service, change));
}

/// Between the two, evenly.
fn random_share(from: f64, to: f64) -> f64 {
    let random = RandomState::new().hash_one(0) as f64 / u64::MAX as f64;
    from + (to - from) * random
}
