//! A gateway whose route has policies that a test wrote in Rust: no registry, no control, only the data plane. The rest
//! of the snapshot is compiled from a configuration as always.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use narthex_config::{LoadOptions, load_text};
use narthex_contract::{Policy, Stage};
use narthex_control::{Compiled, Keep, compile};
use narthex_net::{Clock, Listener};
use narthex_proxy::{Chain, Fleet, FleetOptions, Link, Snapshot};
use narthex_telemetry::Metrics;
use tokio::runtime::Runtime;

/// One policy of the hand-made chain.
pub fn link(name: &str, policy: impl Policy + 'static, shadow: bool) -> Link {
    Link {
        name: name.into(),
        kind: "scripted",
        stage: Stage::Transform,
        shadow,
        policy: Arc::new(policy),
        attached: None,
    }
}

/// It runs until it is dropped.
pub struct HandMade {
    runtime: Runtime,
    fleet: Option<Fleet>,
    address: SocketAddr,
    pub metrics: Arc<Metrics>,
}

impl HandMade {
    /// One worker; `/held` has these policies and goes to the service, everything else goes there without any.
    ///
    /// # Panics
    /// It does not start: the test is over.
    pub fn start(service: &str, links: Vec<Link>) -> Self {
        let text = format!(
            "narthex: 1\nlisteners: {{ main: {{ address: \"127.0.0.1:0\" , bounds: {{ buffered_body_bytes: 1KiB }} }} }}\n\
             services: {{ s: {{ url: \"{service}\" }} }}\n\
             gateways: {{ g: {{ listeners: [main], routes: {{ held: {{ match: \"/held\", public: true, to: s }}, \
             free: {{ match: \"/{{rest=**}}\", public: true, to: s }} }} }} }}\n"
        );
        let loaded = load_text(&LoadOptions::from_system(Path::new("narthex.yaml"), &[]), &text);
        let metrics = Metrics::new(1);
        let mut problems = loaded.diagnostics;
        let file = loaded.file.expect("it is a configuration");
        let compiled = compile(&file, &mut Keep::default(), &metrics, &mut problems);
        let compiled = compiled.unwrap_or_else(|| panic!("it compiles: {problems:?}"));
        let snapshot = Arc::new(with_policies(compiled, links));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("the system has room for a thread");
        let fleet = Fleet::start(FleetOptions {
            shedding: Arc::default(),
            workers: 1,
            clock: Clock::system(),
            metrics: Arc::clone(&metrics),
            access: None,
            first: Arc::new(Snapshot { version: 0, listeners: Vec::new(), services: Vec::new() }),
        })
        .expect("a worker can be started");
        let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0)), 1).expect("a port is free");
        let address = listener.address;
        runtime.block_on(async {
            fleet.adopt(&snapshot).await;
            fleet.listen(0, listener).await;
        });
        Self { runtime, fleet: Some(fleet), address, metrics }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for HandMade {
    fn drop(&mut self) {
        if let Some(fleet) = self.fleet.take() {
            self.runtime.block_on(fleet.stop());
        }
    }
}

fn with_policies(compiled: Compiled, links: Vec<Link>) -> Snapshot {
    const ALONE: &str = "nothing else holds it: it was compiled a moment ago";
    let Compiled { mut snapshot, gateways, discovered, .. } = compiled;
    drop(gateways);
    for one in discovered {
        one.state.update(&one.fixed);
    }
    let plan = snapshot.listeners.first_mut().and_then(Option::as_mut).expect("there is one listener");
    let plan = Arc::get_mut(plan).expect(ALONE);
    let gateway = Arc::get_mut(plan.gateways.first_mut().expect("there is one gateway")).expect(ALONE);
    let held = gateway.routes.iter_mut().find(|route| &*route.label.route == "held").expect("it was written");
    Arc::get_mut(held).expect(ALONE).chain = Chain::new(links, 0);
    snapshot
}
