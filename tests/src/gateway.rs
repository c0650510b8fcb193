//! The gateway under test, in this process. The only file of the tests that knows how one is started.

use narthex::{AccessOption, ConfigInput, Running, StartOptions, check_text};
use narthex_testkit::{Subject, SubjectGateway};
use std::net::SocketAddr;

/// The name under which diagnostics show the configuration of a case.
const NAME: &str = "narthex.yaml";

/// Starts gateways for cases.
#[derive(Debug, Clone, Copy)]
pub struct Narthex;

/// One that runs.
pub struct Gateway {
    running: Running,
}

impl Gateway {
    /// Starts one with this configuration, one worker, no access log.
    ///
    /// # Errors
    /// The rendered diagnostics.
    pub fn start(config: &str) -> Result<Self, String> {
        let options = StartOptions {
            config: ConfigInput::Text { text: config.to_owned(), name: NAME.to_owned() },
            workers: Some(1),
            access_log: AccessOption::Off,
            ..StartOptions::default()
        };
        Running::start(options).map(|running| Self { running }).map_err(|error| error.to_string())
    }

    /// Where a listener is bound.
    pub fn address(&self, listener: &str) -> Option<SocketAddr> {
        self.running.address(listener)
    }

    /// Where its admin listener is bound.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.running.admin()
    }

    /// Ends it.
    pub fn stop(self) {
        self.running.stop();
    }
}

impl Subject for Narthex {
    fn start(&self, config: &str) -> Result<Box<dyn SubjectGateway>, String> {
        Gateway::start(config).map(|gateway| Box::new(gateway) as Box<dyn SubjectGateway>)
    }

    fn check(&self, config: &str) -> Result<(), String> {
        check_text(config, NAME)
    }
}

impl SubjectGateway for Gateway {
    fn address(&self, listener: &str) -> Option<SocketAddr> {
        Gateway::address(self, listener)
    }

    fn stop(self: Box<Self>) {
        Gateway::stop(*self);
    }
}
