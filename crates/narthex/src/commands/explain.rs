//! `narthex explain`: what a request would meet, or what a reason means.

use std::fmt::Write as _;

use clap::Args;
use narthex_contract::{CORE_REASONS, Reason};
use narthex_control::{Asked, End, Simulation, simulate};
use narthex_wire::ResponseHead;

use super::{Failure, Input, Outcome, check, say};

#[derive(Debug, Args)]
pub struct Explain {
    /// A request (`'GET /v1/home'`, `'POST https://shop.example/orders'`) or a reason (`no_route`).
    what: String,
    /// A header of the request: `'Name: value'`; may be given several times.
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    headers: Vec<String>,
    /// The admin listener of a gateway that runs: how the service that is asked stands now (circuit, instances).
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<String>,
    /// Its bearer token.
    #[arg(long, env = "NARTHEX_ADMIN_TOKEN", hide_env_values = true)]
    token: Option<String>,
    #[command(flatten)]
    input: Input,
}

impl Explain {
    pub fn run(self) -> Outcome {
        match self.what.split_once(' ') {
            None if self.what.starts_with('/') => self.request("GET", &self.what),
            None => explain_reason(&self.what),
            Some((method, url)) => self.request(method, url.trim()),
        }
    }

    fn request(&self, method: &str, url: &str) -> Outcome {
        let headers = self.headers.iter().map(|header| {
            let (name, value) = header.split_once(':').ok_or_else(|| {
                Failure::Failed(format!("`{header}` is not a header: write it as in 'X-Version: 2'"))
            })?;
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        });
        let headers = headers.collect::<Result<Vec<_>, Failure>>()?;
        let asked = Asked {
            method: method.to_owned(),
            url: url.to_owned(),
            headers,
            unix_ms: super::unix_ms(),
            ..Asked::default()
        };
        let (_, compiled) = check::checked(&self.input)?;
        let answer = |_: &str| (ResponseHead::new(200), Vec::new());
        let simulation = simulate(&compiled, &asked, &answer).map_err(|error| Failure::Failed(error.0))?;
        let now = match (&self.admin, &simulation.end) {
            (Some(admin), End::Forwarded { service, .. }) => {
                standing(&super::status::status(admin, self.token.as_deref())?, service)
            }
            _ => String::new(),
        };
        say(text(&asked, &simulation, &now).trim_end())
    }
}

/// `now`: how the service stands.
fn text(asked: &Asked, simulation: &Simulation, now: &str) -> String {
    let mut out = String::new();
    let mut line = |text: String| writeln!(out, "{text}").expect("writing to a String cannot fail");
    line(format!("{} {}", asked.method, asked.url));
    line(format!("gateway  {}", simulation.gateway.as_deref().unwrap_or("none claims this host")));
    if !simulation.path.is_empty() {
        line(format!("path     {}", simulation.path));
    }
    if let Some((_, why)) = &simulation.version {
        line(format!("version  {why}"));
    }
    line(format!("route    {}", simulation.route.as_deref().unwrap_or("none")));
    for (policy, stage, does) in &simulation.steps {
        line(format!("policy   {policy} ({stage}): {does}"));
    }
    line(format!("result   {}", end_text(&simulation.end)));
    now.lines().for_each(|text| line(text.to_owned()));
    if !simulation.others.is_empty() {
        line("\nthe nearest other routes:".to_owned());
        for (route, why) in &simulation.others {
            line(format!("  {route}: {why}"));
        }
    }
    out
}

/// How a service stands, from the status of a gateway that runs.
fn standing(status: &serde_json::Value, service: &str) -> String {
    let Some(of) = status["services"].get(service) else {
        return format!(
            "now      the gateway that runs has no service `{service}`: its configuration is another"
        );
    };
    let mut facts = Vec::new();
    if let Some(circuit) = of["circuit"].as_str() {
        facts.push(match circuit {
            "open" => "its circuit is open: 503 circuit_open without asking it".to_owned(),
            "half_open" => {
                "its circuit is half open: a few requests try it, others get 503 circuit_open".to_owned()
            }
            "rising" => "its circuit is closing: a rising share of requests is let through".to_owned(),
            other => format!("its circuit is {other}"),
        });
    }
    facts.push(format!("{} requests in work", of["requests_in_flight"]));
    if let Some(limit) = of["limit"].as_u64() {
        facts.push(format!("`adaptive` allows {limit}"));
    }
    if of["panic"] == true {
        facts.push("too few instances are well, so all are used".to_owned());
    }
    let mut out = format!("now      {}\n", facts.join("; "));
    for instance in of["instances"].as_array().into_iter().flatten() {
        let text = |key: &str| instance[key].as_str().map(str::to_owned);
        let cause = text("cause").map(|cause| format!(" ({cause})")).unwrap_or_default();
        let ewma =
            instance["ewma_ms"].as_f64().map(|ms| format!(", answers in {ms:.1} ms")).unwrap_or_default();
        let (address, health) = (text("address").unwrap_or_default(), text("health").unwrap_or_default());
        let _ = writeln!(out, "instance {address}: {health}{cause}, {} in work{ewma}", instance["in_flight"]);
    }
    out
}

fn end_text(end: &End) -> String {
    match end {
        End::Refused(code, status) => format!("{status} {code} (`narthex explain {code}`)"),
        End::Answered(status) => format!("{status}, answered by the gateway"),
        End::Forwarded { service, path } => format!("to the service `{service}` as {path}"),
        End::Unknown(why) => format!("unknown: {why}"),
    }
}

/// Every reason there is: the core's and the registries'.
pub fn all_reasons() -> Vec<Reason> {
    let policies = narthex_policies::POLICIES.iter().flat_map(|policy| policy.reasons().iter().copied());
    let destinations =
        narthex_destinations::DESTINATIONS.iter().flat_map(|kind| kind.reasons().iter().copied());
    CORE_REASONS.iter().copied().chain(policies).chain(destinations).collect()
}

fn explain_reason(code: &str) -> Outcome {
    let all = all_reasons();
    let Some(reason) = all.iter().find(|reason| reason.code() == code) else {
        let help = narthex_document::suggestion(code, all.iter().map(|reason| reason.code()));
        return Err(Failure::Failed(format!("there is no reason `{code}`\nhelp: {help}")));
    };
    let def = reason.def();
    say(format_args!(
        "{} ({}, fault of the {})\n\n{}\n\nWhat it means: {}\nWhat to do: {}",
        def.code,
        def.status,
        def.fault.as_str(),
        def.title,
        def.meaning,
        def.action
    ))
}
