//! What several policies need and none owns: lists in header fields, media types, names, scratch memory, policies inside
//! policies.
//!
//! Knows no policy. Nothing here allocates per request once warm.

pub mod accept_encoding;
pub mod combined;
pub mod fields;
pub mod media_type;
pub mod scratch;
pub mod value;

#[cfg(test)]
pub mod testing;
