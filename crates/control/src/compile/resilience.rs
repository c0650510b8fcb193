//! What a service's and a route's settings for bad times become: retries, budgets, breakers.

use std::sync::Arc;

use narthex_config as config;
use narthex_proxy::{
    AdaptiveRules, BreakerRules, Budget, Causes, HedgeAfter, HedgeRules, Quantile, RetryRules, Slow,
};

pub(super) fn retry(written: &config::Retry) -> RetryRules {
    let mut on = Causes::default();
    for cause in &written.on {
        match **cause {
            config::RetryOn::Connect => on.connect = true,
            config::RetryOn::RefusedStream => on.refused_stream = true,
            config::RetryOn::Reset => on.reset = true,
            config::RetryOn::Timeout => on.timeout = true,
            config::RetryOn::GatewayError => on.statuses.extend(502..=504),
            config::RetryOn::ServerError => on.statuses.extend(500..=599),
            config::RetryOn::Status(status) => on.statuses.insert(status),
            config::RetryOn::Grpc(code) => on.grpc |= 1 << code,
        }
    }
    RetryRules {
        on,
        tries: written.tries.get(),
        per_try: written.per_try.as_ref().map(|time| time.0),
        base: written.backoff.base.0,
        max: written.backoff.max.0,
        retry_after: written.retry_after.0,
        body: usize::try_from(written.body.0).unwrap_or(usize::MAX),
        hedge: written.hedge.as_ref().map(hedge),
    }
}

fn hedge(written: &config::Hedge) -> HedgeRules {
    let after = match *written.after {
        config::HedgeAfter::Time(time) => HedgeAfter::Time(time.0),
        config::HedgeAfter::Quantile(percent) => HedgeAfter::Quantile(Arc::new(Quantile::new(percent))),
    };
    HedgeRules { after, max: written.max.get() }
}

pub(super) fn budget(written: &config::RetryBudget) -> Budget {
    Budget {
        share: written.share.hundredths(),
        min: written.min as usize,
        max: written.max.map_or(usize::MAX, |max| max as usize),
    }
}

pub(super) fn adaptive(written: &config::Adaptive) -> AdaptiveRules {
    AdaptiveRules {
        min: written.min.get(),
        max: written.max.get(),
        initial: written.initial.get(),
        tolerance: 10_000 + u32::from(written.slower.hundredths()),
        window: written.window.0,
    }
}

pub(super) fn breaker(written: &config::Breaker) -> BreakerRules {
    BreakerRules {
        errors: Some(written.errors.hundredths()),
        consecutive: written.consecutive.map(std::num::NonZeroU32::get),
        slow: written.latency.map(|latency| Slow {
            share: 10_000 - latency.quantile.hundredths(),
            than: u64::try_from(latency.above.0.as_nanos()).unwrap_or(u64::MAX),
        }),
        window: written.window.0,
        samples: written.samples.get(),
        open: written.open.0,
        open_max: written.open_max.0,
        trials: written.trials.get(),
        ramp: written.ramp.0,
    }
}
