//! A gateway in this process: the control runtime, the fleet, the admin listener, the watcher.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use narthex_config::{LoadOptions, Loaded, load_text};
use narthex_control::{
    Applied, Control, ControlOptions, Drain, LastGood, Refused, Source, Watched, serve_admin,
};
use thiserror::Error;
use tokio::runtime::Runtime;

/// How often the files of certificates are looked at.
const CERTIFICATES: Duration = Duration::from_millis(500);

/// How often snapshots that nothing holds any more are looked for.
const TIDY: Duration = Duration::from_secs(2);

/// How often memory and connections are looked at.
const LOAD: Duration = Duration::from_millis(100);

/// Where the configuration is.
#[derive(Debug, Clone)]
pub enum ConfigInput {
    File(PathBuf),
    /// As if it stood in a file of this name.
    Text {
        text: String,
        name: String,
    },
}

impl Default for ConfigInput {
    fn default() -> Self {
        Self::File(PathBuf::from("narthex.yaml"))
    }
}

/// Where the access log goes.
#[derive(Debug, Clone, Default)]
pub enum AccessOption {
    #[default]
    FromConfig,
    Off,
    File(PathBuf),
}

/// How a gateway is started.
#[derive(Debug, Clone, Default)]
pub struct StartOptions {
    pub config: ConfigInput,
    pub overlays: Vec<PathBuf>,
    pub workers: Option<usize>,
    pub access_log: AccessOption,
    /// Where the last good configuration is kept.
    pub state: Option<PathBuf>,
    /// Start with the last good configuration where the files are refused.
    pub resume: bool,
    /// Reload when a file changes.
    pub watch: bool,
    pub drain: Drain,
}

/// Why a gateway does not start.
#[derive(Debug, Error)]
pub enum StartError {
    #[error("{0}")]
    Control(#[from] narthex_control::StartError),
    #[error("cannot listen for administration on {0}: {1}")]
    Admin(SocketAddr, std::io::Error),
    #[error("cannot start a runtime: {0}")]
    Runtime(#[from] std::io::Error),
}

/// A running gateway. Dropping it ends it at once; `drain` ends it in good order.
pub struct Running {
    runtime: Option<Runtime>,
    control: Option<Arc<Control>>,
    admin: Option<SocketAddr>,
    drain: Drain,
}

impl Running {
    pub fn start(options: StartOptions) -> Result<Self, StartError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("control")
            .enable_all()
            .build()?;
        let (control, admin) = runtime.block_on(start(&options))?;
        Ok(Self { runtime: Some(runtime), control: Some(control), admin, drain: options.drain })
    }

    /// Where a listener listens.
    pub fn address(&self, listener: &str) -> Option<SocketAddr> {
        self.block_on(self.control()?.address(listener))?
    }

    /// Where the admin listener listens.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Makes a text live. `Err`: the problems, rendered.
    pub fn apply(&self, text: &str) -> Result<u64, String> {
        let ended = || "the gateway has ended".to_owned();
        let control = self.control().ok_or_else(ended)?;
        let applied = self.block_on(control.put(text)).ok_or_else(ended)?;
        applied.map(|applied| applied.version).map_err(|refused| refused.rendered)
    }

    /// Reads the files again. `None`: the gateway has ended.
    pub fn reload(&self) -> Option<Result<Applied, Refused>> {
        self.block_on(self.control()?.reload())
    }

    /// The `status` of the admin listener.
    pub fn status(&self) -> Option<narthex_control::Status> {
        self.block_on(self.control()?.status())
    }

    /// Waits for a future on the control runtime.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        Some(self.runtime.as_ref()?.block_on(future))
    }

    /// Lets something run beside it, on the control runtime, until it ends.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.runtime {
            runtime.spawn(future);
        }
    }

    /// Ends in good order, as SIGTERM does.
    pub fn drain(mut self) {
        if let (Some(runtime), Some(control)) = (&self.runtime, &self.control) {
            runtime.block_on(control.drain(self.drain));
        }
        self.end();
    }

    /// Ends at once.
    pub fn stop(mut self) {
        self.end();
    }

    fn control(&self) -> Option<&Arc<Control>> {
        self.control.as_ref()
    }

    fn end(&mut self) {
        let (Some(runtime), Some(mut control)) = (self.runtime.take(), self.control.take()) else { return };
        // Admin, watcher and reloads hold the control: they end with their tasks.
        runtime.shutdown_timeout(Duration::from_secs(1));
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        runtime.block_on(async {
            for _ in 0..200 {
                match Arc::try_unwrap(control) {
                    Ok(alone) => return alone.stop().await,
                    Err(shared) => control = shared,
                }
                // Tasks that were told to end let go of it within moments; nothing tells when.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            control.stop_workers().await;
        });
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

async fn start(options: &StartOptions) -> Result<(Arc<Control>, Option<SocketAddr>), StartError> {
    let first = First::read(options);
    let admin = first.loaded.file.as_ref().and_then(|file| file.admin.clone());
    let control_options = ControlOptions {
        workers: options.workers,
        access_log: match &options.access_log {
            AccessOption::FromConfig => None,
            AccessOption::Off => Some(None),
            AccessOption::File(file) => Some(Some(file.clone())),
        },
        state: options.state.clone(),
        overlays: options.overlays.clone(),
        ..ControlOptions::default()
    };
    let control =
        Control::start(first.loaded, first.text, first.source, &first.main, control_options).await?;
    let control = Arc::new(control);
    control.save_first().await;
    let admin = match admin {
        Some(admin) => {
            let ip = admin.address.ip.unwrap_or(std::net::Ipv4Addr::UNSPECIFIED.into());
            let address = SocketAddr::new(ip, admin.address.port);
            let refused = |error| StartError::Admin(address, error);
            let listener = tokio::net::TcpListener::bind(address).await.map_err(refused)?;
            let address = listener.local_addr().map_err(refused)?;
            let token = admin.token.as_ref().map(|token| token.to_string());
            tokio::spawn(serve_admin(listener, Arc::clone(&control), token));
            Some(address)
        }
        None => None,
    };
    if options.watch {
        tokio::spawn(follow(Arc::clone(&control), first.watched));
    }
    let followed = Arc::downgrade(&control);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(CERTIFICATES).await;
            let Some(control) = followed.upgrade() else { return };
            control.follow_certificates().await;
        }
    });
    let loaded = Arc::downgrade(&control);
    tokio::spawn(async move {
        loop {
            let Some(control) = loaded.upgrade() else { return };
            control.follow_load();
            drop(control);
            tokio::time::sleep(LOAD).await;
        }
    });
    let tidied = Arc::downgrade(&control);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(TIDY).await;
            let Some(control) = tidied.upgrade() else { return };
            control.tidy().await;
        }
    });
    Ok((control, admin))
}

/// What a gateway begins with.
struct First {
    loaded: Loaded,
    text: String,
    source: Source,
    main: PathBuf,
    watched: Watched,
}

impl First {
    fn read(options: &StartOptions) -> Self {
        let (path, overlays) = match &options.config {
            ConfigInput::Text { text, name } => {
                let main = PathBuf::from(name);
                let loaded = load_text(&LoadOptions::from_system(&main, &options.overlays), text);
                return Self {
                    loaded,
                    text: text.clone(),
                    source: Source::Admin,
                    main,
                    watched: Watched::default(),
                };
            }
            ConfigInput::File(path) => (path, &options.overlays),
        };
        let loaded = crate::load_path(path, overlays);
        let watched = Watched::now(&loaded.files);
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let first = Self { loaded, text, source: Source::File(path.clone()), main: path.clone(), watched };
        match &options.state {
            Some(state) if options.resume && !first.is_good(overlays) => first.resumed(state),
            _ => first,
        }
    }

    fn is_good(&self, overlays: &[PathBuf]) -> bool {
        self.loaded.is_good()
            && crate::check_loaded(crate::load_path(&self.main, overlays)).compiled.is_some()
    }

    /// The last good configuration instead, if there is one.
    fn resumed(self, state: &Path) -> Self {
        let Ok(last) = LastGood::read(state) else { return self };
        tracing::error!(
            "the configuration is refused, starting with the last good one:\n{}",
            self.loaded.render(false)
        );
        let text = last.text().to_owned();
        Self { loaded: last.load(), text, source: Source::LastGood, ..self }
    }
}

/// Reloads whenever the files change.
async fn follow(control: Arc<Control>, mut watched: Watched) {
    loop {
        watched.changed().await;
        let files = control.load_files().0.files;
        watched = Watched::now(&files);
        // A refusal has been logged, and the last good configuration stays.
        let _ = control.reload().await;
    }
}
