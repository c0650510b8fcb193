//! Which entry stands for a name: the exact one, else the wildcard of its parent, else none.

use ahash::AHashMap;

/// Entries by name. Names are in lower case; `*.example` stands for exactly one more label.
#[derive(Debug)]
pub(super) struct Names<T> {
    exact: AHashMap<Box<str>, T>,
    wildcards: AHashMap<Box<str>, T>,
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self { exact: AHashMap::new(), wildcards: AHashMap::new() }
    }
}

impl<T: Default> Names<T> {
    /// The entry of a pattern, made where there is none.
    pub fn entry(&mut self, pattern: &str) -> &mut T {
        match pattern.strip_prefix("*.") {
            Some(parent) => self.wildcards.entry(parent.into()).or_default(),
            None => self.exact.entry(pattern.into()).or_default(),
        }
    }
}

impl<T> Names<T> {
    /// As `find`, but a wildcard stands for one label or more; the longest one wins.
    pub fn find_deep(&self, name: &str) -> Option<&T> {
        let mut parents = std::iter::successors(Some(name), |name| Some(name.split_once('.')?.1)).skip(1);
        self.exact.get(name).or_else(|| parents.find_map(|parent| self.wildcards.get(parent)))
    }

    /// The entry for a name in lower case, without a final dot; a wildcard stands for one label.
    pub fn find(&self, name: &str) -> Option<&T> {
        self.exact.get(name).or_else(|| self.wildcards.get(name.split_once('.')?.1))
    }
}

/// Whether a certificate's name stands for a host, both in lower case (RFC 9525 6.3).
pub(super) fn covers(pattern: &str, host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    match pattern.strip_prefix("*.") {
        Some(parent) => host.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == parent),
        None => pattern == host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exact_name_wins_and_a_wildcard_is_one_label() {
        let mut names = Names::default();
        *names.entry("*.shop.example") = 1;
        *names.entry("api.shop.example") = 2;
        assert_eq!(names.find("api.shop.example"), Some(&2));
        assert_eq!(names.find("www.shop.example"), Some(&1));
        assert_eq!(names.find("a.b.shop.example"), None);
        assert_eq!(names.find("shop.example"), None);
        assert_eq!(names.find_deep("a.b.shop.example"), Some(&1));
        assert_eq!(names.find_deep("shop.example"), None);
    }

    #[test]
    fn covers_as_a_browser_would_say() {
        assert!(covers("*.shop.example", "www.shop.example"));
        assert!(covers("shop.example", "shop.example."));
        assert!(!covers("*.shop.example", "shop.example"));
        assert!(!covers("*.shop.example", "a.b.shop.example"));
        assert!(!covers("*.shop.example", ".shop.example"));
    }
}
