//! `narthex run`: the gateway until a signal ends it.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use narthex::{AccessOption, ConfigInput, Running, StartError, StartOptions, notify};
use narthex_control::Drain;
use narthex_document::Time;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Failure, Input, Outcome, start_log};

#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    input: Input,
    /// Threads that carry requests. Default: the configuration's, else the CPU quota.
    #[arg(long)]
    workers: Option<usize>,
    /// Keep the last good configuration in this directory.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Where the file is refused, start with the last good configuration of `--state`.
    #[arg(long, requires = "state")]
    resume: bool,
    /// Do not reload when a file changes (SIGHUP still does).
    #[arg(long)]
    no_watch: bool,
    /// After SIGTERM: how long to go on accepting, not ready, so that balancers notice.
    #[arg(long, default_value = "5s", value_name = "TIME", value_parser = time)]
    drain_grace: Duration,
    /// After that: how long what is in work may take.
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = time)]
    drain_deadline: Duration,
}

fn time(text: &str) -> Result<Duration, String> {
    text.parse::<Time>().map(|time| time.0).map_err(|error| error.to_string())
}

impl Run {
    pub fn run(self) -> Outcome {
        start_log();
        let options = StartOptions {
            config: ConfigInput::File(self.input.config),
            overlays: self.input.overlay,
            workers: self.workers,
            access_log: AccessOption::FromConfig,
            state: self.state,
            resume: self.resume,
            watch: !self.no_watch,
            drain: Drain { grace: self.drain_grace, deadline: self.drain_deadline },
        };
        until_signalled(start(options)?)
    }
}

/// Starts, or says why not.
pub fn start(options: StartOptions) -> Result<Running, Failure> {
    narthex_net::system::refuse_huge_pages();
    let (before, after) = narthex_net::system::raise_descriptor_limit();
    let running = Running::start(options).map_err(|error| match error {
        StartError::Control(narthex_control::StartError::Refused(refused)) => {
            Failure::Refused(refused.rendered)
        }
        other => Failure::Failed(other.to_string()),
    })?;
    let status = running.status();
    let listeners = status.map(|status| status.listeners).unwrap_or_default();
    tracing::info!(?listeners, admin = ?running.admin(), descriptors = after, was = before, "narthex is running");
    Ok(running)
}

/// SIGHUP reloads; SIGTERM and SIGINT drain; a second one ends at once.
pub fn until_signalled(running: Running) -> Outcome {
    let Some(signals) = running.block_on(async { Signals::listen() }) else { return Ok(()) };
    let mut signals = signals?;
    notify::notify("READY=1");
    if let Some(every) = notify::watchdog() {
        running.spawn(async move {
            loop {
                notify::notify("WATCHDOG=1");
                tokio::time::sleep(every).await;
            }
        });
    }
    loop {
        match running.block_on(signals.next()) {
            Some(Received::Reload) => {
                notify::reloading();
                let reloaded = running.reload();
                // Ready again also where it was refused: the last good configuration serves.
                notify::notify("READY=1");
                if let Some(Ok(applied)) = reloaded {
                    tracing::info!(version = applied.version, "reloaded");
                }
            }
            Some(Received::End) => break,
            None => return Ok(()),
        }
    }
    notify::notify("STOPPING=1");
    tracing::info!("draining; a second signal ends at once");
    std::thread::spawn(end_at_once_when_asked_again);
    running.drain();
    Ok(())
}

fn end_at_once_when_asked_again() {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        let Ok(mut signals) = Signals::listen() else { return };
        while signals.next().await == Received::Reload {}
        std::process::exit(1);
    });
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Received {
    Reload,
    End,
}

/// The signals that mean something. Listened to from the start: one that comes while another is obeyed is not lost.
struct Signals {
    hang_up: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            hang_up: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> Received {
        tokio::select! {
            _ = self.hang_up.recv() => Received::Reload,
            _ = self.terminate.recv() => Received::End,
            _ = self.interrupt.recv() => Received::End,
        }
    }
}
