//! What the operating system grants this process: processors, descriptors, memory. Reads only, but for the descriptor limit
//! and the size of pages.

use std::fs;

/// How many workers to start where the configuration does not say: the cgroup's CPU quota rounded up, at most the
/// processors that this process may run on.
pub fn default_workers() -> usize {
    let available = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    match cgroup_quota() {
        Some(quota) => (quota.ceil() as usize).clamp(1, available),
        None => available,
    }
}

/// CPUs that the cgroup grants: version 2 (`cpu.max`), then version 1. `None`: no quota.
fn cgroup_quota() -> Option<f64> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let path = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/").trim_end_matches('/');
    [format!("/sys/fs/cgroup{path}/cpu.max"), "/sys/fs/cgroup/cpu.max".into()]
        .iter()
        .find_map(|file| parse_cpu_max(&fs::read_to_string(file).ok()?))
        .or_else(|| {
            let quota = read_number("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")?;
            let period = read_number("/sys/fs/cgroup/cpu/cpu.cfs_period_us")?;
            (quota > 0.0 && period > 0.0).then_some(quota / period)
        })
}

/// `max 100000` or `150000 100000`.
fn parse_cpu_max(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period): (f64, f64) = (quota.parse().ok()?, period.parse().ok()?);
    (period > 0.0).then_some(quota / period)
}

fn read_number(file: &str) -> Option<f64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// Raises the limit of open descriptors to the hard one; returns (before, after).
#[expect(unsafe_code, reason = "getrlimit and setrlimit have no safe face in std")]
pub fn raise_descriptor_limit() -> (u64, u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls read and write only the struct that is passed.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) != 0 {
            return (0, 0);
        }
        let before = limit.rlim_cur;
        limit.rlim_cur = limit.rlim_max;
        if libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) != 0 {
            return (before, before);
        }
        (before, limit.rlim_max)
    }
}

/// From here on memory comes in small pages, also where the system gives transparent huge ones to everybody (Linux). A
/// gateway's memory is a few MiB in many small pieces: steps of 2 MiB made it four times as large and no faster (measured).
pub fn refuse_huge_pages() {
    // Where it fails, memory is larger and nothing else.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

/// Resident memory of this process, in bytes; 0 where the system does not tell.
pub fn resident_bytes() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split_whitespace().nth(1).and_then(|text| text.parse().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

/// Bytes of memory that the cgroup grants: version 2 (`memory.max`), then version 1. `None`: no limit.
pub fn memory_limit() -> Option<u64> {
    // Version 1 has a number near 2^63 for none.
    let is_limit = |limit: &u64| *limit < 1 << 60;
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let path = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/").trim_end_matches('/');
    [
        format!("/sys/fs/cgroup{path}/memory.max"),
        "/sys/fs/cgroup/memory.max".into(),
        "/sys/fs/cgroup/memory/memory.limit_in_bytes".into(),
    ]
    .iter()
    .find_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok().filter(is_limit))
}

/// This process's resources, for metrics and `status`.
#[derive(Debug, Default, Clone, Copy)]
pub struct Resources {
    pub resident_bytes: u64,
    pub open_descriptors: u64,
    pub cpu_seconds: f64,
    pub threads: u64,
}

pub fn resources() -> Resources {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_whitespace().next()).and_then(|text| text.parse().ok()).unwrap_or(0)
    };
    Resources {
        resident_bytes: field("VmRSS:") * 1024,
        threads: field("Threads:"),
        open_descriptors: fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64),
        cpu_seconds: cpu_seconds(),
    }
}

/// Microseconds of the system's monotonic clock, as a service manager counts them.
pub fn monotonic_micros() -> u64 {
    crate::Clock::system().monotonic() / 1_000
}

#[expect(unsafe_code, reason = "clock_gettime for the process's CPU clock has no safe face in std")]
fn cpu_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes only the struct that is passed.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    if failed != 0 {
        return 0.0;
    }
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_cgroup_quotas() {
        assert_eq!(parse_cpu_max("150000 100000\n"), Some(1.5));
        assert_eq!(parse_cpu_max("max 100000\n"), None);
        assert_eq!(parse_cpu_max(""), None);
    }

    #[test]
    fn knows_this_process() {
        let now = resources();
        assert!(now.resident_bytes > 0 && now.open_descriptors > 2 && now.threads > 0);
        assert!(default_workers() >= 1);
        let resident = resident_bytes();
        assert!(resident > 1 << 20, "{resident} bytes");
        assert!(memory_limit().is_none_or(|limit| limit > resident));
    }
}
