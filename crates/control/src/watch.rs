//! Notices that configuration files changed: their own bytes, or what a symbolic link leads to (Kubernetes swaps one).

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::Duration;

/// How often the files are looked at.
const EVERY: Duration = Duration::from_millis(500);

/// What tells one state of a file from another; `None`: it is not there.
pub(crate) type Mark = Option<(u64, u64, i64, i64, u64)>;

/// The files of a configuration as they were at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Watched {
    files: Vec<PathBuf>,
    marks: Vec<Mark>,
}

impl Watched {
    /// Take it before the files are read: what changes in between is then noticed.
    pub fn now(files: &[PathBuf]) -> Self {
        Self { files: files.to_vec(), marks: files.iter().map(mark).collect() }
    }

    /// Returns when a file is no longer as it was and has been quiet for one look.
    pub async fn changed(&self) {
        let mut last = self.marks.clone();
        loop {
            tokio::time::sleep(EVERY).await;
            let now: Vec<_> = self.files.iter().map(mark).collect();
            if now != self.marks && now == last {
                return;
            }
            last = now;
        }
    }
}

pub(crate) fn mark(path: &PathBuf) -> Mark {
    // `metadata` follows links: a swapped link is another inode.
    let seen = std::fs::metadata(path).ok()?;
    Some((seen.dev(), seen.ino(), seen.mtime(), seen.mtime_nsec(), seen.size()))
}
