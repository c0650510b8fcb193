//! A gateway with kinds of policies and destinations that a test wrote in Rust, under the real control: compiled, made live
//! and reloaded as any other.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use narthex_config::{LoadOptions, load_text};
use narthex_contract::{RegisteredDestination, RegisteredPolicy};
use narthex_control::{Control, ControlOptions, Kinds, Source, Status, serve_admin};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

/// It runs until it is dropped.
pub struct Controlled {
    runtime: Runtime,
    control: Option<Arc<Control>>,
    admin: JoinHandle<std::io::Result<()>>,
    admin_address: SocketAddr,
}

impl Controlled {
    /// Starts one with these kinds beside those that come with the gateway.
    ///
    /// # Panics
    /// It does not start: the test is over.
    pub fn start(
        text: &str,
        workers: usize,
        policies: &[&'static dyn RegisteredPolicy],
        destinations: &[&'static dyn RegisteredDestination],
    ) -> Self {
        let mut kinds = Kinds::default();
        kinds.policies.extend(policies);
        kinds.destinations.extend(destinations);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("the system has room for a thread");
        let path = Path::new("narthex.yaml");
        let loaded = load_text(&LoadOptions::from_system(path, &[]), text);
        let options = ControlOptions {
            workers: Some(workers),
            access_log: Some(None),
            kinds,
            ..ControlOptions::default()
        };
        let started = runtime.block_on(Control::start(loaded, text.into(), Source::Admin, path, options));
        let control = started.unwrap_or_else(|error| panic!("{error}"));
        let control = Arc::new(control);
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port is free");
        let admin_address = listener.local_addr().expect("it is bound");
        let admin = runtime.spawn(serve_admin(listener, Arc::clone(&control), None));
        Self { runtime, control: Some(control), admin, admin_address }
    }

    fn control(&self) -> &Control {
        self.control.as_ref().expect("it is there until the drop")
    }

    /// Where the admin listener listens.
    pub fn admin(&self) -> SocketAddr {
        self.admin_address
    }

    /// Where the listener `main` listens.
    ///
    /// # Panics
    /// There is none.
    pub fn address(&self) -> SocketAddr {
        self.address_of("main")
    }

    /// Where a listener listens.
    ///
    /// # Panics
    /// There is none of this name.
    pub fn address_of(&self, listener: &str) -> SocketAddr {
        let address = self.runtime.block_on(self.control().address(listener));
        address.unwrap_or_else(|| panic!("no listener `{listener}`"))
    }

    /// Makes a text live. `Err`: the problems, rendered.
    ///
    /// # Errors
    /// It is refused.
    pub fn put(&self, text: &str) -> Result<u64, String> {
        let put = self.runtime.block_on(self.control().put(text));
        put.map(|applied| applied.version).map_err(|refused| refused.rendered)
    }

    /// What `put` would say.
    ///
    /// # Errors
    /// It would be refused.
    pub fn check(&self, text: &str) -> Result<(), String> {
        let checked = self.runtime.block_on(self.control().dry_run(text));
        checked.map(drop).map_err(|refused| refused.rendered)
    }

    /// The `status` of the admin listener.
    pub fn status(&self) -> Status {
        self.runtime.block_on(self.control().status())
    }

    /// Looks through what was replaced, as is done every two seconds.
    pub fn tidy(&self) {
        self.runtime.block_on(self.control().tidy());
    }
}

impl Drop for Controlled {
    fn drop(&mut self) {
        let Some(mut control) = self.control.take() else { return };
        self.admin.abort();
        self.runtime.block_on(async {
            // The connections of the admin listener hold it for a moment longer.
            for _ in 0..1_000 {
                match Arc::try_unwrap(control) {
                    Ok(alone) => return alone.stop().await,
                    Err(shared) => control = shared,
                }
                tokio::task::yield_now().await;
            }
            control.stop_workers().await;
        });
    }
}
