//! From a path (or a text) to a checked `File`: reads, includes, overlays, resolves, deserialises, checks. All problems
//! of all steps come out at once. Reads only through what the caller hands in.

use crate::file::File;
use crate::{check, merge, pem, resolve};
use narthex_document::{
    Budget, Diagnostic, MAX_BYTES, Node, Sources, Span, Value, from_node, parse_within, sort, too_many_bytes,
};
use std::io;
use std::path::{Component, Path, PathBuf};

/// The most files that one configuration may consist of; one that is included twice counts twice.
pub const MAX_FILES: usize = 256;
/// How deep includes may nest.
pub const MAX_INCLUDE_DEPTH: usize = 8;
/// After this many problems no more are told; after this many errors, checking stops.
pub(crate) const MAX_PROBLEMS: usize = 100;

/// How and from where a configuration is loaded.
#[derive(Clone, Copy)]
pub struct LoadOptions<'a> {
    /// The main file; also the base of relative paths for [`load_text`].
    pub path: &'a Path,
    /// Files merged over it, in order.
    pub overlays: &'a [PathBuf],
    /// Looks an environment variable up.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// Reads a file.
    pub read: &'a dyn Fn(&Path) -> io::Result<String>,
    /// Lists the files of a directory, for `include: conf.d/*.yaml`.
    pub list: &'a dyn Fn(&Path) -> io::Result<Vec<PathBuf>>,
}

impl<'a> LoadOptions<'a> {
    /// From the disk and the environment of the process. Files beyond 64 MiB are refused unread.
    pub fn from_system(path: &'a Path, overlays: &'a [PathBuf]) -> Self {
        LoadOptions {
            path,
            overlays,
            env: &|name| std::env::var(name).ok(),
            read: &read_disk,
            list: &list_disk,
        }
    }
}

fn read_disk(path: &Path) -> io::Result<String> {
    use std::io::Read as _;
    let limit = MAX_BYTES as u64;
    let mut text = String::new();
    let read = std::fs::File::open(path)?.take(limit + 1).read_to_string(&mut text)?;
    if read as u64 > limit { Err(io::Error::other("the file is larger than 64 MiB")) } else { Ok(text) }
}

fn list_disk(path: &Path) -> io::Result<Vec<PathBuf>> {
    std::fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path())).collect()
}

/// What came out of a load.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration; `None` when there is any error.
    pub file: Option<File>,
    /// Every problem, sorted by place.
    pub diagnostics: Vec<Diagnostic>,
    /// Every text that took part.
    pub sources: Sources,
    /// The merged tree, when there is one.
    pub node: Option<Node>,
    /// Every file that took part or was looked for: what a watcher watches.
    pub files: Vec<PathBuf>,
    /// The files of certificates, keys and ticket keys: followed by themselves, and kept nowhere else.
    pub pems: Vec<PathBuf>,
}

impl Loaded {
    /// Whether it may go live: no error (warnings may be there).
    pub fn is_good(&self) -> bool {
        self.file.is_some()
    }

    /// All problems as text for people.
    pub fn render(&self, colour: bool) -> String {
        narthex_document::render_all(&self.diagnostics, &self.sources, colour)
    }
}

/// Loads the file at `options.path` with its includes and overlays.
pub fn load(options: &LoadOptions<'_>) -> Loaded {
    let mut loader = Loader::new(options);
    let node = loader.file(options.path, Span::NONE);
    loader.finish(node)
}

/// Loads a text (of an admin request, say) as if it stood in `options.path`, with its includes and the overlays.
pub fn load_text(options: &LoadOptions<'_>, text: &str) -> Loaded {
    let mut loader = Loader::new(options);
    let node = loader.text(options.path, text.to_owned());
    loader.finish(node)
}

pub(crate) struct Loader<'a> {
    pub(crate) options: &'a LoadOptions<'a>,
    pub(crate) problems: Vec<Diagnostic>,
    /// Places whose value could not be resolved: what else is wrong there is a consequence.
    pub(crate) failed: ahash::HashSet<Span>,
    files: Vec<PathBuf>,
    pub(crate) pems: Vec<PathBuf>,
    known: ahash::HashSet<PathBuf>,
    /// How many times a file of the configuration was read.
    readings: usize,
    budget: Budget,
    sources: Sources,
    /// The chain of includes that is being read.
    open: Vec<PathBuf>,
}

impl<'a> Loader<'a> {
    fn new(options: &'a LoadOptions<'a>) -> Self {
        Loader {
            options,
            problems: Vec::new(),
            failed: ahash::HashSet::default(),
            files: Vec::new(),
            pems: Vec::new(),
            known: ahash::HashSet::default(),
            readings: 0,
            budget: Budget::default(),
            sources: Sources::new(),
            open: Vec::new(),
        }
    }

    /// Notes a file that takes part or was looked for.
    pub(crate) fn note(&mut self, path: &Path) {
        if self.known.insert(path.to_owned()) {
            self.files.push(path.to_owned());
        }
    }

    /// Takes what a value from outside the text holds from the budget of bytes.
    ///
    /// # Errors
    /// There is not so much left; the text says so.
    pub(crate) fn spend(&mut self, bytes: usize) -> Result<(), String> {
        self.budget.bytes = self.budget.bytes.checked_sub(bytes).ok_or_else(too_many_bytes)?;
        Ok(())
    }

    fn file(&mut self, path: &Path, from: Span) -> Option<Node> {
        let path = normal(path);
        if let Some(at) = self.open.iter().position(|open| *open == path) {
            let chain: Vec<_> =
                self.open[at..].iter().chain([&path]).map(|p| p.display().to_string()).collect();
            let message = format!("the include goes round in a circle: {}", chain.join(" -> "));
            self.problems
                .push(Diagnostic::error("include_cycle", from, message).with_help("remove this include"));
            return None;
        }
        if self.open.len() > MAX_INCLUDE_DEPTH || self.readings >= MAX_FILES {
            let message = format!("more than {MAX_FILES} files, or includes deeper than {MAX_INCLUDE_DEPTH}");
            self.problems.push(Diagnostic::error("too_large", from, message));
            return None;
        }
        self.readings += 1;
        self.note(&path);
        match (self.options.read)(&path) {
            Ok(text) => self.text(&path, text),
            Err(error) => {
                let message = format!("cannot read {}: {error}", path.display());
                self.problems.push(Diagnostic::error("unreadable", from, message));
                None
            }
        }
    }

    fn text(&mut self, path: &Path, text: String) -> Option<Node> {
        let id = self.sources.add(path.display().to_string(), text.as_str());
        let (node, mut problems) = parse_within(&text, id, &mut self.budget);
        self.problems.append(&mut problems);
        let mut node = node?;
        if !matches!(node.value, Value::Map(_)) {
            let span = if node.is_null() { Span::new(id, 0, 0) } else { node.span };
            let message = format!("a configuration is a map, found {}", node.describe());
            self.problems
                .push(Diagnostic::error("wrong_type", span, message).with_help("start with `narthex: 1`"));
            return None;
        }
        let base = path.parent().unwrap_or(Path::new("")).to_owned();
        let includes = take(&mut node, "include");
        pem::read(&mut node, &base, self);
        resolve::resolve(&mut node, &base, self);
        self.open.push(normal(path));
        if let Some(includes) = includes {
            for (pattern, span) in self.include_list(&includes) {
                for path in self.expand(&base, &pattern, span) {
                    if let Some(included) = self.file(&path, span) {
                        merge::include(&mut node, included, &mut self.problems);
                    }
                }
            }
        }
        self.open.pop();
        Some(node)
    }

    fn include_list(&mut self, node: &Node) -> Vec<(String, Span)> {
        let items = match &node.value {
            Value::List(items) => items.as_slice(),
            _ => std::slice::from_ref(node),
        };
        let mut list = Vec::new();
        for item in items {
            match item.as_text() {
                Some(text) if !text.is_empty() => list.push((text.to_owned(), item.span)),
                _ => {
                    let message = format!("`include` takes paths, found {}", item.describe());
                    self.problems.push(Diagnostic::error("wrong_type", item.span, message));
                }
            }
        }
        list
    }

    /// A path, or every file that a `*` in the last component stands for, sorted.
    fn expand(&mut self, base: &Path, pattern: &str, span: Span) -> Vec<PathBuf> {
        let path = base.join(pattern);
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("").to_owned();
        let directory = path.parent().unwrap_or(Path::new("")).to_owned();
        if directory.to_string_lossy().contains('*') {
            let problem =
                Diagnostic::error("invalid_value", span, "`*` may stand only in the last part of a path");
            self.problems.push(problem.with_help("name each directory"));
            return Vec::new();
        }
        if !name.contains('*') {
            return vec![path];
        }
        let directory = if directory.as_os_str().is_empty() { PathBuf::from(".") } else { directory };
        let listed = match (self.options.list)(&directory) {
            Ok(listed) => listed,
            Err(error) => {
                let message = format!("cannot list {}: {error}", directory.display());
                self.problems.push(Diagnostic::error("unreadable", span, message));
                return Vec::new();
            }
        };
        self.note(&directory);
        let fits =
            |path: &PathBuf| path.file_name().and_then(|n| n.to_str()).is_some_and(|n| wildcard(&name, n));
        let mut found: Vec<PathBuf> = listed.into_iter().filter(fits).collect();
        found.sort();
        if found.is_empty() {
            let message = format!("no file fits `{pattern}`");
            self.problems.push(Diagnostic::warning("empty_include", span, message));
        }
        found
    }

    fn finish(mut self, node: Option<Node>) -> Loaded {
        let mut node = node;
        for path in self.options.overlays {
            let overlay = self.file(path, Span::NONE);
            if let (Some(node), Some(overlay)) = (&mut node, overlay) {
                merge::overlay(node, overlay, &mut self.problems);
            }
        }
        let mut file = None;
        if let Some(node) = &node {
            let mut problems = Vec::new();
            file = from_node::<File>(node, &mut problems);
            if let Some(file) = &file {
                check(file, &mut problems);
            }
            problems.retain(|problem| !self.failed.contains(&problem.span));
            self.problems.append(&mut problems);
        }
        if self.problems.iter().any(Diagnostic::is_error) {
            file = None;
        }
        shorten(&mut self.problems);
        if let Some(node) = &node {
            resolve::redact(node, &mut self.problems);
        }
        let Self { problems: diagnostics, sources, files, pems, .. } = self;
        Loaded { file, diagnostics, sources, node, files, pems }
    }
}

/// Sorts the problems and keeps the first ones, errors before warnings, with a word that there are more.
fn shorten(problems: &mut Vec<Diagnostic>) {
    if problems.len() > MAX_PROBLEMS {
        sort(problems);
        problems.sort_by_key(|problem| !problem.is_error());
        let more = problems.split_off(MAX_PROBLEMS);
        let message = format!("more than {MAX_PROBLEMS} problems: the others are not shown");
        problems.push(Diagnostic::warning("too_many_problems", more[0].span, message));
    }
    sort(problems);
}

fn take(node: &mut Node, key: &str) -> Option<Node> {
    let Value::Map(entries) = &mut node.value else { return None };
    let at = entries.iter().position(|(k, _)| k.text == key)?;
    Some(entries.remove(at).1)
}

/// The path without `.` and with `..` resolved by text, so that one file has one name.
pub(crate) fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(out.components().next_back(), Some(Component::Normal(_))) => {
                out.pop();
            }
            part => out.push(part),
        }
    }
    out
}

/// Whether `name` fits a pattern in which `*` stands for any text; a leading dot must be written.
fn wildcard(pattern: &str, name: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or("");
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}
