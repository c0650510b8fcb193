//! The live configuration: made live, replaced as a whole, or refused as a whole; and the end.

mod check;
mod status;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use narthex_config::{LoadOptions, Loaded, load_text};
use narthex_net::{Clock, ListenError};
use narthex_proxy::{Fleet, FleetOptions, Phase, Snapshot};
use narthex_telemetry::{AccessSink, AccessWriter, Metrics, ProcessState};
use serde::Serialize;
use thiserror::Error;
use tokio::sync::Mutex;

use crate::certificates::Certificates;
use crate::compile::{Compiled, Keep, Kinds};
use crate::feeds::{Feeds, Waiting, waiting};
use crate::last_good::LastGood;
use crate::listeners::Listeners;
use crate::overload::Overload;
use check::{check, load_with_texts, text_with_texts};

pub use check::Refused;
use status::instances_of;
pub use status::{ServiceStatus, Status};

/// How a gateway is started.
#[derive(Debug, Clone, Default)]
pub struct ControlOptions {
    pub workers: Option<usize>,
    /// `Some(None)`: no log; `Some(Some)`: this file; `None`: as the configuration says.
    pub access_log: Option<Option<PathBuf>>,
    /// Where the last good configuration is kept.
    pub state: Option<PathBuf>,
    pub overlays: Vec<PathBuf>,
    /// What a configuration may name; those that come with the gateway, unless somebody builds their own.
    pub kinds: Kinds,
}

/// Where a configuration came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    File(PathBuf),
    Admin,
    LastGood,
}

/// Why a gateway does not start.
#[derive(Debug, Error)]
pub enum StartError {
    #[error("{0}")]
    Refused(Refused),
    #[error("{0}")]
    Listen(#[from] ListenError),
    #[error("cannot start: {0}")]
    Io(#[from] std::io::Error),
}

/// A configuration that went live.
#[derive(Debug, Clone, Serialize)]
pub struct Applied {
    pub version: u64,
    pub hash: String,
    pub warnings: Vec<String>,
}

/// How long the end may take.
#[derive(Debug, Clone, Copy)]
pub struct Drain {
    /// Not ready, but still accepting, with `Connection: close`.
    pub grace: Duration,
    /// For what is in work after that.
    pub deadline: Duration,
}

impl Default for Drain {
    fn default() -> Self {
        Self { grace: Duration::from_secs(5), deadline: Duration::from_secs(30) }
    }
}

/// What belongs to the live configuration.
struct Live {
    keep: Keep,
    listeners: Listeners,
    feeds: Feeds,
    certificates: Certificates,
    /// Replaced ones that exchanges still hold: the last reference is dropped here, not on a worker.
    old: Vec<Replaced>,
    snapshot: Arc<Snapshot>,
    text: String,
    hash: String,
    source: Source,
    applied_unix: u64,
    last_refusal: Option<String>,
}

/// A snapshot that was live.
struct Replaced {
    snapshot: Arc<Snapshot>,
    is_alone: bool,
}

impl Replaced {
    /// Until nobody else has held it for two looks: an exchange lets go of its snapshot a moment before it lets go of the
    /// parts that it took out, and those too are to be dropped here.
    fn stays(&mut self) -> bool {
        let was_alone = std::mem::replace(&mut self.is_alone, Arc::strong_count(&self.snapshot) == 1);
        !(was_alone && self.is_alone)
    }
}

/// A running gateway.
pub struct Control {
    live: Mutex<Live>,
    fleet: Fleet,
    metrics: Arc<Metrics>,
    clock: Clock,
    options: ControlOptions,
    main: PathBuf,
    refused: AtomicU64,
    is_draining: AtomicBool,
    overload: Overload,
}

impl Control {
    /// Starts with what was loaded, or says why not. Listeners accept when this returns.
    pub async fn start(
        loaded: Loaded,
        text: String,
        source: Source,
        main: &Path,
        options: ControlOptions,
    ) -> Result<Self, StartError> {
        let clock = Clock::system();
        let workers = options.workers.or_else(|| {
            let file = loaded.file.as_ref()?;
            file.workers.as_ref().map(|workers| usize::from(workers.0))
        });
        let workers = workers.unwrap_or_else(narthex_net::system::default_workers);
        let metrics = Metrics::new(workers);
        let mut keep = Keep::default();
        keep.kinds = options.kinds.clone();
        let checked = check(&loaded, &mut keep, &metrics).map_err(StartError::Refused)?;
        let listeners = Listeners::default();
        let bound = listeners.bind(&checked.compiled.listeners, workers)?;
        let access = access_log(&options, &loaded, workers)?;
        let empty = Arc::new(Snapshot { version: 0, listeners: Vec::new(), services: Vec::new() });
        let overload = Overload::default();
        let fleet = Fleet::start(FleetOptions {
            workers,
            clock: clock.clone(),
            metrics: Arc::clone(&metrics),
            access,
            first: Arc::clone(&empty),
            shedding: Arc::clone(&overload.shedding),
        })?;
        let live = Live {
            keep,
            listeners,
            feeds: Feeds::default(),
            certificates: Certificates::default(),
            old: Vec::new(),
            snapshot: empty,
            text: String::new(),
            hash: String::new(),
            source: source.clone(),
            applied_unix: 0,
            last_refusal: None,
        };
        let control = Self {
            live: Mutex::new(live),
            fleet,
            metrics,
            clock,
            options,
            main: main.to_owned(),
            refused: AtomicU64::new(0),
            is_draining: AtomicBool::new(false),
            overload,
        };
        let mut live = control.live.lock().await;
        control.activate(&mut live, checked.compiled, bound, text, source).await;
        drop(live);
        Ok(control)
    }

    /// Reads the files again and makes them live.
    pub async fn reload(&self) -> Result<Applied, Refused> {
        let (loaded, texts) = self.load_files();
        let text = texts.get(&self.main).cloned().unwrap_or_default();
        let mut live = self.live.lock().await;
        self.apply(&mut live, loaded, text, Source::File(self.main.clone()), Some(texts)).await
    }

    /// Makes a text live, as if it stood in the main file.
    pub async fn put(&self, text: &str) -> Result<Applied, Refused> {
        let loaded = self.load_text(text);
        let mut live = self.live.lock().await;
        self.apply(&mut live, loaded, text.to_owned(), Source::Admin, None).await
    }

    /// The same, if the live one's entity tag is wanted: looked at and replaced under one lock, so that of two who
    /// change the same one only one does. `Err`: the tag of the live one.
    pub async fn put_if(
        &self,
        text: &str,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Result<Result<Applied, Refused>, String> {
        let loaded = self.load_text(text);
        let mut live = self.live.lock().await;
        if !is_wanted(&live.hash) {
            return Err(live.hash.clone());
        }
        Ok(self.apply(&mut live, loaded, text.to_owned(), Source::Admin, None).await)
    }

    /// What `put` would say, without doing it.
    pub async fn dry_run(&self, text: &str) -> Result<Vec<String>, Refused> {
        let loaded = self.load_text(text);
        let mut keep = self.live.lock().await.keep.copy();
        check(&loaded, &mut keep, &Metrics::new(1)).map(|checked| checked.warnings)
    }

    fn load_text(&self, text: &str) -> Loaded {
        load_text(&LoadOptions::from_system(&self.main, &self.options.overlays), text)
    }

    /// `text` in place of the main file, and every other text that was read.
    fn load_with(&self, text: &str) -> (Loaded, BTreeMap<PathBuf, String>) {
        text_with_texts(&self.main, &self.options.overlays, text)
    }

    /// The files as they are now, and every text that was read.
    pub fn load_files(&self) -> (Loaded, BTreeMap<PathBuf, String>) {
        load_with_texts(&self.main, &self.options.overlays)
    }

    async fn apply(
        &self,
        live: &mut Live,
        loaded: Loaded,
        text: String,
        source: Source,
        texts: Option<BTreeMap<PathBuf, String>>,
    ) -> Result<Applied, Refused> {
        let pems = loaded.pems.clone();
        let mut keep = live.keep.copy();
        keep.secured = live.certificates.secured();
        let checked = match check(&loaded, &mut keep, &self.metrics) {
            Ok(checked) => checked,
            Err(refused) => return Err(self.refuse(live, refused)),
        };
        let bound = match live.listeners.bind(&checked.compiled.listeners, self.fleet.workers()) {
            Ok(bound) => bound,
            Err(error) => {
                let refused = Refused {
                    rendered: error.to_string(),
                    json: serde_json::json!([{ "message": error.to_string() }]),
                };
                return Err(self.refuse(live, refused));
            }
        };
        live.keep = keep;
        self.activate(live, checked.compiled, bound, text, source).await;
        self.save(live, texts.map(|texts| (texts, pems)));
        Ok(Applied { version: live.snapshot.version, hash: live.hash.clone(), warnings: checked.warnings })
    }

    fn refuse(&self, live: &mut Live, refused: Refused) -> Refused {
        self.refused.fetch_add(1, Ordering::Relaxed);
        live.last_refusal = Some(refused.rendered.clone());
        tracing::error!("configuration refused, the last good one stays live:\n{}", refused.rendered);
        refused
    }

    async fn activate(
        &self,
        live: &mut Live,
        compiled: Compiled,
        bound: Vec<(usize, String, narthex_net::Listener)>,
        text: String,
        source: Source,
    ) {
        let Compiled { mut snapshot, listeners, discovered, secured, overload, .. } = compiled;
        self.overload.configure(&overload);
        snapshot.version = live.snapshot.version + 1;
        let snapshot = Arc::new(snapshot);
        live.feeds.start(&mut live.keep, discovered, &snapshot, &self.clock).await;
        live.certificates.start(secured);
        self.metrics.certificates(live.certificates.states());
        self.fleet.adopt(&snapshot).await;
        live.listeners.serve(&self.fleet, bound, &listeners).await;
        let replaced = std::mem::replace(&mut live.snapshot, snapshot);
        // Each reload looks too: many in a row must not pile up what the regular look would find.
        live.old.retain_mut(Replaced::stays);
        live.old.push(Replaced { snapshot: replaced, is_alone: false });
        self.metrics.forget_unused();
        live.hash = hash(&text);
        live.text = text;
        live.source = source;
        live.applied_unix = self.clock.unix_ms() / 1_000;
        tracing::info!(version = live.snapshot.version, hash = live.hash, "configuration is live");
    }

    /// Keeps what went live, for a start after the next mishap.
    /// `texts`: all that were read, and which of them as certificates and keys.
    fn save(&self, live: &Live, texts: Option<(BTreeMap<PathBuf, String>, Vec<PathBuf>)>) {
        let Some(directory) = &self.options.state else { return };
        let (mut texts, pems) = texts.unwrap_or_else(|| {
            let (loaded, texts) = self.load_with(&live.text);
            (texts, loaded.pems)
        });
        texts.insert(self.main.clone(), live.text.clone());
        let last_good = LastGood::of(&self.main, &self.options.overlays, texts, &pems);
        if let Err(error) = last_good.save(directory) {
            tracing::warn!(%error, "cannot keep the last good configuration");
        }
    }

    /// After a start: the first configuration is a good one too.
    pub async fn save_first(&self) {
        let live = self.live.lock().await;
        self.save(&live, None);
    }

    /// Forgets replaced snapshots that nothing holds any more. Called now and then.
    pub async fn tidy(&self) {
        let mut live = self.live.lock().await;
        live.old.retain_mut(Replaced::stays);
        live.keep.tidy();
    }

    /// Looks whether there is too much to do. Called ten times a second.
    pub fn follow_load(&self) {
        self.overload.look(self.fleet.connections());
    }

    /// Looks at the files of certificates. Called twice a second.
    pub async fn follow_certificates(&self) {
        let mut live = self.live.lock().await;
        if live.certificates.look() {
            self.metrics.certificates(live.certificates.states());
        }
    }

    pub async fn address(&self, listener: &str) -> Option<SocketAddr> {
        self.live.lock().await.listeners.address(listener)
    }

    /// (text, entity tag)
    pub async fn text(&self) -> (String, String) {
        let live = self.live.lock().await;
        (live.text.clone(), live.hash.clone())
    }

    pub fn is_ready(&self) -> bool {
        !self.is_draining.load(Ordering::Relaxed)
    }

    pub async fn status(&self) -> Status {
        let live = self.live.lock().await;
        Status {
            version: live.snapshot.version,
            hash: live.hash.clone(),
            source: live.source.clone(),
            applied_unix: live.applied_unix,
            refused: self.refused.load(Ordering::Relaxed),
            last_refusal: live.last_refusal.clone(),
            ready: self.is_ready(),
            draining: !self.is_ready(),
            workers: self.fleet.workers(),
            connections: self.fleet.connections(),
            overloaded: self.overload.excess(),
            listeners: live.listeners.all().map(|(name, at)| (name.to_owned(), at.to_string())).collect(),
            services: live
                .snapshot
                .services
                .iter()
                .flatten()
                .map(|service| ServiceStatus::of(service, self.clock.monotonic()))
                .collect(),
            certificates: live.certificates.status(),
            waiting: waiting(&live.snapshot),
        }
    }

    /// What is closed for want of data.
    pub async fn waiting(&self) -> Vec<Waiting> {
        waiting(&self.live.lock().await.snapshot)
    }

    /// The Prometheus page.
    pub async fn metrics(&self) -> String {
        let (version, applied) = {
            let live = self.live.lock().await;
            (live.snapshot.version, live.applied_unix)
        };
        let now = self.clock.monotonic();
        let live = self.live.lock().await;
        let services = live.snapshot.services.iter().flatten().map(|one| instances_of(one, now)).collect();
        drop(live);
        let resources = narthex_net::system::resources();
        self.metrics.expose(&ProcessState {
            resident_bytes: resources.resident_bytes,
            open_descriptors: resources.open_descriptors,
            cpu_seconds: resources.cpu_seconds,
            threads: resources.threads,
            config_version: version,
            config_applied_unix: applied,
            config_refused: self.refused.load(Ordering::Relaxed),
            log_dropped: self.fleet.access().map_or(0, |writer| writer.dropped()),
            services,
            is_overloaded: self.overload.excess().is_some(),
            overloads: self.overload.episodes(),
        })
    }

    /// Ends in good order: not ready, the grace time, the listeners, what is in work, the deadline.
    pub async fn drain(&self, drain: Drain) {
        self.is_draining.store(true, Ordering::Relaxed);
        self.fleet.enter(Phase::Draining).await;
        tokio::time::sleep(drain.grace).await;
        self.live.lock().await.listeners.close(&self.fleet).await;
        self.fleet.enter(Phase::Closing).await;
        if tokio::time::timeout(drain.deadline, self.fleet.emptied()).await.is_err() {
            tracing::warn!(
                connections = self.fleet.connections(),
                "the drain's deadline has passed: cutting what is left"
            );
        }
    }

    /// Tells the workers to end, without waiting for it.
    pub async fn stop_workers(&self) {
        self.fleet.halt().await;
    }

    /// Ends the workers.
    pub async fn stop(self) {
        self.fleet.stop().await;
    }
}

fn access_log(
    options: &ControlOptions,
    loaded: &Loaded,
    workers: usize,
) -> std::io::Result<Option<(AccessWriter, Vec<narthex_telemetry::AccessLog>)>> {
    let configured = loaded.file.as_ref().and_then(|file| file.access_log.as_ref());
    let sink = match (&options.access_log, configured) {
        (Some(None), _) | (None, None) => return Ok(None),
        (Some(Some(file)), _) => AccessSink::File(file.clone()),
        (None, Some(log)) => match log.to.as_str() {
            "stdout" => AccessSink::Stdout,
            "stderr" => AccessSink::Stderr,
            file => AccessSink::File(PathBuf::from(file)),
        },
    };
    AccessWriter::start(sink, workers).map(Some)
}

/// 16 hexadecimal digits; tells texts apart, protects nothing.
fn hash(text: &str) -> String {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}
