//! A program under test: started on one core, watched through `/proc`, ended by its own id.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::shell::{target, which};

/// Where configurations, logs and profiles of a bench go.
pub fn scratch() -> anyhow::Result<PathBuf> {
    let folder = target().join("bench");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// A port that is free now. Asked for once each, and every server is waited for before the next is started.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// A running program and its children; dropped, it is ended.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
}

/// `program` pinned to a core, where the machine has `taskset` and more than one.
pub fn pinned(core: usize, program: &Path) -> Command {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    match which("taskset") {
        Some(taskset) if cores > core => {
            let mut command = Command::new(taskset);
            command.args(["-c", &core.to_string()]).arg(program);
            command
        }
        _ => Command::new(program),
    }
}

impl Process {
    /// Starts it, its output in a log of its own, and waits until `port` is open.
    pub fn start(name: &str, command: &mut Command, port: u16) -> anyhow::Result<Process> {
        let log = scratch()?.join(format!("{name}.log"));
        let file = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("cannot start {name}: {command:?}"))?;
        let mut process = Process { child, name: name.to_owned() };
        let end = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if let Some(status) = process.child.try_wait()? {
                let text = fs::read_to_string(&log).unwrap_or_default();
                bail!("{name} ended at once ({status}):\n{}", text.trim());
            }
            if Instant::now() > end {
                bail!("{name} did not open its port within 60 s: see {}", log.display());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(process)
    }

    /// CPU time of the program and its children since their start, and the time that they waited for a core.
    pub fn cpu(&self) -> anyhow::Result<(Duration, Duration)> {
        let (mut total, mut waited) = (0, 0);
        for id in self.family() {
            for task in list(&format!("/proc/{id}/task")) {
                let text = fs::read_to_string(task.join("schedstat")).unwrap_or_default();
                let mut numbers = text.split_whitespace().map(|word| word.parse::<u64>().unwrap_or(0));
                total += numbers.next().unwrap_or(0);
                waited += numbers.next().unwrap_or(0);
            }
        }
        if total == 0 {
            bail!("{} is gone, or this kernel has no /proc/PID/task/*/schedstat", self.name);
        }
        Ok((Duration::from_nanos(total), Duration::from_nanos(waited)))
    }

    /// Its own memory in bytes: `RssAnon`, children included.
    pub fn memory(&self) -> anyhow::Result<u64> {
        let mut total = 0;
        for id in self.family() {
            let text = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap_or("0");
            let kib = line.split_whitespace().next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
            total += kib * 1024;
        }
        if total == 0 {
            bail!("{} is gone, or its memory cannot be read", self.name);
        }
        Ok(total)
    }

    /// The program's id and those of all its descendants.
    fn family(&self) -> Vec<u32> {
        let mut family = vec![self.child.id()];
        let mut at = 0;
        while at < family.len() {
            for task in list(&format!("/proc/{}/task", family[at])) {
                let children = fs::read_to_string(task.join("children")).unwrap_or_default();
                family.extend(children.split_whitespace().filter_map(|word| word.parse::<u32>().ok()));
            }
            at += 1;
        }
        family
    }

    /// Asks it to end and waits; after ten seconds it is killed.
    pub fn end(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        // Where there is no `kill`, the wait below ends with our own.
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        // It may have ended by itself in between: then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// The entries of a folder that may be gone.
fn list(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}
