//! Tests of loading, checking and showing.
