//! `versions` of a gateway, to what the router finds and the proxy answers with. Texts are made here, once.

use std::sync::Arc;

use narthex_config as config;
use narthex_document::Spanned;
use narthex_proxy::{ApiVersion, ApiVersions};
use narthex_router::{VersionPlace, Versions};
use narthex_telemetry::http_date;
use narthex_wire::Name;

use super::Work;

const DEPRECATION: &str = "Deprecation";
const SUNSET: &str = "Sunset";

/// The names of a gateway's versions, in the order in which they are numbered.
pub(super) fn names(gateway: &config::Gateway) -> Option<Arc<[Box<str>]>> {
    let versions = gateway.versions.as_ref()?;
    Some(versions.known.iter().map(|(name, _)| name.0.as_str().into()).collect())
}

/// What was complained of makes no difference here: nothing goes live then.
pub(super) fn compile(work: &mut Work<'_>, gateway: &str, of: &config::Gateway) -> Option<ApiVersions> {
    let (versions, names) = (of.versions.as_ref()?, names(of)?);
    let index = |name: &Option<Spanned<String>>| {
        let name = name.as_ref()?;
        versions.known.place(name.as_str()).and_then(|at| u8::try_from(at).ok())
    };
    let places: Box<[VersionPlace]> =
        versions.from.0.iter().filter_map(|place| compile_place(work, place)).collect();
    let mut vary: Vec<Box<str>> = Vec::new();
    for name in places.iter().filter_map(VersionPlace::vary) {
        let name = if name == "accept" { "Accept" } else { name };
        if !vary.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            vary.push(name.into());
        }
    }
    let strips = versions.from.0.iter().map(|place| match &place.value {
        config::VersionPlace::Path(path) => path.strip,
        _ => false,
    });
    let each = versions.known.iter().map(|(name, version)| ApiVersion {
        name: name.0.as_str().into(),
        sunset: version.sunset.as_ref().map(|date| date.unix),
        fields: fields(version),
        links: links(&version.links),
        series: work.metrics.version(gateway, &name.0),
    });
    Some(ApiVersions {
        each: each.collect(),
        strips: strips.collect(),
        vary,
        callers: versions.bounds.callers as usize,
        finder: Versions {
            names,
            places,
            default: index(&versions.default),
            fallback: index(&versions.fallback),
        },
    })
}

fn compile_place(work: &mut Work<'_>, place: &Spanned<config::VersionPlace>) -> Option<VersionPlace> {
    Some(match &place.value {
        config::VersionPlace::Path(path) => VersionPlace::Path(path.prefix.as_str().into()),
        config::VersionPlace::Query(name) => VersionPlace::Query(name.as_str().into()),
        config::VersionPlace::MediaType(media) => VersionPlace::MediaType {
            vendor: media.vendor.as_deref().map(Into::into),
            parameter: media.parameter.to_ascii_lowercase().into(),
        },
        config::VersionPlace::Header(config::HeaderName(name)) => {
            if Name::parse(name).is_ok_and(|name| name.is_reserved()) {
                let message = format!("`{name}` is about the connection, it cannot name a version");
                work.error("invalid_value", place.span, message, "write a header such as X-Api-Version");
                return None;
            }
            VersionPlace::Header(name.to_ascii_lowercase().into())
        }
    })
}

/// `Deprecation` (RFC 9745, section 2.1) and `Sunset` (RFC 8594, section 3).
fn fields(version: &config::ApiVersion) -> Vec<(Name, Box<[u8]>)> {
    let name = |text: &str| Name::parse(text).expect("it is a token");
    let deprecated = version.deprecated.as_ref().map(|date| format!("@{}", date.unix).into_bytes());
    let sunset = version.sunset.as_ref().map(|date| http_date(date.unix).to_vec());
    let deprecated = deprecated.map(|value| (name(DEPRECATION), value.into()));
    deprecated.into_iter().chain(sunset.map(|value| (name(SUNSET), value.into()))).collect()
}

fn links(links: &config::VersionLinks) -> Vec<Box<[u8]>> {
    let all = [
        (&links.deprecation, "deprecation"),
        (&links.sunset, "sunset"),
        (&links.successor, "successor-version"),
    ];
    let given = all.into_iter().filter_map(|(link, relation)| Some((link.as_ref()?, relation)));
    given.map(|(link, relation)| format!("<{}>; rel=\"{relation}\"", link.0).into_bytes().into()).collect()
}
