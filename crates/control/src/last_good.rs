//! The last good configuration on disk: every text that took part, so that it can be loaded again as it was.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use narthex_config::{LoadOptions, Loaded, load};
use serde::{Deserialize, Serialize};

const FILE: &str = "last-good.json";

/// A snapshot of the texts. Environment variables are not among them: they are read anew.
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct LastGood {
    pub main: PathBuf,
    pub overlays: Vec<PathBuf>,
    pub files: BTreeMap<PathBuf, String>,
}

impl LastGood {
    /// Written beside and renamed, readable by the owner only: it may hold secrets.
    pub fn save(&self, directory: &Path) -> io::Result<()> {
        use std::io::Write as _;
        use std::os::unix::fs::OpenOptionsExt as _;
        std::fs::create_dir_all(directory)?;
        let (new, file) = (directory.join(format!("{FILE}.new")), directory.join(FILE));
        let mut out =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        out.write_all(&serde_json::to_vec_pretty(self)?)?;
        out.sync_all()?;
        std::fs::rename(new, file)
    }

    pub fn read(directory: &Path) -> io::Result<Self> {
        let text = std::fs::read(directory.join(FILE))?;
        serde_json::from_slice(&text).map_err(io::Error::other)
    }

    /// Loads it as if the files were still as they were.
    pub fn load(&self) -> Loaded {
        let read = |path: &Path| {
            let known = self.files.get(path).cloned();
            known.ok_or_else(|| {
                io::Error::new(io::ErrorKind::NotFound, "it was not part of the last good configuration")
            })
        };
        let list = |directory: &Path| {
            let inside = self.files.keys().filter(|file| file.parent() == Some(directory));
            Ok(inside.cloned().collect())
        };
        load(&LoadOptions {
            path: &self.main,
            overlays: &self.overlays,
            env: &|name| std::env::var(name).ok(),
            read: &read,
            list: &list,
        })
    }
}
