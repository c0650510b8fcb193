//! The Prometheus text format (version 0.0.4) of everything in the catalogue.

use std::fmt::{self, Write};

use crate::catalogue::CLASSES;
use crate::counter::SHARED_BUCKETS;
use crate::{
    CertificateState, Counter, FloodKind, Histogram, InstanceState, Metrics, Mirrored, ProcessState,
    RouteSeries, TunnelEnd, TurnedAway, WorkerMetrics,
};

impl Metrics {
    /// The whole page.
    pub fn expose(&self, process: &ProcessState) -> String {
        let mut page = String::with_capacity(16 * 1024);
        write_all(self, process, &mut page).expect("writing to a String cannot fail");
        page
    }
}

fn write_all(metrics: &Metrics, process: &ProcessState, out: &mut String) -> fmt::Result {
    write_routes(metrics, out)?;
    write_versions(metrics, out)?;
    write_services(metrics, out)?;
    write_instances(process, out)?;
    head(out, "narthex_refused_total", "counter", "Answers that the gateway itself made, by reason.")?;
    for (reason, count) in metrics.all_reasons() {
        writeln!(out, "narthex_refused_total{{reason=\"{reason}\"}} {count}")?;
    }
    write_workers(metrics, out)?;
    write_tls(metrics, out)?;
    write_process(process, out)
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) -> fmt::Result {
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}")
}

fn write_routes(metrics: &Metrics, out: &mut String) -> fmt::Result {
    let routes = metrics.all_routes();
    head(out, "narthex_requests_total", "counter", "Requests by route and class of status.")?;
    for route in &routes {
        for (class, name) in CLASSES.iter().enumerate() {
            let count: u64 =
                route.cells.iter().filter_map(|cell| cell.get()).map(|c| c.classes[class].read()).sum();
            if count > 0 {
                let (gateway, route) = (&route.gateway, &route.route);
                writeln!(
                    out,
                    "narthex_requests_total{{gateway=\"{gateway}\",route=\"{route}\",status=\"{name}\"}} {count}"
                )?;
            }
        }
    }
    let name = "narthex_fallbacks_total";
    head(out, name, "counter", "Answers that a route's fallback gave: `reply` or `service`.")?;
    for route in &routes {
        for (at, kind) in ["reply", "service"].into_iter().enumerate() {
            let cells = route.cells.iter().filter_map(|cell| cell.get());
            let count: u64 = cells.map(|cells| cells.fallbacks[at].read()).sum();
            if count > 0 {
                let (gateway, route) = (&route.gateway, &route.route);
                writeln!(out, "{name}{{gateway=\"{gateway}\",route=\"{route}\",by=\"{kind}\"}} {count}")?;
            }
        }
    }
    write_mirrored(&routes, out)?;
    for (name, help, gateway_only) in [
        ("narthex_request_duration_seconds", "From a request's first byte to its answer's last.", false),
        ("narthex_gateway_duration_seconds", "What the gateway itself took of it.", true),
    ] {
        head(out, name, "histogram", help)?;
        for route in &routes {
            let cells: Vec<_> = route.cells.iter().filter_map(|cell| cell.get()).collect();
            let histograms = cells.iter().map(|c| if gateway_only { &c.gateway } else { &c.total });
            let labels = format!("gateway=\"{}\",route=\"{}\"", route.gateway, route.route);
            write_histogram(out, name, &labels, histograms)?;
        }
    }
    Ok(())
}

fn write_mirrored(routes: &[std::sync::Arc<RouteSeries>], out: &mut String) -> fmt::Result {
    let name = "narthex_mirrored_requests_total";
    let help = "Requests to be copied for a route's mirror: `answered`, `failed`, or given up (`too_large`, `busy`, `incomplete`).";
    head(out, name, "counter", help)?;
    for route in routes {
        for end in Mirrored::ALL {
            let cells = route.cells.iter().filter_map(|cell| cell.get());
            let count: u64 = cells.map(|cells| cells.mirrored[end as usize].read()).sum();
            if count > 0 {
                let (gateway, route, outcome) = (&route.gateway, &route.route, end.as_str());
                writeln!(
                    out,
                    "{name}{{gateway=\"{gateway}\",route=\"{route}\",outcome=\"{outcome}\"}} {count}"
                )?;
            }
        }
    }
    Ok(())
}

fn write_versions(metrics: &Metrics, out: &mut String) -> fmt::Result {
    let name = "narthex_api_version_requests_total";
    head(out, name, "counter", "Requests by version of the API and caller; empty: nobody in particular.")?;
    for series in metrics.all_versions() {
        let (gateway, version) = (&series.gateway, &series.version);
        for (caller, count) in series.read() {
            let caller = label(&caller);
            writeln!(
                out,
                "{name}{{gateway=\"{gateway}\",version=\"{version}\",caller=\"{caller}\"}} {count}"
            )?;
        }
    }
    Ok(())
}

/// A label's value from outside.
fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace(|c: char| c.is_control(), " ")
}

fn write_services(metrics: &Metrics, out: &mut String) -> fmt::Result {
    let services = metrics.all_services();
    type Pick = fn(&crate::catalogue::ServiceCells) -> &Counter;
    let counters: [(&str, &str, Pick); 7] = [
        ("narthex_service_requests_total", "Requests sent to a service.", |cells| &cells.requests),
        ("narthex_service_failures_total", "Requests that a service gave no answer to.", |cells| {
            &cells.failures
        }),
        ("narthex_service_connects_total", "Connections opened to a service.", |cells| &cells.connects),
        ("narthex_service_retries_total", "Requests sent to a service once more.", |cells| &cells.retries),
        (
            "narthex_service_retries_refused_total",
            "Requests not sent once more because the retry budget was used up.",
            |cells| &cells.over_budget,
        ),
        (
            "narthex_service_hedges_total",
            "Further tries of requests whose answer took long (`retry.hedge`).",
            |cells| &cells.hedges,
        ),
        ("narthex_service_hedges_won_total", "Of these, those that answered first.", |cells| {
            &cells.hedges_won
        }),
    ];
    for (name, help, pick) in counters {
        head(out, name, "counter", help)?;
        for service in &services {
            let count: u64 = service.cells.iter().filter_map(|cell| cell.get()).map(|c| pick(c).read()).sum();
            writeln!(out, "{name}{{service=\"{}\"}} {count}", service.service)?;
        }
    }
    let name = "narthex_service_calls_total";
    head(out, name, "counter", "gRPC calls whose end is known, by status, in trailers too.")?;
    for service in &services {
        for status in 0..17 {
            let cells = service.cells.iter().filter_map(|cell| cell.get());
            let count: u64 = cells.map(|cells| cells.calls[status].read()).sum();
            if count > 0 {
                writeln!(out, "{name}{{service=\"{}\",grpc_status=\"{status}\"}} {count}", service.service)?;
            }
        }
    }
    let name = "narthex_service_circuit";
    head(out, name, "gauge", "A service's circuit: 0 closed, 1 open, 2 half open, 3 rising.")?;
    let with_circuit: Vec<_> = services.iter().filter(|service| service.circuit.read() > 0).collect();
    for service in &with_circuit {
        writeln!(out, "{name}{{service=\"{}\"}} {}", service.service, service.circuit.read() - 1)?;
    }
    let name = "narthex_service_circuit_opened_total";
    head(out, name, "counter", "Times that a service's circuit opened.")?;
    for service in &with_circuit {
        writeln!(out, "{name}{{service=\"{}\"}} {}", service.service, service.circuit_opened.read())?;
    }
    let name = "narthex_service_first_byte_seconds";
    head(out, name, "histogram", "From a request being handed over to its answer's head.")?;
    for service in &services {
        let cells = service.cells.iter().filter_map(|cell| cell.get()).map(|c| &c.first_byte);
        write_histogram(out, name, &format!("service=\"{}\"", service.service), cells)?;
    }
    Ok(())
}

fn write_instances(process: &ProcessState, out: &mut String) -> fmt::Result {
    let name = "narthex_service_panic";
    head(out, name, "gauge", "1 where too few instances of a service are well, and all are used.")?;
    for one in &process.services {
        writeln!(out, "{name}{{service=\"{}\"}} {}", one.service, u8::from(one.is_panic))?;
    }
    type Value = fn(&InstanceState) -> bool;
    let gauges: [(&str, &str, Value); 2] = [
        (
            "narthex_service_instance_healthy",
            "1 where an instance is well, by active checks and by what requests met with.",
            |instance| instance.is_healthy,
        ),
        (
            "narthex_service_instance_ejected",
            "1 where an instance is ejected, by what requests met with.",
            |instance| instance.is_ejected,
        ),
    ];
    for (name, help, value) in gauges {
        head(out, name, "gauge", help)?;
        for one in &process.services {
            for instance in &one.instances {
                let (service, address) = (&one.service, &instance.address);
                let value = u8::from(value(instance));
                writeln!(out, "{name}{{service=\"{service}\",instance=\"{address}\"}} {value}")?;
            }
        }
    }
    let name = "narthex_service_instance_ewma_seconds";
    head(out, name, "gauge", "What it takes an instance to answer, where `balance: ewma` goes by that.")?;
    for one in &process.services {
        for instance in &one.instances {
            let Some(ewma) = instance.ewma else { continue };
            let (service, address, seconds) = (&one.service, &instance.address, ewma as f64 / 1e9);
            writeln!(out, "{name}{{service=\"{service}\",instance=\"{address}\"}} {seconds}")?;
        }
    }
    Ok(())
}

fn write_histogram<'h>(
    out: &mut String,
    name: &str,
    labels: &str,
    parts: impl Iterator<Item = &'h Histogram>,
) -> fmt::Result {
    let (mut buckets, mut count, mut nanos) = ([0; SHARED_BUCKETS.len()], 0, 0);
    for part in parts {
        let (part_buckets, part_count, part_nanos) = part.read();
        buckets.iter_mut().zip(part_buckets).for_each(|(sum, part)| *sum += part);
        count += part_count;
        nanos += part_nanos;
    }
    if count == 0 {
        return Ok(());
    }
    let mut cumulative = 0;
    for (bound, in_bucket) in SHARED_BUCKETS.iter().zip(buckets) {
        cumulative += in_bucket;
        writeln!(out, "{name}_bucket{{{labels},le=\"{}\"}} {cumulative}", *bound as f64 / 1e6)?;
    }
    writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {count}")?;
    writeln!(out, "{name}_sum{{{labels}}} {}", nanos as f64 / 1e9)?;
    writeln!(out, "{name}_count{{{labels}}} {count}")
}

fn write_workers(metrics: &Metrics, out: &mut String) -> fmt::Result {
    type Pick = fn(&WorkerMetrics) -> &Counter;
    let all: [(&str, &str, &str, Pick); 11] = [
        ("narthex_connections_accepted_total", "counter", "Connections accepted.", |w| &w.accepted),
        (
            "narthex_connections_handed_over_total",
            "counter",
            "Connections given to a less loaded worker.",
            |w| &w.handed_over,
        ),
        ("narthex_connections", "gauge", "Connections of clients that are open.", |w| &w.connections),
        ("narthex_exchanges", "gauge", "Requests that are being answered.", |w| &w.exchanges),
        ("narthex_panics_total", "counter", "Requests that ended in a defect of the gateway.", |w| &w.panics),
        (
            "narthex_worker_stalls_total",
            "counter",
            "Times that a worker did not return within 100 ms.",
            |w| &w.stalls,
        ),
        ("narthex_tunnels", "gauge", "Tunnels (WebSocket, TCP) that are open.", |w| &w.tunnels),
        ("narthex_unrouted_total", "counter", "Requests refused before a route was known.", |w| &w.unrouted),
        ("narthex_tls_handshakes_total", "counter", "TLS handshakes with clients.", |w| &w.handshakes),
        (
            "narthex_tls_handshakes_resumed_total",
            "counter",
            "Of these, sessions that were taken up again.",
            |w| &w.handshakes_resumed,
        ),
        (
            "narthex_tls_handshakes_refused_total",
            "counter",
            "Connections closed because `handshakes` of the listener were under way.",
            |w| &w.handshakes_refused,
        ),
    ];
    for (name, kind, help, pick) in all {
        head(out, name, kind, help)?;
        for (worker, cells) in metrics.workers.iter().enumerate() {
            writeln!(out, "{name}{{worker=\"{worker}\"}} {}", pick(cells).read())?;
        }
    }
    write_tunnels(metrics, out)?;
    write_edge(metrics, out)
}

/// What was turned away, or cut off, at the edge.
fn write_edge(metrics: &Metrics, out: &mut String) -> fmt::Result {
    let sum = |pick: &dyn Fn(&WorkerMetrics) -> u64| metrics.workers.iter().map(pick).sum::<u64>();
    let name = "narthex_connections_refused_total";
    head(
        out,
        name,
        "counter",
        "Connections closed before their first request, by what they did not keep to.",
    )?;
    for why in TurnedAway::ALL {
        let count = sum(&|worker| worker.turned_away[why as usize].read());
        writeln!(out, "{name}{{bound=\"{}\"}} {count}", why.as_str())?;
    }
    let name = "narthex_http2_floods_total";
    head(out, name, "counter", "HTTP/2 connections ended by ENHANCE_YOUR_CALM, by what was too much.")?;
    for kind in FloodKind::ALL {
        let count = sum(&|worker| worker.floods[kind as usize].read());
        writeln!(out, "{name}{{kind=\"{}\"}} {count}", kind.as_str())?;
    }
    Ok(())
}

fn write_tunnels(metrics: &Metrics, out: &mut String) -> fmt::Result {
    let sum = |pick: &dyn Fn(&WorkerMetrics) -> u64| metrics.workers.iter().map(pick).sum::<u64>();
    let name = "narthex_tunnels_ended_total";
    head(out, name, "counter", "Tunnels that ended, by what ended them.")?;
    for end in TunnelEnd::ALL {
        let count = sum(&|worker| worker.tunnel_ends[end as usize].read());
        writeln!(out, "{name}{{end=\"{}\"}} {count}", end.as_str())?;
    }
    let name = "narthex_tunnel_bytes_total";
    head(out, name, "counter", "Bytes of tunnels that ended, by whom they came from.")?;
    for (at, from) in ["client", "service"].into_iter().enumerate() {
        writeln!(out, "{name}{{from=\"{from}\"}} {}", sum(&|worker| worker.tunnel_bytes[at].read()))?;
    }
    Ok(())
}

fn write_tls(metrics: &Metrics, out: &mut String) -> fmt::Result {
    let name = "narthex_tls_handshake_failures_total";
    head(out, name, "counter", "TLS handshakes with clients that failed, by cause.")?;
    for (cause, count) in metrics.all_handshake_failures() {
        writeln!(out, "{name}{{cause=\"{cause}\"}} {count}")?;
    }
    let certificates = metrics.all_certificates();
    type Value = fn(&CertificateState) -> i64;
    let gauges: [(&str, &str, Value); 2] = [
        (
            "narthex_certificate_expiry_timestamp_seconds",
            "When a certificate in use expires, in seconds since 1970.",
            |certificate| certificate.not_after,
        ),
        (
            "narthex_certificate_stale",
            "1 where the files of a certificate in use have changed and are not good: the old one stays.",
            |certificate| i64::from(certificate.is_stale),
        ),
    ];
    for (name, help, value) in gauges {
        head(out, name, "gauge", help)?;
        for one in &certificates {
            let label = label(&one.name);
            let (kind, owner) = (one.kind, &one.owner);
            writeln!(out, "{name}{{{kind}=\"{owner}\",name=\"{label}\"}} {}", value(one))?;
        }
    }
    Ok(())
}

fn write_process(process: &ProcessState, out: &mut String) -> fmt::Result {
    let all: [(&str, &str, &str, f64); 10] = [
        ("process_resident_memory_bytes", "gauge", "Resident memory.", process.resident_bytes as f64),
        ("process_open_fds", "gauge", "Open descriptors.", process.open_descriptors as f64),
        ("process_cpu_seconds_total", "counter", "Processor time, user and system.", process.cpu_seconds),
        ("process_threads", "gauge", "Threads.", process.threads as f64),
        (
            "narthex_config_version",
            "gauge",
            "The number of the live configuration.",
            process.config_version as f64,
        ),
        (
            "narthex_config_applied_timestamp_seconds",
            "gauge",
            "When the live configuration went live.",
            process.config_applied_unix as f64,
        ),
        (
            "narthex_config_refused_total",
            "counter",
            "Configurations that were refused.",
            process.config_refused as f64,
        ),
        (
            "narthex_overloaded",
            "gauge",
            "1 while new requests are shed because the gateway has too much to do.",
            f64::from(u8::from(process.is_overloaded)),
        ),
        (
            "narthex_overloads_total",
            "counter",
            "Times that new requests began to be shed.",
            process.overloads as f64,
        ),
        (
            "narthex_access_log_dropped_total",
            "counter",
            "Log lines dropped: the ring was full.",
            process.log_dropped as f64,
        ),
    ];
    for (name, kind, help, value) in all {
        head(out, name, kind, help)?;
        writeln!(out, "{name} {value}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exposes_what_instances_take() {
        let instance = |port, ewma| InstanceState {
            address: format!("127.0.0.1:{port}"),
            is_healthy: true,
            is_ejected: false,
            ewma,
        };
        let instances = vec![instance(1, Some(12_500_000)), instance(2, None)];
        let services = vec![crate::ServiceState { service: "s".into(), is_panic: false, instances }];
        let page = Metrics::new(1).expose(&ProcessState { services, ..ProcessState::default() });
        let lines: Vec<_> = page.lines().filter(|l| l.starts_with("narthex_service_instance_ewma")).collect();
        let wanted = "narthex_service_instance_ewma_seconds{service=\"s\",instance=\"127.0.0.1:1\"} 0.0125";
        assert_eq!(lines, [wanted]);
    }

    #[test]
    fn exposes_what_was_recorded() {
        let metrics = Metrics::new(2);
        let route = metrics.route("g", "r");
        route.record(0, 200, 2_000_000, 90_000);
        route.record(1, 503, 30_000_000_000, 90_000);
        metrics.refused(1, "no_instance");
        let page = metrics.expose(&ProcessState::default());
        for line in [
            "narthex_requests_total{gateway=\"g\",route=\"r\",status=\"2xx\"} 1",
            "narthex_requests_total{gateway=\"g\",route=\"r\",status=\"5xx\"} 1",
            "narthex_request_duration_seconds_bucket{gateway=\"g\",route=\"r\",le=\"0.0025\"} 1",
            "narthex_request_duration_seconds_bucket{gateway=\"g\",route=\"r\",le=\"15\"} 1",
            "narthex_request_duration_seconds_bucket{gateway=\"g\",route=\"r\",le=\"+Inf\"} 2",
            "narthex_gateway_duration_seconds_bucket{gateway=\"g\",route=\"r\",le=\"0.0001\"} 2",
            "narthex_refused_total{reason=\"no_instance\"} 1",
        ] {
            assert!(page.contains(line), "{line}\n{page}");
        }
    }
}
