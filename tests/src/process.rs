//! The gateway as a process of its own: what is drained, weighed, reloaded by a signal. Where it listens is read from its
//! log and asked of its admin listener, so every port is the system's choice.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use narthex_testkit::{RawClient, Response, Workspace};

/// How long a test waits for something that should come at once.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Among the arguments of [`Process::start`]: it follows its files.
pub const WATCH: &str = "(watch)";

/// Asks again and again, at most for this long.
///
/// # Panics
/// It never comes: `what` says what.
pub fn eventually<T>(what: &str, at_most: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let pause = Duration::from_millis(5);
    let mut left = at_most;
    loop {
        if let Some(value) = ask() {
            return value;
        }
        assert!(!left.is_zero(), "waited {at_most:?} in vain: {what}");
        std::thread::park_timeout(pause);
        left = left.saturating_sub(pause);
    }
}

/// The gateway's binary: `NARTHEX_BIN`, else the one that cargo built for the tests of the package `narthex`.
///
/// # Panics
/// It is not there.
pub fn binary() -> PathBuf {
    if let Some(binary) = std::env::var_os("NARTHEX_BIN") {
        return binary.into();
    }
    sibling("narthex")
}

/// A binary beside the running test's own directory.
///
/// # Panics
/// It is not there.
pub fn sibling(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a running program has a path");
    let found = own.ancestors().map(|directory| directory.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("`{name}` is not built: run `cargo build -p narthex`, or set NARTHEX_BIN"))
}

/// A process that does not outlive its test.
pub struct Process {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
    admin: SocketAddr,
    workspace: Workspace,
}

impl Process {
    /// `narthex run` with this configuration, one worker, no grace time and no watching of files unless `arguments` say so.
    ///
    /// # Panics
    /// It does not start: the test is over.
    pub fn start(config: &str, arguments: &[&str]) -> Self {
        let workspace = Workspace::new().expect("the system has room for files");
        workspace.write("narthex.yaml", config).expect("the file can be written");
        let file = workspace.file("narthex.yaml");
        Self::start_in(workspace, &file, arguments)
    }

    /// The same with files that the test has written.
    ///
    /// # Panics
    /// As there.
    pub fn start_in(workspace: Workspace, file: &Path, arguments: &[&str]) -> Self {
        let mut child = command(file, arguments).spawn().expect("the binary can be run");
        let stderr = child.stderr.take().expect("it is piped");
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = Arc::clone(&log);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut process = Self { child, log, reader: Some(reader), admin: nowhere, workspace };
        process.admin = eventually("the gateway runs", PATIENCE, || process.find_admin());
        process
    }

    fn find_admin(&mut self) -> Option<SocketAddr> {
        let ended = self.child.try_wait().ok().flatten();
        assert!(ended.is_none(), "the gateway ended: {ended:?}\n{}", self.log());
        let log = self.log();
        let line = log.lines().find(|line| line.contains("narthex is running"))?;
        let (_, rest) = line.split_once("admin=Some(").expect("a test's configuration has an admin listener");
        rest.split(')').next()?.parse().ok()
    }

    /// Where a listener listens.
    ///
    /// # Panics
    /// There is none of this name.
    pub fn address(&self, listener: &str) -> SocketAddr {
        let status = self.get("/status").json();
        let address = status["listeners"][listener][0].as_str().and_then(|text| text.parse().ok());
        address.unwrap_or_else(|| panic!("no listener `{listener}` in {status}"))
    }

    /// Where the admin listener listens.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The files that it was started with.
    pub fn workspace(&self) -> &Workspace {
        &self.workspace
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    /// Waits until this stands in the log.
    ///
    /// # Panics
    /// It never does.
    pub fn wait_for_log(&self, text: &str) {
        eventually(text, PATIENCE, || self.log().contains(text).then_some(()));
    }

    /// Asks the admin listener.
    ///
    /// # Panics
    /// It does not answer.
    pub fn get(&self, path: &str) -> Response {
        self.ask("GET", path, "", "")
    }

    /// Asks the admin listener; `fields` are whole lines with their ends.
    ///
    /// # Panics
    /// It does not answer.
    pub fn ask(&self, method: &str, path: &str, fields: &str, body: &str) -> Response {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\nContent-Length: {}\r\n{fields}\r\n{body}",
            body.len()
        );
        let answer = RawClient::connect(self.admin).and_then(|mut client| client.exchange(&request));
        answer.unwrap_or_else(|fault| panic!("{method} {path}: {fault}\n{}", self.log()))
    }

    /// The version of the configuration that is live.
    ///
    /// # Panics
    /// The status is none.
    pub fn version(&self) -> u64 {
        self.get("/status").json()["version"].as_u64().expect("a status has a version")
    }

    /// Memory of its own, in KiB: `RssAnon`.
    ///
    /// # Panics
    /// It has ended.
    pub fn anonymous_kib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).expect("the process runs");
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let number = line.and_then(|line| line.split_whitespace().next()).and_then(|text| text.parse().ok());
        number.expect("the kernel says how much memory a process has")
    }

    /// Sends a signal by its name: `TERM`, `HUP`.
    ///
    /// # Panics
    /// There is no such process any more.
    pub fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// The same, where it may have ended already.
    pub fn signal_if_there(&self, name: &str) {
        // Nobody there: then it has ended, which is what the caller looks for.
        let _ = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.child.id())).status();
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// It does not end in time.
    pub fn wait(&mut self, at_most: Duration) -> ExitStatus {
        let child = &mut self.child;
        let status = eventually("the gateway ends", at_most, || child.try_wait().ok().flatten());
        if let Some(reader) = self.reader.take() {
            // All that it said is in the log then.
            let _ = reader.join();
        }
        status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Ended already: then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The command line of `narthex run` in a test.
pub fn command(file: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.arg("run").arg("--config").arg(file).args(arguments.iter().filter(|given| **given != WATCH));
    for (option, value) in [("--workers", "1"), ("--drain-grace", "0s")] {
        if !arguments.contains(&option) {
            command.args([option, value]);
        }
    }
    if !arguments.contains(&WATCH) {
        command.arg("--no-watch");
    }
    command.env_remove("NARTHEX_LOG").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Sends a signal to a process of this test's own.
///
/// # Panics
/// There is no such process.
pub fn signal(process: u32, name: &str) {
    let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {process}")).status();
    assert!(sent.is_ok_and(|status| status.success()), "SIG{name} to {process}");
}
