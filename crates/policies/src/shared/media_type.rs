//! Media types (RFC 9110 section 8.3): the type without parameters, and patterns over it.

/// The type itself: `text/html` of `text/html; charset=utf-8`.
pub fn essence(content_type: &[u8]) -> &[u8] {
    content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii()
}

/// A pattern over media types: exact, `text/*`, `application/*+json`, or `*/*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    kind: Box<str>,
    /// Before and after the `*` of the subtype; `None`: the subtype is exact.
    subtype: Result<Box<str>, (Box<str>, Box<str>)>,
}

impl Pattern {
    /// Reads a pattern; `None` where it is not `type/subtype` of token characters with at most one `*` in each.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, subtype) = text.split_once('/')?;
        let is_valid = |part: &str| super::fields::is_token(part.as_bytes());
        if !is_valid(kind) || !is_valid(subtype) || (kind.contains('*') && kind != "*") {
            return None;
        }
        let subtype = match subtype.split_once('*') {
            None => Ok(subtype.into()),
            Some((_, after)) if after.contains('*') => return None,
            Some((before, after)) => Err((before.into(), after.into())),
        };
        Some(Self { kind: kind.into(), subtype })
    }

    /// Whether a media type without parameters fits, in any case.
    pub fn matches(&self, essence: &[u8]) -> bool {
        let Some(slash) = essence.iter().position(|byte| *byte == b'/') else { return false };
        let (kind, subtype) =
            (essence.get(..slash).unwrap_or_default(), essence.get(slash + 1..).unwrap_or_default());
        if &*self.kind != "*" && !kind.eq_ignore_ascii_case(self.kind.as_bytes()) {
            return false;
        }
        match &self.subtype {
            Ok(exact) => subtype.eq_ignore_ascii_case(exact.as_bytes()),
            Err((before, after)) => {
                let (before, after) = (before.as_bytes(), after.as_bytes());
                subtype.len() > before.len() + after.len()
                    && subtype.get(..before.len()).is_some_and(|start| start.eq_ignore_ascii_case(before))
                    && subtype
                        .get(subtype.len() - after.len()..)
                        .is_some_and(|end| end.eq_ignore_ascii_case(after))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_essence_has_no_parameters() {
        assert_eq!(essence(b"text/html; charset=utf-8"), b"text/html");
        assert_eq!(essence(b" text/html ;a=b"), b"text/html");
        assert_eq!(essence(b""), b"");
    }

    #[test]
    fn patterns() {
        for (pattern, media_type, expected) in [
            ("text/html", "text/html", true),
            ("text/html", "TEXT/Html", true),
            ("text/html", "text/htm", false),
            ("text/*", "text/css", true),
            ("text/*", "text/", false),
            ("text/*", "text", false),
            ("application/*+json", "application/problem+json", true),
            ("application/*+json", "application/json", false),
            ("application/*+json", "application/+json", false),
            ("application/vnd.*", "application/vnd.api", true),
            ("*/*", "image/png", true),
            ("*/*+xml", "image/svg+xml", true),
        ] {
            assert_eq!(
                Pattern::parse(pattern).unwrap().matches(media_type.as_bytes()),
                expected,
                "{pattern} {media_type}"
            );
        }
        for bad in
            ["", "text", "text/", "/html", "te*t/html", "text/*a*", "text/html; charset=utf-8", "text /html"]
        {
            assert_eq!(Pattern::parse(bad), None, "{bad}");
        }
    }
}
