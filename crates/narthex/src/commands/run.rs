//! `narthex run`: the gateway until a signal ends it.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use narthex::{AccessOption, ConfigInput, Running, StartError, StartOptions};
use narthex_control::Drain;
use narthex_document::Time;
use tokio::signal::unix::{SignalKind, signal};

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
    loop {
        let received = running.block_on(next_signal()).transpose()?;
        match received {
            Some(Received::Reload) => {
                if let Some(Ok(applied)) = running.reload() {
                    tracing::info!(version = applied.version, "reloaded");
                }
            }
            Some(Received::End) => break,
            None => return Ok(()),
        }
    }
    tracing::info!("draining; a second signal ends at once");
    std::thread::spawn(|| {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        if let Ok(Received::End) = runtime.block_on(next_signal()) {
            std::process::exit(1);
        }
    });
    running.drain();
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Received {
    Reload,
    End,
}

async fn next_signal() -> std::io::Result<Received> {
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(tokio::select! {
        _ = hang_up.recv() => Received::Reload,
        _ = terminate.recv() => Received::End,
        _ = interrupt.recv() => Received::End,
    })
}
