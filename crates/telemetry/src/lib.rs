//! The catalogue of metrics, log events and spans: typed handles, no free strings.
