//! The last good configuration on disk: every text that took part, so that it can be loaded again as it was. Of files with
//! keys only the path: a private key that lies in a file of its own lies nowhere else.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use narthex_config::{LoadOptions, Loaded, load};
use serde::{Deserialize, Serialize};

const FILE: &str = "last-good.json";

/// A snapshot of the texts. Environment variables are not among them: they are read anew, as are files of keys.
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct LastGood {
    pub main: PathBuf,
    pub overlays: Vec<PathBuf>,
    /// `None`: what the file holds is secret, it is read anew.
    pub files: BTreeMap<PathBuf, Option<String>>,
}

impl LastGood {
    /// `pems`: the files that were read as certificates and keys.
    pub fn of(main: &Path, overlays: &[PathBuf], texts: BTreeMap<PathBuf, String>, pems: &[PathBuf]) -> Self {
        let pems: BTreeSet<&Path> = pems.iter().map(PathBuf::as_path).collect();
        let is_own = |path: &Path| path == main || overlays.iter().any(|overlay| overlay == path);
        let files = texts.into_iter().map(|(path, text)| {
            let is_secret = pems.contains(path.as_path()) || text.contains("PRIVATE KEY-----");
            let kept = (!is_secret || is_own(&path)).then_some(text);
            (path, kept)
        });
        Self { main: main.to_owned(), overlays: overlays.to_vec(), files: files.collect() }
    }

    /// The text of the main file.
    pub fn text(&self) -> &str {
        self.files.get(&self.main).and_then(Option::as_deref).unwrap_or_default()
    }

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
        let read = |path: &Path| match self.files.get(path) {
            Some(Some(text)) => Ok(text.clone()),
            Some(None) => std::fs::read_to_string(path),
            None => {
                let text = "it was not part of the last good configuration";
                Err(io::Error::new(io::ErrorKind::NotFound, text))
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stay_where_they_are() {
        let at = |name: &str| PathBuf::from(name);
        let texts = [
            ("main.yaml", "main"),
            ("part.yaml", "part"),
            ("shop.pem", "-----BEGIN CERTIFICATE-----"),
            ("tickets.keys", "dGlja2V0"),
            ("other", "-----BEGIN EC PRIVATE KEY-----"),
        ];
        let texts = texts.map(|(path, text)| (at(path), text.to_owned())).into();
        let pems = [at("shop.pem"), at("tickets.keys")];
        let kept = LastGood::of(&at("main.yaml"), &[], texts, &pems);
        let held: Vec<_> =
            kept.files.iter().filter(|(_, text)| text.is_some()).map(|(path, _)| path).collect();
        assert_eq!(held, [&at("main.yaml"), &at("part.yaml")]);
        assert_eq!((kept.text(), kept.files.len()), ("main", 5));
        let written = serde_json::to_string(&kept).unwrap();
        assert!(!written.contains("PRIVATE KEY") && !written.contains("dGlja2V0"), "{written}");
        assert_eq!(serde_json::from_str::<LastGood>(&written).unwrap(), kept);
    }
}
