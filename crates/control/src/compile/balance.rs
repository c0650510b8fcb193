//! How a service's requests spread: from what the user wrote to what the data plane picks and judges by.

use std::sync::Arc;

use narthex_config as config;
use narthex_contract::{Place, Variable};
use narthex_document::{Name, Spanned};
use narthex_proxy::{
    Balance, CheckRules, CookieRules, FailureShare, OutlierRules, Rules, SameSite, Settings, Spread, Sticky,
    StickyKey, Subset, SuccessRate,
};
use narthex_wire::Name as WireName;

use super::Work;

/// `None`: a problem was pushed.
pub(super) fn balance(
    work: &mut Work<'_>,
    name: &Spanned<Name>,
    service: &config::Service,
) -> Option<Balance> {
    Some(match &service.balance.value {
        config::Balance::RoundRobin => Balance::RoundRobin,
        config::Balance::LeastRequest => Balance::LeastRequest,
        config::Balance::Random => Balance::Random,
        config::Balance::Ewma => Balance::Ewma,
        // Several routes may lead here: what each of them captures is known when a request comes.
        config::Balance::Hash(text) => match Variable::parse(text, &Place::Gateway(name.as_str())) {
            Ok(variable) => Balance::Hash(variable),
            Err(error) => {
                work.error("unknown_variable", text.span, error.message, error.help);
                return None;
            }
        },
        config::Balance::Sticky(sticky) => {
            let key = StickyKey::new(sticky.key.trim().as_bytes(), name.as_str());
            Balance::Sticky(Sticky::new(key, &cookie(sticky)))
        }
    })
}

/// `None`: a problem was pushed; `Some(None)`: there is none.
pub(super) fn subset(work: &mut Work<'_>, service: &config::Service) -> Option<Option<Subset>> {
    let Some(subset) = &service.subset else { return Some(None) };
    let Ok(header) = WireName::parse(subset.header.as_str()) else {
        let message = format!("`{}` is not a header's name", subset.header.value);
        work.error("invalid_value", subset.header.span, message, "write a name such as X-Version");
        return None;
    };
    if !service.addresses().iter().any(|instance| instance.labels.contains_key(subset.label.as_str())) {
        let message = format!("no instance has the label `{}`", subset.label.value);
        let help =
            format!("write `{{ address: …, labels: {{ {}: v1 }} }}` in `instances`", subset.label.value);
        work.error("invalid_value", subset.label.span, message, help);
        return None;
    }
    Some(Some(Subset { header, or_any: subset.fallback == config::SubsetFallback::Any }))
}

fn cookie(sticky: &config::Sticky) -> CookieRules {
    CookieRules {
        name: sticky.cookie.as_str().into(),
        path: sticky.path.as_ref().map_or("/", |path| path.as_str()).into(),
        domain: sticky.domain.as_ref().map(|domain| domain.as_str().into()),
        lifetime: sticky.lifetime.map(|time| time.0),
        secure: sticky.secure,
        http_only: sticky.http_only,
        same_site: match sticky.same_site {
            config::SameSite::Lax => SameSite::Lax,
            config::SameSite::Strict => SameSite::Strict,
            config::SameSite::None => SameSite::None,
        },
    }
}

pub(super) fn outliers(outliers: &config::Outliers) -> OutlierRules {
    OutlierRules {
        errors: outliers.errors,
        local: outliers.no_answers,
        every: outliers.every.0,
        eject: outliers.eject.0,
        eject_max: outliers.eject_max.0,
        max_ejected: outliers.max_ejected.fraction(),
        success_rate: outliers.success_rate.as_ref().map(|rate| SuccessRate {
            hosts: *rate.instances,
            requests: rate.requests.get(),
            deviations: *rate.deviations,
        }),
        failures: outliers.failures.as_ref().map(|failures| FailureShare {
            share: failures.share.fraction(),
            hosts: failures.instances.get(),
            requests: failures.requests.get(),
        }),
    }
}

/// What the service's instances are judged by.
pub(super) fn rules(file: &config::File, service: &config::Service, settings: &Settings) -> Rules {
    let spread = Spread::default();
    Rules {
        checks: service.health.as_ref().map(|health| CheckRules {
            healthy: u32::from(health.healthy.get()),
            unhealthy: u32::from(health.unhealthy.get()),
        }),
        outliers: settings.outliers.clone(),
        slow_start: service.slow_start.map(|time| time.0).filter(|time| !time.is_zero()),
        spread: Spread {
            panic_below: service.panic_below.map_or(spread.panic_below, |share| share.fraction()),
            spill_below: service.spill_below.map_or(spread.spill_below, |share| share.fraction()),
        },
        zone: file.zone.as_ref().map(|zone| Arc::from(zone.as_str())),
        hashes: matches!(settings.balance, Balance::Hash(_)),
        sticky: match &settings.balance {
            Balance::Sticky(sticky) => Some(sticky.key().clone()),
            _ => None,
        },
    }
}
